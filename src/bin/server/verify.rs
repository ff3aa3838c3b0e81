//! `--verify`: prints whether the files of a server that is not running agree.

use crate::process::Failure;
use crate::process::stderr::Stderr;
use loteria::ledger;
use loteria::stop::Stop;
use loteria::text::{LogValue, noun_for};

/// Prints to stdout whether the files agree. Fails if a stop comes before that is known and printed, because a script
/// goes on after success.
pub(crate) fn verify(
    settings: &ledger::Settings,
    stderr: &Stderr,
    stop: &Stop,
) -> Result<(), Failure> {
    let verified = ledger::verify(settings, stop).map_err(Failure::failed)?;
    let (bets, result) = (LogValue(settings.bets.display()), LogValue(settings.result.display()));
    let mut report = match &verified.result {
        Some(draw) => {
            let winners = draw.winners_of_all();
            let (held_at, number, noun) =
                (draw.held_at, draw.winning_number, noun_for(winners, "winner"));
            format!("{result}: held at {held_at} on {number}, {winners} {noun}\n")
        }
        None if verified.differences.is_empty() => {
            format!("{result}: not there, the draw was not held\n")
        }
        None => String::new(),
    };
    for difference in &verified.differences {
        report.push_str(&format!("{difference}\n"));
    }
    if verified.differences.is_empty() {
        let (count, noun) = (verified.bets, noun_for(verified.bets, "bet"));
        report.push_str(&format!("{bets}: {count} {noun}, all valid\n"));
    }
    let printed = stderr.print(&report, stop);
    printed.map_err(|error| Failure::Failed(format!("stdout could not be written: {error}")))?;
    match verified.differences.len() as u64 {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} {}", noun_for(count, "difference")))),
    }
}
