//! At stake: the lottery itself, with both programs and files as agencies write them. Every line is stored
//! once, the draw is held once, everybody hears their own winners, whatever is started again in between;
//! and a server that finds its files in a state that it must not go on from says so and leaves them alone.

use crate::sample::{
    Bet, Ends, all_winners, assert_all_stored, assert_all_stored_in, bets, csv, five_agencies,
    stored, winners,
};
use crate::support::peer::Peer;
use crate::support::program::{Program, Scratch, Start, lasting_address, starts_programs};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

const HELD: &str = "action: sorteo | result: success";

fn draw(scratch: &Scratch) -> toml::Table {
    scratch.read("sorteo.toml").parse().expect("sorteo.toml is TOML")
}

/// `sorteo.toml` says what the files say.
#[track_caller]
fn assert_draw(scratch: &Scratch, agencies: &[Vec<Bet>]) {
    let draw = draw(scratch);
    assert_eq!(draw["winning_number"].as_integer(), Some(7574));
    assert!(draw["held_at"].is_datetime(), "{draw}");
    let results = draw["agency"].as_array().expect("a table for each agency");
    assert_eq!(results.len(), agencies.len());
    for ((agency, bets), result) in (1..).zip(agencies).zip(results) {
        assert_eq!(result["id"].as_integer(), i64::try_from(agency).ok());
        assert_eq!(result["bets"].as_integer(), i64::try_from(bets.len()).ok());
        let documents = result["winners"].as_array().expect("a list of winners").iter();
        let documents = documents.map(|document| document.as_str().expect("documents are text"));
        let printed: Vec<String> =
            documents.map(|document| format!("{agency},{document}\n")).collect();
        assert_eq!(printed, winners(agency, bets));
    }
}

/// The lottery of the five agencies, held with one client for all.
fn held(scratch: &Scratch) -> (Program, Vec<Vec<Bet>>) {
    let agencies = five_agencies(scratch);
    let server = scratch.server().start();
    let ended = scratch.client(&server.address()).run();
    ended.succeeds();
    assert_eq!(ended.sorted_stdout(), all_winners(&agencies));
    (server, agencies)
}

#[test]
fn a_client_with_more_agencies_than_may_send_at_once_has_all_of_them_meet() {
    const AGENCIES: usize = 70;
    let scratch = Scratch::new();
    let agencies: Vec<Vec<Bet>> = (1..=AGENCIES).map(|agency| bets(agency, 3)).collect();
    for (agency, bets) in (1..).zip(&agencies) {
        scratch.write(&format!("agencies/agency-{agency}.csv"), csv(bets, Ends::Lf));
    }
    let server = scratch.server().arguments(&["--agencies", &AGENCIES.to_string()]);
    let server = server.variable("SERVER_MAX_CONNECTIONS", "200").start();
    for _again in 0..2 {
        let ended = scratch.client(&server.address()).run();
        ended.succeeds();
        assert_eq!(ended.sorted_stdout(), all_winners(&agencies));
    }
    assert_all_stored(&scratch, &agencies);
    server.stops_on("TERM");
}

#[test]
fn an_agency_that_pauses_between_batches_keeps_no_other_one_from_sending() {
    const AGENCIES: usize = 70;
    let scratch = Scratch::new();
    for agency in 1..=AGENCIES {
        scratch.write(&format!("agencies/agency-{agency}.csv"), csv(&bets(agency, 2), Ends::Lf));
    }
    let server = scratch.server().arguments(&["--agencies", &AGENCIES.to_string()]);
    let server = server.variable("SERVER_MAX_CONNECTIONS", "200").start();
    let client = scratch.client(&server.address()).variable("CLI_BATCH_MAX_AMOUNT", "1");
    let client = client.variable("CLI_BATCH_PERIOD_MS", "3600000").start();
    // The first batch of each, while none sends its second.
    server.logs_times("action: apuesta_recibida | result: success", AGENCIES);
    client.stops_on("TERM");
    server.stops_on("TERM");
}

#[test]
fn one_client_sends_all_agencies_and_prints_their_winners_and_nothing_else() {
    let scratch = Scratch::new();
    let (server, agencies) = held(&scratch);
    assert_all_stored(&scratch, &agencies);
    assert_draw(&scratch, &agencies);
    let ended = server.stops_on("TERM");
    assert_eq!(ended.count(HELD), 1);
    assert_eq!(ended.stdout, "");
    assert_eq!(scratch.names(), ["agencies", "bets.csv", "bets.journal", "sorteo.toml"]);
}

#[test]
fn a_process_for_each_agency_hears_its_own_winners_only() {
    let scratch = Scratch::new();
    let agencies = five_agencies(&scratch);
    let server = scratch.server().start();
    let address = server.address();
    let client = |agency: usize| {
        let client = scratch.client(&address).variable("CLI_ID", agency.to_string());
        client.variable("CLI_BATCH_MAX_AMOUNT", "7").start()
    };
    let clients: Vec<Program> = (1..=5).map(client).collect();
    for ((agency, bets), client) in (1..).zip(&agencies).zip(clients) {
        let ended = client.ends();
        ended.succeeds();
        let winners = winners(agency, bets);
        assert_eq!(ended.stdout, winners.concat());
        ended.says(&format!(
            "action: consulta_ganadores | result: success | cant_ganadores: {}",
            winners.len()
        ));
    }
    assert_all_stored(&scratch, &agencies);
    assert_draw(&scratch, &agencies);
}

#[test]
fn whoever_won_twice_is_printed_twice_and_however_the_number_was_written() {
    let scratch = Scratch::new();
    let lines = "Ana,Gómez,30000001,2000-02-29,75\nAna,Gómez,30000001,2000-02-29,0075\n\
                 Eva,Ruiz,30000002,1999-12-31,7575\nEva,Ruiz,30000002,1999-12-31,075\n\
                 Leo,Ruiz,7500075,1999-12-31,750\n";
    scratch.write("agencies/agency-1.csv", lines);
    let server = scratch.server().arguments(&["--agencies", "1", "--winning-number", "75"]);
    let server = server.start();
    let ended = scratch.client(&server.address()).run();
    ended.succeeds();
    assert_eq!(ended.stdout, "1,30000001\n1,30000001\n1,30000002\n");
}

#[test]
fn a_second_run_prints_the_same_winners_and_stores_nothing() {
    let scratch = Scratch::new();
    let (server, agencies) = held(&scratch);
    let before = (scratch.read("bets.csv"), scratch.read("sorteo.toml"));
    let ended = scratch.client(&server.address()).run();
    ended.succeeds().never_says("action: apuesta_enviada");
    assert_eq!(ended.sorted_stdout(), all_winners(&agencies));
    let one = scratch.client(&server.address()).arguments(&["--agency", "3"]).run();
    one.succeeds();
    assert_eq!(one.stdout, winners(3, &agencies[2]).concat());
    assert_eq!((scratch.read("bets.csv"), scratch.read("sorteo.toml")), before);
    assert_eq!(server.stops_on("INT").count(HELD), 1);
}

#[test]
fn a_server_that_was_restarted_after_the_draw_answers_and_takes_no_bet() {
    let scratch = Scratch::new();
    let (server, agencies) = held(&scratch);
    server.stops_on("TERM");
    let before = (scratch.read("bets.csv"), scratch.read("sorteo.toml"));

    let server = scratch.server().start();
    let again = scratch.client(&server.address()).run();
    again.succeeds();
    assert_eq!(again.sorted_stdout(), all_winners(&agencies));
    let late = scratch.client(&server.address()).variables(&[
        ("CLI_ID", "2"),
        ("NOMBRE", "Ana"),
        ("APELLIDO", "Tarde"),
        ("DOCUMENTO", "30999888"),
        ("NACIMIENTO", "2000-01-01"),
        ("NUMERO", "7574"),
    ]);
    late.run().exits(1).says("draw_held");
    server.stops_on("TERM").never_says(HELD);
    assert_eq!((scratch.read("bets.csv"), scratch.read("sorteo.toml")), before);
}

