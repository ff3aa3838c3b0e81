//! At stake: that an agency's client sends what its file holds, all of it, once, in messages that any
//! server takes; that it sends nothing where something is wrong with its file or its settings, and says
//! what; and that it gets along with servers that are slow, silent, dead, old or mad.

use crate::fake_server::{FakeServer, Office, honest, honest_unless, locked};
use crate::sample::{Bet, Ends, bets, csv, stored};
use crate::support::program::{Ended, Scratch, Start, WITHIN, lasting_address};
use loteria::protocol::ErrorCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SINGLE: [(&str, &str); 6] = [
    ("CLI_ID", "1"),
    ("NOMBRE", "Santiago Lionel"),
    ("APELLIDO", "Lorca"),
    ("DOCUMENTO", "30904465"),
    ("NACIMIENTO", "1999-03-17"),
    ("NUMERO", "7574"),
];
const SINGLE_SENT: &str = "1|Santiago Lionel|Lorca|30904465|1999-03-17|7574";
/// The bet of another client of the agency.
const OTHER: &str = "1|Ana|Paz|30904466|1999-03-17|1";
const SINGLE_STORED: &str = "1,Santiago Lionel,Lorca,30904465,1999-03-17,7574\n";
const SINGLE_LOG: &str = "action: apuesta_enviada | result: success | dni: 30904465 | numero: 7574";
/// The codes after which a client retries, in the order of the page.
const RETRIED: [&str; 6] =
    ["taken_over", "message_torn", "timed_out", "superseded", "too_many_connections", "stopping"];

/// A bet as the client sends it, without its word.
fn sent(agency: usize, bet: &Bet) -> String {
    format!("{agency}|{}", bet.join("|"))
}

fn all_sent(agency: usize, bets: &[Bet]) -> Vec<String> {
    bets.iter().map(|bet| sent(agency, bet)).collect()
}

/// A client of agency 1 whose file holds `text`.
fn agency_1(scratch: &Scratch, address: &str, text: impl AsRef<[u8]>) -> Start {
    scratch.write("agencies/agency-1.csv", text);
    scratch.client(address).arguments(&["--agency", "1"])
}

/// A client that must not connect: it fails so, and nobody was at the door.
fn run_unheard(start: impl FnOnce(&str) -> Start, code: i32) -> Ended {
    let server = FakeServer::start(|peer| peer.listens_on());
    let ended = start(&server.address).run();
    ended.exits(code);
    assert_eq!(server.connections(), 0, "{ended}");
    assert_eq!(ended.stdout, "");
    ended
}

/// Runs agency 1 with five bets and a server that answers its batch so. There is one connection.
fn run_with_batch_answered(answer: &'static str) -> Ended {
    let scratch = Scratch::new();
    let server = FakeServer::start(move |peer| {
        peer.hears();
        peer.says("REANUDAR|0\n");
        peer.hears();
        peer.says(answer);
        peer.listens_on();
    });
    let ended = agency_1(&scratch, &server.address, csv(&bets(1, 5), Ends::Lf)).run();
    assert_eq!(server.connections(), 1, "{ended}");
    ended
}

mod files {
    use super::*;

    const BAR_IN_LAST_NAME: &str =
        "last_name: must not hold a bar, a semicolon or a control character, not \"Pe|rez\"";

    #[test]
    fn each_bad_line_is_reported_with_its_place_and_field_and_nothing_is_sent() {
        const OPEN_QUOTE: &str = "line: a quoted field must end at its closing quote";
        let lines: [(&[u8], Option<&str>); 22] = [
            (b"Ana,Perez,30000001,2000-02-29,1", None),
            (b",Perez de la Torre,30000001,2000-02-29,1", Some("first_name: must not be blank")),
            (b"Ana,  ,30000001,2000-02-29,1", Some("last_name: must not be blank")),
            (b"Ana,Pe|rez,30000001,2000-02-29,1", Some(BAR_IN_LAST_NAME)),
            (b"An;a,Perez,30000001,2000-02-29,1", Some("first_name: must not hold a bar")),
            (b"An\ta,Perez,30000001,2000-02-29,1", Some("first_name: must not hold")),
            (b"Ana,Perez,3000000x,2000-02-29,1", Some("document: must be 7 or 8 digits")),
            (b"Ana,Perez,300000011,2000-02-29,1", Some("document: must be 7 or 8 digits")),
            (b"Ana,Perez,30000001,2001-02-29,1", Some("birthdate: must be a day")),
            (b"Ana,Perez,30000001,29-02-2000,1", Some("birthdate: must be a day")),
            (b"Ana,Perez,30000001,2000-02-29,10000", Some("number: must be 0 to 9999")),
            (b"Ana,Perez,30000001,2000-02-29,", Some("number: must be 0 to 9999")),
            (b"Ana,Perez,30000001,2000-02-29", Some("line: must have 5 fields, not 4")),
            (b"nombre", Some("line: must have 5 fields, not 1")),
            (b"An\xe1,Perez,30000001,2000-02-29,1", Some("line: must be UTF-8")),
            (b"Ana,Perez,30000001,2000-02-29,1,", Some("line: must have 5 fields, not 6")),
            (b"\"Ana \"Pipo\" Paz\",Perez,30000001,2000-02-29,1", Some(OPEN_QUOTE)),
            (b"Ana,\"Perez\" ,30000001,2000-02-29,1", Some(OPEN_QUOTE)),
            (b"Ana,Perez,30000001,2000-02-29,\"1", Some(OPEN_QUOTE)),
            (b"Ana \"Pipo\" Paz,Perez,30000001,2000-02-29,1", Some(OPEN_QUOTE)),
            (b"Ana, \"Perez\",30000001,2000-02-29,1", Some(OPEN_QUOTE)),
            (b"\"An\"\"a\",\"Pe,rez\",\"30000001\",2000-02-29,\"1\"", None),
        ];
        for end in [&b"\n"[..], b"\r\n"] {
            let scratch = Scratch::new();
            let text = lines.map(|(line, _)| line).join(end);
            let ended = run_unheard(|address| agency_1(&scratch, address, &text), 1);
            let file = "agencies/agency-1.csv";
            let reports: Vec<&String> =
                ended.stderr.iter().filter(|line| line.starts_with(file)).collect();
            let bad = (1..).zip(lines).filter_map(|(number, (_, reason))| Some((number, reason?)));
            let expected: Vec<String> =
                bad.map(|(number, reason)| format!("{file}:{number}: {reason}")).collect();
            assert_eq!(reports.len(), expected.len(), "{ended}");
            for (report, expected) in reports.iter().zip(&expected) {
                assert!(report.starts_with(expected), "{report} is not {expected}");
            }
            ended.says("20 invalid lines; nothing was sent");
        }
    }

    #[test]
    fn a_report_of_a_bad_line_is_one_line_whatever_the_name_of_the_file_is() {
        let scratch = Scratch::new();
        scratch.write("a|b\n\u{1b}.csv", "x");
        let arguments = ["--agency", "1", "--file", "a|b\n\u{1b}.csv"];
        let ended = run_unheard(|address| scratch.client(address).arguments(&arguments), 1);
        ended.says("a¦b  .csv:1: line: must have 5 fields, not 1");
    }

    #[test]
    fn a_bad_line_of_one_agency_keeps_all_from_being_sent() {
        let scratch = Scratch::new();
        scratch.write("agencies/agency-1.csv", csv(&bets(1, 20), Ends::Lf));
        scratch.write("agencies/agency-2.csv", "Ana,Perez,30000001,2000-02-29,x");
        let ended = run_unheard(|address| scratch.client(address), 1);
        ended.says("agencies/agency-2.csv:1: number: ");
    }

    #[test]
    fn a_line_longer_than_any_bet_is_bad_and_the_next_is_read_from_its_beginning() {
        let scratch = Scratch::new();
        let good = "Ana,Perez,30000001,2000-02-29,1\n";
        let text = format!("{good}{}\n{good}{}\nx\n", "a".repeat(8192), "b".repeat(100_000));
        let ended = run_unheard(|address| agency_1(&scratch, address, &text), 1);
        ended.says("agency-1.csv:2: line: ").says("agency-1.csv:4: line: ");
        ended.says("agency-1.csv:5: line: ").says("3 invalid lines; nothing was sent");
    }

