//! How a lottery stands, as anyone may know: nobody's winners are in it.

/// How a lottery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The draw.
    pub draw: DrawState,
    /// Every agency, in their order.
    pub agencies: Vec<AgencySummary>,
}

/// How the draw stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawState {
    /// It is still to be held.
    Pending,
    /// It was held.
    Held {
        /// How many bets won, of all agencies.
        winners: u64,
    },
}

/// How an agency stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgencySummary {
    /// How many of its bets are stored.
    pub bets: u64,
    /// What it is doing.
    pub state: AgencyState,
}

/// What an agency is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgencyState {
    /// It may store more bets.
    Open,
    /// It has said that it has no more bets, or the draw was held.
    Finished,
    /// It has said so and waits for the draw, on a connection.
    Waiting,
}

impl Summary {
    /// Returns the number of bets of all agencies.
    pub fn bets(&self) -> u64 {
        self.agencies.iter().map(|agency| agency.bets).sum()
    }

    /// Returns the numbers of the agencies that the draw waits for.
    pub fn missing(&self) -> Vec<u32> {
        let open =
            (1..).zip(&self.agencies).filter(|(_, agency)| agency.state == AgencyState::Open);
        open.map(|(number, _)| number).collect()
    }
}

impl AgencyState {
    /// Returns what it is doing, in words for people.
    pub fn description(self) -> &'static str {
        match self {
            AgencyState::Open => "open",
            AgencyState::Finished => "finished",
            AgencyState::Waiting => "waiting for the draw",
        }
    }
}
