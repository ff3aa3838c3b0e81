//! Opening: the lock, the files of a draw before, what is left of a crash.

use super::Settings;
use super::disk::{FileDisk, sync_directory_of};
use super::recovery::{self, InvalidLine, Recovered};
use super::result::{DrawResult, InvalidResult};
use crate::stop::Stop;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

pub(super) fn open(
    settings: &Settings,
    stop: &Stop,
) -> Result<(FileDisk, Recovered, Option<DrawResult>), OpenError> {
    let bets = lock(&settings.bets)?;
    let result = DrawResult::load(&settings.result)?;
    let recovered = recover(&bets, settings, stop)?;
    Ok((FileDisk::new(bets, &settings.bets, &settings.result), recovered, result))
}

/// Opens the file, creates it where it is missing, and keeps every other server from it.
fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |error| OpenError::Io { path: path.to_owned(), error };
    let mut options = OpenOptions::new();
    let file = options.read(true).append(true).create(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("not a regular file")));
    }
    Ok(file)
}

/// Checks every line, cuts off one that was never completed, and makes the rest durable: a line that
/// a server wrote and did not live to sync is told to nobody before it is on disk.
fn recover(bets: &File, settings: &Settings, stop: &Stop) -> Result<Recovered, OpenError> {
    let path = &settings.bets;
    let recovered = recovery::check(bets, settings.agencies, stop)
        .map_err(|failed| OpenError::checking(path, failed))?;
    let repair = || {
        if recovered.torn_bytes > 0 {
            bets.set_len(recovered.bytes)?;
        }
        bets.sync_all()?;
        sync_directory_of(path)
    };
    repair().map_err(|error| OpenError::Io { path: path.clone(), error })?;
    Ok(recovered)
}

/// Sets the files of a finished draw aside, as `bets.1.csv` and `sorteo.1.toml` or with the next
/// number that is free, so that a new draw can begin. Where nothing is stored yet there is nothing
/// to set aside. The names that were given, if any.
///
/// # Errors
///
/// [`OpenError::NotFinished`] where bets are stored and the draw was not held, or what went wrong
/// with the files.
pub fn set_aside(settings: &Settings) -> Result<Option<(PathBuf, PathBuf)>, OpenError> {
    let (bets, result) = (&settings.bets, &settings.result);
    let file = lock(bets)?;
    let is_empty =
        file.metadata().map_err(|error| OpenError::Io { path: bets.clone(), error })?.len() == 0;
    if DrawResult::load(result)?.is_none() {
        return if is_empty {
            Ok(None)
        } else {
            Err(OpenError::NotFinished { bets: bets.clone(), result: result.clone() })
        };
    }

    let free = |number: &u64| !numbered(result, *number).exists();
    let number = (1..).find(free).unwrap_or_default();
    let (old_bets, old_result) = (numbered(bets, number), numbered(result, number));
    // The bets go first: after a crash in between, the result still says that the draw was held.
    // Then they have their number already, and what stands in their place is empty.
    if !old_bets.exists() {
        rename(bets, &old_bets)?;
    } else if !is_empty {
        let error = io::ErrorKind::AlreadyExists.into();
        return Err(OpenError::Io { path: old_bets, error });
    }
    rename(result, &old_result)?;
    Ok(Some((old_bets, old_result)))
}

fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    std::fs::rename(from, to)
        .and_then(|()| sync_directory_of(to))
        .map_err(|error| OpenError::Io { path: from.to_owned(), error })
}

/// `bets.csv` and 2 make `bets.2.csv`.
fn numbered(path: &Path, number: u64) -> PathBuf {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    path.with_extension(format!("{number}.{extension}").trim_end_matches('.'))
}

/// Why a ledger was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// A file could not be used.
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another server has the file.
    Locked {
        /// Which.
        path: PathBuf,
    },
    /// A line of `bets.csv` is not as this program writes it.
    InvalidLine {
        /// The file.
        path: PathBuf,
        /// The line, and what is wrong with it.
        line: InvalidLine,
    },
    /// The draw's result is not as this program writes it.
    InvalidResult(InvalidResult),
    /// A new draw was asked for while one is not finished.
    NotFinished {
        /// The bets that are stored.
        bets: PathBuf,
        /// The result that is missing.
        result: PathBuf,
    },
    /// The program was stopped.
    Interrupted,
    /// The thread could not be started.
    Thread(io::Error),
}

impl OpenError {
    /// Why the bets at `path` were not read to their end.
    pub(super) fn checking(path: &Path, failed: recovery::CheckFailed) -> OpenError {
        let path = path.to_owned();
        match failed {
            recovery::CheckFailed::Io(error) => OpenError::Io { path, error },
            recovery::CheckFailed::Invalid(line) => OpenError::InvalidLine { path, line },
            recovery::CheckFailed::Interrupted => OpenError::Interrupted,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io { path, error } => write!(formatter, "{}: {error}", path.display()),
            OpenError::Locked { path } => {
                let path = path.display();
                write!(
                    formatter,
                    "{path}: another server is using it: stop it, or name other files with --bets and \
                     DRAW_FILE"
                )
            }
            OpenError::InvalidLine { path, line } => {
                write!(formatter, "{}:{line}; nothing was changed", path.display())
            }
            OpenError::InvalidResult(invalid) => invalid.fmt(formatter),
            OpenError::NotFinished { bets, result } => write!(
                formatter,
                "the draw is not finished: {} has bets and there is no {}; \
                 start without --new-draw to finish it, or move the file away yourself",
                bets.display(),
                result.display()
            ),
            OpenError::Interrupted => formatter.write_str("stopped while reading the bets"),
            OpenError::Thread(error) => write!(formatter, "no thread for the ledger: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<InvalidResult> for OpenError {
    fn from(invalid: InvalidResult) -> OpenError {
        OpenError::InvalidResult(invalid)
    }
}