    /// Lines that end in `\r` alone are either bets, each of them, or reported: none is dropped.
    #[test]
    fn a_file_with_the_line_ends_of_old_macs_loses_no_bet() {
        let text = "Ana,Perez,30000001,2000-02-29,1\rEva,Ruiz,30000002,1999-12-31,2\r";
        for text in [text.to_owned(), format!("{text}\n"), text.replace("Ana", "\"Ana\"")] {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let server = honest(&office);
            let ended = agency_1(&scratch, &server.address, &text).run();
            let stored = locked(&office).stored.len();
            match ended.code {
                Some(0) => assert_eq!(stored, 2, "{text:?}\n{ended}"),
                Some(1) => {
                    assert_eq!(stored, 0, "{ended}");
                    ended.says("agencies/agency-1.csv:1: ");
                }
                other => panic!("exit code {other:?}\n{ended}"),
            }
        }
    }

    #[test]
    fn whatever_is_valid_arrives_as_it_was_written() {
        let scratch = Scratch::new();
        let lines = "\u{feff}Ana,Gómez,1000000,1900-01-01,0\r\n\
                     \n\
                     \"Ana\",\"Pérez, h.\",30000001,2000-02-29,0001\n\
                     \"Ana \"\"la\"\" Única\",\"O'Higgins\",\"30000002\",\"2099-12-31\",\"9999\"\r\n\
                     \r\n\
                     \u{20}Blanca ,de la \u{a0} Torre ,30000003,2000-02-29,09\n\
                     李,小龍,30000004,2000-02-29,1";
        let office = Office::shared(true);
        let server = honest(&office);
        agency_1(&scratch, &server.address, lines).run().succeeds();
        let expected = [
            "1|Ana|Gómez|1000000|1900-01-01|0",
            "1|Ana|Pérez, h.|30000001|2000-02-29|0001",
            "1|Ana \"la\" Única|O'Higgins|30000002|2099-12-31|9999",
            "1| Blanca |de la \u{a0} Torre |30000003|2000-02-29|09",
            "1|李|小龍|30000004|2000-02-29|1",
        ];
        assert_eq!(locked(&office).stored, expected);
    }

    #[test]
    fn a_file_that_is_missing_or_a_directory_or_a_pipe_is_an_error_that_names_it() {
        let scratch = Scratch::new();
        let one = |address: &str| scratch.client(address).arguments(&["--agency", "1"]);
        run_unheard(one, 1).says("agencies/agency-1.csv: ");
        std::fs::create_dir_all(scratch.path("agencies/agency-1.csv")).expect("a directory");
        run_unheard(one, 1).says("agencies/agency-1.csv: ");
        let of_all = run_unheard(|address| scratch.client(address), 1);
        of_all.says("agencies/agency-1.csv: ").says("--agency N --file CSV names another");
        run_unheard(|address| one(address).arguments(&["--file", "no.csv"]), 1).says("no.csv: ");
        let pipe = std::process::Command::new("mkfifo").arg(scratch.path("pipe")).status();
        assert!(pipe.expect("`mkfifo` can be run").success());
        let pipe = run_unheard(|address| one(address).arguments(&["--file", "pipe"]), 1);
        pipe.says("pipe: not a regular file; --agency N --file CSV names another");
        let below_a_file = |address: &str| one(address).variable("CLI_AGENCIES_DIR", "file");
        scratch.write("file", "");
        run_unheard(below_a_file, 1)
            .says("file/agency-1.csv: ")
            .says("--agency N --file CSV names another");
    }

    #[test]
    fn a_directory_that_is_missing_or_holds_no_agency_is_an_error_that_names_it() {
        let scratch = Scratch::new();
        run_unheard(|address| scratch.client(address), 1).says("/agencies: No such file");
        for name in ["agency-0.csv", "agency-01.csv", "agency-x.csv", "agency-1.txt", "agency-1"] {
            scratch.write(&format!("agencies/{name}"), "x");
        }
        let ended = run_unheard(|address| scratch.client(address), 1);
        ended.says("/agencies: no agency-N.csv in it; ");
    }

    #[test]
    fn a_file_that_changes_after_it_was_checked_is_an_error_and_nothing_of_the_change_is_sent() {
        let bets = bets(1, 9_000);
        let text = csv(&bets, Ends::Lf);
        let sends_a_command = text.replacen("30010002", "1;ECO|x2", 1);
        let ends_sooner = &text[..text.len() - 1];
        let goes_on = format!("{text}{}", csv(&bets[..1], Ends::Lf));
        // A checksum covers 128 KiB.
        let begins_otherwise_later = text.replacen("30018999", "30018998", 1);
        assert_eq!(begins_otherwise_later.len(), text.len());
        for changed in [&sends_a_command, ends_sooner, &goes_on, &begins_otherwise_later, ""] {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let file = scratch.path("agencies/agency-1.csv");
            let changed = changed.to_owned();
            let server = honest_unless(&office, move |_, _, message| {
                if message.starts_with("REANUDAR") {
                    std::fs::write(&file, &changed).expect("the file can be written");
                }
                false
            });
            let ended = agency_1(&scratch, &server.address, &text).run();
            ended.exits(1).says("agencies/agency-1.csv: changed after it was checked");
            let stored = locked(&office).stored.clone();
            assert!(stored == all_sent(1, &bets[..stored.len()]), "{ended}");
            assert!(!server.messages().iter().any(|message| message.contains("ECO")), "{ended}");
        }
    }

    #[test]
    fn a_file_that_is_empty_is_an_agency_without_bets() {
        for text in ["", "\n", "\r\n\r\n", "\u{feff}"] {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let server = honest(&office);
            let ended = agency_1(&scratch, &server.address, text).run();
            ended.succeeds();
            assert_eq!(server.messages(), ["REANUDAR|1", "GANADORES|1"]);
            assert_eq!(ended.stdout, "");
        }
    }

    #[test]
    fn the_shortest_bets_are_sent_one_by_one() {
        let shortest = ["A", "B", "1234567", "2000-01-01", "7"].map(str::to_owned);
        let bets = [vec![shortest; 40], bets(1, 3)].concat();
        for text in
            [csv(&bets, Ends::LfBetween), csv(&bets, Ends::Crlf).replace("7\r\n", "7\r\n\n")]
        {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let server = honest(&office);
            agency_1(&scratch, &server.address, text).run().succeeds();
            assert_eq!(locked(&office).stored, all_sent(1, &bets));
        }
    }

    #[test]
    fn a_file_of_its_own_needs_an_agency() {
        let scratch = Scratch::new();
        scratch.write("some.csv", csv(&bets(3, 10), Ends::Lf));
        let alone = |address: &str| scratch.client(address).arguments(&["--file", "some.csv"]);
        run_unheard(alone, 2).says("--file").says("--agency");
        let office = Office::shared(true);
        let server = honest(&office);
        alone(&server.address).variable("CLI_ID", "3").run().succeeds();
        assert_eq!(locked(&office).stored, all_sent(3, &bets(3, 10)));
    }
}

mod ids {
    use super::*;

    #[test]
    fn what_is_no_agency_is_a_usage_error_and_nothing_is_sent() {
        let scratch = Scratch::new();
        scratch.write("agencies/agency-1.csv", csv(&bets(1, 5), Ends::Lf));
        for id in ["0", "-1", "99999", "10001", "abc", "1.5", " 1", "1 ", "٣"] {
            let by_variable = |address: &str| scratch.client(address).variable("CLI_ID", id);
            run_unheard(by_variable, 2).says("CLI_ID: must be a number from 1 to 10000");
            let by_flag = |address: &str| scratch.client(address).arguments(&["--agency", id]);
            run_unheard(by_flag, 2).says("--agency: must be a number from 1 to 10000");
        }
    }
}

mod single_bets {
    use super::*;

    #[test]
    fn one_is_stored_confirmed_and_logged_by_both_and_nothing_is_printed() {
        let scratch = Scratch::new();
        let server = scratch.server().start();
        let ended = scratch.client(&server.address()).variables(&SINGLE).run();
        ended.succeeds().says(SINGLE_LOG).never_says("consulta_ganadores");
        assert_eq!(ended.stdout, "");
        assert_eq!(scratch.read("bets.csv"), SINGLE_STORED);
        let ended = server.stops_on("TERM");
        ended.says("action: apuesta_almacenada | result: success | dni: 30904465 | numero: 7574");
        ended.says("action: apuesta_recibida | result: success | cantidad: 1");
    }

