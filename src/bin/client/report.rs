//! The state of the lottery as `--status` prints it: a table for people, or one line of JSON.

use crate::process::words;
use loteria::summary::{AgencyState, AgencySummary, Summary};
use serde::Serialize;

/// Returns a table of the agencies, and the draw.
pub(crate) fn table(summary: &Summary) -> String {
    let mut text = String::from("agency        bets  state\n");
    for (agency, AgencySummary { bets, state }) in (1_u32..).zip(&summary.agencies) {
        text.push_str(&format!("{agency:>6}  {bets:>10}  {}\n", words::state(*state)));
    }
    text + &words::draw(summary, |number| number.to_string()) + "\n"
}

/// The shape of the JSON, which scripts depend on.
#[derive(Serialize)]
struct Json {
    draw: &'static str,
    winners: Option<u64>,
    bets: u64,
    agencies: Vec<JsonAgency>,
}

#[derive(Serialize)]
struct JsonAgency {
    agency: u32,
    bets: u64,
    state: &'static str,
}

/// Returns the same as one line of JSON.
pub(crate) fn json(summary: &Summary) -> serde_json::Result<String> {
    let agency = |(agency, &AgencySummary { bets, state }): (u32, &AgencySummary)| {
        let state = match state {
            AgencyState::Open => "open",
            AgencyState::Finished => "finished",
            AgencyState::Waiting => "waiting",
        };
        JsonAgency { agency, bets, state }
    };
    let Summary { winners, .. } = *summary;
    let draw = if winners.is_some() { "held" } else { "pending" };
    let agencies = (1..).zip(&summary.agencies).map(agency).collect();
    let json = Json { draw, winners, bets: summary.bets(), agencies };
    serde_json::to_string(&json).map(|line| line + "\n")
}
