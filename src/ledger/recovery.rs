//! Reading `bets.csv` at the start: every line is checked and counted, and a line that was never
//! completed is found.

use crate::bet::row::{Fields, InvalidRow, write_row};
use crate::bet::{Agencies, AgencyId, plain_bet};
use crate::lines::LineBuffer;
use crate::stop::Stop;
use std::fmt;
use std::io::{self, Read};

/// No line that was ever written is longer than this, in bytes, its end included.
const LINE_BYTES_MAX: usize = 8192;

/// What is known of an agency from its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// How many there are.
    pub(super) bets: u64,
    /// The last one, with its line end.
    pub(super) last_row: Vec<u8>,
}

/// What `bets.csv` holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recovered {
    /// By agency, in their order.
    pub(super) accounts: Vec<Counted>,
    /// The bytes of all complete lines.
    pub(super) bytes: u64,
    /// The bytes after them.
    pub(super) torn_bytes: u64,
}

#[derive(Debug)]
pub(super) enum CheckFailed {
    Io(io::Error),
    Invalid(InvalidLine),
    Interrupted,
}

/// A complete line that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLine {
    /// Which line, from 1.
    pub number: u64,
    /// What is wrong with it; `None` where it has no end within a bound that no bet reaches.
    pub reason: Option<InvalidRow>,
}

impl fmt::Display for InvalidLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(formatter, "{}: {reason}", self.number),
            None => write!(formatter, "{}: line: longer than any bet", self.number),
        }
    }
}

impl std::error::Error for InvalidLine {}

/// Checks and counts every complete line that `reader` has.
pub(super) fn check(
    mut reader: impl Read,
    agencies: Agencies,
    stop: &Stop,
) -> Result<Recovered, CheckFailed> {
    let mut lines = LineBuffer::fixed(LINE_BYTES_MAX);
    let mut count = Count::new(agencies);
    loop {
        if let Err(line) = count.add(&mut lines) {
            return end_of_endless_line(lines, reader, count, line);
        }
        if stop.has_come() {
            return Err(CheckFailed::Interrupted);
        }
        match lines.fill(&mut reader) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CheckFailed::Io(error)),
        }
    }
    let torn_bytes = lines.rest().len() as u64;
    Ok(Recovered { accounts: count.accounts, bytes: count.bytes, torn_bytes })
}

/// What an invalid line is where it is merely too long: behind whole lines, and without an end in all
/// the rest of the file, it is what a crash left of a line, as zeros for example.
fn end_of_endless_line(
    mut lines: LineBuffer<'_>,
    mut reader: impl Read,
    count: Count,
    line: InvalidLine,
) -> Result<Recovered, CheckFailed> {
    if line.reason.is_some() || count.bytes == 0 {
        return Err(CheckFailed::Invalid(line));
    }
    let mut torn_bytes = 0;
    loop {
        torn_bytes += lines.rest().len() as u64;
        if lines.skip_line() {
            return Err(CheckFailed::Invalid(line));
        }
        if lines.fill(&mut reader).map_err(CheckFailed::Io)? == 0 {
            return Ok(Recovered { accounts: count.accounts, bytes: count.bytes, torn_bytes });
        }
    }
}

/// What was counted so far.
struct Count {
    agencies: Agencies,
    accounts: Vec<Counted>,
    /// Where the last row of each agency begins in the text that is being read, and its bytes.
    last: Vec<(usize, usize)>,
    lines: u64,
    bytes: u64,
    /// How the last plain row began, and which agency that means, if any.
    prefix: (Option<AgencyId>, Vec<u8>),
}

impl Count {
    fn new(agencies: Agencies) -> Count {
        let count = agencies.count().into();
        Count {
            agencies,
            accounts: vec![Counted::default(); count],
            last: vec![(0, 0); count],
            lines: 0,
            bytes: 0,
            prefix: (None, Vec::new()),
        }
    }