#[test]
fn the_result_of_a_draw_stays_whatever_number_a_later_start_names() {
    let scratch = Scratch::new();
    let (server, agencies) = held(&scratch);
    server.stops_on("TERM");
    let before = scratch.read("sorteo.toml");
    let server = scratch.server().arguments(&["--winning-number", "1"]).start();
    let ended = scratch.client(&server.address()).run();
    assert_eq!(ended.sorted_stdout(), all_winners(&agencies));
    assert_eq!(scratch.read("sorteo.toml"), before);
    let ended = server.stops_on("TERM");
    ended.says("the draw was held on 7574, and the winning number is set to 1; the draw stands");
}

#[test]
fn a_server_that_is_restarted_before_the_draw_holds_it_when_the_others_have_come() {
    let scratch = Scratch::new();
    let agencies = five_agencies(&scratch);
    let address = lasting_address();
    let start = || scratch.bare_server().arguments(&["--address", &address]).start();
    let client = |agency: &str| scratch.client(&address).arguments(&["--agency", agency]).start();
    let server = start();
    server.address();
    let early = [client("1"), client("2"), client("4")];
    server.logs("action: apuesta_recibida | result: success");
    let ended = server.stops_on("TERM");
    ended.never_says(HELD);
    assert_eq!(scratch.read_if_there("sorteo.toml"), None);

    let server = start();
    server.address();
    let late = [client("3"), client("5")];
    for (client, agency) in early.into_iter().chain(late).zip([1, 2, 4, 3, 5]) {
        let ended = client.ends();
        ended.succeeds();
        assert_eq!(ended.stdout, winners(agency, &agencies[agency - 1]).concat());
    }
    assert_all_stored(&scratch, &agencies);
    assert_draw(&scratch, &agencies);
    assert_eq!(server.stops_on("TERM").count(HELD), 1);
}

#[test]
fn a_server_that_was_told_so_exits_after_the_draw_when_all_have_heard() {
    for told in ["flag", "variable", "file"] {
        let scratch = Scratch::new();
        let agencies = five_agencies(&scratch);
        let server = match told {
            "flag" => scratch.server().arguments(&["--exit-after-draw"]),
            "variable" => scratch.server().variable("SERVER_EXIT_AFTER_DRAW", "true"),
            _ => {
                scratch.write("config.toml", "[server]\nexit_after_draw = true\n");
                scratch.server()
            }
        };
        let server = server.start();
        let ended = scratch.client(&server.address()).run();
        ended.succeeds();
        assert_eq!(ended.sorted_stdout(), all_winners(&agencies));
        let ended = server.ends();
        ended.succeeds().never_says("told: not every agency");
        assert_eq!(ended.count(HELD), 1, "{ended}");
    }
}

#[test]
fn a_server_that_exits_after_the_draw_waits_for_who_is_late_but_not_forever() {
    let scratch = Scratch::new();
    let (server, agencies) = held(&scratch);
    server.stops_on("TERM");
    let server = scratch.server().arguments(&["--exit-after-draw"]);
    let server = server.variable("SERVER_MESSAGE_TIMEOUT_MS", "1500").start();
    let one = scratch.client(&server.address()).arguments(&["--agency", "1"]).run();
    assert_eq!(one.stdout, winners(1, &agencies[0]).concat());
    server.ends().succeeds().says("told: not every agency");
}

/// Sets the files aside, under this number.
fn set_aside(scratch: &Scratch, number: u32) {
    let ended = scratch.server().arguments(&["--new-draw"]).run();
    ended.exits(0).says(&format!("action: new_draw | result: success | bets: bets.{number}.csv"));
    ended.never_says("action: accept_connections");
}

#[test]
fn a_new_draw_sets_the_files_of_a_finished_one_aside_under_the_next_number() {
    let scratch = Scratch::new();
    let (server, agencies) = held(&scratch);
    server.stops_on("TERM");
    let first = (scratch.read("bets.csv"), scratch.read("sorteo.toml"));

    for number in [1, 2] {
        set_aside(&scratch, number);
        assert_eq!(scratch.read_if_there("bets.csv"), None);
        let server = scratch.server().start();
        scratch.client(&server.address()).run().succeeds();
        assert_all_stored(&scratch, &agencies);
        assert_draw(&scratch, &agencies);
        server.stops_on("TERM");
        // What was set aside can still be checked.
        let (bets, result) = (format!("bets.{number}.csv"), format!("sorteo.{number}.toml"));
        let aside = scratch.server().arguments(&["--verify", "--bets", &bets]);
        aside.variable("DRAW_FILE", &result).run().exits(0);
    }
    assert_eq!((scratch.read("bets.1.csv"), scratch.read("sorteo.1.toml")), first);
    let expected = [
        "agencies",
        "bets.1.csv",
        "bets.1.journal",
        "bets.2.csv",
        "bets.2.journal",
        "bets.csv",
        "bets.journal",
        "sorteo.1.toml",
        "sorteo.2.toml",
        "sorteo.toml",
    ];
    assert_eq!(scratch.names(), expected);
}

#[test]
fn a_new_draw_is_refused_while_one_is_not_finished() {
    let scratch = Scratch::new();
    let bet = "1,Ana,Gómez,30000001,2000-02-29,75\n";
    scratch.write("bets.csv", bet);
    let ended = scratch.server().arguments(&["--new-draw"]).refuses_to_start();
    ended.says("not finished").says("sorteo.toml");
    assert_eq!(scratch.read("bets.csv"), bet);
    assert_eq!(scratch.names(), ["bets.csv"]);
}

#[test]
fn a_new_draw_over_nothing_is_refused() {
    let scratch = Scratch::new();
    let refuses = |why| {
        let ended = scratch.server().arguments(&["--new-draw"]).refuses_to_start();
        ended.says(why);
    };
    refuses("there is no draw to set aside");
    assert_eq!(scratch.names(), [""; 0]);
    let server = scratch.server().start();
    server.address();
    server.stops_on("TERM");
    refuses("not finished");
    assert_eq!(scratch.names(), ["bets.csv", "bets.journal"]);
}

#[test]
fn a_new_draw_leaves_the_files_of_a_server_at_work_alone() {
    let scratch = Scratch::new();
    let (server, agencies) = held(&scratch);
    let other = scratch.server().arguments(&["--new-draw"]);
    other.refuses_to_start().says("bets.csv: another server is using it");
    assert_all_stored(&scratch, &agencies);
    assert_draw(&scratch, &agencies);
    server.stops_on("TERM");
    assert_eq!(scratch.names(), ["agencies", "bets.csv", "bets.journal", "sorteo.toml"]);
}

#[test]
fn a_new_draw_overwrites_no_file_and_follows_links() {
    let scratch = Scratch::new();
    let (server, agencies) = held(&scratch);
    server.stops_on("TERM");
    for directory in ["data", "kept"] {
        fs::create_dir(scratch.path(directory)).expect("a directory");
    }
    for (name, file, link, target) in [
        ("bets.csv", "data/bets.csv", "bets.csv", "data/bets.csv"),
        // The journal is beside the file that the link to the bets leads to, and a link too.
        ("bets.journal", "kept/log.journal", "data/bets.journal", "../kept/log.journal"),
        ("sorteo.toml", "data/sorteo.toml", "sorteo.toml", "data/sorteo.toml"),
    ] {
        fs::rename(scratch.path(name), scratch.path(file)).expect("a file");
        std::os::unix::fs::symlink(target, scratch.path(link)).expect("a symbolic link");
    }
    scratch.write("data/bets.1.csv", "somebody's own");
    let ended = scratch.server().arguments(&["--new-draw"]).run();
    ended.exits(0).says("bets: data/bets.2.csv").says("draw: data/sorteo.2.toml");
    ended.says("journal: data/../kept/log.2.journal");
    assert_all_stored_in(&scratch, "data/bets.2.csv", &agencies);
    assert_eq!(scratch.read("data/bets.1.csv"), "somebody's own");
    assert_eq!(scratch.names(), ["agencies", "bets.csv", "data", "kept", "sorteo.toml"]);
    assert!(!scratch.path("kept/log.journal").exists());
}

