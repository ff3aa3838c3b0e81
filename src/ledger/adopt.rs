//! Checks every line of a `bets.csv` without a journal. An older version left it, or an operator moved the journal
//! away.

use super::disk::{self, DiskFile};
use super::error::{OpenError, at};
use super::journal::Extent;
use super::pass::{self, Lines};
use crate::bet::row::{Fields, InvalidRow, ROW_BYTES_MAX, agency_of, write_row};
use crate::bet::{Agencies, plain_bet};
use crate::stop::Stop;
use std::path::Path;

/// Checks every complete line of `file`, which is at `path`. Returns their extent. A torn line after them is not checked.
pub(super) fn check(
    file: &impl DiskFile,
    path: &Path,
    agencies: Agencies,
    stop: &Stop,
) -> Result<Extent, OpenError> {
    let bytes = bytes_of_lines(file, path, stop)?;
    let make = || Checker { agencies, lines: 0, invalid: None, prefix: Vec::new() };
    let read = at(path, pass::over(file, bytes, stop, make))?;
    let (extent, checker) = read.ok_or(OpenError::Interrupted)?;
    let Some(row) = checker.invalid else { return Ok(extent) };
    let what = format!("line {}: {row}", checker.lines + 1);
    let agencies = ", or set AGENCIES to the lottery's number";
    let or_agencies = if row.is_agency() { agencies } else { "" };
    let way_out = format!("correct the line, or restore the file{or_agencies}");
    Err(OpenError::NotConfirmed { path: path.to_owned(), what, way_out })
}

/// Returns the length of `file` up to its last line end. What a crash left behind it may be longer than a bet. If there is
/// no line end at all, only a file shorter than that is a torn line.
fn bytes_of_lines(file: &impl DiskFile, path: &Path, stop: &Stop) -> Result<u64, OpenError> {
    let length = at(path, file.length())?;
    let mut end = length;
    while end > 0 {
        if stop.has_come() {
            return Err(OpenError::Interrupted);
        }
        let bytes = usize::try_from(end).map_or(ROW_BYTES_MAX, |end| end.min(ROW_BYTES_MAX));
        let start = end - bytes as u64;
        let piece = at(path, disk::read(file, start, bytes))?;
        if let Some(line_end) = memchr::memrchr(b'\n', &piece) {
            return Ok(start + line_end as u64 + 1);
        }
        end = start;
    }
    Ok(if length < ROW_BYTES_MAX as u64 { 0 } else { length })
}

/// Checks lines up to the first that is invalid.
struct Checker {
    agencies: Agencies,
    /// The number of valid lines.
    lines: u64,
    /// The error of the line after them.
    invalid: Option<InvalidRow>,
    /// The agency of the last row that was looked at here, one of the lottery's, and the comma after it.
    prefix: Vec<u8>,
}

impl Lines for Checker {
    fn add(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() && self.invalid.is_none() {
            let plain = self.plain_line(lines);
            match plain.map_or_else(|| check_line(lines, self.agencies), Ok) {
                Ok(bytes) => {
                    self.lines += 1;
                    lines = &lines[bytes..];
                }
                Err(row) => self.invalid = Some(row),
            }
        }
    }

    fn join(&mut self, later: Checker) {
        if self.invalid.is_none() {
            self.lines += later.lines;
            self.invalid = later.invalid;
        }
    }
}

impl Checker {
    /// Returns the bytes of the line that `text` begins with, if it is a plain bet.
    #[inline]
    fn plain_line(&mut self, text: &[u8]) -> Option<usize> {
        // Rows come in batches, so most have the agency of the row before.
        if !text.starts_with(&self.prefix) || self.prefix.is_empty() {
            let (_, comma) = agency_of(text, self.agencies)?;
            self.prefix = text[..=comma].to_vec();
        }
        let bet = self.prefix.len();
        let end = bet + plain_bet(&text[bet..], b',')?.end();
        (*text.get(end)? == b'\n').then_some(end + 1)
    }
}

/// Returns the bytes of the line that `text` begins with.
fn check_line(text: &[u8], agencies: Agencies) -> Result<usize, InvalidRow> {
    let end = memchr::memchr(b'\n', text).filter(|end| *end < ROW_BYTES_MAX);
    let line = &text[..=end.ok_or(InvalidRow::TooLong)?];
    let fields = Fields::parse(&line[..line.len() - 1])?;
    let (agency, bet) = fields.agency_and_bet()?;
    let agency = agencies.parse(agency)?;
    // The search for winners relies on the exact form of a line.
    let mut written = Vec::with_capacity(line.len());
    write_row(agency, &bet, &mut written);
    if written == line { Ok(line.len()) } else { Err(InvalidRow::OtherQuotes) }
}