    #[test]
    fn one_that_is_interrupted_before_its_confirmation_says_whether_it_may_be_stored() {
        let scratch = Scratch::new();
        for (answers, sent, told) in [
            (&["REANUDAR|0\n"][..], "APUESTA", "unknown | next: compare"),
            (&[], "REANUDAR", "0 | next: run the client again, it places the bet"),
        ] {
            let server = FakeServer::start(move |peer| {
                for answer in answers {
                    peer.hears();
                    peer.says(answer);
                }
                peer.listens_on();
            });
            let client = scratch.client(&server.address).variables(&SINGLE).start();
            server.hears_times(sent, 1);
            let ended = client.stops_on("TERM");
            ended.says(&format!("action: interrupt | result: success | stored: {told}"));
        }
    }

    #[test]
    fn the_same_bet_placed_again_is_another_bet() {
        let scratch = Scratch::new();
        let server = scratch.server().start();
        for _ in 0..2 {
            scratch.client(&server.address()).variables(&SINGLE).run().succeeds().says(SINGLE_LOG);
        }
        assert_eq!(scratch.read("bets.csv"), SINGLE_STORED.repeat(2));
    }

    #[test]
    fn which_variables_are_missing_is_told_and_nothing_is_sent() {
        let scratch = Scratch::new();
        scratch.write("agencies/agency-1.csv", csv(&bets(1, 5), Ends::Lf));
        // Any of them and any two, missing or empty, the agency too.
        for first in 0..SINGLE.len() {
            for second in first..SINGLE.len() {
                for empty in [false, true] {
                    let start = |address: &str| {
                        let places = (0..).zip(SINGLE);
                        places.fold(
                            scratch.client(address),
                            |client, (place, (name, value))| match (
                                place == first || place == second,
                                empty,
                            ) {
                                (false, _) => client.variable(name, value),
                                (true, true) => client.variable(name, ""),
                                (true, false) => client,
                            },
                        )
                    };
                    let ended = run_unheard(start, 2);
                    for (place, (name, _)) in (0..).zip(SINGLE) {
                        let missing = place == first || place == second;
                        assert_eq!(ended.last().contains(name), missing, "{name}: {ended}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_invalid_value_is_a_usage_error_that_says_which_and_why() {
        let cases = [
            ("NOMBRE", " ", "first_name: must not be blank"),
            ("NOMBRE", "An|a", "first_name: must not hold a bar"),
            ("NOMBRE", "An|a", "not \"An¦a\""),
            ("APELLIDO", "Lor;ca", "last_name: must not hold a bar"),
            ("APELLIDO", "Lor;ca", "not \"Lor;ca\""),
            ("APELLIDO", "Lor\nca", "last_name: must not hold a bar"),
            ("DOCUMENTO", "309044655", "document: must be 7 or 8 digits"),
            ("NACIMIENTO", "1999-3-17", "birthdate: must be a day"),
            ("NUMERO", "-1", "number: must be 0 to 9999"),
            ("NUMERO", "10000", "number: must be 0 to 9999"),
            ("CLI_ID", "0", "CLI_ID: must be a number"),
        ];
        let scratch = Scratch::new();
        for (name, value, reason) in cases {
            let start =
                |address: &str| scratch.client(address).variables(&SINGLE).variable(name, value);
            let ended = run_unheard(start, 2);
            ended.says(reason);
            assert_eq!(ended.last().matches(" | ").count(), 2, "values have no bars: {ended}");
        }
    }

    #[test]
    fn a_file_beside_it_is_a_usage_error_that_says_what_to_leave_out() {
        let scratch = Scratch::new();
        scratch.write("other.csv", csv(&bets(1, 5), Ends::Lf));
        let start = |address: &str| {
            scratch.client(address).variables(&SINGLE).arguments(&["--file", "other.csv"])
        };
        let ended = run_unheard(start, 2);
        ended.says("--file: NOMBRE, APELLIDO, DOCUMENTO, NACIMIENTO, NUMERO are set").says("unset");
    }

    #[test]
    fn a_server_of_the_older_dialect_takes_one_from_a_client_that_was_told_so() {
        let scratch = Scratch::new();
        let office = Office::shared(false);
        let server = honest(&office);
        let client = scratch.client(&server.address).variables(&SINGLE);
        client.variable("CLI_RESUME", "false").run().succeeds().says(SINGLE_LOG);
        assert_eq!(server.messages(), [format!("APUESTA|{SINGLE_SENT};FINAPUESTA")]);
    }

    #[test]
    fn one_whose_confirmation_was_lost_is_stored_once() {
        // Stored or not before the connection breaks, in each of the first three tries.
        for fates in 0..8 {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            // Somebody placed the same bet before.
            locked(&office).stored.push(SINGLE_SENT.into());
            let server = honest_unless(&office, move |peer, office, message| {
                let ends = message.starts_with("APUESTA") && peer.number <= 3;
                if ends && fates >> (peer.number - 1) & 1 == 1 {
                    locked(office).answer(message);
                }
                ends
            });
            scratch.client(&server.address).variables(&SINGLE).run().succeeds().says(SINGLE_LOG);
            assert_eq!(locked(&office).stored, [SINGLE_SENT, SINGLE_SENT], "fates {fates:03b}");
        }
    }

    /// Places a bet where two are stored. Its confirmation is lost, and then the server has these.
    fn lost_with(stored: &'static [&'static str]) -> Ended {
        let scratch = Scratch::new();
        let office = Office::shared(true);
        locked(&office).stored = vec![SINGLE_SENT.into(); 2];
        let server = honest_unless(&office, |_, office, message| {
            let ends = message.starts_with("APUESTA");
            if ends {
                locked(office).stored = stored.iter().map(|bet| String::from(*bet)).collect();
            }
            ends
        });
        let ended = scratch.client(&server.address).variables(&SINGLE).run();
        ended.exits(1).never_says(SINGLE_LOG).never_says("resuming is off");
        assert_eq!(locked(&office).stored, stored);
        assert_eq!(server.connections(), 2);
        ended
    }

    #[test]
    fn one_is_not_sent_again_to_a_server_that_lost_those_before_it() {
        for stored in [&[][..], &[SINGLE_SENT]] {
            let ended = lost_with(stored);
            let now = format!("has {} now", stored.len());
            ended.says("the server confirmed 2 bets of agency 1 to this client").says(&now);
        }
    }

    #[test]
    fn one_is_not_sent_again_to_a_server_that_has_other_bets_in_their_place() {
        let ended = lost_with(&[SINGLE_SENT, OTHER]);
        ended.says("the server confirmed 2 bets of agency 1 to this client and has 2 others now");
    }

    #[test]
    fn one_is_in_doubt_where_another_client_stored_bets_meanwhile() {
        lost_with(&[SINGLE_SENT; 4]).says("2 bets of the agency were stored meanwhile");
    }

    #[test]
    fn one_that_may_be_stored_when_the_client_gives_up_is_said_to_be_so() {
        const LOOK: &str =
            "this bet may be stored: look for it in bets.csv before it is placed again";
        // The answer to the bet. Afterwards each connection ends at once.
        for (answer, may_be_stored) in [
            ("", true),
            ("CONFIRMARAPUESTA|2\n", true),
            ("ERROR|stopping|none is stored\n", false),
            ("ERROR|storage_failed|none is stored\n", false),
        ] {
            let scratch = Scratch::new();
            let server = honest_unless(&Office::shared(true), move |peer, _, message| {
                let ends = message.starts_with("APUESTA");
                if ends {
                    peer.says(answer);
                }
                ends || peer.number > 1
            });
            let client = || {
                let client = scratch.client(&server.address).variables(&SINGLE);
                client.variable("CLI_RETRY_FOR_MS", "200")
            };
            let ended = client().run();
            ended.exits(1);
            assert_eq!(ended.last().contains(LOOK), may_be_stored, "{answer:?}: {ended}");
            if !may_be_stored {
                let ended = client().variable("CLI_RESUME", "false").run();
                ended.exits(1);
                assert!(!ended.last().contains("stored or not"), "{answer:?}: {ended}");
            }
        }
    }

    #[test]
    fn one_is_sent_again_where_another_client_stored_other_bets_meanwhile() {
        // The first message of the bet gets this answer, or none.
        let refusals = RETRIED.map(|code| format!("ERROR|{code}|none is stored\n"));
        let refused = refusals.into_iter().flat_map(|answer| [(answer.clone(), 1), (answer, 3)]);
        for (answer, others) in refused.chain([(String::new(), 1)]) {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let server = honest_unless(&office, move |peer, office, message| {
                let ends = message.starts_with("APUESTA") && peer.number == 1;
                if ends {
                    // The other client's bets can equal this one only if the server refuses it.
                    let other = if answer.is_empty() { OTHER } else { SINGLE_SENT };
                    locked(office).stored = vec![other.into(); others];
                    peer.says(&answer);
                }
                ends
            });
            scratch.client(&server.address).variables(&SINGLE).run().succeeds().says(SINGLE_LOG);
            let office = locked(&office);
            assert_eq!(office.stored.len(), others + 1, "{:?}", office.stored);
            assert_eq!(office.stored.last().map(String::as_str), Some(SINGLE_SENT));
        }
    }

    #[test]
    fn one_that_was_sent_again_is_looked_for_behind_the_bets_of_the_other_client() {
        let scratch = Scratch::new();
        let office = Office::shared(true);
        let server = honest_unless(&office, |peer, office, message| {
            let ends = message.starts_with("APUESTA") && peer.number <= 2;
            if ends {
                let stored = if peer.number == 1 { OTHER } else { SINGLE_SENT };
                locked(office).stored.push(stored.into());
            }
            ends
        });
        scratch.client(&server.address).variables(&SINGLE).run().succeeds().says(SINGLE_LOG);
        assert_eq!(locked(&office).stored, [OTHER, SINGLE_SENT]);
    }

    #[test]
    fn bets_of_one_agency_that_are_placed_at_the_same_time_are_all_stored() {
        let scratch = Scratch::new();
        let server = scratch.server().start();
        let address = server.address();
        let place = |number: u32| {
            let client = scratch.client(&address).variables(&SINGLE);
            client.variable("NUMERO", number.to_string()).start()
        };
        let clients: Vec<_> = (0..24).map(place).collect();
        for client in clients {
            client.ends().succeeds();
        }
        server.stops_quietly();
        let bets = scratch.read("bets.csv");
        let number = |line: &str| line.rsplit(',').next().and_then(|number| number.parse().ok());
        let mut numbers: Vec<u32> = bets.lines().filter_map(number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..24).collect::<Vec<_>>());
    }

    #[test]
    fn one_whose_confirmation_was_lost_is_in_doubt_where_the_server_is_not_to_be_asked() {
        let scratch = Scratch::new();
        let server = FakeServer::start(|peer| {
            peer.hears();
        });
        let client = scratch.client(&server.address).variables(&SINGLE);
        let ended = client.variable("CLI_RESUME", "false").run();
        ended.exits(1).says("may be stored or not").never_says(SINGLE_LOG);
        assert_eq!(server.connections(), 1);
    }
}

mod batches {
    use super::*;

    /// Bets whose lengths vary between the shortest and the longest that there are, in bytes.
    fn bets_of_all_lengths(count: usize) -> Vec<Bet> {
        let bet = |place: usize| {
            let letter = ["x", "ñ", "李", "\u{1F3B2}"][place % 4];
            let first_name = letter.repeat(1 + place * 7 % 64);
            let last_name = letter.repeat(1 + place * 11 % 64);
            let document = (10_000_000 + place).to_string();
            [first_name, last_name, document, "2000-02-29".into(), (place % 9999).to_string()]
        };
        (0..count).map(bet).collect()
    }

    #[test]
    fn no_message_is_too_long_and_no_bet_lost_whatever_the_amount_says() {
        let longest: Vec<Bet> = (0..200)
            .map(|place: usize| {
                let name = "\u{1F3B2}".repeat(64);
                let document = (10_000_000 + place).to_string();
                [name.clone(), name, document, "2000-02-29".into(), "7574".into()]
            })
            .collect();
        let files = [longest, bets_of_all_lengths(900)];
        for bets in files {
            for amount in ["1", "2", "13", "120", "100000", "1000000"] {
                let scratch = Scratch::new();
                let office = Office::shared(true);
                let server = honest(&office);
                let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf));
                // The fake server checks the length of each message.
                client.variable("CLI_BATCH_MAX_AMOUNT", amount).run().succeeds();
                let office = locked(&office);
                assert!(office.stored == all_sent(1, &bets), "amount {amount}");
                let amount: usize = amount.parse().expect("a number");
                let largest = office.batches.iter().copied().max();
                assert!(largest <= Some(amount), "{largest:?} bets in a batch of {amount}");
                if amount <= 2 {
                    assert_eq!(office.batches.len(), bets.len().div_ceil(amount));
                }
            }
        }
    }

    #[test]
    fn messages_are_filled_up_to_the_last_byte_and_never_over_it() {
        // The first name shifts the others to every place that they can have in a message.
        let mut longest = 0;
        for length in 1..=40 {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let server = honest(&office);
            let bet = |place: usize| {
                let name = "n".repeat(if place == 0 { length } else { 1 });
                let document = (10_000_000 + place).to_string();
                [name, "a".into(), document, "2000-02-29".into(), "1".into()]
            };
            let bets: Vec<Bet> = (0..250).map(bet).collect();
            let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf));
            client.variable("CLI_BATCH_MAX_AMOUNT", "100000").run().succeeds();
            assert!(locked(&office).stored == all_sent(1, &bets), "a first name of {length}");
            let messages = server.messages();
            let first = messages.iter().find(|message| message.starts_with("APUESTA"));
            let bytes = first.expect("a batch").len() + 1;
            let of_the_next = sent(1, &bets[1]).len() + "APUESTA|;".len();
            assert!(bytes + of_the_next > 8192, "room is left in {bytes} bytes");
            longest = longest.max(bytes);
        }
        assert_eq!(longest, 8192);
    }

    #[test]
    fn a_window_of_one_has_one_batch_on_its_way() {
        for period in ["0", "1"] {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let server = honest_unless(&office, |peer, _, message| {
                assert!(peer.is_silent_for(Duration::from_millis(20)), "after {message}");
                false
            });
            let bets = bets(1, 30);
            let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf));
            let settings = [
                ("CLI_WINDOW", "1"),
                ("CLI_BATCH_MAX_AMOUNT", "4"),
                ("CLI_BATCH_PERIOD_MS", period),
            ];
            client.variables(&settings).run().succeeds();
            assert_eq!(locked(&office).stored, all_sent(1, &bets));
        }
    }

    #[test]
    fn a_window_is_used_and_never_overdrawn() {
        for window in [2_usize, 5, 8, 30] {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let most = Arc::new(AtomicUsize::new(0));
            let server = FakeServer::start({
                let (office, most) = (Arc::clone(&office), Arc::clone(&most));
                move |peer| {
                    let mut answers = Vec::new();
                    while let Some(message) = peer.hears() {
                        answers.push(locked(&office).answer(&message));
                        if peer.is_silent_for(Duration::from_millis(20)) {
                            most.fetch_max(answers.len(), Ordering::SeqCst);
                            peer.says(&answers.drain(..).collect::<String>());
                        }
                    }
                }
            });
            let bets = bets(1, 120);
            let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf));
            let window_text = window.to_string();
            let settings = [("CLI_WINDOW", window_text.as_str()), ("CLI_BATCH_MAX_AMOUNT", "1")];
            client.variables(&settings).run().succeeds();
            assert_eq!(locked(&office).stored, all_sent(1, &bets));
            assert_eq!(server.connections(), 1);
            // Bursts of a quarter need not add up to the whole window.
            let most = most.load(Ordering::SeqCst);
            assert!((window - window / 4..=window).contains(&most), "{most} of {window}");
        }
    }

    #[test]
    fn a_period_is_a_pause_between_batches() {
        let scratch = Scratch::new();
        let office = Office::shared(true);
        let server = honest(&office);
        let client = agency_1(&scratch, &server.address, csv(&bets(1, 6), Ends::Lf));
        let start = Instant::now();
        let settings = [("CLI_BATCH_PERIOD_MS", "60"), ("CLI_BATCH_MAX_AMOUNT", "1")];
        client.variables(&settings).run().succeeds();
        assert!(start.elapsed() >= Duration::from_millis(5 * 60));
        assert_eq!(locked(&office).batches, [1; 6]);
    }

    #[test]
    fn a_client_that_was_not_told_so_says_what_a_server_of_the_older_dialect_needs() {
        let scratch = Scratch::new();
        let office = Office::shared(false);
        let server = honest(&office);
        let ended = agency_1(&scratch, &server.address, csv(&bets(1, 5), Ends::Lf)).run();
        ended.exits(1).says("unknown_command").says("set client.resume or CLI_RESUME to false");
        assert_eq!(locked(&office).stored, Vec::<String>::new());
    }

    #[test]
    fn a_server_of_the_older_dialect_that_is_asked_for_its_state_is_said_not_to_know_the_question()
    {
        let scratch = Scratch::new();
        let server = honest(&Office::shared(false));
        let ended = scratch.client(&server.address).arguments(&["--status"]).run();
        ended
            .exits(1)
            .says("unknown_command: what is that; ")
            .says("without ESTADO has no --status");
    }

    #[test]
    fn a_client_that_was_told_so_never_asks_a_server_of_the_older_dialect_how_far_it_got() {
        for told in ["variable", "file"] {
            let scratch = Scratch::new();
            let office = Office::shared(false);
            locked(&office).winners = vec!["30000001".into(), "1000002".into()];
            let server = honest(&office);
            let bets = bets(1, 100);
            let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Crlf));
            let client = client.variable("CLI_BATCH_MAX_AMOUNT", "9");
            let ended = if told == "variable" {
                client.variable("CLI_RESUME", "false").run()
            } else {
                scratch.write("config.toml", "[client]\nresume = false\n");
                client.run()
            };
            ended.succeeds();
            assert_eq!(ended.stdout, "1,30000001\n1,1000002\n");
            assert_eq!(locked(&office).stored, all_sent(1, &bets));
            let messages = server.messages();
            assert!(messages.iter().all(|message| !message.contains("REANUDAR")), "{messages:?}");
            assert_eq!(messages.last().map(String::as_str), Some("GANADORES|1"));
        }
    }

    #[test]
    fn a_client_that_was_told_so_asks_a_server_of_the_older_dialect_for_no_state_when_it_fails() {
        let scratch = Scratch::new();
        for agency in 1..=2 {
            let text = csv(&bets(agency, 1), Ends::Lf);
            scratch.write(&format!("agencies/agency-{agency}.csv"), text);
        }
        let server = FakeServer::start(|peer| {
            while peer.hears().is_some() {
                peer.says("ERROR|storage_failed|no room\n");
            }
        });
        scratch.client(&server.address).variable("CLI_RESUME", "false").run().exits(1);
        let messages = server.messages();
        let mut messages = messages.iter();
        assert!(messages.all(|message| message.starts_with("APUESTA|")), "{messages:?}");
    }

    #[test]
    fn a_confirmation_of_another_count_than_was_sent_is_an_error() {
        let ended = run_with_batch_answered("CONFIRMARAPUESTA|4\n");
        ended.exits(1).never_says("apuesta_enviada");
        ended.says("the server sent \"CONFIRMARAPUESTA¦4\", which is no reply to the command");
    }
}