#[test]
fn a_line_of_a_check_or_of_a_new_draw_is_one_line_whatever_the_names_of_the_files_are() {
    let scratch = Scratch::new();
    let server = |switches: &[&str]| {
        let names = [("BETS_FILE", "be|ts\n.csv"), ("DRAW_FILE", "so|rteo\n.toml")];
        scratch.server().arguments(&["--agencies", "1"]).arguments(switches).variables(&names)
    };
    let held = server(&[]).start();
    let mut agency = Peer::at(held.address());
    agency.says("GANADORES|1");
    agency.hears("GANADORES|");
    held.stops_on("TERM");
    let verified = server(&["--verify"]).run();
    verified.exits(0);
    assert!(verified.stdout.starts_with("so¦rteo .toml: held at "), "{verified}");
    assert!(verified.stdout.ends_with("\nbe¦ts .csv: 0 bets, all valid\n"), "{verified}");
    let (journal, aside) = (scratch.path("be|ts\n.journal"), scratch.path("aside"));
    fs::rename(&journal, &aside).expect("the journal");
    scratch.write("be|ts\n.csv", "torn");
    let differs = server(&["--verify"]).run();
    differs.exits(1);
    assert!(differs.stdout.contains("\nbe¦ts .csv: has 4 bytes behind"), "{differs}");
    scratch.write("be|ts\n.csv", "");
    fs::rename(&aside, &journal).expect("the journal");
    let ended = server(&["--new-draw"]).run();
    ended.exits(0).says("| bets: be¦ts .1.csv | journal: be¦ts .1.journal | draw: so¦rteo .1.toml");
}

#[test]
fn a_check_counts_what_there_is_and_says_so_if_there_is_nothing() {
    let scratch = Scratch::new();
    let server = || scratch.server().arguments(&["--agencies", "1"]);
    let check = || server().arguments(&["--verify"]).run();
    let why =
        "error: bets.csv: no such file, and no journal beside it; --bets and --draw name others";
    check().exits(1).says(why);
    let held = server().start();
    let mut agency = Peer::at(held.address());
    agency.says("APUESTA|1|Ana|Paz|30904461|1999-03-17|7574;FINAPUESTA;GANADORES|1");
    agency.hears("CONFIRMARAPUESTA|1");
    agency.hears("GANADORES|30904461");
    held.stops_on("TERM");
    let checked = check();
    checked.exits(0);
    assert!(checked.stdout.contains(" on 7574, 1 winner\n"), "{checked}");
    assert!(checked.stdout.ends_with("bets.csv: 1 bet, all valid\n"), "{checked}");
    let (bets, result) = (scratch.read("bets.csv"), scratch.read("sorteo.toml"));
    scratch.write("bets.csv", "");
    let checked = check();
    checked.exits(1);
    let [first, ..] = checked.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{checked}") };
    assert!(first.contains("sorteo.toml: held at "), "{checked}");
    scratch.write("sorteo.toml", "");
    assert!(!check().stdout.contains("not there"), "it is there, and the draw was held");
    scratch.write("bets.csv", bets);
    scratch.write("sorteo.toml", result);
    let other = scratch.server().arguments(&["--agencies", "2"]).refuses_to_start();
    other.says("error: bets.journal: the bets are of a lottery of 1 agency, and this one has 2: ");
    other.says(": go on with AGENCIES=1");
}

