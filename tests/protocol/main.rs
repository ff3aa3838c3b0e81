//! At stake: all that `docs/protocol.md` promises about one conversation and about several at once.
//! Who says something wrong hears what and loses that and no more; a batch is stored whole or not at
//! all; answers come in order; an agency is one agency's business; the draw is held once and after
//! everyone; nobody waits on somebody else; and stopping ends all of it.

mod batches;
mod bets;
mod conversations;
mod draw;
mod grammar;
mod page;
mod places;
mod refused;
mod resuming;
mod round_trip;
mod speaking;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
mod time;
mod words;

use support::peer::Agency;

/// A valid bet of `agency`, told from others by its document.
fn bet(agency: u16, document: u32) -> String {
    bet_on(agency, document, "1234")
}

fn bet_on(agency: u16, document: u32, number: &str) -> String {
    format!("APUESTA|{agency}|Ana|Paz|{document}|1999-03-17|{number}")
}

/// The line of `bets.csv` that [`bet`] becomes.
fn row(agency: u16, document: u32) -> String {
    format!("{agency},Ana,Paz,{document},1999-03-17,1234\n")
}

/// Stores one bet and hears that it is.
#[track_caller]
fn store(agency: &mut Agency, id: u16, document: u32) {
    agency.says(&format!("{};FINAPUESTA", bet(id, document)));
    agency.hears("CONFIRMARAPUESTA|1");
}

/// Shows that the conversation goes on.
#[track_caller]
fn is_attended(agency: &mut Agency) {
    agency.says("ECO|still here");
    agency.hears("ECO|still here");
}

/// Says that the agency has no more bets, and comes back when the server has taken note of it.
#[track_caller]
fn asks_for_winners(agency: &mut Agency, id: u16) {
    agency.says(&format!("ECO|no more;GANADORES|{id}"));
    agency.hears("ECO|no more");
}
