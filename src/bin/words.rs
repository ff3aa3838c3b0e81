//! The state of a lottery in words, for people.

use loteria::summary::AgencyState;
use loteria::text::{Listed, noun_for};

/// The most missing agencies that a line names.
pub(crate) const AGENCIES_NAMED_MAX: usize = 20;

/// Returns the word for the state of an agency.
pub(crate) fn state(state: AgencyState) -> &'static str {
    match state {
        AgencyState::Open => "open",
        AgencyState::Finished => "finished",
        AgencyState::Waiting => "waiting for the draw",
    }
}

/// Returns the line of the missing agencies, with as many of them as fit into `width` columns.
pub(crate) fn missing(agencies: &[u32], width: usize) -> String {
    let noun = noun_for(agencies.len() as u64, "agency");
    let line = |named| format!("missing {noun}: {}", Listed(agencies, named));
    let named = (1..=AGENCIES_NAMED_MAX).rev().find(|named| line(*named).len() < width);
    line(named.unwrap_or(1))
}
