//! The errors of opening the files.

use crate::system::if_denied;
use std::io;
use std::io::ErrorKind::{
    FileTooLarge, NotADirectory, NotFound, PermissionDenied, QuotaExceeded, StorageFull,
};
use std::path::{Path, PathBuf};

/// Returns `outcome` with an error that names the file at `path`.
pub(super) fn at<T>(path: &Path, outcome: io::Result<T>) -> Result<T, OpenError> {
    outcome.map_err(|error| OpenError::Io { path: path.to_owned(), error })
}

/// Returns the refusal of the file at `path`, with the reason and the remedy.
pub(super) fn refused(path: &Path, what: impl Into<String>) -> OpenError {
    OpenError::Refused { path: path.to_owned(), what: what.into() }
}

/// Returns the end of a message for a file that cannot be used: the way out.
fn way_out(error: &io::Error) -> String {
    match error.kind() {
        PermissionDenied => if_denied(error, "use it and its directory"),
        NotFound | NotADirectory => {
            "; --bets and --draw name others, in directories that exist".into()
        }
        StorageFull | QuotaExceeded | FileTooLarge => {
            "; make room, or name files elsewhere with --bets and --draw".into()
        }
        _ => "; --bets and --draw name other files".into(),
    }
}

/// The reason why a ledger was not opened, checked or set aside. Nothing was changed, except that
/// [`OpenError::Io`] and [`OpenError::Thread`] can come after some changes, which the next start completes.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file could not be used.
    #[error("{}: {error}{}", path.display(), way_out(error))]
    Io {
        /// Its path.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// A file differs from what was confirmed, or from the bets; or a `bets.csv` without a journal has a line that this
    /// program would not write.
    #[error("{}: {what}; nothing was changed: {way_out}", path.display())]
    NotConfirmed {
        /// The file.
        path: PathBuf,
        /// The error.
        what: String,
        /// The ways to start again.
        way_out: String,
    },
    /// Another server has the file, it has the name of another one, its bets are of another lottery, or there is no finished
    /// draw that can be set aside, or only some of its files are.
    #[error("{}: {what}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The reason and the remedy.
        what: String,
    },
    /// The program was stopped.
    #[error("interrupted before all files were read: nothing is known about them")]
    Interrupted,
    /// The thread could not be started.
    #[error("no thread for the ledger: {0}")]
    Thread(io::Error),
}

#[cfg(test)]
mod tests {
    use super::at;
    use std::io::{self, ErrorKind};
    use std::path::Path;

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_the_way_out() {
        let others = "; --bets and --draw name others, in directories that exist";
        // Only Linux tells the user.
        let denied = if cfg!(target_os = "linux") {
            " must be able to use it and its directory"
        } else {
            ""
        };
        for (kind, way_out) in [
            (ErrorKind::PermissionDenied, denied),
            (ErrorKind::NotFound, others),
            (ErrorKind::NotADirectory, others),
            (ErrorKind::StorageFull, "; make room, or name files elsewhere with --bets and --draw"),
            (ErrorKind::Other, "; --bets and --draw name other files"),
        ] {
            let failed = at::<()>(Path::new("bets.csv"), Err(io::Error::from(kind)));
            let told = failed.expect_err("it fails").to_string();
            assert!(told.starts_with("bets.csv: ") && told.ends_with(way_out), "{told}");
        }
    }
}
