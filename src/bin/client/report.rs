//! The state of the lottery as `--status` prints it: a table for people, or one line of JSON.

use crate::process::words::{self, AGENCIES_NAMED_MAX};
use loteria::summary::{AgencyState, AgencySummary, Summary};
use loteria::text::{list_of, noun_for};
use serde::Serialize;

/// Returns a table of the agencies, and the draw.
pub(crate) fn table(summary: &Summary) -> String {
    let mut text = String::from("agency        bets  state\n");
    for (agency, AgencySummary { bets, state }) in (1_u32..).zip(&summary.agencies) {
        text.push_str(&format!("{agency:>6}  {bets:>10}  {}\n", words::state(*state)));
    }
    let (bets, missing) = (summary.bets(), summary.missing());
    text.push_str(&match summary.winners {
        Some(winners) => {
            format!("draw: held over {bets} {}, {winners} of them won\n", noun_for(bets, "bet"))
        }
        None if missing.is_empty() => "draw: pending, every agency is done\n".into(),
        None => {
            let agencies = noun_for(missing.len() as u64, "agency");
            let missing = list_of(&missing, AGENCIES_NAMED_MAX);
            format!("draw: pending, it waits for {agencies} {missing}\n")
        }
    });
    text
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
