//! An agency's file: checked whole, then read again to be sent.

use crate::bet::plain_bet;
use crate::bet::row::{Fields, InvalidRow};
use crate::connection::{GrowthBudget, LineBuffer, LineTooLong};
use crossbeam_channel::{Receiver, TryRecvError};
use log::info;
use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

/// The most bytes of a line, its end included: more than any bet takes, however it is quoted.
const LINE_BYTES_MAX: usize = 8192;
/// What some programs put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// What the buffers of all files may grow by, in bytes.
static BUFFERS: GrowthBudget = GrowthBudget::new(16 << 20);

/// A file of valid bets.
#[derive(Debug)]
pub(super) struct BetsFile {
    path: PathBuf,
    file: File,
    bets: u64,
}

impl BetsFile {
    /// Opens the file at `path` and checks every line of it; `report` hears of each that is no bet.
    pub(super) fn check(
        path: &Path,
        stop: &Receiver<Infallible>,
        mut report: impl FnMut(String),
    ) -> Result<BetsFile, FileFailed> {
        let failed = |error| FileFailed::Io { path: path.to_owned(), error };
        // Before it is opened: opening a pipe would wait for somebody to write to it.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("not a regular file")));
        }
        let file = File::open(path).map_err(failed)?;
        let mut file = BetsFile { path: path.to_owned(), file, bets: 0 };
        let (mut bets, mut invalid) = (0, 0);
        file.each_line(stop, |number, line| {
            let reason = match line.map(check_line) {
                Ok(Ok(())) => {
                    bets += 1;
                    return Ok::<(), FileFailed>(());
                }
                Ok(Err(reason)) => reason.to_string(),
                Err(too_long) => format!("line: {too_long}"),
            };
            invalid += 1;
            report(format!("{}:{number}: {reason}", path.display()));
            Ok(())
        })?;
        if invalid > 0 {
            return Err(FileFailed::Invalid { path: path.to_owned(), lines: invalid });
        }
        file.bets = bets;
        Ok(file)
    }

    /// How many bets it has.
    pub(super) fn bets(&self) -> u64 {
        self.bets
    }

    /// Shows `visit` every line from the first, without its end, by its number from 1; empty ones are
    /// left out, as CSV readers do.
    ///
    /// # Errors
    ///
    /// Those of `visit`; the file cannot be read; `stop` was closed.
    pub(super) fn each_line<E: From<FileFailed>>(
        &self,
        stop: &Receiver<Infallible>,
        mut visit: impl FnMut(u64, Result<&[u8], LineTooLong>) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error| FileFailed::Io { path: self.path.clone(), error };
        (&self.file).rewind().map_err(failed)?;
        let mut lines = LineBuffer::new(LINE_BYTES_MAX, &BUFFERS);
        let mut number = 0;
        let mut visit = |line: Result<&[u8], LineTooLong>| {
            number += 1;
            match line.map(|line| without_marks(line, number)) {
                Ok([]) => Ok(()),
                line => visit(number, line),
            }
        };
        loop {
            match lines.next_line() {
                Ok(Some(line)) => visit(Ok(line))?,
                Ok(None) => {
                    if !self.fill(&mut lines, stop)? {
                        break;
                    }
                }
                Err(too_long) => {
                    visit(Err(too_long))?;
                    while !lines.skip_line() && self.fill(&mut lines, stop)? {}
                }
            }
        }
        if lines.rest().is_empty() { Ok(()) } else { visit(Ok(lines.rest())) }
    }

    /// Reads on; `false` at the end of the file.
    fn fill(
        &self,
        lines: &mut LineBuffer<'_>,
        stop: &Receiver<Infallible>,
    ) -> Result<bool, FileFailed> {
        if stop.try_recv() == Err(TryRecvError::Disconnected) {
            return Err(FileFailed::Stopped);
        }
        let count = lines.fill(&mut &self.file);
        count
            .map(|count| count > 0)
            .map_err(|error| FileFailed::Io { path: self.path.clone(), error })
    }

    /// It is not any more what was checked.
    pub(super) fn changed(&self) -> FileFailed {
        FileFailed::Changed { path: self.path.clone() }
    }
}

impl Drop for BetsFile {
    fn drop(&mut self) {
        info!("action: close_file | result: success | file: {}", self.path.display());
    }
}

/// A line without its end, and the first without a byte order mark.
fn without_marks(line: &[u8], number: u64) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let marked = (number == 1).then(|| line.strip_prefix(BYTE_ORDER_MARK)).flatten();
    marked.unwrap_or(line)
}

fn check_line(line: &[u8]) -> Result<(), InvalidRow> {
    if plain_bet(line, b',').is_some_and(|bet| bet.end() == line.len()) {
        return Ok(());
    }
    Fields::parse(line)?.bet().map(|_valid| ())
}

/// Why an agency's file cannot be sent.
#[derive(Debug)]
pub enum FileFailed {
    /// It cannot be read.
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Some of its lines are no bets.
    Invalid {
        /// Which file.
        path: PathBuf,
        /// How many lines.
        lines: u64,
    },
    /// It was changed while it was being sent.
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// The program was stopped.
    Stopped,
}

impl fmt::Display for FileFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileFailed::Io { path, error } => write!(formatter, "{}: {error}", path.display()),
            FileFailed::Invalid { path, lines } => {
                write!(formatter, "{}: {lines} lines are no bets, nothing was sent", path.display())
            }
            FileFailed::Changed { path } => {
                write!(formatter, "{}: was changed while it was being sent", path.display())
            }
            FileFailed::Stopped => formatter.write_str("stopped"),
        }
    }
}

impl std::error::Error for FileFailed {}
