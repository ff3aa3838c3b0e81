//! The account of each agency, and the count of its bets in the lines that a ledger wrote.

use super::pass::Lines;
use crate::bet::row::agency_of;
use crate::bet::{BET_BYTES_MIN, PerAgency};

/// After so many lines of one agency there are likely many more, which are counted in blocks of so many bytes.
const LINES_BEFORE_BLOCKS: u64 = 32;
const BLOCK_BYTES: usize = 1024;

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
                if bets == LINES_BEFORE_BLOCKS {
                    while let Some((more, bytes)) = block(&lines[end..], prefix) {
                        (bets, end) = (bets + more, end + bytes);
                    }
                }
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

/// Returns the number of lines that end in the block at the beginning of `text`, and their bytes. Returns `None` unless
/// `prefix` follows each of them.
fn block(text: &[u8], prefix: &[u8]) -> Option<(u64, usize)> {
    let ends = text.get(..BLOCK_BYTES + prefix.len())?;
    let ends = &ends[..BLOCK_BYTES];
    for (place, expected) in (1..).zip(prefix) {
        // Has no branch, so that the compiler compares many bytes at a time.
        let differs =
            |(end, byte): (&u8, &u8)| u8::from(*end == b'\n') & u8::from(byte != expected);
        if ends.iter().zip(&text[place..]).fold(0, |any, pair| any | differs(pair)) != 0 {
            return None;
        }
    }
    let last = memchr::memrchr(b'\n', ends)?;
    Some((memchr::memchr_iter(b'\n', ends).count() as u64, last + 1))
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
    fn long_runs_of_lines_end_where_another_agency_begins() {
        let (own, other) = (ROWS[0], ROWS[2]);
        // Each place of the other's line in the blocks, which its prefix begins like that of agency 1.
        for before in 0..120 {
            let mut count = accounts(11);
            let after = ROWS[3].repeat(before) + ROWS[1];
            count.add((own.repeat(before) + other + &after).as_bytes());
            let found = |agency: usize| count.values().nth(agency - 1).cloned();
            let bets = 2 * before as u64 + 1;
            let last_row = ROWS[1].into();
            assert_eq!(
                found(1),
                Some(Account { bets, last_row, ..Account::default() }),
                "{before}"
            );
            assert_eq!(
                found(11),
                Some(Account { bets: 1, last_row: other.into(), ..Account::default() })
            );
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
