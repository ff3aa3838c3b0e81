//! The errors of the client.

use crate::bet::AgencyId;
use crate::protocol::ErrorCode;
use crate::system::{EMFILE, if_denied};
use crate::text::noun_for;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// The reason why the client's work ended before it was done.
#[derive(Debug, Error)]
pub enum Error {
    /// The program was stopped, which is no failure.
    #[error("stopped")]
    Stopped,
    /// The agency's file cannot be read.
    #[error("{}: {error}{}{}", .path.display(), if_missing(.error), if_denied(.error, "read it"))]
    File {
        /// The file.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// Some lines of the file are no valid bets.
    #[error("{}: {lines} invalid {}; nothing was sent", .path.display(), noun_for(*.lines, "line"))]
    InvalidLines {
        /// The file.
        path: PathBuf,
        /// The number of these lines.
        lines: u64,
    },
    /// The file changed after it was checked.
    #[error(
        "{}: changed after it was checked; nothing of the change was sent. Run the client again", .0.display()
    )]
    FileChanged(PathBuf),
    /// The connection is lost or useless. Another one may do better.
    #[error("{0}")]
    Lost(String),
    /// The server refused a command with this code, if it is one that this client knows, and this text.
    #[error("the server refused: {1}{remedy}", remedy = remedy_of(*.0))]
    Refused(Option<ErrorCode>, String),
    /// The server sent a reply that does not fit the command.
    #[error("the server answered {0}")]
    Answer(String),
    /// The server sent a line that is no reply of the protocol.
    #[error("the server does not speak this protocol, it said \"{0}\"")]
    Dialect(String),
    /// The bets stored for the agency are not the first ones of its file.
    #[error(
        "not the file that was sent before: {0}; nothing more was sent. Restore that file, and append new \
         bets to it; or start the server with other files"
    )]
    OtherFile(String),
    /// The server has fewer bets of the agency than it told this client before, or others.
    #[error(
        "the server confirmed {confirmed} bets of agency {agency} to this client and has {stored}{others} now: it has \
         lost bets, or it holds another draw; nothing more was sent. Running the client again sends everything to the \
         server as it is now",
        others = if confirmed == stored { " others" } else { "" }
    )]
    BetsGone {
        /// The agency.
        agency: AgencyId,
        /// The number of bets that the server had stored.
        confirmed: u64,
        /// The number that it has now.
        stored: u64,
    },
    /// No attempt made progress for the whole time that retries may take.
    #[error("no progress for {} ms, last error: {last}; {remedy}", .after.as_millis())]
    GaveUp {
        /// The time without progress.
        after: Duration,
        /// The error of the last connection.
        last: String,
        /// The remedy for that error.
        remedy: &'static str,
    },
    /// One side rejected the other's certificate, or only one of them speaks TLS.
    #[error("TLS: {0}; [tls] in config.toml names the certificate, its key and the trusted CA")]
    Distrust(String),
    /// The process has reached its limit of open files.
    #[error(
        "{0}: each agency needs a file descriptor, and one more while its file is read; raise the limit with \
         `ulimit -n`"
    )]
    NoDescriptor(io::Error),
    /// A question that is asked only once has no answer, for this reason, which its remedy follows.
    #[error("{0}")]
    NoAnswer(String),
    /// The confirmation of bets was lost, for this reason, and resuming is off.
    #[error(
        "connection lost ({0}) before a confirmation: the bets in flight may be stored or not. The server is not \
         asked, because resuming is off"
    )]
    InDoubt(String),
    /// The confirmation of a single bet was lost, and this number of bets of its agency were stored meanwhile.
    #[error(
        "connection lost before the confirmation, and {0} bets of the agency were stored meanwhile, by another client \
         too: this bet may be among them or not. Look for it in bets.csv before it is placed again"
    )]
    OtherClient(u64),
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
        match error.raw_os_error() {
            Some(EMFILE) => Error::NoDescriptor(error),
            _ => Error::File { path: path.to_owned(), error },
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

fn if_missing(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::NotFound { "; --file CSV names another" } else { "" }
}

/// Returns the remedy for a refusal, which follows its detail in the message.
fn remedy_of(code: Option<ErrorCode>) -> &'static str {
    match code {
        Some(ErrorCode::DrawHeld) => {
            "; bets that were not stored before the draw are not part of it. `server --new-draw` prepares \
             another draw"
        }
        Some(ErrorCode::UnknownCommand) => {
            "; for a server that does not know REANUDAR, set client.resume or CLI_RESUME to false"
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
