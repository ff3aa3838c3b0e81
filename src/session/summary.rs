//! The state of the lottery, from the ledger and the draw.

use crate::draw::{Draw, Fate};
use crate::ledger::{Access, AgencyCount, DrawResult, Refused};
use crate::summary::{AgencyState, AgencySummary, DrawState, Summary};

/// Returns the state of the lottery.
///
/// # Errors
///
/// [`Refused::Ended`].
pub fn summary(access: &Access<'_>, draw: &Draw<DrawResult>) -> Result<Summary, Refused> {
    let counts = access.count()?;
    let agency = |(count, waiting): (AgencyCount, bool)| AgencySummary {
        bets: count.bets,
        state: match (count.finished, waiting) {
            (false, _) => AgencyState::Open,
            (true, false) => AgencyState::Finished,
            (true, true) => AgencyState::Waiting,
        },
    };
    let agencies = counts.into_iter().zip(draw.waiting()).map(agency).collect();
    let draw = match draw.fate() {
        Some(Fate::Held(result)) => {
            let winners = result.agencies.iter().map(|agency| agency.winners.len() as u64);
            DrawState::Held { winners: winners.sum() }
        }
        _ => DrawState::Pending,
    };
    Ok(Summary { draw, agencies })
}