mod resuming {
    use super::*;

    #[test]
    fn a_client_starts_after_the_last_bet_that_is_stored() {
        let bets = bets(1, 30);
        for stored in [0, 1, 4, 29, 30] {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            locked(&office).stored = all_sent(1, &bets[..stored]);
            let server = honest(&office);
            let client = agency_1(&scratch, &server.address, csv(&bets, Ends::LfBetween));
            let ended = client.variable("CLI_BATCH_MAX_AMOUNT", "4").run();
            ended.succeeds();
            let line =
                format!("action: resume | result: success | client_id: 1 | stored: {stored}");
            assert_eq!(ended.count(&line), usize::from(stored > 0), "{ended}");
            let office = locked(&office);
            assert_eq!(office.stored, all_sent(1, &bets));
            assert_eq!(office.batches.iter().sum::<usize>(), 30 - stored);
        }
    }

    #[test]
    fn blank_lines_are_not_counted() {
        let bets = bets(1, 10);
        let scratch = Scratch::new();
        let office = Office::shared(true);
        locked(&office).stored = all_sent(1, &bets[..6]);
        let server = honest(&office);
        let text = csv(&bets, Ends::Crlf).replace("\r\n", "\r\n\r\n\n");
        agency_1(&scratch, &server.address, format!("\n{text}")).run().succeeds();
        assert_eq!(locked(&office).stored, all_sent(1, &bets));
    }

