//! Finding the winners: one pass over `bets.csv` in large pieces, of any length, in bounded memory
//! but for the winners themselves.

use super::recovery::document_and_number;
use crate::bet::{Agencies, AgencyId};
use crossbeam_channel::{Receiver, TryRecvError};
use memchr::memmem::Finder;
use std::convert::Infallible;
use std::io::{self, Read};

/// How much is read at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// The documents of the winners of each agency, in the order of the file; `None` where `stop` was
/// closed meanwhile. Only valid lines are read right.
pub(super) fn find(
    mut bets: impl Read,
    agencies: Agencies,
    winning_number: u16,
    stop: &Receiver<Infallible>,
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
        if stop.try_recv() == Err(TryRecvError::Disconnected) {
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
