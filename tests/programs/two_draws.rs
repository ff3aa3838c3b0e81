//! At stake: that one file is never in two draws by itself. An agency that comes back to a server without the bets
//! that it confirmed says so, and sends nothing.

use crate::cable::Cable;
use crate::sample::{Ends, bets, csv, winners};
use crate::support::program::{Program, Scratch, Start, WITHIN, lasting_address};
use std::fs;
use std::time::Instant;

/// A lottery of two agencies. The first is reached through the cable.
struct Office {
    scratch: Scratch,
    address: String,
    cable: Cable,
}

impl Office {
    fn new() -> Office {
        let scratch = Scratch::new();
        for agency in [1, 2] {
            let file = format!("agencies/agency-{agency}.csv");
            scratch.write(&file, csv(&bets(agency, 300), Ends::Lf));
        }
        let address = lasting_address();
        let cable = Cable::to(&address);
        Office { scratch, address, cable }
    }

    fn server(&self) -> Program {
        let server = self.scratch.bare_server();
        server.arguments(&["--agencies", "2", "--address", &self.address]).start()
    }

    fn client(&self, address: &str, agency: &str) -> Start {
        self.scratch.client(address).arguments(&["--agency", agency])
    }

    /// Starts the first agency's client, and returns when the server knows that it waits for the draw.
    fn waiting_client(&self) -> Program {
        let client = self.client(&self.cable.address, "1").start();
        let start = Instant::now();
        loop {
            let status = self.scratch.client(&self.address).arguments(&["--status"]).run();
            if status.stdout.contains("waiting for the draw") {
                return client;
            }
            assert!(start.elapsed() < WITHIN, "agency 1 never waited: {status}");
        }
    }

    /// Holds the draw without the first agency's client, which waits for it at the end of the cut cable.
    fn client_cut_off_from_its_draw(&self) -> Program {
        let server = self.server();
        let client = self.waiting_client();
        self.cable.cut();
        self.client(&self.address, "2").run().succeeds();
        server.logs("action: sorteo | result: success");
        server.stops_on("TERM");
        client
    }

    /// Prepares another draw, as an operator does by hand.
    fn set_files_aside(&self) {
        for name in self.scratch.names() {
            if name.starts_with("bets.") || name == "sorteo.toml" {
                let aside = self.scratch.path(&format!("before-{name}"));
                fs::rename(self.scratch.path(&name), aside).expect("a file of the server");
            }
        }
    }
}

#[test]
fn an_agency_that_was_cut_off_until_another_draw_began_says_so_and_sends_nothing() {
    let office = Office::new();
    let client = office.client_cut_off_from_its_draw();
    office.set_files_aside();
    let server = office.server();
    office.cable.mend();
    let ended = client.ends();
    ended.exits(1).says("the server confirmed 300 bets of agency 1 to this client and has 0 now");
    assert_eq!(ended.stdout, "");
    server.stops_on("TERM");
    assert_eq!(office.scratch.read_if_there("bets.csv").unwrap_or_default(), "");
}

#[test]
fn an_agency_that_was_cut_off_while_its_draw_was_held_hears_its_winners() {
    let office = Office::new();
    let client = office.client_cut_off_from_its_draw();
    let _server = office.server();
    office.cable.mend();
    let ended = client.ends();
    ended.succeeds();
    assert_eq!(ended.stdout, winners(1, &bets(1, 300)).concat());
}