#[test]
fn a_check_says_of_each_file_what_it_is_whatever_the_others_are() {
    const MISSING: &str = "bets.journal: is missing: nothing says what was confirmed";
    const TORN: &str = "bets.csv: has 4 bytes behind its last line end: ";
    let (result, no_draw) =
        ("sorteo.toml: held at ", "sorteo.toml: not there, the draw was not held");
    let (journal, bets) = ("bets.journal: confirms 35 bytes of bets", "bets.csv: 1 bet, all valid");
    let unknown = "sorteo.toml: not there, and no journal says whether the draw was held";
    let not_compared = "sorteo.toml: cannot be compared with the bets";
    // Whether the draw is held, and what befalls the files afterwards.
    let states: [(bool, &[Edit<'_>], &[&str]); 13] = [
        (true, &[], &[result, journal, bets]),
        (false, &[], &[no_draw, journal, bets]),
        (
            false,
            &[("bets.csv", Some(ROW_AND_MORE))],
            &[no_draw, journal, "bets.csv: has 39 bytes, and "],
        ),
        (true, &[("bets.csv", None)], &[result, journal, "bets.csv: is missing, and "]),
        (true, &[("sorteo.toml", None)], &["sorteo.toml: is missing, and the", journal, bets]),
        (true, &[("sorteo.toml", Some("x"))], &["sorteo.toml: ", journal, bets]),
        (true, &[("bets.journal", None)], &[result, MISSING, bets]),
        (false, &[("bets.journal", None)], &[unknown, MISSING, bets]),
        (false, &[("bets.journal", Some("x"))], &[unknown, "bets.journal: has 1 bytes", bets]),
        (
            false,
            &[("bets.journal", Some("")), ("bets.csv", Some(ROW_AND_MORE))],
            &[unknown, "bets.journal: has 0 bytes", TORN],
        ),
        (
            true,
            &[("bets.journal", None), ("bets.csv", Some(ROW_AND_MORE)), ("sorteo.toml", Some("x"))],
            &["sorteo.toml: ", MISSING, TORN],
        ),
        (
            true,
            &[("bets.journal", None), ("bets.csv", Some("x\n"))],
            &[result, not_compared, MISSING, "bets.csv: line 1: "],
        ),
        (
            true,
            &[("bets.journal", None), ("bets.csv", None)],
            &[result, MISSING, "bets.csv: is missing, and no journal says"],
        ),
    ];
    for (is_held, edits, lines) in states {
        let scratch = Scratch::new();
        let server = || scratch.server().arguments(&["--agencies", "1"]);
        if is_held {
            hold_draw(server(), Some(BET));
        } else {
            let server = server().start();
            let mut agency = Peer::at(server.address());
            agency.says(&format!("{BET};FINAPUESTA"));
            agency.hears("CONFIRMARAPUESTA|1");
            server.stops_on("TERM");
        }
        for (name, text) in edits {
            match text {
                Some(text) => scratch.write(name, text),
                None => fs::remove_file(scratch.path(name)).expect("a file"),
            }
        }
        let checked = server().arguments(&["--verify"]).run();
        checked.exits(i32::from(!edits.is_empty()));
        for line in lines {
            assert!(checked.stdout.lines().any(|said| said.starts_with(line)), "{line}: {checked}");
        }
    }
    // Of a lottery without bets.
    let scratch = Scratch::new();
    scratch.write("bets.csv", "");
    let check = || scratch.server().arguments(&["--verify"]).run();
    let no_journal = "bets.journal: not there, no bets are stored";
    check().exits(0).prints(&format!("{no_draw}\n{no_journal}\nbets.csv: 0 bets, all valid\n"));
    let server = scratch.server().start();
    server.address();
    server.stops_on("TERM");
    fs::remove_file(scratch.path("bets.csv")).expect("a file");
    let (journal, no_bets) =
        ("bets.journal: confirms 0 bytes of bets", "bets.csv: not there, no bets are confirmed");
    check().exits(0).prints(&format!("{no_draw}\n{journal}\n{no_bets}\n"));
}

/// A file that is removed, or has this text.
type Edit<'e> = (&'e str, Option<&'e str>);

/// Holds a draw on one agency's only bet, if it has one.
fn hold_draw(start: Start, bet: Option<&str>) {
    let server = start.start();
    let mut agency = Peer::at(server.address());
    if let Some(bet) = bet {
        agency.says(&format!("{bet};FINAPUESTA"));
        agency.hears("CONFIRMARAPUESTA|1");
    }
    agency.says("GANADORES|1");
    assert!(agency.hears_a_line().starts_with("GANADORES|"));
    server.stops_on("TERM");
}

const BET: &str = "APUESTA|1|Ana|Paz|30904461|1999-03-17|7574";
/// The line of that bet, and the beginning of another.
const ROW_AND_MORE: &str = "1,Ana,Paz,30904461,1999-03-17,7574\n1,An";

#[test]
fn another_number_of_agencies_is_refused_after_a_draw_without_its_journal_too() {
    let scratch = Scratch::new();
    let server = |agencies, switches: &[&str]| {
        scratch.server().variable("AGENCIES", agencies).arguments(switches)
    };
    for bet in [None, Some(BET)] {
        hold_draw(server("1", &[]), bet);
        fs::remove_file(scratch.path("bets.journal")).expect("a journal");
        for switches in [&[][..], &["--verify"]] {
            let ended = server("2", switches).refuses_to_start();
            ended.says(
                "error: sorteo.toml: the bets are of a lottery of 1 agency, and this one has 2: go on with \
                 AGENCIES=1; or begin another lottery: after the draw run --new-draw; before it move the files away",
            );
        }
        // Whatever comes next, the draw that was held is set aside.
        server("2", &["--new-draw"]).run().exits(0);
    }
}

#[test]
fn a_line_of_another_agency_is_refused_with_both_ways_out() {
    let scratch = Scratch::new();
    scratch.write("bets.csv", "1,Ana,Paz,30904461,1999-03-17,7\n3,Ana,Paz,30904461,1999-03-17,7\n");
    let ended = scratch.server().variable("AGENCIES", "2").refuses_to_start();
    ended.says(
        "bets.csv: line 2: agency: must be a number from 1 to 2, not \"3\"; nothing was changed: ",
    );
    ended.says(
        "changed: correct the line, or restore the file, or set AGENCIES to the lottery's number",
    );
}

#[test]
fn a_new_draw_keeps_the_bets_apart_from_the_result_however_much_their_names_are_alike() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let invalid = |name| OsStr::from_bytes(name);
    for (bets, draw, aside) in [
        (invalid(b"a"), invalid(b"a."), [invalid(b"a.1"), invalid(b"a.1.")]),
        (invalid(b"a.\xFE"), invalid(b"a.\xFF"), [invalid(b"a.1.\xFE"), invalid(b"a.1.\xFF")]),
    ] {
        let scratch = Scratch::new();
        let server = || {
            let server = scratch.server().arguments(&["--agencies", "1"]);
            server.variable("BETS_FILE", bets).variable("DRAW_FILE", draw)
        };
        hold_draw(server(), Some(BET));
        let files = [bets, draw].map(|name| fs::read(scratch.path("").join(name)));
        let files = files.map(|file| file.expect("a file of the draw"));
        server().arguments(&["--new-draw"]).run().exits(0);
        let aside = aside.map(|name| fs::read(scratch.path("").join(name)));
        assert_eq!(
            aside.map(Result::ok),
            files.map(Some),
            "{bets:?} {draw:?}: {:?}",
            scratch.names()
        );
    }
}

#[test]
fn a_check_says_as_a_start_does_that_a_new_draw_was_interrupted() {
    for bet in [None, Some(BET)] {
        let scratch = Scratch::new();
        let server = |switches: &[&str]| {
            scratch.server().arguments(&["--agencies", "1"]).arguments(switches)
        };
        hold_draw(server(&[]), bet);
        server(&["--new-draw"]).run().exits(0);
        // As if it had been killed after the first of its three steps.
        for (from, to) in [("sorteo.1.toml", "sorteo.toml"), ("bets.1.journal", "bets.journal")] {
            fs::rename(scratch.path(from), scratch.path(to)).expect("it was set aside");
        }
        // As long as that of a million winners, whose bets are set aside.
        let result = fs::File::options().write(true).open(scratch.path("sorteo.toml"));
        result.and_then(|result| result.set_len(12 << 20)).expect("a file");
        let why = "error: sorteo.toml: a finished draw is half set aside: run --new-draw again";
        server(&[]).refuses_to_start().says(why);
        server(&["--verify"]).refuses_to_start().says(why);
        server(&["--new-draw"]).run().exits(0);
        assert_eq!(scratch.names(), ["bets.1.csv", "bets.1.journal", "sorteo.1.toml"]);
    }
}

#[test]
fn a_new_draw_that_was_interrupted_overwrites_no_file_that_was_set_aside() {
    let scratch = Scratch::new();
    let server =
        |switches: &[&str]| scratch.server().arguments(&["--agencies", "1"]).arguments(switches);
    hold_draw(server(&[]), Some(BET));
    server(&["--new-draw"]).run().exits(0);
    let drawn = scratch.read("bets.1.csv");
    // As if it had been killed before the last of its three steps.
    fs::rename(scratch.path("bets.1.journal"), scratch.path("bets.journal")).expect("a file");
    scratch.write("bets.csv", "somebody's own");
    let why = "error: bets.csv: bets.1.csv is there already: move one of the two away, and run --new-draw again";
    let refused = server(&["--new-draw"]).refuses_to_start();
    assert!(refused.last().trim_end().ends_with(why), "{refused}");
    assert_eq!(scratch.read("bets.1.csv"), drawn);
    fs::remove_file(scratch.path("bets.csv")).expect("a file");
    server(&["--new-draw"]).run().exits(0);
    assert_eq!(scratch.names(), ["bets.1.csv", "bets.1.journal", "sorteo.1.toml"]);
}

#[test]
fn of_two_that_set_a_draw_aside_at_the_same_time_the_one_that_is_held_up_leaves_the_next_lottery() {
    let scratch = Scratch::new();
    let server =
        |arguments: &[&str]| scratch.server().arguments(&["--agencies", "1"]).arguments(arguments);
    // It has found a finished draw, and has no lock for a moment.
    let journal = scratch.path("bets.journal");
    let journal = journal.to_str().expect("a path in UTF-8");
    let held_up = ["strace", "-D", "-o", "/dev/null", "-P", journal];
    let held_up = [&held_up[..], &["-e", "inject=close:signal=STOP:when=1"]].concat();
    hold_draw(server(&[]), Some(BET));
    if !starts_programs(&held_up) {
        return;
    }
    let late = server(&["--new-draw"]).started_by(&held_up).start();
    late.catches_signals();
    late.is_blocked();
    server(&["--new-draw"]).run().exits(0);
    late.signal("CONT");
    late.ends().exits(1).says("error: sorteo.toml: is missing, because the draw is not finished; ");
    hold_draw(server(&[]), Some(BET));
}

#[test]
fn after_the_draw_the_way_out_of_changed_bets_leads_to_a_draw_over_those_that_are_there() {
    let scratch = Scratch::new();
    let server = || scratch.server().arguments(&["--agencies", "1"]);
    hold_draw(server(), Some(BET));
    let running = server().start();
    running.address();
    let row = "1,Eva,Sosa,30904462,1999-03-17,7574\n";
    scratch.write("bets.csv", scratch.read("bets.csv") + row);
    running.signal("TERM");
    let way_out = "restore the file, or move sorteo.toml and bets.journal away, if they are there, to hold another draw: with the same \
                   winning number, over the bets that are there and those that the agencies send again";
    running.ends().exits(1).says("error: bets.csv: has ").says(way_out);
    server().refuses_to_start().says("error: bets.csv: has ").says(way_out);
    for name in ["sorteo.toml", "bets.journal"] {
        fs::rename(scratch.path(name), scratch.path(&format!("before-{name}"))).expect("a file");
    }
    hold_draw(server(), None);
    assert!(scratch.read("sorteo.toml").contains("winners = [\"30904461\", \"30904462\"]"));
}

#[test]
fn a_draft_that_is_in_the_way_is_named() {
    for file in ["sorteo.toml", "bets.journal"] {
        let scratch = Scratch::new();
        let draft = format!("{file}.draft");
        fs::create_dir(scratch.path(&draft)).expect("a directory");
        scratch.write("bets.csv", ROW_AND_MORE);
        let refused = scratch.server().refuses_to_start();
        refused
            .says(&format!("error: {file}: {draft}: not a regular file; --bets and --draw name "));
        assert_eq!(scratch.read("bets.csv"), ROW_AND_MORE, "it was cut: {refused}");
    }
    let scratch = Scratch::new();
    std::os::unix::fs::symlink("victim", scratch.path("sorteo.toml.draft")).expect("a link");
    let refused = scratch.server().refuses_to_start();
    refused
        .says("error: sorteo.toml: sorteo.toml.draft: not a regular file, but a symbolic link; ");
    assert!(!scratch.path("victim").exists(), "it was created: {refused}");
    let scratch = Scratch::new();
    let server = scratch.server().arguments(&["--agencies", "1"]).start();
    let mut agency = Peer::at(server.address());
    fs::create_dir(scratch.path("sorteo.toml.draft")).expect("a directory");
    agency.says("GANADORES|1");
    let why = "error: sorteo.toml: the draw's result could not be written: sorteo.toml.draft: not a regular file";
    server.ends().exits(1).says(why);

    let scratch = Scratch::new();
    let server = scratch.server().arguments(&["--agencies", "1"]).start();
    let mut agency = Peer::at(server.address());
    scratch.write("victim", "other text");
    std::os::unix::fs::symlink("victim", scratch.path("sorteo.toml.draft")).expect("a link");
    agency.says("GANADORES|1");
    server.ends().exits(1).says(&format!("{why}, but a symbolic link"));
    assert_eq!(scratch.read("victim"), "other text");
}

#[test]
fn a_file_that_has_the_name_of_another_ones_draft_is_refused_at_the_start() {
    for (bets, draw, draft) in [
        ("s.toml.draft", "s.toml", "s.toml.draft"),
        ("./s.toml.draft", "here/s.toml", "s.toml.draft"),
        ("all.csv", "all.journal.draft", "all.journal.draft"),
    ] {
        let scratch = Scratch::new();
        std::os::unix::fs::symlink(".", scratch.path("here")).expect("a symbolic link");
        let names = [("BETS_FILE", bets), ("DRAW_FILE", draw)];
        let refused = scratch.server().variables(&names).refuses_to_start();
        refused.says(&format!("{draft}: two files have this path: "));
        assert!(!scratch.path(bets).exists() && !scratch.path(draw).exists(), "{refused}");
    }
}

#[test]
fn files_that_are_one_under_two_names_are_refused_at_the_start() {
    for (bets, draw) in [
        ("./all.csv", "all.csv"),
        ("all.csv", "./all.journal"),
        ("there/../all.csv", "all.csv"),
        ("all.csv", "here/all.csv"),
    ] {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path("there")).expect("a directory");
        std::os::unix::fs::symlink(".", scratch.path("here")).expect("a symbolic link");
        let names = [("BETS_FILE", bets), ("DRAW_FILE", draw)];
        scratch.server().variables(&names).refuses_to_start().says("two files have this path: ");
        assert_eq!(scratch.names(), ["here", "there"]);
    }
}

