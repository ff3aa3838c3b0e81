//! An agency's file, read twice: once to check every line, once to send them.

use crate::bet::row::{Fields, InvalidRow};
use crate::bet::{PlainBet, plain_bet};
use crate::lines::{LineBuffer, LineTooLong};
use crate::stop::Stop;
use crate::text::{LogValue, if_denied};
use log::info;
use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The most bytes of a line, its end included: more than any bet takes, however it is quoted.
const LINE_BYTES_MAX: usize = 8192;
/// The byte order mark that some programs put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A file of valid bets.
#[derive(Debug)]
pub(super) struct BetsFile {
    path: PathBuf,
    file: File,
    bets: u64,
}

impl BetsFile {
    /// Opens the file at `path` and checks every line of it. `report` is called for each invalid one.
    pub(super) fn check(
        path: &Path,
        stop: &Stop,
        mut report: impl FnMut(String),
    ) -> Result<BetsFile, FileError> {
        let failed = |error| FileError::Io { path: path.to_owned(), error };
        // Checked before the file is opened, because opening a pipe blocks until somebody writes to it.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("not a regular file")));
        }
        let file = File::open(path).map_err(failed)?;
        let mut file = BetsFile { path: path.to_owned(), file, bets: 0 };
        let (mut bets, mut invalid) = (0, 0);
        file.each_line(stop, |number, line| {
            let reason = match line {
                Line::Plain(..) => None,
                Line::Other(line) => check_line(line).err().map(|reason| reason.to_string()),
                Line::TooLong(too_long) => Some(format!("line: {too_long}")),
            };
            let Some(reason) = reason else {
                bets += 1;
                return Ok::<(), FileError>(());
            };
            invalid += 1;
            report(format!("{}:{number}: {reason}", path.display()));
            Ok(())
        })?;
        if invalid > 0 {
            return Err(FileError::Invalid { path: path.to_owned(), lines: invalid });
        }
        file.bets = bets;
        Ok(file)
    }

    /// Returns how many bets it has.
    pub(super) fn bets(&self) -> u64 {
        self.bets
    }

    /// Calls `visit` with the number, from 1, and the text of every line. Empty lines are left out, as CSV
    /// readers do.
    ///
    /// # Errors
    ///
    /// Those of `visit`; the file cannot be read; the stop has come.
    pub(super) fn each_line<E: From<FileError>>(
        &self,
        stop: &Stop,
        mut visit: impl FnMut(u64, Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error| FileError::Io { path: self.path.clone(), error };
        (&self.file).rewind().map_err(failed)?;
        let mut lines = LineBuffer::fixed(LINE_BYTES_MAX);
        let mut number = 0;
        loop {
            let marked = number == 0 && lines.rest().starts_with(BYTE_ORDER_MARK);
            while let Some((bet, line_bytes)) = plain_line(lines.rest()).filter(|_| !marked) {
                number += 1;
                visit(number, Line::Plain(lines.rest(), bet))?;
                lines.take(line_bytes);
            }
            match lines.next_line() {
                Ok(Some(line)) => {
                    number += 1;
                    visit_other(line, number, &mut visit)?;
                }
                Ok(None) => {
                    if !self.fill(&mut lines, stop)? {
                        break;
                    }
                }
                Err(too_long) => {
                    number += 1;
                    visit(number, Line::TooLong(too_long))?;
                    while !lines.skip_line() && self.fill(&mut lines, stop)? {}
                }
            }
        }
        visit_other(lines.rest(), number + 1, &mut visit)
    }

    /// Reads on. Returns `false` at the end of the file.
    fn fill(&self, lines: &mut LineBuffer<'_>, stop: &Stop) -> Result<bool, FileError> {
        if stop.has_come() {
            return Err(FileError::Stopped);
        }
        let count = lines.fill(&mut &self.file);
        count
            .map(|count| count > 0)
            .map_err(|error| FileError::Io { path: self.path.clone(), error })
    }

    /// Returns the error of a file that is no longer what was checked.
    pub(super) fn changed(&self) -> FileError {
        FileError::Changed { path: self.path.clone() }
    }
}

impl Drop for BetsFile {
    fn drop(&mut self) {
        info!("action: close_file | result: success | file: {}", LogValue(self.path.display()));
    }
}

/// A line of an agency's file.
pub(super) enum Line<'l> {
    /// The text begins with a plain bet, and its line ends behind the bet.
    Plain(&'l [u8], PlainBet),
    /// Any other line, without its end: a bet that is written in a less usual way, or no bet.
    Other(&'l [u8]),
    /// A line that is longer than any bet.
    TooLong(LineTooLong),
}

impl Line<'_> {
    /// Returns its fields, unless they cannot be read.
    pub(super) fn fields(&self) -> Option<Fields> {
        match self {
            Line::Plain(text, bet) => Fields::parse(&text[..bet.end()]).ok(),
            Line::Other(line) => Fields::parse(line).ok(),
            Line::TooLong(_) => None,
        }
    }
}

/// Returns the plain bet that `text` begins with and the bytes of its line. Returns `None` if the line does not
/// end behind it.
#[inline]
fn plain_line(text: &[u8]) -> Option<(PlainBet, usize)> {
    let bet = plain_bet(text, b',')?;
    match text[bet.end()..] {
        [b'\n', ..] => Some((bet, bet.end() + 1)),
        [b'\r', b'\n', ..] => Some((bet, bet.end() + 2)),
        _ => None,
    }
}

/// Calls `visit` with a line without its end, and the first without a byte order mark, unless it is empty.
fn visit_other<E>(
    line: &[u8],
    number: u64,
    visit: &mut impl FnMut(u64, Line<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let marked = (number == 1).then(|| line.strip_prefix(BYTE_ORDER_MARK)).flatten();
    match marked.unwrap_or(line) {
        [] => Ok(()),
        line => visit(number, Line::Other(line)),
    }
}

fn check_line(line: &[u8]) -> Result<(), InvalidRow> {
    Fields::parse(line)?.bet().map(|_valid| ())
}

/// Why an agency's file cannot be sent.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: {error}{}{}", .path.display(), if_missing(.error), if_denied(.error))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Some of its lines are no valid bets.
    #[error("{}: {lines} invalid {}; nothing was sent", .path.display(), line_or_lines(*.lines))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// How many lines.
        lines: u64,
    },
    /// It changed while it was being sent.
    #[error("{}: changed while it was being sent", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The program was stopped.
    #[error("stopped")]
    Stopped,
}

fn if_missing(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::NotFound { "; --file CSV names another" } else { "" }
}

fn line_or_lines(count: u64) -> &'static str {
    if count == 1 { "line" } else { "lines" }
}
