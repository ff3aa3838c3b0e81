//! Counts the bets of each agency in the lines that a ledger wrote.

use super::pass::Lines;
use crate::bet::row::agency_of;
use crate::bet::{Agencies, BET_BYTES_MIN, PerAgency};

/// The stored bets of an agency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// Their number.
    pub(super) bets: u64,
    /// The last one, with its line end.
    pub(super) last_row: Vec<u8>,
}

impl Stored {
    /// Counts `bets` more rows, of which `last_row` is the last.
    pub(super) fn add(&mut self, bets: u64, last_row: &[u8]) {
        self.bets += bets;
        self.last_row.clear();
        self.last_row.extend_from_slice(last_row);
    }
}

/// Returns the last of `rows`, with its line end.
pub(super) fn last_of(rows: &[u8]) -> &[u8] {
    let ended = rows.len().saturating_sub(1);
    let last = memchr::memrchr(b'\n', &rows[..ended]).map_or(0, |before| before + 1);
    &rows[last..]
}

/// Counts lines by their agency. Reads no other field, because the checksum shows that a ledger wrote the lines.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) stored: PerAgency<Stored>,
    /// Lines that are of no agency of the lottery.
    pub(super) strangers: u64,
}

impl Count {
    pub(super) fn new(agencies: Agencies) -> Count {
        Count { stored: PerAgency::new(agencies, |_| Stored::default()), strangers: 0 }
    }
}

impl Lines for Count {
    fn add(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() {
            let found = agency_of(lines, self.stored.agencies());
            let prefix = found.map(|(_, comma)| &lines[..=comma]);
            let (mut last, mut end, mut bets) = (0, 0, 0);
            // Rows come in batches, so most lines are of the agency of the line before.
            while bets == 0 || prefix.is_some_and(|prefix| begins(&lines[end..], prefix)) {
                let rest = &lines[end..];
                // A line that is shorter than the shortest one was not written by a ledger.
                let least = rest.len().min("1,".len() + BET_BYTES_MIN);
                let line_end = memchr::memchr(b'\n', &rest[least..]);
                (last, end) = (end, end + line_end.map_or(rest.len(), |at| least + at + 1));
                bets += 1;
            }
            match found {
                Some((agency, _)) => self.stored[agency].add(bets, &lines[last..end]),
                None => self.strangers += bets,
            }
            lines = &lines[end..];
        }
    }

    fn join(&mut self, later: Count) {
        self.strangers += later.strangers;
        for (stored, later) in self.stored.values_mut().zip(later.stored) {
            stored.bets += later.bets;
            if !later.last_row.is_empty() {
                stored.last_row = later.last_row;
            }
        }
    }
}

/// Returns whether `line` begins with `prefix`, which is a few bytes: a loop is quicker than a call to compare them.
fn begins(line: &[u8], prefix: &[u8]) -> bool {
    line.len() >= prefix.len() && line.iter().zip(prefix).all(|(byte, expected)| byte == expected)
}

#[cfg(test)]
mod tests {
    //! Every line is counted for its agency, however the text is cut into pieces of lines.

    use super::{Count, Stored};
    use crate::bet::Agencies;
    use crate::ledger::pass::Lines;

    const ROWS: [&str; 7] = [
        "1,Ana,Paz,1234567,2000-01-01,7574\n",
        "1,A,P,1234568,2000-01-01,7\n",
        "11,\"Paz, la de \"\"acá\"\"\",Ñandú,12345678,1999-12-31,0075\n",
        "1,Santiago Lionel,Lorca,30904465,1999-03-17,2201\n",
        "3, Eva,O'Hara,30904466,2096-02-29,0\n",
        "11,A,P,1234569,2000-01-01,1\n",
        "11,B,P,1234570,2000-01-01,2\n",
    ];

    #[test]
    fn every_line_is_counted_for_its_agency() {
        let agencies = Agencies::new(11).expect("11 is a number of agencies");
        for cut in 0..=ROWS.len() {
            let (first, second) = (ROWS[..cut].concat(), ROWS[cut..].concat());
            let (mut count, mut later) = (Count::new(agencies), Count::new(agencies));
            count.add(first.as_bytes());
            later.add(second.as_bytes());
            count.join(later);
            let found: Vec<(u64, &[u8])> =
                count.stored.values().map(|stored| (stored.bets, &*stored.last_row)).collect();
            assert_eq!(found[0], (3, ROWS[3].as_bytes()), "cut at {cut}");
            assert_eq!(found[2], (1, ROWS[4].as_bytes()));
            assert_eq!(found[10], (3, ROWS[6].as_bytes()));
            assert_eq!(found.iter().map(|(bets, _)| bets).sum::<u64>(), 7);
            assert_eq!(count.strangers, 0);
        }
    }

    #[test]
    fn what_is_of_no_agency_is_told() {
        let mut count = Count::new(Agencies::new(2).expect("2 is a number of agencies"));
        for strange in ["3,Ana,Paz,1234567,2000-01-01,7574\n", "x", "\n", ",\n", "\0\0\0"] {
            let before = count.strangers;
            count.add(strange.as_bytes());
            assert!(count.strangers > before, "{strange:?}");
        }
        assert!(count.stored.values().all(|stored| *stored == Stored::default()));
    }
}
