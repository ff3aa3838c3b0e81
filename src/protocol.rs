//! The protocol of `docs/protocol.md`: commands and replies as values and as text. Text becomes valid values
//! here and nowhere else. Does no I/O.
//!
//! A *message* is a line that a client sends: one command, or several. A *batch* is some bets and the command
//! that closes them, usually in one message. A *reply* is a line that the server sends. This file holds the
//! delimiters and the words.

use crate::bet::DELIMITERS;
use std::fmt;

mod batch;
mod command;
mod error;
mod reply;
mod status;
#[cfg(test)]
mod tests;

pub use batch::{BatchRead, BatchReader, BatchWriter};
pub use command::Command;
pub use error::{Effect, ErrorCode, Refusal};
pub use reply::Reply;

/// The most bytes of a message, its line end included.
pub const MESSAGE_BYTES_MAX: usize = 8192;

/// Ends a message and a reply.
const MESSAGE_END: char = '\n';
/// Separates the fields of a command or a reply.
const FIELD_SEPARATOR: char = DELIMITERS[0];
/// Separates the commands of a message.
const COMMAND_SEPARATOR: char = DELIMITERS[1];

/// The words of the protocol. This table and the one of [`ErrorCode`] hold them all.
mod word {
    pub(super) const BET: &str = "APUESTA";
    pub(super) const CLOSE_BATCH: &str = "FINAPUESTA";
    pub(super) const STORED: &str = "CONFIRMARAPUESTA";
    pub(super) const WINNERS: &str = "GANADORES";
    pub(super) const RESUME: &str = "REANUDAR";
    pub(super) const ECHO: &str = "ECO";
    pub(super) const STATUS: &str = "ESTADO";
    pub(super) const PENDING: &str = "PENDIENTE";
    pub(super) const HELD: &str = "REALIZADO";
    pub(super) const OPEN: &str = "ABIERTA";
    pub(super) const FINISHED: &str = "TERMINADA";
    pub(super) const WAITING: &str = "ESPERA";
    pub(super) const ERROR: &str = "ERROR";
}

/// Writes `fields` with the separator between them.
fn write_fields(formatter: &mut fmt::Formatter<'_>, fields: &[&dyn fmt::Display]) -> fmt::Result {
    for (place, field) in fields.iter().enumerate() {
        if place > 0 {
            write!(formatter, "{FIELD_SEPARATOR}")?;
        }
        write!(formatter, "{field}")?;
    }
    Ok(())
}

/// Parses a count: decimal digits without a sign or a leading zero.
fn parse_count(text: &str) -> Option<u64> {
    let canonical = text == "0" || text.starts_with(|c: char| matches!(c, '1'..='9'));
    canonical.then(|| text.parse().ok()).flatten()
}
