//! Blocking connections, plain or in TLS, in bounded time, and the list of the sockets that are open.
//! Does not interpret what travels over them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use timed::TimedSocket;

mod open_sockets;
mod stream;
mod timed;
#[cfg_attr(not(feature = "tls"), path = "connection/no_tls.rs")]
mod tls;

pub(crate) use open_sockets::OpenSockets;
pub use stream::Stream;
pub use timed::{DRAIN_BYTES_MAX, DRAIN_TIME_MAX};
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

/// TLS between a stream and its socket.
trait Layer: std::fmt::Debug {
    /// Returns decrypted bytes, and reads from the socket only if there are none. Returns 0 after the peer's
    /// close_notify.
    fn read(&mut self, socket: &mut TimedSocket<'_>, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes at least some of `bytes`.
    fn write(&mut self, socket: &mut TimedSocket<'_>, bytes: &[u8]) -> io::Result<usize>;

    /// Returns whether bytes, or the peer's close_notify, were taken from the socket and not yet returned by a read.
    fn has_unread(&mut self) -> bool;

    /// Verifies the certificate of a client as in its handshake, unless that was done with the same files a moment ago.
    fn verify_again(&mut self) -> io::Result<()>;

    /// Returns the DNS names in the peer's certificate.
    fn peer_names(&self) -> Vec<String>;

    /// Frees the buffer of encrypted bytes, if it is empty.
    fn shrink(&mut self);

    /// Sends close_notify, so that the peer can tell an end from a lost connection.
    fn end(&mut self, socket: &mut TimedSocket<'_>) -> io::Result<()>;
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
    /// Lists of revoked certificates, which a server rejects. `None` means that there are none.
    pub revoked: Option<PathBuf>,
}

impl TlsFiles {
    /// Returns whether other users of this machine can read the key: its mode lets them, and so do those of the
    /// directories above it.
    pub fn is_key_exposed(&self) -> bool {
        /// The bit of a mode that lets others read a file.
        const READ: u32 = 0o004;
        /// The bit of a mode that lets others reach what is in a directory.
        const SEARCH: u32 = 0o001;
        // Reading the key will fail with an error of its own.
        let Ok(key) = self.key.canonicalize() else { return false };
        let lets = |path: &Path, bit| path.metadata().is_ok_and(|found| found.mode() & bit != 0);
        lets(&key, READ) && key.ancestors().skip(1).all(|directory| lets(directory, SEARCH))
    }
}

/// The error of a TLS file: its path and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("tls: {0}")]
pub struct InvalidTls(String);
