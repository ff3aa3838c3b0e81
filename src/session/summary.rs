//! The state of the lottery, from the ledger and the draw.

use crate::draw::{Draw, Fate};
use crate::ledger::{Access, AgencyCount, DrawResult, RequestError};
use crate::summary::{AgencyState, AgencySummary, Summary};

/// Returns the state of the lottery.
///
/// # Errors
///
/// [`RequestError::Ended`].
pub fn summary(access: &Access<'_>, draw: &Draw<DrawResult>) -> Result<Summary, RequestError> {
    // Before the counts, so that these have all bets that the draw was held over.
    let fate = draw.fate();
    let counts = access.count()?;
    let winners = match fate {
        Some(Fate::Held(result)) => Some(result.winners_of_all()),
        _ => None,
    };
    let agency = |(count, waiting): (AgencyCount, bool)| AgencySummary {
        bets: count.bets,
        state: match (count.finished, waiting) {
            // Threads that have not woken up from the wait still count as waiting.
            _ if winners.is_some() => AgencyState::Finished,
            (false, _) => AgencyState::Open,
            (true, false) => AgencyState::Finished,
            (true, true) => AgencyState::Waiting,
        },
    };
    let agencies = counts.into_iter().zip(draw.waiting()).map(agency).collect();
    Ok(Summary { winners, agencies })
}
