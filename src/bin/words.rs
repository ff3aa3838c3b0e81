//! The state of a lottery in words, for people.

use indicatif::HumanCount;
use loteria::summary::AgencyState;
use loteria::text::{list_of, noun_for};

/// The most missing agencies that a line names.
pub(crate) const AGENCIES_NAMED_MAX: usize = 20;

/// Returns the number of agencies that have a line each on a terminal of `rows` rows, with `below` lines under them: all,
/// or as many as fit with a line for the others.
pub(crate) fn listed(agencies: usize, rows: usize, below: usize) -> usize {
    // One row is for the cursor, and one for the log.
    let rows = rows.saturating_sub(2 + below).max(1);
    if agencies <= rows { agencies } else { rows - 1 }
}

pub(crate) fn count_of(count: u64, noun: &str) -> String {
    format!("{} {}", HumanCount(count), noun_for(count, noun))
}

pub(crate) fn state(state: AgencyState) -> &'static str {
    match state {
        AgencyState::Open => "open",
        AgencyState::Finished => "finished",
        AgencyState::Waiting => "waiting for the draw",
    }
}

/// Returns the number of missing agencies, and which ones.
pub(crate) fn missing(agencies: &[u32]) -> String {
    let count = count_of(agencies.len() as u64, "agency");
    format!("{count} missing: {}", list_of(agencies, AGENCIES_NAMED_MAX))
}
