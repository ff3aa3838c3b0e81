//! Blocking connections, plain or in TLS, in bounded time, and the list of the sockets that are open.
//! Does not interpret what travels over them.

use std::fmt;
use std::io;
use std::path::PathBuf;

mod open_sockets;
mod stream;
mod timed;
#[cfg_attr(not(feature = "tls"), path = "connection/no_tls.rs")]
mod tls;

pub use open_sockets::{OpenSocket, OpenSockets};
pub use stream::{AcceptError, DRAIN_BYTES_MAX, DRAIN_TIME_MAX, Stream};
pub use tls::{Acceptor, Connector};

/// Returns whether `error` is a timeout, which systems report in two ways.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Returns whether the TLS handshake failed because a certificate was rejected or only one side speaks TLS.
/// Retrying does not help.
pub fn is_distrust(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Paths of the PEM files for mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// This side's certificate, and the intermediate ones if there are any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The trusted CA certificates.
    pub authority: PathBuf,
    /// The list of certificates that are not accepted any more, if there is one.
    pub revoked: Option<PathBuf>,
}

/// Why TLS cannot be used: the file at fault and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTls(String);

impl fmt::Display for InvalidTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "tls: {}", self.0)
    }
}

impl std::error::Error for InvalidTls {}