    /// Runs the client against a server that says this of its file of ten bets; it must send nothing.
    fn refused(standing: &'static str) -> Ended {
        let scratch = Scratch::new();
        let server = FakeServer::start(move |peer| {
            while peer.hears().is_some() {
                peer.says(standing);
            }
        });
        let ended = agency_1(&scratch, &server.address, csv(&bets(1, 10), Ends::Lf)).run();
        ended.exits(1);
        assert_eq!(ended.stdout, "");
        assert_eq!(server.messages(), ["REANUDAR|1"], "{standing}");
        ended
    }

    #[test]
    fn another_document_or_number_in_the_place_of_the_last_is_a_clear_error_and_nothing_is_sent() {
        let third = &bets(1, 10)[2];
        assert_eq!((third[2].as_str(), third[4].as_str()), ("30010002", "62"));
        let ended = refused("REANUDAR|3|30019999|62\n");
        ended.says("not the file that was sent before").says("30019999").says("30010002");
        ended.says("Restore that file");
        refused("REANUDAR|3|30010002|63\n").says("number 63").says("number 62");
        refused("REANUDAR|3|30010002|0062\n").says("0062");
        refused("REANUDAR|4|30010002|62\n").says("30010002");
    }

    #[test]
    fn a_file_that_is_another_one_only_after_a_lost_connection_is_not_said_to_be_unsent() {
        let scratch = Scratch::new();
        let office = Office::shared(true);
        let server = honest_unless(&office, |_, office, message| {
            let mut office = locked(office);
            let ends = message.starts_with("APUESTA") && !office.stored.is_empty();
            if ends {
                office.stored = vec!["1|Eva|Sosa|30904462|1999-03-17|1".into(); 4];
            }
            ends
        });
        let client = agency_1(&scratch, &server.address, csv(&bets(1, 10), Ends::Lf));
        let client =
            client.variables(&[("CLI_BATCH_MAX_AMOUNT", "4"), ("CLI_BATCH_PERIOD_MS", "1")]);
        let ended = client.run();
        ended.exits(1).says("not the file that was sent before").says("; nothing more was sent. ");
    }

