//! An agency's file, read once to check every line, and once for each connection to send them. It is open only while it
//! is read, so that an agency that waits needs no file descriptor for it.

use super::error::Error;
use crate::bet::row::{Fields, InvalidRow, ROW_BYTES_MAX};
use crate::bet::{BET_BYTES_MIN, plain_bet};
use crate::lines::{LineBuffer, LineTooLong, without_end};
use crate::stop::Stop;
use crate::system::{check_regular, uninterrupted};
use crate::text::{LogValue, noun_for};
use log::info;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The bytes that are read at once and have one checksum. A line buffer always has room for them.
const PIECE_BYTES: usize = 64 << 10;
/// The byte order mark that some programs put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A file of valid bets.
#[derive(Debug)]
pub(super) struct BetsFile {
    pub(super) path: PathBuf,
    bets: u64,
    has_quotes: bool,
    /// The checksum of each piece, so that a change after the check is found before any of it is sent.
    checksums: Vec<u32>,
}

impl BetsFile {
    /// Checks every line of the file at `path`. `report` is called for each invalid one.
    pub(super) fn check(
        path: &Path,
        stop: &Stop,
        mut report: impl FnMut(String),
    ) -> Result<BetsFile, Error> {
        let (mut bets, mut invalid, mut has_quotes) = (0, 0, false);
        let checksums = each_line(path, None, stop, plain_line, |number, line| {
            let reason = match line {
                Ok(line) if line.is_recognized => None,
                Ok(line) => {
                    has_quotes |= line.has_quotes();
                    let bet = line.fields().and_then(|fields| fields.bet().map(|_valid| ()));
                    bet.err().map(|reason| reason.to_string())
                }
                Err(too_long) => Some(format!("line: {too_long}")),
            };
            match reason {
                None => bets += 1,
                Some(reason) => {
                    invalid += 1;
                    report(format!("{}:{number}: {reason}", LogValue(path.display())));
                }
            }
            Ok(())
        })?;
        if invalid > 0 {
            let (path, noun) = (path.display(), noun_for(invalid, "line"));
            let why = format!("{path}: {invalid} invalid {noun}; nothing was sent");
            return Err(Error::Failed(why));
        }
        Ok(BetsFile { path: path.to_owned(), bets, has_quotes, checksums })
    }

    /// Returns the number of its bets.
    pub(super) fn bets(&self) -> u64 {
        self.bets
    }

    /// Calls `visit` with the line number, from 1, and the line of every bet. It looks for line ends alone: every line
    /// was checked before, and the checksums show that it is the same.
    ///
    /// # Errors
    ///
    /// Those of `visit`; the file cannot be read, or changed; the stop has come.
    pub(super) fn each_bet(
        &self,
        stop: &Stop,
        mut visit: impl FnMut(u64, Line<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let seen =
            each_line(&self.path, Some(&self.checksums), stop, checked_line, |number, line| {
                visit(number, line.map_err(|_| Error::changed(&self.path))?)
            })?;
        let is_whole = seen.len() == self.checksums.len();
        if is_whole { Ok(()) } else { Err(Error::changed(&self.path)) }
    }

    /// Returns a text that begins with `line`, and the bytes of the line without its end. Returns `None` if there are
    /// quotes in it, so that commas alone do not delimit its fields.
    pub(super) fn unquoted<'l>(&self, line: Line<'l>) -> Option<(&'l [u8], usize)> {
        let is_quoted = self.has_quotes && line.has_quotes();
        (!is_quoted).then_some((line.text, line.bytes))
    }
}

/// A line of an agency's file.
#[derive(Clone, Copy)]
pub(super) struct Line<'l> {
    /// Begins with the line. More text behind it lets a copy have a fixed length.
    text: &'l [u8],
    /// The length of the line without its end, in bytes.
    bytes: usize,
    /// Whether the `recognize` of [`each_line`] found it.
    is_recognized: bool,
}

impl<'l> Line<'l> {
    fn content(self) -> &'l [u8] {
        &self.text[..self.bytes]
    }

    fn has_quotes(self) -> bool {
        memchr::memchr(b'"', self.content()).is_some()
    }

    /// Splits it into fields.
    pub(super) fn fields(self) -> Result<Fields, InvalidRow> {
        Fields::parse(self.content())
    }
}