#[test]
fn two_servers_that_have_one_name_for_their_results_hold_one_draw_and_the_other_says_why_not() {
    let scratch = Scratch::new();
    let server = |bets| scratch.server().arguments(&["--agencies", "1", "--bets", bets]).start();
    // One after the other, because each tries at its start whether it can write the result.
    let first = server("one.csv");
    let mut one = Peer::at(first.address());
    let second = server("two.csv");
    let mut two = Peer::at(second.address());
    one.says("GANADORES|1");
    one.hears("GANADORES|");
    let result = scratch.read("sorteo.toml");
    two.says("APUESTA|1|Ana|Paz|30904465|1999-03-17|7574;FINAPUESTA;GANADORES|1");
    two.hears("CONFIRMARAPUESTA|1");
    two.hears_a_line_of("ERROR|stopping|the draw could not be held");
    let why = "sorteo.toml: the draw's result could not be written: it exists, ";
    second.ends().exits(1).says(why);
    first.stops_on("TERM");
    assert_eq!(scratch.read("sorteo.toml"), result);
}

#[test]
fn a_server_that_is_held_up_in_its_draw_overwrites_no_result_of_another() {
    // It is held up when it has found no result, or has opened the draft of its own.
    for (path, call) in [("sorteo.toml", "statx"), ("sorteo.toml.draft", "openat")] {
        let stop = format!("inject={call}:signal=STOP:when=1");
        let held_up = ["strace", "-D", "-f", "-o", "/dev/null", "-P", path, "-e", &stop];
        if !starts_programs(&held_up) {
            return;
        }
        let scratch = Scratch::new();
        let server = |bets| scratch.server().arguments(&["--agencies", "1", "--bets", bets]);
        let first = server("one.csv").start();
        let mut one = Peer::at(first.address());
        // Calls are counted in each thread, and the start and the draw have one each.
        let second = server("two.csv").started_by(&held_up).start();
        second.catches_signals();
        second.is_blocked();
        second.signal("CONT");
        let mut two = Peer::at(second.address());
        two.says("APUESTA|1|Ana|Paz|30904465|1999-03-17|7574;FINAPUESTA;GANADORES|1");
        two.hears("CONFIRMARAPUESTA|1");
        second.is_blocked();
        one.says("GANADORES|1");
        let first_hears = one.hears_a_line();
        second.signal("CONT");
        let told = [first_hears, two.hears_a_line()].map(|line| line.starts_with("GANADORES|"));
        let (held, other) = match told {
            [true, false] => (first, second),
            [false, true] => (second, first),
            _ => panic!("{path}: told by both or none: {told:?}"),
        };
        other.ends().exits(1).says("sorteo.toml: the draw's result could not be written: ");
        held.stops_on("TERM");
        let result = scratch.read("sorteo.toml");
        assert_eq!(result.contains("bets_bytes = 0"), told[0], "{path}: {result}");
    }
}

#[test]
fn a_log_that_cannot_be_written_keeps_nobody_from_their_work() {
    let scratch = Scratch::new();
    let agencies = five_agencies(&scratch);
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there");
    let address = lasting_address();
    let server = scratch.bare_server().arguments(&["--address", &address]).stderr_to(full());
    let server = server.start();
    let client = scratch.client(&address).stderr_to(full()).run();
    client.exits(0);
    assert_eq!(client.sorted_stdout(), all_winners(&agencies));
    assert_all_stored(&scratch, &agencies);
    server.stops_quietly();
}

#[test]
fn a_check_that_cannot_be_printed_is_a_failure_that_names_stdout() {
    let scratch = Scratch::new();
    scratch.write("bets.csv", "");
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there");
    let check = scratch.server().arguments(&["--verify"]).stdout_to(full).run();
    check.exits(1).says("error: stdout could not be written: ");
}