    /// Counts the complete lines that have arrived.
    fn add(&mut self, lines: &mut LineBuffer<'_>) -> Result<(), InvalidLine> {
        loop {
            let bytes = self.add_plain_rows(lines.rest());
            lines.take(bytes);
            let number = self.lines + 1;
            let line = lines.next_line().map_err(|_| InvalidLine { number, reason: None })?;
            let Some(line) = line else { return Ok(()) };
            let agency = agency_of(line, self.agencies)
                .map_err(|reason| InvalidLine { number, reason: Some(reason) })?;
            self.add_row(agency, line);
        }
    }

    /// Counts the plain rows that `text` begins with; how many bytes they have.
    fn add_plain_rows(&mut self, text: &[u8]) -> usize {
        let mut end = 0;
        while let Some((agency, row_bytes)) = self.plain_row(&text[end..]) {
            let account = &mut self.accounts[agency.index()];
            account.bets += 1;
            self.last[agency.index()] = (end, row_bytes);
            self.lines += 1;
            end += row_bytes;
        }
        // Of each agency only the last row matters, so only that is copied.
        for (account, last) in self.accounts.iter_mut().zip(&mut self.last) {
            let (start, row_bytes) = std::mem::take(last);
            if row_bytes > 0 {
                account.last_row.clear();
                account.last_row.extend_from_slice(&text[start..start + row_bytes]);
            }
        }
        self.bytes += end as u64;
        end
    }

    /// The agency of the plain bet that `text` begins with, and the bytes of its line.
    #[inline]
    fn plain_row(&mut self, text: &[u8]) -> Option<(AgencyId, usize)> {
        // Rows come in batches, so an agency is as a rule that of the row before.
        if !text.starts_with(&self.prefix.1) || self.prefix.1.is_empty() {
            let comma = text.iter().take(AGENCY_BYTES_MAX + 1).position(|&byte| byte == b',')?;
            let agency = std::str::from_utf8(&text[..comma]).ok()?;
            self.prefix = (self.agencies.parse(agency).ok(), text[..=comma].to_vec());
        }
        let (agency, prefix) = (self.prefix.0?, &self.prefix.1);
        let end = prefix.len() + plain_bet(&text[prefix.len()..], b',')?.end();
        (*text.get(end)? == b'\n').then_some((agency, end + 1))
    }

    fn add_row(&mut self, agency: AgencyId, row: &[u8]) {
        self.lines += 1;
        self.bytes += row.len() as u64;
        let account = &mut self.accounts[agency.index()];
        account.bets += 1;
        account.last_row.clear();
        account.last_row.extend_from_slice(row);
    }
}

/// The agency of a valid line.
fn agency_of(line: &[u8], agencies: Agencies) -> Result<AgencyId, InvalidRow> {
    let fields = Fields::parse(line.strip_suffix(b"\n").unwrap_or(line))?;
    let (agency, bet) = fields.agency_and_bet()?;
    let agency = agencies.parse(agency)?;
    // What reads single fields of a line relies on how it is written.
    let mut written = Vec::with_capacity(line.len());
    write_row(agency, &bet, &mut written);
    if written == line { Ok(agency) } else { Err(InvalidRow::OtherQuotes) }
}

/// The most digits of an agency's number.
const AGENCY_BYTES_MAX: usize = 5;

#[cfg(test)]
mod tests {
    //! Whatever byte a crash cuts the file at, what is left is read, goes on and is read again.

    use super::{CheckFailed, Counted, InvalidLine, Recovered, check};
    use crate::bet::Agencies;
    use crate::bet::row::document_and_number;
    use crate::stop::{Stop, Stopper};

    const ROWS: [&str; 4] = [
        "1,Ana,Paz,1234567,2000-01-01,7574\n",
        "2,Ñandú,\"Paz, la de \"\"acá\"\"\",12345678,1999-12-31,0075\n",
        "1,Santiago Lionel,Lorca,30904465,1999-03-17,2201\n",
        "3, Eva,O'Hara,30904466,2096-02-29,0\n",
    ];