    #[test]
    fn more_bets_than_the_file_has_are_a_clear_error_and_nothing_is_sent() {
        let tenth = &bets(1, 10)[9];
        assert_eq!((tenth[2].as_str(), tenth[4].as_str()), ("30010009", "279"));
        let ended = refused("REANUDAR|11|30010009|279\n");
        ended.says("the server has 11 bets stored and the file has 10").says("Restore that file");
        refused("REANUDAR|18446744073709551615|30010009|279\n").says("the file has 10");
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_an_error_and_nothing_is_sent() {
        for answer in [
            "REANUDAR|\n",
            "REANUDAR|x\n",
            "REANUDAR|-1\n",
            "REANUDAR|03|30010002|62\n",
            "REANUDAR|3\n",
            "REANUDAR|0|30010002|62\n",
            "REANUDAR|3|30010002\n",
            "REANUDAR|18446744073709551616|30010009|279\n",
            "\n",
            "\u{0}\n",
        ] {
            refused(answer).says("the server does not speak this protocol, it sent");
        }
        for answer in ["CONFIRMARAPUESTA|1\n", "ECO|1\n"] {
            refused(answer).says("which is no reply to the command");
        }
    }

    #[test]
    fn a_connection_that_ends_in_mid_run_is_resumed_wherever_it_was() {
        let bets = bets(1, 50);
        // The connection ends at this many messages; stored or not, confirmed or not.
        for (ends_at, stores) in [(1, false), (2, false), (2, true), (3, true), (4, false)] {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let server = FakeServer::start({
                let office = Arc::clone(&office);
                move |peer| {
                    for count in 1.. {
                        let Some(message) = peer.hears() else { return };
                        let ends = count == ends_at && peer.number <= 3;
                        let answer = if !ends || stores {
                            locked(&office).answer(&message)
                        } else {
                            String::new()
                        };
                        if ends {
                            return;
                        }
                        peer.says(&answer);
                    }
                }
            });
            let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf));
            let settings = [("CLI_BATCH_MAX_AMOUNT", "3"), ("CLI_WINDOW", "4")];
            let ended = client.variables(&settings).run();
            ended.succeeds();
            assert_eq!(locked(&office).stored, all_sent(1, &bets));
            assert_eq!(server.connections(), 4);
            assert_eq!(ended.count("action: connect | result: in_progress"), 3);
        }
    }

    #[test]
    fn a_connection_that_ends_before_the_winners_is_made_again() {
        let scratch = Scratch::new();
        let office = Office::shared(true);
        locked(&office).winners = vec!["30000001".into()];
        let server = honest_unless(&office, |peer, _, message| {
            let ends = message.starts_with("GANADORES") && peer.number <= 3;
            if ends {
                // In the middle of its answer, too.
                peer.says(["", "GANADORES|", "GANADORES|300"][peer.number - 1]);
            }
            ends
        });
        let bets = bets(1, 10);
        let ended = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf)).run();
        ended.succeeds();
        assert_eq!(ended.stdout, "1,30000001\n");
        assert_eq!(locked(&office).stored, all_sent(1, &bets));
        assert_eq!(server.connections(), 4);
    }

    #[test]
    fn after_the_errors_that_the_page_names_a_client_retries_and_after_no_other() {
        let page = include_str!("../../docs/protocol.md");
        let (_, retried) = page.split_once("Retry on a new connection after").expect("it says so");
        let (retried, _) = retried.split_once('.').expect("the sentence ends");
        let named: Vec<&str> = retried.split('`').skip(1).step_by(2).collect();
        assert_eq!(named, RETRIED);

        let words = ErrorCode::ALL.iter().map(|code| code.word());
        for code in words.chain(["of_a_later_version"]).filter(|code| !RETRIED.contains(code)) {
            let scratch = Scratch::new();
            let server = FakeServer::start(move |peer| {
                peer.hears();
                peer.says(&format!("ERROR|{code}|not again\n"));
            });
            let client = agency_1(&scratch, &server.address, csv(&bets(1, 10), Ends::Lf));
            client.run().exits(1).says(&format!("{code}: not again")).never_says("next_try_ms");
            assert_eq!(server.connections(), 1, "{code}");
        }
    }

    #[test]
    fn errors_that_another_connection_may_not_hear_are_tried_again() {
        for code in RETRIED {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let server = FakeServer::start({
                let office = Arc::clone(&office);
                move |peer| {
                    if peer.number == 1 {
                        peer.says(&format!("ERROR|{code}|come back later\n"));
                        return;
                    }
                    while let Some(message) = peer.hears() {
                        let answer = locked(&office).answer(&message);
                        peer.says(&answer);
                    }
                }
            });
            let bets = bets(1, 10);
            let ended = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf)).run();
            ended.succeeds().says(&format!("{code}: come back later"));
            assert_eq!(locked(&office).stored, all_sent(1, &bets));
        }
    }

    #[test]
    fn a_lost_connection_with_batches_on_their_way_is_final_where_the_server_is_not_to_be_asked() {
        let scratch = Scratch::new();
        let office = Office::shared(false);
        let server = FakeServer::start({
            let office = Arc::clone(&office);
            move |peer| {
                let message = peer.hears().expect("a batch");
                locked(&office).answer(&message);
            }
        });
        let client = agency_1(&scratch, &server.address, csv(&bets(1, 10), Ends::Lf));
        let ended = client.variable("CLI_RESUME", "false").run();
        ended.exits(1).says("may be stored or not");
        assert_eq!(server.connections(), 1);
    }

    #[test]
    fn a_batch_whose_confirmation_did_not_arrive_is_not_sent_again_where_the_server_is_not_to_be_asked()
     {
        for code in ["timed_out", "too_many_connections", "stopping", "taken_over"] {
            let scratch = Scratch::new();
            let office = Office::shared(false);
            let server = honest_unless(&office, move |peer, office, _| {
                let is_late = peer.number == 1 && !locked(office).stored.is_empty();
                if is_late {
                    peer.says(&format!("ERROR|{code}|no complete message within 1000 ms\n"));
                }
                is_late
            });
            let bets = bets(1, 10);
            let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf));
            let client =
                client.variables(&[("CLI_RESUME", "false"), ("CLI_BATCH_MAX_AMOUNT", "4")]);
            let ended = client.variable("CLI_BATCH_PERIOD_MS", "1").run();
            ended.exits(1).says(code).says("may be stored or not");
            assert_eq!(locked(&office).stored, all_sent(1, &bets[..4]));
        }
    }

    #[test]
    fn a_connection_lost_between_batches_is_made_again_where_the_server_is_not_to_be_asked() {
        let scratch = Scratch::new();
        let office = Office::shared(false);
        let server = honest_unless(&office, |peer, _, message| {
            message.starts_with("GANADORES") && peer.number == 1
        });
        let bets = bets(1, 10);
        let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf));
        client.variable("CLI_RESUME", "false").run().succeeds();
        assert_eq!(locked(&office).stored, all_sent(1, &bets));
        assert_eq!(server.connections(), 2);
    }
}

mod bad_servers {
    use super::*;

    #[test]
    fn a_batch_that_is_rejected_ends_the_client_with_the_servers_words() {
        let ended =
            run_with_batch_answered("ERROR|invalid_bet|bet 3: document: we do not like it\n");
        ended.exits(1).says("invalid_bet: bet 3: document: we do not like it");
        assert_eq!(ended.stdout, "");
    }

