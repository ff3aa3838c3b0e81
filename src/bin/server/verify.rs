//! `--verify`: prints whether the files of a server that is not running agree.

use crate::process::Failure;
use crate::stderr::Stderr;
use loteria::ledger::{self, OpenError};
use loteria::stop::Stop;

/// Prints to stdout whether the files agree.
pub(crate) fn verify(
    settings: &ledger::Settings,
    stderr: &Stderr,
    stop: &Stop,
) -> Result<(), Failure> {
    let verified = match ledger::verify(settings, stop) {
        Ok(verified) => verified,
        Err(OpenError::Interrupted) => return Ok(()),
        Err(error) => return Err(Failure::failed(error)),
    };
    let (bets, result) = (settings.bets.display(), settings.result.display());
    let mut report = match &verified.result {
        Some(draw) => {
            let winners: usize = draw.agencies.iter().map(|agency| agency.winners.len()).sum();
            let (held_at, number) = (draw.held_at, draw.winning_number);
            format!("{result}: held at {held_at} on {number}, {winners} winners\n")
        }
        None => format!("{result}: not there, the draw was not held\n"),
    };
    for difference in &verified.differences {
        report.push_str(&format!("{difference}\n"));
    }
    if verified.differences.is_empty() {
        report.push_str(&format!("{bets}: {} bets, all valid\n", verified.bets));
    }
    stderr.print(&report).map_err(Failure::failed)?;
    match verified.differences.len() {
        0 => Ok(()),
        1 => Err(Failure::Failed("1 difference".into())),
        count => Err(Failure::Failed(format!("{count} differences"))),
    }
}