/// Calls `visit` with the number, from 1, of every line that is not empty, and the line unless it is too long. `recognize`
/// may return the bytes of the line that a text begins with, without and with its end. Returns the checksums of the
/// pieces.
///
/// # Errors
///
/// Those of `visit`; the file cannot be read; a checksum is not the `expected` one; the stop has come.
fn each_line(
    path: &Path,
    expected: Option<&[u32]>,
    stop: &Stop,
    recognize: impl Fn(&[u8]) -> Option<(usize, usize)>,
    mut visit: impl FnMut(u64, Result<Line<'_>, LineTooLong>) -> Result<(), Error>,
) -> Result<Vec<u32>, Error> {
    let mut pieces = Pieces::open(path, expected, stop)?;
    let mut lines = LineBuffer::fixed(ROW_BYTES_MAX);
    let (mut number, mut is_last) = (0, false);
    while !is_last {
        while let Some((bytes, line_bytes)) = recognize(lines.rest()) {
            number += 1;
            if bytes > 0 {
                visit(number, Ok(Line { text: lines.rest(), bytes, is_recognized: true }))?;
            }
            lines.take(line_bytes);
        }
        let line = match lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => {
                if pieces.fill(&mut lines)? {
                    continue;
                }
                is_last = true;
                lines.rest()
            }
            Err(too_long) => {
                number += 1;
                visit(number, Err(too_long))?;
                while !lines.skip_line() && pieces.fill(&mut lines)? {}
                continue;
            }
        };
        number += 1;
        let text = without_end(line);
        if !text.is_empty() {
            visit(number, Ok(Line { text, bytes: text.len(), is_recognized: false }))?;
        }
    }
    Ok(std::mem::take(&mut pieces.checksums))
}

/// Returns the bytes of the plain bet that `text` begins with, and those of its line. `None` if the line does not end
/// behind the bet.
#[inline]
fn plain_line(text: &[u8]) -> Option<(usize, usize)> {
    let bytes = plain_bet(text, b',')?.end();
    match text[bytes..] {
        [b'\n', ..] => Some((bytes, bytes + 1)),
        [b'\r', b'\n', ..] => Some((bytes, bytes + 2)),
        _ => None,
    }
}

/// Returns the bytes of the checked line that `text` begins with, without and with its end. A line is empty or at least
/// as long as the shortest bet.
#[inline]
fn checked_line(text: &[u8]) -> Option<(usize, usize)> {
    let before_end = if matches!(text, [b'\n' | b'\r', ..]) { 0 } else { BET_BYTES_MIN };
    let end = before_end + memchr::memchr(b'\n', text.get(before_end..)?)?;
    Some((end - usize::from(text[..end].ends_with(b"\r")), end + 1))
}

/// An open file, read in pieces.
struct Pieces<'f> {
    path: &'f Path,
    file: File,
    stop: &'f Stop,
    /// The checksums of the pieces when the file was checked.
    expected: Option<&'f [u32]>,
    checksums: Vec<u32>,
}

impl<'f> Pieces<'f> {
    fn open(
        path: &'f Path,
        expected: Option<&'f [u32]>,
        stop: &'f Stop,
    ) -> Result<Pieces<'f>, Error> {
        let failed = |error| Error::file(path, error);
        check_regular(path).map_err(failed)?;
        let file = File::open(path).map_err(failed)?;
        Ok(Pieces { path, file, stop, expected, checksums: Vec::new() })
    }

    /// Reads the next piece. Returns `false` at the end of the file.
    fn fill(&mut self, lines: &mut LineBuffer<'_>) -> Result<bool, Error> {
        if self.stop.has_come() {
            return Err(Error::Stopped);
        }
        let path = self.path;
        match lines.fill(self) {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Error::changed(path)),
            Err(error) => Err(Error::file(path, error)),
        }
    }
}

impl Read for Pieces<'_> {
    /// Reads a whole piece unless the file ends in it, so that both passes see the same pieces. Leaves out the byte order
    /// mark.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = &mut buffer[..PIECE_BYTES];
        let mut bytes = 0;
        while bytes < PIECE_BYTES {
            match uninterrupted(|| self.file.read(&mut piece[bytes..]))? {
                0 => break,
                count => bytes += count,
            }
        }
        if bytes > 0 {
            let checksum = crc32fast::hash(&piece[..bytes]);
            let place = self.checksums.len();
            if self.expected.is_some_and(|expected| expected.get(place) != Some(&checksum)) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.checksums.push(checksum);
            if place == 0 && piece.starts_with(BYTE_ORDER_MARK) {
                piece.copy_within(BYTE_ORDER_MARK.len()..bytes, 0);
                bytes -= BYTE_ORDER_MARK.len();
            }
        }
        Ok(bytes)
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        info!("action: close_file | result: success | file: {}", LogValue(self.path.display()));
    }
}
