//! At stake: that a restore from an older copy under connected agencies loses no line and repeats none. An agency whose
//! confirmed bets are gone says so and ends; run again, it sends what the copy lacks. The others go on by themselves.

use crate::sample::{Bet, Ends, assert_all_stored, bets, csv, winners};
use crate::support::program::{Program, Scratch, lasting_address};
use std::fs;

const FILES: [&str; 2] = ["bets.csv", "bets.journal"];

fn server(scratch: &Scratch, address: &str) -> Program {
    scratch.bare_server().arguments(&["--agencies", "3", "--address", address]).start()
}

fn client(scratch: &Scratch, address: &str, agency: &str, period: &str) -> Program {
    let settings = [
        ("CLI_BATCH_MAX_AMOUNT", "3"),
        ("CLI_BATCH_PERIOD_MS", period),
        ("CLI_RETRY_FOR_MS", "60000"),
    ];
    scratch.client(address).arguments(&["--agency", agency]).variables(&settings).start()
}

#[test]
fn after_a_restore_an_agency_whose_bets_are_gone_says_so_and_the_others_go_on() {
    for kill in [false, true] {
        let scratch = Scratch::new();
        let files: Vec<Vec<Bet>> = (1..).zip([30, 900, 60]).map(|(id, n)| bets(id, n)).collect();
        for (agency, bets) in (1..).zip(&files) {
            scratch.write(&format!("agencies/agency-{agency}.csv"), csv(bets, Ends::Lf));
        }
        let address = lasting_address();
        let before = server(&scratch, &address);
        // The first agency waits for the draw, and the second is slow, when the files are copied.
        let first = client(&scratch, &address, "1", "0");
        first.logs_times("action: apuesta_enviada | result: success", 10);
        let second = client(&scratch, &address, "2", "20");
        second.logs_times("action: apuesta_enviada | result: success", 2);
        for name in FILES {
            fs::copy(scratch.path(name), scratch.path(&format!("copy-{name}"))).expect("a copy");
        }
        let confirmed = second.logs_times("action: apuesta_enviada | result: success", 12);
        assert!(!confirmed.contains("consulta_ganadores"), "{confirmed}");
        if kill {
            before.kill();
        } else {
            before.stops_on("TERM");
        }
        // The third begins while there is no server.
        let third = client(&scratch, &address, "3", "0");
        for name in FILES {
            let gone = scratch.path(&format!("gone-{name}"));
            fs::rename(scratch.path(name), gone).expect("a file of the server");
            fs::rename(scratch.path(&format!("copy-{name}")), scratch.path(name)).expect("a copy");
        }
        let after = server(&scratch, &address);
        let ended = second.ends();
        ended.exits(1).says("bets of agency 2 to this client and has").says("it has lost bets");
        assert_eq!(ended.stdout, "");
        after.logs("action: apuesta_recibida");
        assert!(scratch.read_if_there("sorteo.toml").is_none(), "agency 2 has not finished");

        let again = client(&scratch, &address, "2", "0");
        for (agency, client) in (1..).zip([first, again, third]) {
            let ended = client.ends();
            ended.succeeds();
            assert_eq!(ended.stdout, winners(agency, &files[agency - 1]).concat());
        }
        assert_all_stored(&scratch, &files);
        assert_eq!(after.stops_on("TERM").count("action: sorteo | result: success"), 1);
    }
}
