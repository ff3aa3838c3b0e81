//! The state of a lottery in words, for people.

use loteria::summary::{AgencyState, Summary};
use loteria::text::{list_of, noun_for};

/// The most missing agencies that a line names.
const AGENCIES_NAMED_MAX: usize = 20;

/// Returns the number of agencies that have a line each on a terminal of `rows` rows, with `below` lines under them: all,
/// or as many as fit with a line for the others.
pub(crate) fn listed(agencies: usize, rows: usize, below: usize) -> usize {
    // One row is for the cursor, and one for the log.
    let rows = rows.saturating_sub(2 + below).max(1);
    if agencies <= rows { agencies } else { rows - 1 }
}

pub(crate) fn state(state: AgencyState) -> &'static str {
    match state {
        AgencyState::Open => "open",
        AgencyState::Finished => "finished",
        AgencyState::Waiting => "waiting for the draw",
    }
}

/// Returns the state of the draw, which is short enough for a narrow terminal if few agencies are missing. `number` writes
/// the numbers of bets and of winners.
pub(crate) fn draw(summary: &Summary, number: fn(u64) -> String) -> String {
    let (bets, missing) = (summary.bets(), summary.missing());
    match summary.winners {
        Some(winners) => {
            let noun = noun_for(bets, "bet");
            format!("draw: held over {} {noun}, {} won", number(bets), number(winners))
        }
        None if missing.is_empty() => "draw: every agency is done".into(),
        None => {
            let agencies = noun_for(missing.len() as u64, "agency");
            format!("draw: waits for {agencies} {}", list_of(&missing, AGENCIES_NAMED_MAX))
        }
    }
}