    fn agencies() -> Agencies {
        Agencies::new(3).expect("3 is a number of agencies")
    }

    fn checked(content: &[u8]) -> Recovered {
        check(content, agencies(), &Stop::never()).expect("it is valid")
    }

    fn counts(recovered: &Recovered) -> Vec<u64> {
        recovered.accounts.iter().map(|account| account.bets).collect()
    }

    #[test]
    fn a_file_cut_after_any_byte_keeps_its_whole_lines_and_goes_on() {
        let whole = ROWS.concat();
        for cut in 0..=whole.len() {
            let mut content = whole.as_bytes()[..cut].to_vec();
            let recovered = checked(&content);
            let complete = content.iter().filter(|byte| **byte == b'\n').count();
            let kept: usize = ROWS[..complete].iter().map(|row| row.len()).sum();
            assert_eq!(recovered.bytes, kept as u64, "cut at {cut}");
            assert_eq!(recovered.torn_bytes, (cut - kept) as u64, "cut at {cut}");

            content.truncate(kept);
            content.extend(ROWS[complete..].concat().into_bytes());
            assert_eq!(content, whole.as_bytes());
            assert_eq!(counts(&checked(&content)), [2, 1, 1]);
        }
    }

    #[test]
    fn a_last_line_without_its_end_is_no_line_even_where_it_could_be_one() {
        let recovered = checked(b"1,Ana,Paz,1234567,2000-01-01,757");
        assert_eq!((counts(&recovered), recovered.bytes), (vec![0, 0, 0], 0));
    }

    #[test]
    fn the_last_bet_of_each_agency_is_known() {
        let recovered = checked(ROWS.concat().as_bytes());
        let last = |Counted { last_row, .. }: &Counted| document_and_number(last_row);
        let last: Vec<_> = recovered.accounts.iter().map(last).collect();
        let bet = |document: &str, number: &str| Some((document.into(), number.into()));
        assert_eq!(last, [bet("30904465", "2201"), bet("12345678", "0075"), bet("30904466", "0")]);
        assert_eq!(last_of_none(), None);
    }

    fn last_of_none() -> Option<(String, String)> {
        document_and_number(&checked(b"").accounts[0].last_row)
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
            let content = [ROWS[0], ROWS[1], row, ROWS[2]].concat();
            let failed = check(content.as_bytes(), agencies(), &Stop::never());
            let Err(CheckFailed::Invalid(line)) = failed else { panic!("{row:?}: {failed:?}") };
            assert!(line.to_string().starts_with(&format!("3: {reason}")), "{row:?}: {line}");
        }
        let endless = [ROWS[0].as_bytes(), &vec![b'1'; 20_000]].concat();
        let failed = check(endless.as_slice(), agencies(), &Stop::never());
        let recovered = failed.expect("what a crash left is no line");
        assert_eq!((recovered.bytes, recovered.torn_bytes), (ROWS[0].len() as u64, 20_000));
        let ended = [endless.as_slice(), b"\n"].concat();
        let expected = InvalidLine { number: 2, reason: None };
        let failed = check(ended.as_slice(), agencies(), &Stop::never());
        assert!(matches!(failed, Err(CheckFailed::Invalid(line)) if line == expected));
        // A file without a single line of ours is not ours to cut.
        let failed = check([0; 20_000].as_slice(), agencies(), &Stop::never());
        let expected = InvalidLine { number: 1, reason: None };
        assert!(matches!(failed, Err(CheckFailed::Invalid(line)) if line == expected));
    }

    #[test]
    fn reading_ends_when_the_program_stops() {
        let (go_on, stop) = Stopper::new();
        drop(go_on);
        let failed = check(ROWS[0].as_bytes(), agencies(), &stop);
        assert!(matches!(failed, Err(CheckFailed::Interrupted)));
    }
}
