//! The errors of the client.

use crate::bet::AgencyId;
use crate::protocol::ErrorCode;
use crate::system::{EMFILE, if_denied};
use std::io;
use std::path::Path;
use thiserror::Error;

/// The reason why the client's work ended before it was done.
#[derive(Debug, Error)]
pub enum Error {
    /// The program was stopped, which is no failure.
    #[error("stopped")]
    Stopped,
    /// The connection is lost or useless. Another one may do better.
    #[error("{0}")]
    Lost(String),
    /// The server refused a command with this code, if it is one that this client knows, and this text.
    #[error("the server refused: {1}{remedy}", remedy = remedy_of(*.0))]
    Refused(Option<ErrorCode>, String),
    /// The reason, followed by its remedy. Another attempt would not help.
    #[error("{0}")]
    Failed(String),
    /// One side rejected the other's certificate, or only one of them speaks TLS.
    #[error("TLS: {0}; [tls] in config.toml names the certificate, its key and the trusted CA")]
    Distrust(String),
    /// The process has reached its limit of open files.
    #[error(
        "{0}: each agency needs a file descriptor, and one more while its file is read; raise the limit with \
         `ulimit -n`"
    )]
    NoDescriptor(io::Error),
    /// The winners or the state of the lottery could not be printed.
    #[error("stdout could not be written: {0}")]
    Output(io::Error),
    /// The system does not start another thread.
    #[error("no thread: {0}")]
    Thread(io::Error),
    /// A thread panicked, which is a defect of this program.
    #[error("a thread panicked")]
    Panicked,
}

impl Error {
    /// Returns the error of a file that cannot be read.
    pub(super) fn file(path: &Path, error: io::Error) -> Error {
        if error.raw_os_error() == Some(EMFILE) {
            return Error::NoDescriptor(error);
        }
        let (path, denied) = (path.display(), if_denied(&error, "read it"));
        Error::Failed(format!("{path}: {error}{}{denied}", if_no_file(&error)))
    }

    /// Returns the error of a file that is no longer what was checked.
    pub(super) fn changed(path: &Path) -> Error {
        let path = path.display();
        Error::Failed(format!(
            "{path}: changed after it was checked; nothing of the change was sent. Run the client again"
        ))
    }

    /// Returns the error of a server that has fewer bets of the agency than it told this client before, or others.
    pub(super) fn bets_gone(agency: AgencyId, confirmed: u64, stored: u64) -> Error {
        let others = if confirmed == stored { " others" } else { "" };
        Error::Failed(format!(
            "the server confirmed {confirmed} bets of agency {agency} to this client and has {stored}{others} now: \
             it has lost bets, or it holds another draw; nothing more was sent. Running the client again sends \
             everything to the server as it is now"
        ))
    }

    /// Returns the refusal in what was read after a write failed with this error, or this error if there is none.
    pub(super) fn unless_refused<T>(self, heard: Result<T, Error>) -> Error {
        match heard {
            Err(refused @ (Error::Refused(..) | Error::Distrust(_))) => refused,
            _ => self,
        }
    }

    /// Returns the remedy if every attempt ends with this error. Returns `None` if another attempt would not help.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        use ErrorCode::{
            MessageTorn, Stopping, Superseded, TakenOver, TimedOut, TooManyConnections,
        };
        match self {
            Error::Refused(Some(TakenOver | Superseded), _) => {
                Some("another client runs this agency: stop one of the two")
            }
            Error::Refused(Some(TooManyConnections), _) => Some(
                "raise server.max_connections there, or find the peers that connect to the server",
            ),
            Error::Refused(Some(MessageTorn | TimedOut | Stopping), _) | Error::Lost(_) => Some(
                "check that a server runs there, or name another with --server or CLI_SERVER_ADDRESS",
            ),
            _ => None,
        }
    }
}

/// Returns the remedy if no regular file has this path.
fn if_no_file(error: &io::Error) -> &'static str {
    use io::ErrorKind::{NotADirectory, NotFound, Other};
    // `Other` is that of a directory, a pipe or a device.
    let is_no_file = matches!(error.kind(), NotFound | NotADirectory | Other);
    if is_no_file { "; --agency N --file CSV names another" } else { "" }
}

/// Returns the remedy for a refusal, which follows its detail in the message.
fn remedy_of(code: Option<ErrorCode>) -> &'static str {
    match code {
        Some(ErrorCode::UnknownCommand) => {
            "; for a server without REANUDAR set client.resume or CLI_RESUME to false; one without ESTADO has no --status"
        }
        Some(ErrorCode::DrawHeld) => {
            "; bets that were not stored before the draw are not part of it. `server --new-draw` prepares \
             another draw"
        }
        Some(ErrorCode::StorageFailed) => {
            "; make room on the disk of the server, and run the client again, which goes on after the bets that are \
             stored"
        }
        // Of all fields that a client sends outside of bets, only the agency can be invalid.
        Some(ErrorCode::InvalidField) => "; lottery.agencies of the server says how many there are",
        Some(ErrorCode::TlsRequired) => {
            "; [tls] in config.toml names the certificate, its key and the trusted CA"
        }
        _ => "",
    }
}
