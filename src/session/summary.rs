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

#[cfg(test)]
mod tests {
    use super::summary;
    use crate::bet::{Agencies, AgencyId};
    use crate::draw::Draw;
    use crate::ledger::{Ledger, Settings};
    use crate::stop::Stop;
    use crate::summary::AgencyState;

    #[test]
    fn an_agency_that_has_no_more_bets_and_does_not_wait_is_finished_before_the_draw() {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let agencies = Agencies::new(2).expect("it is a number of agencies");
        let settings = Settings::for_tests(directory.path(), agencies);
        let (ledger, _) = Ledger::open(&settings, &Stop::never()).expect("the files are new");
        let access = ledger.access();
        // Its connection breaks before it waits.
        access.finish(AgencyId::new(1).expect("it is an agency")).expect("the ledger runs");
        let summary = summary(&access, &Draw::pending(agencies)).expect("the ledger runs");
        let states: Vec<AgencyState> = summary.agencies.iter().map(|agency| agency.state).collect();
        assert_eq!(states, [AgencyState::Finished, AgencyState::Open]);
        ledger.close().expect("the disk works");
    }
}
