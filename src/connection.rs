//! Bounded lines over a blocking connection, in bounded time and memory, and the list of the sockets
//! that are open. Knows not what a line says.

use std::io;

mod lines;
mod open_sockets;
mod stream;

pub use lines::{GrowthBudget, LineBuffer, LineTooLong};
pub use open_sockets::{OpenSocket, OpenSockets};
pub use stream::{DRAIN_BYTES_MAX, DRAIN_TIME_MAX, Stream, Timed};

/// Whether `error` says that the time was up: systems say it in two ways.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}
