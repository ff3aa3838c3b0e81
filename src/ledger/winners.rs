//! Finding the winners: one pass over `bets.csv` in large pieces, of any length, in bounded memory
//! but for the winners themselves.

use crate::bet::row::document_and_number;
use crate::bet::{Agencies, AgencyId};
use crate::stop::Stop;
use memchr::memmem::Finder;
use std::io::{self, Read};

/// How much is read at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// The documents of the winners of each agency, in the order of the file; `None` where `stop` was
/// closed meanwhile. Only valid lines are read right.
pub(super) fn find(
    mut bets: impl Read,
    agencies: Agencies,
    winning_number: u16,
    stop: &Stop,
) -> io::Result<Option<Vec<Vec<String>>>> {
    let mut winners = vec![Vec::new(); agencies.count().into()];
    // Every way to write the number ends like this; what may stand before it are a comma and zeros.
    let line_end = format!("{winning_number}\n");
    let finder = Finder::new(&line_end);
    let mut piece = vec![0; PIECE_BYTES];
    let mut kept = 0;
    loop {
        let count = match bets.read(&mut piece[kept..]) {
            Ok(0) => return Ok(Some(winners)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if stop.has_come() {
            return Ok(None);
        }
        let arrived = kept + count;
        let complete = memchr::memrchr(b'\n', &piece[..arrived]).map_or(0, |at| at + 1);
        for at in finder.find_iter(&piece[..complete]) {
            let start = memchr::memrchr(b'\n', &piece[..at]).map_or(0, |before| before + 1);
            let line = &piece[start..at + line_end.len()];
            if let Some((agency, document)) = winner(line, agencies, winning_number) {
                winners[agency.index()].push(document);
            }
        }
        piece.copy_within(complete..arrived, 0);
        kept = arrived - complete;
    }
}

/// The agency and the document of a line whose number wins.
fn winner(line: &[u8], agencies: Agencies, winning_number: u16) -> Option<(AgencyId, String)> {
    let (document, number) = document_and_number(line)?;
    let agency = line.split(|&byte| byte == b',').next()?;
    let agency = agencies.parse(std::str::from_utf8(agency).ok()?).ok()?;
    (number.parse() == Ok(winning_number)).then_some((agency, document))
}

#[cfg(test)]
mod tests {
    //! Every bet on the winning number is found however the number is written and wherever the pieces
    //! in which the file is read begin, and no other.

    use super::find;
    use crate::bet::Agencies;
    use crate::stop::Stop;
    use std::io::{self, Read};

    /// Gives so many bytes at a time.
    struct Dripping<'b>(&'b [u8], usize);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    const BETS: &str = "1,A,B,1000001,2000-01-01,75\n\
        2,A,B,1000002,2000-01-01,075\n\
        1,A,B,1000003,2000-01-01,0075\n\
        1,A,B,1000004,2000-01-01,175\n\
        2,A,B,1000005,2000-01-01,750\n\
        2,\"A, 75\",\"B \"\"75\"\"\",1000006,2000-01-01,7\n\
        2,\"A, 75\",\"B \"\"75\"\"\",1000007,2000-01-01,75\n\
        1,A,B,1000001,2000-01-01,75\n";

    #[test]
    fn the_number_counts_and_not_how_it_is_written() {
        let agencies = Agencies::new(3).expect("3 is a number of agencies");
        for bytes in [1, 2, 3, 7, 50, 1 << 20] {
            let bets = Dripping(BETS.as_bytes(), bytes);
            let winners = find(bets, agencies, 75, &Stop::never()).expect("it can be read");
            let expected =
                vec![vec!["1000001", "1000003", "1000001"], vec!["1000002", "1000007"], vec![]];
            assert_eq!(winners.expect("nothing stops it"), expected, "{bytes} bytes at a time");
        }
    }

    #[test]
    fn zero_is_a_number_like_any_other() {
        let bets = b"1,A,B,1000001,2000-01-01,0\n1,A,B,1000002,2000-01-01,0000\n\
            1,A,B,1000003,2000-01-01,10\n";
        let agencies = Agencies::new(1).expect("1 is a number of agencies");
        let winners = find(bets.as_slice(), agencies, 0, &Stop::never()).expect("it can be read");
        assert_eq!(winners.expect("nothing stops it"), [["1000001", "1000002"]]);
    }
}