#[test]
fn a_status_that_cannot_be_printed_is_a_failure_that_names_stdout() {
    let scratch = Scratch::new();
    let server = scratch.server().start();
    for arguments in [&["--status"][..], &["--status", "--json"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there");
        let status = scratch.client(&server.address()).arguments(arguments).stdout_to(full).run();
        status.exits(1).says("error: stdout could not be written: ");
    }
}

#[test]
fn bytes_that_a_start_writes_again_from_the_journal_are_told() {
    let edits: [(&dyn Fn(String) -> String, u32); 3] = [
        (&|bets| bets.replace("Paz", "Pas"), 62),
        (&|bets| bets[..40].to_owned(), 30),
        (&|_| String::new(), 70),
    ];
    for (edit, restored) in edits {
        let scratch = Scratch::new();
        let server = || scratch.server().arguments(&["--agencies", "1"]).start();
        let killed = server();
        let mut agency = Peer::at(killed.address());
        for _ in 0..2 {
            agency.says(&format!("{BET};FINAPUESTA"));
            agency.hears("CONFIRMARAPUESTA|1");
        }
        killed.kill();
        let whole = scratch.read("bets.csv");
        scratch.write("bets.csv", edit(whole.clone()));
        let server = server();
        let repaired = format!("torn_bytes: 0 | restored_bytes: {restored}");
        server.logs(&format!("action: recover | result: success | file: bets.csv | {repaired}"));
        server.address();
        assert_eq!(scratch.read("bets.csv"), whole);
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it_and_nothing_is_touched() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound listener has an address").to_string();
    let torn = "1,Ana,Gómez,30000001,2000-02-29,75\n2,Ev";
    scratch.write("bets.csv", torn);
    let ended = scratch.bare_server().arguments(&["--address", &address]).refuses_to_start();
    ended.says(&address).says("in use");
    assert_eq!(scratch.read("bets.csv"), torn);
    assert_eq!(scratch.names(), ["bets.csv"]);
}

#[test]
fn a_second_server_on_the_same_bets_is_told_so_and_the_first_goes_on() {
    let scratch = Scratch::new();
    let agencies = five_agencies(&scratch);
    let server = scratch.server().start();
    let address = server.address();
    scratch.server().refuses_to_start().says("bets.csv: another server is using it");
    // By another name too.
    std::os::unix::fs::symlink(scratch.path("bets.csv"), scratch.path("link.csv"))
        .expect("a symbolic link");
    let by_link = scratch.server().arguments(&["--bets", "link.csv"]);
    by_link.refuses_to_start().says("bets.csv: another server is using it");
    let ended = scratch.client(&address).run();
    ended.succeeds();
    assert_eq!(ended.sorted_stdout(), all_winners(&agencies));
    assert_all_stored(&scratch, &agencies);
}

#[test]
fn a_torn_last_line_is_cut_and_its_bytes_are_told_and_its_agency_goes_on_before_it() {
    let whole = "1,Ana,Gómez,30000001,2000-02-29,7574\n2,Eva,Ruiz,30000002,1999-12-31,1\n";
    let torn = "1,Leo,\"Pérez, h.\",30000003,1980-06-15,7574";
    // After every byte, in the middle of a letter too.
    for bytes in 1..=torn.len() {
        let scratch = Scratch::new();
        let text = [whole.as_bytes(), &torn.as_bytes()[..bytes]].concat();
        scratch.write("bets.csv", text);
        let server = scratch.server().start();
        server.address();
        assert_eq!(scratch.read("bets.csv"), whole);
        let line = server.logs("action: recover | result: success");
        assert!(line.contains(&format!("torn_bytes: {bytes}")), "{line}");
        if bytes != torn.len() {
            continue;
        }
        scratch.write(
            "one.csv",
            "Ana,Gómez,30000001,2000-02-29,7574\nLeo,Pérez,30000003,1980-06-15,5",
        );
        let client = scratch.client(&server.address());
        let client = client.arguments(&["--agency", "1", "--file", "one.csv"]).start();
        server.logs("action: apuesta_almacenada | result: success | dni: 30000003 | numero: 5");
        client.stops_on("TERM");
        let expected = format!("{whole}1,Leo,Pérez,30000003,1980-06-15,5\n");
        assert_eq!(scratch.read("bets.csv"), expected);
    }
}

#[test]
fn a_file_that_ends_well_is_not_called_torn() {
    let scratch = Scratch::new();
    scratch.write("bets.csv", "1,Ana,Gómez,30000001,2000-02-29,7574\n");
    let server = scratch.server().start();
    server.address();
    server.stops_on("TERM").never_says("torn").never_says("WARN");
}

#[test]
fn a_line_that_is_no_bet_keeps_the_server_from_starting_and_is_told_by_its_number() {
    let good = "1,Ana,Gómez,30000001,2000-02-29,7574\n";
    let cases: [(&[u8], &str); 9] = [
        (b"hello\n", "line: must have 6 fields, not 1"),
        (b"\n", "line: must have 6 fields"),
        (b"9,Ana,Perez,30000001,2000-02-29,1\n", "agency: must be a number from 1 to 5"),
        (b"1,,Perez,30000001,2000-02-29,1\n", "first_name: must not be blank"),
        (b"1,Ana,Perez,300,2000-02-29,1\n", "document: must be 7 or 8 digits"),
        (b"1,Ana,Perez,30000001,2001-02-29,1\n", "birthdate: must be a day"),
        (b"1,Ana,Perez,30000001,2000-02-29,10000\n", "number: must be 0 to 9999"),
        (b"1,An\xff,Perez,30000001,2000-02-29,1\n", "line: must be UTF-8"),
        (b"1,Ana,Perez,30000001,2000-02-29,1,\n", "line: must have 6 fields, not 7"),
    ];
    for (bad, reason) in cases {
        let scratch = Scratch::new();
        // A torn end as well: it stays as long as the server does not start.
        let text = [good.as_bytes(), good.as_bytes(), bad, good.as_bytes(), b"2,E"].concat();
        scratch.write("bets.csv", &text);
        let ended = scratch.server().refuses_to_start();
        ended.says("bets.csv: line 3: ").says(reason);
        let left = fs::read(scratch.path("bets.csv")).expect("it is there");
        assert_eq!(left, text);
    }
}

/// A line that the server counts as stored must count at the draw as well.
#[test]
fn a_bet_that_another_program_wrote_is_refused_at_the_start_or_wins_as_any_other() {
    let lines = [
        "1,Ana,Gómez,30000001,2000-02-29,7574\r\n",
        "\"1\",\"Ana\",\"Gómez\",\"30000001\",\"2000-02-29\",\"7574\"\n",
        "1,Ana,Gómez,30000001,2000-02-29,\"7574\"\n",
        "1,Ana,Gómez,\"30000001\",2000-02-29,7574\n",
        "1,\"Ana\",\"Gómez\",30000001,2000-02-29,07574\n",
        "1,Ana,Gómez,30000001,2000-02-29,7574\rand more\n",
    ];
    for line in lines {
        let scratch = Scratch::new();
        scratch.write("bets.csv", line);
        scratch.write("one.csv", "Ana,Gómez,30000001,2000-02-29,7574\n");
        let server = scratch.server().arguments(&["--agencies", "1"]).start();
        if !server.logs_times_before_its_end("action: accept_connections", 1) {
            let ended = server.ends();
            ended
                .exits(1)
                .says("bets.csv: line 1: ")
                .says("changed: correct the line, or restore the file");
            continue;
        }
        let client = scratch.client(&server.address());
        let ended = client.arguments(&["--agency", "1", "--file", "one.csv"]).run();
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(0), "1,30000001\n"),
            "{line:?}\n{ended}"
        );
    }
}

