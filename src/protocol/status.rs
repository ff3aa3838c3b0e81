//! How a lottery stands, as `ESTADO` tells it: nobody's winners are in it.

use super::word;
use crate::bet::AgencyId;
use std::fmt;

/// Within the fields of a status.
const SEPARATOR: char = ',';

/// How a lottery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The draw.
    pub draw: DrawStatus,
    /// Every agency, in their order.
    pub agencies: Vec<AgencyStatus>,
}

/// How the draw stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawStatus {
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
pub struct AgencyStatus {
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

impl AgencyState {
    const ALL: [AgencyState; 3] = [AgencyState::Open, AgencyState::Finished, AgencyState::Waiting];

    /// For people.
    pub fn description(self) -> &'static str {
        match self {
            AgencyState::Open => "open",
            AgencyState::Finished => "finished",
            AgencyState::Waiting => "waiting for the draw",
        }
    }

    fn word(self) -> &'static str {
        match self {
            AgencyState::Open => word::OPEN,
            AgencyState::Finished => word::FINISHED,
            AgencyState::Waiting => word::WAITING,
        }
    }
}

impl Status {
    /// The status in the fields behind the word of its reply; `None` where they are none.
    pub(super) fn parse<'a>(mut fields: impl Iterator<Item = &'a str>) -> Option<Status> {
        let draw = fields.next()?;
        let draw = match draw.split_once(SEPARATOR) {
            None if draw == word::PENDING => DrawStatus::Pending,
            Some((word::HELD, winners)) => {
                DrawStatus::Held { winners: super::parse_count(winners)? }
            }
            _ => return None,
        };
        let mut agencies = Vec::new();
        for (place, field) in (1..).zip(fields) {
            let mut parts = field.split(SEPARATOR);
            let agency = AgencyId::parse(parts.next()?)?;
            let bets = super::parse_count(parts.next()?)?;
            let state = parts.next()?;
            let state = AgencyState::ALL.into_iter().find(|known| known.word() == state)?;
            if agency.get() != place || parts.next().is_some() {
                return None;
            }
            agencies.push(AgencyStatus { bets, state });
        }
        Some(Status { draw, agencies })
    }
}

/// The fields behind the word of its reply.
impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.draw {
            DrawStatus::Pending => formatter.write_str(word::PENDING)?,
            DrawStatus::Held { winners } => {
                write!(formatter, "{}{SEPARATOR}{winners}", word::HELD)?;
            }
        }
        for (agency, AgencyStatus { bets, state }) in (1..).zip(&self.agencies) {
            let agency: u32 = agency;
            write!(formatter, "|{agency}{SEPARATOR}{bets}{SEPARATOR}{}", state.word())?;
        }
        Ok(())
    }
}
