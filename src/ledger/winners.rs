//! Finds the winners. Parses only the lines that end with the digits of the winning number, so that the search is as
//! fast as memory.

use super::pass::Lines;
use crate::bet::row::{agency_of, document_and_number};
use crate::bet::{Agencies, PerAgency};
use memchr::memmem::Finder;

/// The documents of each agency's winners, in the order of their lines.
pub(super) type Documents = PerAgency<Vec<String>>;

/// Finds the winning lines among valid ones.
#[derive(Debug)]
pub(super) struct Winners {
    finder: Finder<'static>,
    pub(super) documents: Documents,
}

impl Winners {
    pub(super) fn new(agencies: Agencies, winning_number: u16) -> Winners {
        // Every form of the number ends like this, after a comma and perhaps zeros.
        let finder = Finder::new(&format!("{winning_number}\n")).into_owned();
        let documents = PerAgency::new(agencies, |_| Vec::new());
        Winners { finder, documents }
    }
}

impl Lines for Winners {
    fn add(&mut self, lines: &[u8]) {
        for at in self.finder.find_iter(lines) {
            // A number of one digit ends a tenth of all lines, so that the others are not parsed.
            let before_zeros = lines[..at].iter().rfind(|byte| **byte != b'0');
            if before_zeros != Some(&b',') {
                continue;
            }
            let start = memchr::memrchr(b'\n', &lines[..at]).map_or(0, |before| before + 1);
            let line = &lines[start..at + self.finder.needle().len()];
            let agency = agency_of(line, self.documents.agencies());
            if let (Some((agency, _)), Some((document, _))) = (agency, document_and_number(line)) {
                self.documents[agency].push(document);
            }
        }
    }

    fn join(&mut self, later: Winners) {
        for (documents, more) in self.documents.values_mut().zip(later.documents) {
            documents.extend(more);
        }
    }
}

#[cfg(test)]
mod tests {
    //! Every bet on the winning number is found however the number is written and wherever the pieces
    //! in which the file is read begin, and no other.

    use super::Winners;
    use crate::bet::Agencies;
    use crate::ledger::pass::Lines;

    /// The winners of agencies 1 to 3 among `bets`, given in parts of so many lines.
    fn winners(bets: &str, winning_number: u16, lines: usize) -> Vec<Vec<String>> {
        let agencies = Agencies::new(3).expect("3 is a number of agencies");
        let all: Vec<&str> = bets.split_inclusive('\n').collect();
        let mut winners = Winners::new(agencies, winning_number);
        for part in all.chunks(lines) {
            let mut later = Winners::new(agencies, winning_number);
            later.add(part.concat().as_bytes());
            winners.join(later);
        }
        winners.documents.into_iter().collect()
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
        for lines in 1..9 {
            let expected =
                vec![vec!["1000001", "1000003", "1000001"], vec!["1000002", "1000007"], vec![]];
            assert_eq!(winners(BETS, 75, lines), expected, "{lines} lines at a time");
        }
    }

    #[test]
    fn zero_is_a_number_like_any_other() {
        let bets = "1,A,B,1000001,2000-01-01,0\n1,A,B,1000002,2000-01-01,0000\n\
            1,A,B,1000003,2000-01-01,10\n";
        let none: Vec<String> = Vec::new();
        assert_eq!(
            winners(bets, 0, 9),
            [vec!["1000001".to_owned(), "1000002".into()], none.clone(), none]
        );
    }
}
