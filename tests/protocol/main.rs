//! At stake: all that `docs/protocol.md` promises about one conversation and about several at once.
//! Who says something wrong hears what and loses that and no more; a batch is stored whole or not at
//! all; answers come in order; an agency is one agency's business; the draw is held once and after
//! everyone; nobody waits on somebody else; and stopping ends all of it.

mod batches;
mod bets;
mod draw;
mod page;
mod places;
mod resuming;
mod round_trip;
mod speaking;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
mod time;
mod words;

use support::peer::{Agency, Office, PATIENCE};

/// A valid bet of `agency`, told from others by its document.
fn bet(agency: u16, document: u32) -> String {
    bet_on(agency, document, "1234")
}

fn bet_on(agency: u16, document: u32, number: &str) -> String {
    format!("APUESTA|{agency}|Ana|Paz|{document}|1999-03-17|{number}")
}

/// The line of `bets.csv` that [`bet`] becomes.
fn row(agency: u16, document: u32) -> String {
    row_on(agency, document, "1234")
}

fn row_on(agency: u16, document: u32, number: &str) -> String {
    format!("{agency},Ana,Paz,{document},1999-03-17,{number}\n")
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

/// Asks for the winners, and comes back when the connection waits for the draw.
#[track_caller]
fn waits_for_the_draw(office: &Office, agency: &mut Agency, id: u16) {
    asks_for_winners(agency, id);
    let mut asking = office.agency();
    let start = std::time::Instant::now();
    while start.elapsed() < PATIENCE {
        asking.says("ESTADO");
        let status = asking.hears_a_line();
        let field = status.split('|').nth(usize::from(id) + 1).expect("a field for each agency");
        if field.ends_with(",ESPERA") {
            return;
        }
    }
    panic!("agency {id} does not wait");
}

/// Says that the agency has no more bets, and comes back when the server has taken note of it.
#[track_caller]
fn asks_for_winners(agency: &mut Agency, id: u16) {
    agency.says(&format!("ECO|no more;GANADORES|{id}"));
    agency.hears("ECO|no more");
}