#[test]
fn bets_in_a_place_that_is_no_file_are_an_error_that_names_it() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("bets.csv")).expect("a directory");
    scratch.server().refuses_to_start().says("error: bets.csv: ");
    let elsewhere = scratch.server().arguments(&["--bets", "no/where/bets.csv"]);
    elsewhere.refuses_to_start().says("error: no/where/bets.csv: ");
    let device = scratch.server().arguments(&["--bets", "/dev/null"]);
    device.refuses_to_start().says("/dev/null: ");
    for directory in [".", "..", "/"] {
        let refused = scratch.server().arguments(&["--bets", directory]).refuses_to_start();
        refused.says(&format!("error: {directory}: not a regular file, but a directory"));
    }
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_an_error_that_names_it_and_is_not_waited_for() {
    for name in ["bets.csv", "bets.journal", "sorteo.toml"] {
        for arguments in [&[][..], &["--verify"], &["--new-draw"]] {
            let scratch = Scratch::new();
            if name != "bets.csv" {
                scratch.write("bets.csv", "");
            }
            let pipe = std::process::Command::new("mkfifo").arg(scratch.path(name)).status();
            assert!(pipe.expect("`mkfifo` can be run").success());
            let ended = scratch.server().arguments(arguments).refuses_to_start();
            ended.says(&format!(
                "error: {name}: not a regular file; --bets and --draw name other files"
            ));
        }
    }
}

#[test]
fn a_result_or_a_journal_that_could_not_be_written_is_an_error_at_the_start_and_nothing_is_touched()
{
    let scratch = Scratch::new();
    let server = scratch.server().variable("DRAW_FILE", "no/where/sorteo.toml");
    let ended = server.refuses_to_start();
    ended.says("error: no/where/sorteo.toml: ").says("--bets and --draw name others");
    assert_eq!(scratch.names(), [""; 0]);
    std::os::unix::fs::symlink("no/where/j", scratch.path("bets.journal")).expect("a link");
    scratch.server().refuses_to_start().says("error: no/where/j: ");
    assert_eq!(scratch.names(), ["bets.journal"]);
}

#[test]
fn a_result_whose_name_could_not_be_made_durable_is_an_error_at_the_start() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("draws")).expect("a directory");
    let draws = fs::canonicalize(scratch.path("draws")).expect("a directory");
    let draws = draws.to_str().expect("a path in UTF-8");
    let failing = ["strace", "-D", "-f", "-o", "/dev/null", "-P", draws];
    let failing = [&failing[..], &["-e", "inject=fsync:error=EINVAL"]].concat();
    if !starts_programs(&failing) {
        return;
    }
    let server = scratch.server().arguments(&["--draw", "draws/sorteo.toml"]).started_by(&failing);
    server
        .refuses_to_start()
        .says("error: draws/sorteo.toml: the directory draws cannot be synced");
    assert_eq!(scratch.names(), ["draws"]);
}

/// Copies of the files are made one after the other while bets come in; each starts a server that has all bets
/// confirmed before the copy began, or one that says why it cannot.
#[test]
fn copies_of_a_server_at_work_start_one_that_has_what_was_confirmed_before() {
    let scratch = Scratch::new();
    let server = scratch.server().arguments(&["--agencies", "2"]).start();
    let address = server.address();
    let (mut one, mut other) = (Peer::at(&address), Peer::at(&address));
    let mut confirmed = [0_usize; 2];
    for copy in 0..24 {
        // Small groups, and some that are large; the copy is made while the last of them are on their way.
        for (agency, peer) in [(1, &mut one), (2, &mut other)] {
            let bets = 1 + copy * 7 % 60;
            let line = format!("APUESTA|{agency}|Ana|Gómez|30000001|2000-02-29|75;");
            let message = format!("{}FINAPUESTA", line.repeat(bets));
            for _ in 0..1 + copy % 20 {
                peer.says(&message);
                confirmed[agency - 1] += bets;
            }
        }
        for (agency, peer) in [(1, &mut one), (2, &mut other)] {
            for _ in 0..1 + copy % 20 {
                assert!(peer.hears_a_line().starts_with("CONFIRMARAPUESTA|"), "agency {agency}");
            }
        }
        let late = "APUESTA|1|Ana|Gómez|30000001|2000-02-29|75;".repeat(100) + "FINAPUESTA";
        (0..20).for_each(|_| one.says(&late));
        let copied = Scratch::new();
        let files = ["bets.journal", "bets.csv"];
        let journal_first = copy % 2 == 0;
        for name in if journal_first { files } else { [files[1], files[0]] } {
            fs::copy(scratch.path(name), copied.path(name)).expect("a copy");
        }
        let restored = copied.server().arguments(&["--agencies", "2"]).start();
        if restored.logs_times_before_its_end("action: accept_connections", 1) {
            let address = restored.address();
            for (agency, confirmed) in (1..).zip(confirmed) {
                let mut peer = Peer::at(&address);
                peer.says(&format!("REANUDAR|{agency}"));
                let answer = peer.hears_a_line();
                let stored = answer.split('|').nth(1).and_then(|count| count.trim().parse().ok());
                let stored: usize = stored.unwrap_or_else(|| panic!("{answer}"));
                assert!(stored >= confirmed, "copy {copy}, agency {agency}: {answer}");
            }
            restored.stops_on("TERM");
        } else {
            assert!(!journal_first, "the journal was copied first");
            restored.ends().exits(1).says("were confirmed; nothing was changed");
        }
        for _ in 0..20 {
            assert!(one.hears_a_line().starts_with("CONFIRMARAPUESTA|100"));
        }
        confirmed[0] += 2_000;
    }
    drop((one, other));
    server.stops_on("TERM");
}

#[test]
fn a_result_that_cannot_be_read_keeps_the_server_from_starting() {
    let good = format!(
        "winning_number = 7574\nheld_at = 2024-01-02T03:04:05Z\nbets_bytes = 0\nbets_sha256 = \"{}\"\n",
        "0".repeat(64)
    );
    let cases = [
        "no TOML".to_owned(),
        String::new(),
        "winning_number = 7574\n".to_owned(),
        good.replace("7574", "10000"),
        format!("{good}surprise = 1\n"),
        format!("{good}[[agency]]\nid = 2\nbets = 1\nwinners = []\n"),
        format!("{good}[[agency]]\nid = 1\nbets = 1\nwinners = [\"1|2\"]\n"),
        format!("{good}[[agency]]\nid = 1\nbets = -1\nwinners = []\n"),
    ];
    for text in cases {
        let scratch = Scratch::new();
        let bets = "1,Ana,Gómez,30000001,2000-02-29,7574\n";
        scratch.write("bets.csv", bets);
        scratch.write("sorteo.toml", &text);
        for arguments in [&[][..], &["--new-draw"]] {
            let ended = scratch.server().arguments(arguments).refuses_to_start();
            ended.says("error: sorteo.toml: ");
            assert_eq!(ended.last().matches(" | ").count(), 2, "values have no bars: {ended}");
            assert_eq!(scratch.read("sorteo.toml"), text);
            assert_eq!(scratch.read("bets.csv"), bets);
        }
    }
}

#[test]
fn a_result_of_a_tebibyte_is_refused_like_any_other_that_was_changed() {
    let scratch = Scratch::new();
    let server = || scratch.server().arguments(&["--agencies", "1"]);
    hold_draw(server(), Some(BET));
    let result = fs::File::options().write(true).open(scratch.path("sorteo.toml")).expect("a file");
    result.set_len(1 << 40).expect("a sparse file");
    for arguments in [&[][..], &["--new-draw"], &["--verify"]] {
        let ended = server().arguments(arguments).refuses_to_start();
        ended.says("error: sorteo.toml: has 1099511627776 bytes, and a result over these bets has at most ");
        ended.says(
            "; nothing was changed: restore the file, or move sorteo.toml and bets.journal away",
        );
    }
}

