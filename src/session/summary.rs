//! The state of the lottery, from the ledger and the draw.

use crate::draw::{Draw, Fate};
use crate::ledger::{Access, DrawResult, RequestError};
use crate::summary::{AgencyState, Summary};

/// Returns the state of the lottery.
///
/// # Errors
///
/// [`RequestError::Ended`].
pub fn summary(access: &Access<'_>, draw: &Draw<DrawResult>) -> Result<Summary, RequestError> {
    // Before the counts, so that these have all bets that the draw was held over.
    let (fate, have_come) = (draw.fate(), draw.have_come());
    let mut agencies = access.count()?;
    if let Some(Fate::Held(result)) = fate {
        return Ok(Summary { winners: Some(result.winners_of_all()), agencies });
    }
    for (agency, has_come) in agencies.iter_mut().zip(have_come) {
        if has_come {
            agency.state = AgencyState::Waiting;
        }
    }
    Ok(Summary { winners: None, agencies })
}