#[cfg(test)]
mod tests {
    //! A file that was cut at any byte keeps its whole lines, and a bad line is named.

    use super::{OpenError, check};
    use crate::bet::Agencies;
    use crate::ledger::journal::Extent;
    use crate::stop::{Stop, Stopper};
    use std::io::Write;

    const ROWS: [&str; 4] = [
        "1,Ana,Paz,1234567,2000-01-01,7574\n",
        "2,Ñandú,\"Paz, la de \"\"acá\"\"\",12345678,1999-12-31,0075\n",
        "1,Santiago Lionel,Lorca,30904465,1999-03-17,2201\n",
        "3, Eva,O'Hara,30904466,2096-02-29,0\n",
    ];

    fn check_bytes(content: &[u8], stop: &Stop) -> Result<Extent, OpenError> {
        let mut file = tempfile::tempfile().expect("a scratch file");
        file.write_all(content).expect("it can be written");
        let agencies = Agencies::new(3).expect("3 is a number of agencies");
        check(&file, "bets.csv".as_ref(), agencies, stop)
    }

    fn invalid(content: &[u8]) -> String {
        check_bytes(content, &Stop::never()).expect_err("a line is invalid").to_string()
    }

    #[test]
    fn a_file_cut_after_any_byte_keeps_its_whole_lines() {
        let whole = ROWS.concat().into_bytes();
        for cut in 0..=whole.len() {
            let content = &whole[..cut];
            let lines = content.iter().filter(|byte| **byte == b'\n').count();
            let kept = ROWS[..lines].concat();
            let checked = check_bytes(content, &Stop::never()).expect("it is valid");
            assert_eq!(checked, Extent::default().with(kept.as_bytes()), "cut at {cut}");
        }
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_what_is_wrong_with_it() {
        for (row, reason) in [
            ("4,Ana,Paz,1234567,2000-01-01,7574\n", "agency: must be a number from 1 to 3"),
            ("x\n", "line: must have 6 fields, not 1"),
            ("\n", "line: must have 6 fields, not 1"),
            ("1,Ana,Paz,123456,2000-01-01,7574\n", "document: must be 7 or 8 digits"),
            ("1,Ana,Paz,1234567,2000-02-30,7574\n", "birthdate: "),
            ("1,Ana,Paz,1234567,2000-01-01,7574,\n", "line: must have 6 fields, not 7"),
            ("1,Ana,\0\0\0,1234567,2000-01-01,7574\n", "last_name: "),
            ("1,Ana,Paz,1234567,2000-01-01,7574\r\n", "number: "),
            ("1,\"Ana\",Paz,1234567,2000-01-01,7574\n", "line: must have quotes only"),
            ("1,Ana,Paz,1234567,2000-01-01,\"7574\"\n", "line: must have quotes only"),
        ] {
            let line = invalid([ROWS[0], ROWS[1], row, ROWS[2]].concat().as_bytes());
            assert!(line.starts_with(&format!("bets.csv: line 3: {reason}")), "{row:?}: {line}");
        }
        let long = [ROWS[0].as_bytes(), &[0; 200_000], b"\n"].concat();
        assert!(invalid(&long).starts_with("bets.csv: line 2: line: longer than any bet"));
        assert!(invalid(&[0; 20_000]).starts_with("bets.csv: line 1: line: longer than any bet"));
        // So long that it is read in parts.
        let [before, after] = [90, 40].map(|times| ROWS[0].repeat(times));
        let line = invalid([&before, "x\n", &after, "y\n", &after].concat().as_bytes());
        assert!(line.starts_with("bets.csv: line 91: line: must have 6 fields"), "{line}");
    }

    #[test]
    fn what_a_crash_left_is_cut_off_however_long_it_is() {
        for torn_bytes in [5_000, 20_000, 1 << 20] {
            let content = [ROWS[0].as_bytes(), &vec![0; torn_bytes]].concat();
            let checked = check_bytes(&content, &Stop::never()).expect("its whole line is valid");
            assert_eq!(checked, Extent::default().with(ROWS[0].as_bytes()));
        }
    }

    #[test]
    fn reading_ends_when_the_program_stops() {
        let (stopper, stop) = Stopper::new();
        stopper.stop();
        let failed = check_bytes(ROWS[0].as_bytes(), &stop);
        assert!(matches!(failed, Err(OpenError::Interrupted)));
    }
}