    /// Runs an agency of ten bets in batches of two. The server stores the first batch, refuses the others with `code`,
    /// and has `stored` bets then. Returns how the client ended, and the number of its connections.
    fn run_with_bets_refused(code: &'static str, stored: usize) -> (Ended, usize) {
        let scratch = Scratch::new();
        let bets = bets(1, 10);
        let [_, _, document, _, number] = bets[stored - 1].clone();
        let server = FakeServer::start(move |peer| {
            let mut has_stored = peer.number > 1;
            while let Some(message) = peer.hears() {
                match message.split('|').next() {
                    Some("REANUDAR") if peer.number == 1 => peer.says("REANUDAR|0\n"),
                    Some("REANUDAR") => {
                        peer.says(&format!("REANUDAR|{stored}|{document}|{number}\n"));
                    }
                    Some("GANADORES") => peer.says("GANADORES|\n"),
                    _ if has_stored => peer.says(&format!("ERROR|{code}|no more\n")),
                    _ => {
                        has_stored = true;
                        peer.says("CONFIRMARAPUESTA|2\n");
                    }
                }
            }
        });
        let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf));
        (client.variable("CLI_BATCH_MAX_AMOUNT", "2").run(), server.connections())
    }

    #[test]
    fn an_agency_whose_file_another_client_has_stored_meanwhile_is_done_and_any_other_is_refused() {
        for code in ["draw_held", "agency_finished"] {
            let (done, connections) = run_with_bets_refused(code, 10);
            done.succeeds();
            assert_eq!(connections, 2, "{done}");
            let (refused, connections) = run_with_bets_refused(code, 8);
            refused.exits(1).says(&format!("the server refused: {code}: no more"));
            assert_eq!(connections, 2, "{refused}");
        }
    }

    #[test]
    fn a_server_that_refuses_one_of_many_batches_and_falls_silent_holds_a_client_for_no_longer() {
        let scratch = Scratch::new();
        let server = FakeServer::start(|peer| {
            peer.hears();
            peer.says("REANUDAR|0\n");
            if peer.number == 1 {
                peer.hears();
                peer.says("ERROR|agency_finished|no more\n");
            }
            peer.listens_on();
        });
        // A second for the reply of each would be longer than a program may take.
        let client = agency_1(&scratch, &server.address, csv(&bets(1, 100), Ends::Lf));
        let settings = [
            ("CLI_BATCH_MAX_AMOUNT", "1"),
            ("CLI_REPLY_TIMEOUT_MS", "1000"),
            ("CLI_RETRY_FOR_MS", "0"),
        ];
        client.variables(&settings).run().exits(1);
        assert_eq!(server.connections(), 2);
    }

    #[test]
    fn a_server_that_is_ours_rejects_a_file_that_grew_after_the_agency_was_done() {
        let scratch = Scratch::new();
        let bets = bets(1, 8);
        let server = scratch.server().arguments(&["--agencies", "1"]).start();
        agency_1(&scratch, &server.address(), csv(&bets[..5], Ends::Lf)).run().succeeds();
        let ended = agency_1(&scratch, &server.address(), csv(&bets, Ends::Lf)).run();
        ended.exits(1).says("draw_held");
        assert_eq!(stored(&scratch)[&1], bets[..5]);
    }

    #[test]
    fn without_a_server_it_is_tried_again_with_growing_pauses_until_the_time_is_up() {
        let scratch = Scratch::new();
        let address = lasting_address();
        let client = agency_1(&scratch, &address, csv(&bets(1, 5), Ends::Lf));
        let start = Instant::now();
        let ended = client.variable("CLI_RETRY_FOR_MS", "1500").run();
        let took = start.elapsed();
        ended.exits(1).says("no progress for 1500 ms").says(&address).says("refused");
        assert!(took >= Duration::from_millis(1500), "{took:?}");
        let pauses: Vec<u64> = ended
            .stderr
            .iter()
            .filter_map(|line| line.split_once("next_try_ms: "))
            .map(|(_, pause)| pause.trim().parse().expect("a number of milliseconds"))
            .collect();
        // The last is cut to the time that is left.
        let whole = &pauses[..pauses.len() - 1];
        assert!((3..=10).contains(&whole.len()), "{pauses:?}");
        assert!(whole.windows(3).all(|three| three[2] > three[0]), "{pauses:?}");
        assert!(whole[0] <= 50, "{pauses:?}");
    }

    #[test]
    fn a_client_that_is_not_to_try_again_does_not() {
        let scratch = Scratch::new();
        let address = lasting_address();
        let client = agency_1(&scratch, &address, csv(&bets(1, 5), Ends::Lf));
        let ended = client.variable("CLI_RETRY_FOR_MS", "0").run();
        ended.exits(1).says(&address).never_says("next_try_ms");
    }

    #[test]
    fn a_server_that_comes_late_is_found() {
        let scratch = Scratch::new();
        let address = lasting_address();
        let bets = bets(1, 20);
        let client = agency_1(&scratch, &address, csv(&bets, Ends::Lf)).start();
        client.logs_times("action: connect | result: in_progress", 2);
        let server = scratch.bare_server().arguments(&["--agencies", "1", "--address", &address]);
        let _server = server.start();
        client.ends().succeeds();
        assert_eq!(stored(&scratch)[&1], bets);
    }

    #[test]
    fn a_silent_server_is_given_up_after_the_reply_timeout_and_the_time_to_retry() {
        for resume in ["true", "false"] {
            let scratch = Scratch::new();
            let server = FakeServer::start(|peer| peer.listens_on());
            let client = agency_1(&scratch, &server.address, csv(&bets(1, 5), Ends::Lf));
            let settings = [
                ("CLI_REPLY_TIMEOUT_MS", "150"),
                ("CLI_RETRY_FOR_MS", "600"),
                ("CLI_RESUME", resume),
            ];
            let start = Instant::now();
            let ended = client.variables(&settings).run();
            ended.exits(1).says("no reply within 150 ms");
            assert!(start.elapsed() < WITHIN / 4);
            // Without resuming the first batch is in doubt, and that is the end.
            assert_eq!(server.connections() == 1, resume == "false", "{ended}");
        }
    }

    #[test]
    fn a_server_that_drips_its_answer_is_given_up_all_the_same() {
        let scratch = Scratch::new();
        let server = FakeServer::start(|peer| {
            peer.hears();
            // A byte now and then, for longer than the client may wait for a whole line.
            for _ in 0..1000 {
                peer.says("R");
                if !peer.is_silent_for(Duration::from_millis(20)) {
                    return;
                }
            }
        });
        let client = agency_1(&scratch, &server.address, csv(&bets(1, 5), Ends::Lf));
        let settings = [("CLI_REPLY_TIMEOUT_MS", "200"), ("CLI_RETRY_FOR_MS", "0")];
        client.variables(&settings).run().exits(1).says("no reply within 200 ms");
    }

    #[test]
    fn the_wait_for_the_draw_has_no_reply_timeout() {
        let scratch = Scratch::new();
        let office = Office::shared(true);
        let server = honest_unless(&office, |peer, _, message| {
            if message.starts_with("GANADORES") {
                assert!(peer.is_silent_for(Duration::from_millis(700)), "it went on");
            }
            false
        });
        let client = agency_1(&scratch, &server.address, csv(&bets(1, 5), Ends::Lf));
        let settings = [("CLI_REPLY_TIMEOUT_MS", "200"), ("CLI_RETRY_FOR_MS", "300")];
        client.variables(&settings).run().succeeds();
        assert_eq!(server.connections(), 1);
    }

    #[test]
    fn the_pause_between_batches_is_no_time_without_progress() {
        let scratch = Scratch::new();
        let office = Office::shared(true);
        let server = honest_unless(&office, |peer, office, message| {
            let is_first_batch = message.starts_with("APUESTA") && peer.number == 1;
            if is_first_batch {
                // It does not wait for the next one.
                let confirmation = locked(office).answer(message);
                peer.says(&confirmation);
            }
            is_first_batch
        });
        let bets = bets(1, 2);
        let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf));
        let settings = [
            ("CLI_BATCH_PERIOD_MS", "2000"),
            ("CLI_BATCH_MAX_AMOUNT", "1"),
            ("CLI_RETRY_FOR_MS", "1500"),
        ];
        client.variables(&settings).run().succeeds();
        assert_eq!(locked(&office).stored, all_sent(1, &bets));
        assert_eq!(server.connections(), 2);
    }

    #[test]
    fn a_server_that_speaks_something_else_is_an_error_that_shows_what_it_said() {
        let answers = [
            ("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 Bad Request"),
            ("220 mail.example ESMTP\r\n", "220 mail.example ESMTP"),
            ("\u{1b}[31mred\n", "red"),
            ("reanudar|0\n", "reanudar"),
        ];
        for (answer, shown) in answers {
            let scratch = Scratch::new();
            let server = FakeServer::start(move |peer| {
                peer.hears();
                peer.says(answer);
            });
            let ended = agency_1(&scratch, &server.address, csv(&bets(1, 5), Ends::Lf)).run();
            ended.exits(1).says(shown).never_says("\u{1b}");
            assert_eq!(ended.last().matches(" | ").count(), 2, "values have no bars: {ended}");
            assert_eq!(server.connections(), 1, "{ended}");
        }
    }

    #[test]
    fn the_longest_status_is_read_and_its_bets_are_shown_up_to_the_largest_number() {
        let scratch = Scratch::new();
        let server = FakeServer::start(|peer| {
            peer.hears();
            let agency = |agency| format!("|{agency},{},TERMINADA", u64::MAX);
            let agencies: String = (1..=10_000).map(agency).collect();
            peer.says(&format!("ESTADO|REALIZADO,{}{agencies}\n", u64::MAX));
        });
        let ended = scratch.client(&server.address).arguments(&["--status", "--json"]).run();
        ended.exits(0);
        assert!(ended.stdout.contains(&format!("\"bets\":{},\"agencies\"", u64::MAX)), "{ended}");
        assert!(ended.stdout.contains("{\"agency\":10000,"), "{ended}");
    }

    #[test]
    fn a_line_without_an_end_is_not_read_for_ever() {
        let scratch = Scratch::new();
        let server = FakeServer::start(|peer| {
            peer.hears();
            peer.says(&"R".repeat(1 << 20));
            peer.listens_on();
        });
        let ended = agency_1(&scratch, &server.address, csv(&bets(1, 5), Ends::Lf)).run();
        ended.exits(1).says("a line of more than 8192 bytes");
    }

    #[test]
    fn winners_may_be_more_than_fit_into_a_message() {
        let scratch = Scratch::new();
        let office = Office::shared(true);
        let documents: Vec<String> = (0..2000).map(|i| (30_000_000 + i).to_string()).collect();
        locked(&office).winners.clone_from(&documents);
        let server = honest(&office);
        let ended = agency_1(&scratch, &server.address, csv(&bets(1, 2000), Ends::Lf)).run();
        ended.succeeds().says("cant_ganadores: 2000");
        let printed: String = documents.iter().map(|document| format!("1,{document}\n")).collect();
        assert_eq!(ended.stdout, printed);
    }

    #[test]
    fn however_many_agencies_fail_the_server_is_asked_once_whether_the_draw_was_held() {
        const AGENCIES: usize = 20;
        let scratch = Scratch::new();
        for agency in 1..=AGENCIES {
            scratch.write(&format!("agencies/agency-{agency}.csv"), csv(&bets(1, 1), Ends::Lf));
        }
        let server = FakeServer::start(|peer| {
            while let Some(message) = peer.hears() {
                if message == "ESTADO" {
                    peer.says("ESTADO|REALIZADO,0|1,1,TERMINADA\n");
                } else {
                    peer.says("REANUDAR|1|1234567|1\n");
                }
            }
        });
        scratch.client(&server.address).run().exits(1).says("not the file that was sent before");
        let messages = server.messages();
        let asked = |message: &str| messages.iter().filter(|heard| *heard == message).count();
        assert_eq!(messages.len(), AGENCIES + asked("ESTADO"), "{messages:?}");
        assert_eq!(asked("ESTADO"), 1);
    }

    #[test]
    fn one_agencys_failure_ends_the_wait_of_the_others_after_they_have_sent_all() {
        let scratch = Scratch::new();
        let files = [bets(1, 40), bets(2, 5), bets(3, 40)];
        for (agency, bets) in (1..).zip(&files) {
            scratch.write(&format!("agencies/agency-{agency}.csv"), csv(bets, Ends::Lf));
        }
        let offices = Arc::new([Office::shared(true), Office::shared(true), Office::shared(true)]);
        let waiting = Arc::new(AtomicUsize::new(0));
        let server = FakeServer::start({
            let (offices, waiting) = (Arc::clone(&offices), Arc::clone(&waiting));
            move |peer| {
                while let Some(message) = peer.hears() {
                    if message == "ESTADO" {
                        peer.says("ESTADO|PENDIENTE|1,40,ESPERA|2,0,ABIERTA|3,40,ESPERA\n");
                        continue;
                    }
                    let agency = message.split('|').nth(1).expect("a message names its agency");
                    let agency: usize = agency.parse().expect("an agency is a number");
                    if message.starts_with("GANADORES") {
                        waiting.fetch_add(1, Ordering::SeqCst);
                        peer.listens_on();
                        return;
                    }
                    if agency == 2 && message.starts_with("APUESTA") {
                        peer.says("ERROR|storage_failed|no room\n");
                        return;
                    }
                    let answer = locked(&offices[agency - 1]).answer(&message);
                    peer.says(&answer);
                }
            }
        });
        let ended = scratch.client(&server.address).run();
        ended.exits(1).says("storage_failed: no room; make room on the disk of the server");
        assert_eq!(ended.stdout, "");
        for agency in [1, 3] {
            assert_eq!(locked(&offices[agency - 1]).stored, all_sent(agency, &files[agency - 1]));
        }
    }

    #[test]
    fn a_server_that_forgot_what_it_had_confirmed_gets_nothing_more() {
        // It has all bets when the connection is lost, or some of them; it keeps a part, or none.
        for (lost_at, kept) in [("GANADORES", 5), ("GANADORES", 0), ("APUESTA", 2), ("APUESTA", 0)]
        {
            let scratch = Scratch::new();
            let bets = bets(1, 12);
            let office = Office::shared(true);
            let server = honest_unless(&office, move |peer, office, message| {
                let mut office = locked(office);
                let has_some = office.stored.len() >= 4;
                let ends = message.starts_with(lost_at) && has_some && peer.number == 1;
                if ends {
                    // As after the restore of an older copy, or at the beginning of another draw.
                    office.stored.truncate(kept);
                }
                ends
            });
            let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf));
            let settings = [("CLI_BATCH_MAX_AMOUNT", "4"), ("CLI_WINDOW", "1")];
            let ended = client.variables(&settings).run();
            let confirmed = if lost_at == "GANADORES" { 12 } else { 4 };
            ended.exits(1).says(&format!("confirmed {confirmed} bets of agency 1 to this client"));
            ended.says(&format!("has {kept} now")).says("nothing more was sent");
            assert_eq!(ended.stdout, "");
            assert_eq!(locked(&office).stored, all_sent(1, &bets[..kept]));
            assert_eq!(server.connections(), 2);
        }
    }

    #[test]
    fn a_client_whose_place_is_taken_again_and_again_gives_up() {
        let scratch = Scratch::new();
        let office = Office::shared(true);
        let server = honest_unless(&office, |peer, _, message| {
            let ends = message.starts_with("GANADORES");
            if ends {
                // Another client of the agency comes a moment later, every time.
                peer.is_silent_for(Duration::from_millis(100));
                peer.says("ERROR|superseded|agency 1 waits on a newer connection\n");
            }
            ends
        });
        let client = agency_1(&scratch, &server.address, csv(&bets(1, 5), Ends::Lf));
        let start = Instant::now();
        let ended = client.variable("CLI_RETRY_FOR_MS", "1000").run();
        ended
            .exits(1)
            .says("no progress for 1000 ms")
            .says("error: the server refused: superseded: ");
        ended.says("another client runs this agency").never_says("check that a server runs");
        assert!(start.elapsed() < Duration::from_secs(5), "{ended}");
        assert!(server.connections() <= 8, "{ended}");
    }

    #[test]
    fn a_client_that_has_waited_for_longer_than_it_retries_comes_back_to_the_draw() {
        let scratch = Scratch::new();
        let office = Office::shared(true);
        let is_first = AtomicBool::new(true);
        let server = honest_unless(&office, move |peer, _, message| {
            let ends = message.starts_with("GANADORES") && is_first.swap(false, Ordering::SeqCst);
            if ends {
                peer.is_silent_for(Duration::from_millis(1_500));
            }
            ends
        });
        let client = agency_1(&scratch, &server.address, csv(&bets(1, 5), Ends::Lf));
        client.variable("CLI_RETRY_FOR_MS", "1000").run().succeeds();
        assert_eq!(server.connections(), 2);
    }

    #[test]
    fn a_client_that_waits_for_the_draw_has_all_its_time_to_retry_at_each_outage_of_the_server() {
        const AWAY: Duration = Duration::from_millis(2_500);
        let scratch = Scratch::new();
        let (away_since, is_first) = (Mutex::new(None), AtomicBool::new(true));
        let server = honest_unless(&Office::shared(true), move |peer, _, message| {
            let mut away_since = locked(&away_since);
            if away_since.get_or_insert_with(Instant::now).elapsed() < AWAY {
                return true;
            }
            let ends = message.starts_with("GANADORES") && is_first.swap(false, Ordering::SeqCst);
            if ends {
                // This is longer than the longest pause.
                peer.is_silent_for(Duration::from_secs(6));
                *away_since = Some(Instant::now());
            }
            ends
        });
        // Without bets there are no confirmations, which would be progress too.
        let client = agency_1(&scratch, &server.address, "");
        client.variable("CLI_RETRY_FOR_MS", "4500").run().succeeds();
    }

    #[test]
    fn a_client_goes_on_for_as_long_as_each_connection_brings_it_further() {
        // The server ends each connection after a batch, before or after its confirmation. The pauses of a client without
        // progress grow to more than this.
        let retries = [("CLI_RETRY_FOR_MS", "4000"), ("CLI_BATCH_MAX_AMOUNT", "1")];
        for is_confirmed in [false, true] {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let server = honest_unless(&office, move |peer, office, message| {
                let ends = message.starts_with("APUESTA");
                if ends {
                    let confirmation = locked(office).answer(message);
                    if is_confirmed {
                        peer.says(&confirmation);
                    }
                }
                ends
            });
            let bets = bets(1, 12);
            let client = agency_1(&scratch, &server.address, csv(&bets, Ends::Lf));
            client.variables(&retries).variable("CLI_WINDOW", "1").run().succeeds();
            assert_eq!(locked(&office).stored, all_sent(1, &bets));
            assert_eq!(server.connections(), 13);
        }
    }

    #[test]
    fn a_client_for_which_the_server_has_no_place_says_how_to_make_one() {
        let scratch = Scratch::new();
        let server = honest_unless(&Office::shared(true), |peer, _, _| {
            peer.says("ERROR|too_many_connections|limit of 7 connections reached\n");
            true
        });
        let client = agency_1(&scratch, &server.address, csv(&bets(1, 5), Ends::Lf));
        let retries = client.variable("CLI_RETRY_FOR_MS", "200").run();
        let asks_once = scratch.client(&server.address).arguments(&["--status"]).run();
        for ended in [retries, asks_once] {
            ended.exits(1).says("limit of 7 connections reached; raise server.max_connections");
            ended.never_says("check that a server runs");
        }
    }
}