#[test]
fn an_agency_that_the_lottery_does_not_have_hears_why_and_the_others_do_not_wait_for_it() {
    let scratch = Scratch::new();
    let agencies = five_agencies(&scratch);
    let server = scratch.server().arguments(&["--agencies", "4"]).start();
    let ended = scratch.client(&server.address()).run();
    // The four may have met before the fifth was refused.
    ended.exits(1).says("client_id: 5").says("agency: must be a number from 1 to 4");
    ended.says("; lottery.agencies of the server says how many there are");
    assert_all_stored(&scratch, &agencies[..4]);
}

#[test]
fn after_the_draw_an_agency_that_fails_keeps_no_other_one_from_its_winners() {
    let scratch = Scratch::new();
    let (server, agencies) = held(&scratch);
    let assert_told = |agencies: &[Vec<Bet>], why| {
        let ended = scratch.client(&server.address()).run();
        ended.exits(1).says(why);
        assert_eq!(ended.sorted_stdout(), all_winners(agencies));
    };
    let replace = |agency: usize, bets: &[Bet]| {
        scratch.write(&format!("agencies/agency-{agency}.csv"), csv(bets, Ends::Lf));
    };
    for _again in 0..5 {
        replace(6, &agencies[0]);
        assert_told(&agencies, "agency: must be a number from 1 to 5");
    }
    for _again in 0..5 {
        replace(5, &agencies[0]);
        assert_told(&agencies[..4], "not the file that was sent before");
    }
}

#[test]
fn winners_that_cannot_be_printed_are_a_failure_and_are_printed_by_the_next_run() {
    let scratch = Scratch::new();
    let agencies = five_agencies(&scratch);
    let server = scratch.server().arguments(&["--agencies", "1"]).start();
    let client = || scratch.client(&server.address()).arguments(&["--agency", "1"]);
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there");
    client().stdout_to(full).run().exits(1).says("stdout could not be written");
    let file = File::create(scratch.path("winners.csv")).expect("a file");
    client().stdout_to(file).run().succeeds();
    assert_eq!(scratch.read("winners.csv"), winners(1, &agencies[0]).concat());
    assert_eq!(stored(&scratch)[&1], agencies[0]);
}

#[test]
fn a_stdout_that_another_process_made_non_blocking_gets_all_winners() {
    // More than the system buffers.
    const WINNERS: usize = 100_000;
    let scratch = Scratch::new();
    scratch.write("agencies/agency-1.csv", "Ana,Paz,30000001,2000-02-29,7574\n".repeat(WINNERS));
    let server = scratch.server().variable("AGENCIES", "1").start();
    let (mut reader, writer) = UnixStream::pair().expect("a pair of sockets");
    writer.set_nonblocking(true).expect("a socket can be asked");
    let client = scratch.client(&server.address()).stdout_to(File::from(OwnedFd::from(writer)));
    let client = client.start();
    client.logs("action: consulta_ganadores");
    let mut printed = String::new();
    reader.read_to_string(&mut printed).expect("what the client prints, up to its end");
    client.ends().exits(0);
    assert_eq!(printed, "1,30000001\n".repeat(WINNERS));
}

#[test]
fn the_names_of_the_files_are_the_users_choice() {
    let scratch = Scratch::new();
    let bets = bets(1, 30);
    scratch.write("in/agency-1.csv", csv(&bets, Ends::Lf));
    fs::create_dir(scratch.path("out")).expect("a directory");
    let server = scratch
        .server()
        .arguments(&["--agencies", "1"])
        .variables(&[("BETS_FILE", "out/all bets"), ("DRAW_FILE", "out/result")]);
    let server = server.start();
    let client = scratch.client(&server.address()).variable("CLI_AGENCIES_DIR", "in").run();
    assert_eq!(client.stdout, winners(1, &bets).concat());
    server.stops_on("TERM");
    let again = scratch
        .server()
        .arguments(&["--agencies", "1", "--new-draw"])
        .variables(&[("BETS_FILE", "out/all bets"), ("DRAW_FILE", "out/result")]);
    again.run().exits(0);
    assert!(scratch.read("out/all bets.1").lines().count() == 30);
    assert!(scratch.path("out/all bets.1.journal").exists());
    scratch.read("out/result.1");
    assert_eq!(scratch.names(), ["in", "out"]);
}

#[test]
fn the_server_s_board_and_a_client_s_status_say_who_has_more_and_who_waits() {
    for (agencies, waits, open) in [
        (
            2,
            "agency   1            9 bets, waiting for the draw",
            "agency   2            0 bets, open",
        ),
        (
            21,
            "all 21 agencies: 9 bets, 20 open, 1 waiting for the draw",
            "all 21 agencies: 0 bets, 21 open",
        ),
    ] {
        let scratch = Scratch::new();
        let bets = bets(1, 9);
        scratch.write("agencies/agency-1.csv", csv(&bets, Ends::Lf));
        let server = scratch.server().arguments(&["--progress"]);
        let server = server.variable("AGENCIES", agencies.to_string()).start();
        let board = "action: progress | result: in_progress | state: ";
        server.logs(&format!("{board}{open}"));
        let client = scratch.client(&server.address()).variable("CLI_ID", "1").start();
        server.logs(&format!("{board}{waits}"));
        let status = scratch.client(&server.address()).arguments(&["--status"]).run();
        status.exits(0);
        for line in ["     1           9  waiting for the draw\n", "     2           0  open\n"] {
            assert!(status.stdout.contains(line), "{status}");
        }
        assert!(status.stdout.contains("draw: waits for agenc"), "{status}");
        client.stops_on("TERM");
        server.stops_on("TERM");
    }
}

#[test]
fn a_status_as_json_is_one_object_on_one_line() {
    let scratch = Scratch::new();
    let server = scratch.server().variable("AGENCIES", "2").start();
    let address = server.address();
    let asks = |form: &[&str]| scratch.client(&address).arguments(form).run();
    let status = asks(&["--status", "--json"]);
    let agency = |agency: u8, bets: u8, state: &str| {
        format!(r#"{{"agency":{agency},"bets":{bets},"state":"{state}"}}"#)
    };
    let object = |draw: &str, bets: u8, agencies: [String; 2]| {
        let agencies = agencies.join(",");
        format!("{{\"draw\":{draw},\"bets\":{bets},\"agencies\":[{agencies}]}}\n")
    };
    let [open, finished] = ["open", "finished"];
    let pending = r#""pending","winners":null"#;
    assert_eq!(status.stdout, object(pending, 0, [agency(1, 0, open), agency(2, 0, open)]));
    assert!(status.stderr.is_empty(), "{status}");

    scratch.write("agencies/agency-1.csv", csv(&bets(1, 9), Ends::Lf));
    scratch.write("agencies/agency-2.csv", "Ana,Paz,30000001,2000-02-29,7574\n");
    let waiting = scratch.client(&address).variable("CLI_ID", "1").start();
    let waits = object(pending, 9, [agency(1, 9, "waiting"), agency(2, 0, open)]);
    while asks(&["--status", "--json"]).exits(0).stdout != waits {}
    scratch.client(&address).variable("CLI_ID", "2").run().succeeds();
    let winners = waiting.ends().stdout.lines().count() + 1;
    let held = format!(r#""held","winners":{winners}"#);
    let status = asks(&["--status", "--json"]);
    assert_eq!(status.stdout, object(&held, 10, [agency(1, 9, finished), agency(2, 1, finished)]));

    asks(&["--json"]).exits(2).says("--status");
    server.stops_on("TERM");
}
