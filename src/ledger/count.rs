//! The account of each agency, and the count of its bets in the lines that a ledger wrote.

use super::pass::Lines;
use crate::bet::row::agency_of;
use crate::bet::{BET_BYTES_MIN, PerAgency};

/// The state of an agency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// The number of its stored bets.
    pub(super) bets: u64,
    /// The last of them, with its line end.
    pub(super) last_row: Vec<u8>,
    /// Connections with a lower ticket store nothing.
    pub(super) fence: u64,
    /// Whether it has no more bets: [`Access::finish`](super::Access::finish) was called for it.
    pub(super) finished: bool,
}

impl Account {
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

/// Counts lines by their agency. Reads no other field, because the checksum shows that a ledger wrote the lines. Stops at
/// a line of no agency, which none wrote.
impl Lines for PerAgency<Account> {
    fn add(&mut self, mut lines: &[u8]) {
        while let Some((agency, comma)) = agency_of(lines, self.agencies()) {
            let prefix = &lines[..=comma];
            let (mut last, mut end, mut bets) = (0, 0, 0);
            // Rows come in batches, so most lines are of the agency of the line before.
            while begins(&lines[end..], prefix) {
                let rest = &lines[end..];
                // A line that is shorter than the shortest one was not written by a ledger.
                let least = rest.len().min("1,".len() + BET_BYTES_MIN);
                let line_end = memchr::memchr(b'\n', &rest[least..]);
                (last, end) = (end, end + line_end.map_or(rest.len(), |at| least + at + 1));
                bets += 1;
            }
            self[agency].add(bets, &lines[last..end]);
            lines = &lines[end..];
        }
    }

    fn join(&mut self, later: PerAgency<Account>) {
        for (account, later) in self.values_mut().zip(later) {
            account.bets += later.bets;
            if !later.last_row.is_empty() {
                account.last_row = later.last_row;
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

    use super::Account;
    use crate::bet::{Agencies, PerAgency};
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

    fn accounts(agencies: u16) -> PerAgency<Account> {
        let agencies = Agencies::new(agencies).expect("it is a number of agencies");
        PerAgency::new(agencies, |_| Account::default())
    }

    #[test]
    fn every_line_is_counted_for_its_agency() {
        for cut in 0..=ROWS.len() {
            let (first, second) = (ROWS[..cut].concat(), ROWS[cut..].concat());
            let (mut count, mut later) = (accounts(11), accounts(11));
            count.add(first.as_bytes());
            later.add(second.as_bytes());
            count.join(later);
            let found: Vec<(u64, &[u8])> =
                count.values().map(|account| (account.bets, &*account.last_row)).collect();
            assert_eq!(found[0], (3, ROWS[3].as_bytes()), "cut at {cut}");
            assert_eq!(found[2], (1, ROWS[4].as_bytes()));
            assert_eq!(found[10], (3, ROWS[6].as_bytes()));
            assert_eq!(found.iter().map(|(bets, _)| bets).sum::<u64>(), 7);
        }
    }

    #[test]
    fn what_is_of_no_agency_is_not_counted() {
        let mut count = accounts(2);
        for strange in ["3,Ana,Paz,1234567,2000-01-01,7574\n", "x", "\n", ",\n", "\0\0\0"] {
            count.add(strange.as_bytes());
        }
        assert_eq!(count, accounts(2));
    }
}
