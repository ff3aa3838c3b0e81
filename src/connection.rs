//! Blocking connections, plain or in TLS, in bounded time, and the list of the sockets that are open.
//! Does not interpret what travels over them.

use std::fmt;
use std::io;
use std::path::PathBuf;

mod open_sockets;
mod stream;
#[cfg_attr(not(feature = "tls"), path = "connection/no_tls.rs")]
mod tls;

pub use open_sockets::{OpenSocket, OpenSockets};
pub use stream::{AcceptError, DRAIN_BYTES_MAX, DRAIN_TIME_MAX, Stream, Timed};
pub use tls::{Acceptor, Connector};

/// Whether `error` says that the time was up: systems say it in two ways.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Whether `error` says that one side does not believe the other, or that only one speaks TLS: another
/// try would end the same way.
pub fn is_distrust(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Who one is and whom one believes, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate that one shows, and those between it and the authority's, if there are any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The certificates of the authorities whose peers are believed.
    pub authority: PathBuf,
}

/// TLS cannot be spoken: which file is not what it has to be, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTls(String);

impl fmt::Display for InvalidTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "tls: {}", self.0)
    }
}

impl std::error::Error for InvalidTls {}
