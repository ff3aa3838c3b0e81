//! Checks every line of a `bets.csv` without a journal. An older version left it, or an operator moved the journal
//! away.

use super::disk::DiskFile;
use super::error::{OpenError, at};
use super::journal::Extent;
use crate::bet::row::{Fields, InvalidRow, ROW_BYTES_MAX, agency_of, write_row};
use crate::bet::{Agencies, plain_bet};
use crate::lines::LineBuffer;
use crate::stop::Stop;
use std::io::{self, Read};
use std::path::Path;

/// The content of a file of valid lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// The number of complete lines.
    pub(super) lines: u64,
    pub(super) extent: Extent,
    /// The number of bytes after them.
    pub(super) torn_bytes: u64,
}

/// Checks every complete line of `file`, which is at `path`.
pub(super) fn check(
    file: &impl DiskFile,
    path: &Path,
    agencies: Agencies,
    stop: &Stop,
) -> Result<Checked, OpenError> {
    let mut reader = FromStart { file, position: 0 };
    let mut lines = LineBuffer::fixed(ROW_BYTES_MAX);
    let mut checker =
        Checker { agencies, checked: Checked::default(), prefix: (false, Vec::new()) };
    loop {
        if let Err(row) = checker.check(&mut lines) {
            // A crash may leave more bytes than a bet has. Complete lines before them show that the file has bets.
            let may_be_torn = matches!(row, InvalidRow::TooLong) && checker.checked.lines > 0;
            if may_be_torn && !has_line_end(&mut lines, &mut reader, path, stop)? {
                break;
            }
            let number = checker.checked.lines + 1;
            return Err(OpenError::InvalidLine { path: path.to_owned(), number, row });
        }
        if stop.has_come() {
            return Err(OpenError::Interrupted);
        }
        if at(path, lines.fill(&mut reader))? == 0 {
            break;
        }
    }
    Ok(Checked { torn_bytes: reader.position - checker.checked.extent.bytes, ..checker.checked })
}

/// Reads on, at most to the end of the file. Returns whether a line end follows.
fn has_line_end(
    lines: &mut LineBuffer<'_>,
    reader: &mut impl Read,
    path: &Path,
    stop: &Stop,
) -> Result<bool, OpenError> {
    while !lines.skip_line() {
        if stop.has_come() {
            return Err(OpenError::Interrupted);
        }
        if at(path, lines.fill(reader))? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads a file from its start to its end.
struct FromStart<'f, F> {
    file: &'f F,
    position: u64,
}

impl<F: DiskFile> Read for FromStart<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

struct Checker {
    agencies: Agencies,
    checked: Checked,
    /// Whether the agency of the last plain row is one of the lottery, and the row's beginning up to the comma.
    prefix: (bool, Vec<u8>),
}

impl Checker {
    /// Checks the complete lines that have arrived, up to the first that is invalid.
    fn check(&mut self, lines: &mut LineBuffer<'_>) -> Result<(), InvalidRow> {
        loop {
            let text = lines.rest();
            let mut plain = 0;
            while let Some(row_bytes) = self.plain_row(&text[plain..]) {
                plain += row_bytes;
                self.checked.lines += 1;
            }
            self.checked.extent = self.checked.extent.with(&text[..plain]);
            lines.take(plain);

            let line = lines.next_line().map_err(|_| InvalidRow::TooLong)?;
            let Some(line) = line else { return Ok(()) };
            check_line(line, self.agencies)?;
            self.checked.lines += 1;
            self.checked.extent = self.checked.extent.with(line);
        }
    }

    /// Returns the bytes of the line that `text` begins with, if it is a plain bet.
    #[inline]
    fn plain_row(&mut self, text: &[u8]) -> Option<usize> {
        // Rows come in batches, so most have the agency of the row before.
        if !text.starts_with(&self.prefix.1) || self.prefix.1.is_empty() {
            let prefix = &text[..=memchr::memchr(b',', text)?];
            self.prefix = (agency_of(prefix, self.agencies).is_some(), prefix.to_vec());
        }
        let (known, prefix) = (self.prefix.0, &self.prefix.1);
        let end = prefix.len() + plain_bet(&text[prefix.len()..], b',')?.end();
        (known && *text.get(end)? == b'\n').then_some(end + 1)
    }
}

fn check_line(line: &[u8], agencies: Agencies) -> Result<(), InvalidRow> {
    let fields = Fields::parse(line.strip_suffix(b"\n").unwrap_or(line))?;
    let (agency, bet) = fields.agency_and_bet()?;
    let agency = agencies.parse(agency)?;
    // The search for winners relies on the exact form of a line.
    let mut written = Vec::with_capacity(line.len());
    write_row(agency, &bet, &mut written);
    if written == line { Ok(()) } else { Err(InvalidRow::OtherQuotes) }
}

#[cfg(test)]
mod tests {
    //! A file that was cut at any byte keeps its whole lines, and a bad line is named.

    use super::{Checked, OpenError, check};
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

    fn check_bytes(content: &[u8], stop: &Stop) -> Result<Checked, OpenError> {
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
            let expected = Checked {
                lines: lines as u64,
                extent: Extent::default().with(kept.as_bytes()),
                torn_bytes: (cut - kept.len()) as u64,
            };
            let checked = check_bytes(content, &Stop::never()).expect("it is valid");
            assert_eq!(checked, expected, "cut at {cut}");
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
            assert!(line.starts_with(&format!("bets.csv:3: {reason}")), "{row:?}: {line}");
        }
        let long = [ROWS[0].as_bytes(), &[0; 200_000], b"\n"].concat();
        assert!(invalid(&long).starts_with("bets.csv:2: line: longer than any bet"));
        assert!(invalid(&[0; 20_000]).starts_with("bets.csv:1: line: longer than any bet"));
    }

    #[test]
    fn what_a_crash_left_is_cut_off_however_long_it_is() {
        for torn_bytes in [5_000, 20_000, 1 << 20] {
            let content = [ROWS[0].as_bytes(), &vec![0; torn_bytes]].concat();
            let checked = check_bytes(&content, &Stop::never()).expect("its whole line is valid");
            assert_eq!((checked.lines, checked.torn_bytes), (1, torn_bytes as u64));
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
