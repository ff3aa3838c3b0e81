//! The state of a lottery and of its agencies, without any winners.

/// The state of a lottery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The number of winning bets of all agencies. `None` if the draw is still to be held.
    pub winners: Option<u64>,
    /// Every agency, in their order.
    pub agencies: Vec<AgencySummary>,
}

/// The state of an agency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgencySummary {
    /// The number of its bets that are stored.
    pub bets: u64,
    /// Its progress.
    pub state: AgencyState,
}

/// The progress of an agency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgencyState {
    /// It may store more bets.
    Open,
    /// It has no more bets, or the draw was held.
    Finished,
    /// It has no more bets, and one of its connections waits for the draw.
    Waiting,
}

/// The stored bets of an agency, after which it resumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Their number.
    pub bets: u64,
    /// The document of the bet stored last, and its number, as it was written. `None` if none is.
    pub last: Option<(String, String)>,
}

impl Summary {
    /// Returns the number of bets of all agencies.
    pub fn bets(&self) -> u64 {
        self.agencies.iter().map(|agency| agency.bets).fold(0, u64::saturating_add)
    }

    /// Returns the numbers of the agencies that the draw waits for.
    pub fn missing(&self) -> Vec<u32> {
        let open =
            (1..).zip(&self.agencies).filter(|(_, agency)| agency.state == AgencyState::Open);
        open.map(|(number, _)| number).collect()
    }
}
