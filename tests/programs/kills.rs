//! At stake: exactly once. Whatever is killed, the server or its clients, at whatever moment and however
//! often, in the end every line of every file is stored once and in order, the draw was held once over
//! all of them, and every agency hears its own winners.
//!
//! Moments are drawn from a seed that is shown where a test fails; they are counted in log lines rather
//! than in time, so that there is progress between two kills on any machine.

use crate::sample::{Bet, Ends, all_winners, assert_all_stored, bets, csv, winners};
use crate::support::peer::Peer;
use crate::support::program::{Program, Scratch, lasting_address, show, starts_programs};
use crate::support::random::Random;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

const KILLS: usize = 15;
const STORED: &str = "action: apuesta_recibida | result: success";
/// The draw is held, or was before the server was started: then all is stored.
const DRAW: &[&str] = &["action: sorteo | result: success", "draw_held: true"];
const BATCH: &str = "3";

/// Moments of a run that can be had again.
fn moments() -> Random {
    let seed = RandomState::new().hash_one("a seed");
    // Shown by the test runner where the test fails.
    show(&format!("seed: {seed}"));
    Random::new(seed)
}

/// Five agencies' files, long enough for all the kills.
fn agencies(scratch: &Scratch) -> Vec<Vec<Bet>> {
    let files: Vec<Vec<Bet>> = (1..=5).map(|agency| bets(agency, 600)).collect();
    for (agency, bets) in (1..).zip(&files) {
        let ends = [Ends::Lf, Ends::Crlf, Ends::LfBetween][agency % 3];
        scratch.write(&format!("agencies/agency-{agency}.csv"), csv(bets, ends));
    }
    files
}

/// Small batches with pauses between them, so that there are many moments to be killed at.
fn client(scratch: &Scratch, address: &str, agency: usize) -> Program {
    let client = scratch.client(address).variable("CLI_ID", agency.to_string());
    let settings =
        [("CLI_BATCH_MAX_AMOUNT", BATCH), ("CLI_WINDOW", "4"), ("CLI_RETRY_FOR_MS", "60000")];
    client.variables(&settings).start()
}

/// Each agency's client ends with its winners, and all bets are stored.
fn all_succeed(clients: Vec<Program>, scratch: &Scratch, files: &[Vec<Bet>]) {
    for (agency, client) in (1..).zip(clients) {
        let ended = client.ends();
        ended.succeeds();
        assert_eq!(ended.stdout, winners(agency, &files[agency - 1]).concat(), "agency {agency}");
    }
    assert_all_stored(scratch, files);
}

fn server(scratch: &Scratch, address: &str) -> Program {
    scratch.bare_server().arguments(&["--address", address]).start()
}

#[test]
fn killing_the_server_again_and_again_loses_nothing_and_repeats_nothing() {
    let scratch = Scratch::new();
    let mut moments = moments();
    let files = agencies(&scratch);
    let address = lasting_address();
    let clients: Vec<Program> = (1..=5).map(|agency| client(&scratch, &address, agency)).collect();
    for kill in 0..KILLS {
        let server = server(&scratch, &address);
        // Some are killed while they start; most after a few batches of the thousand that there are.
        if kill % 5 == 4 {
            moments.pass(20_000);
        } else {
            let batches = 1 + moments.below(20);
            if !server.logs_times_or(STORED, batches, DRAW) {
                // On a busy machine there may be nothing left to store.
                break;
            }
            moments.pass(3_000);
        }
        server.kill();
    }
    // As a rule not yet all has come.
    let held = scratch.read_if_there("sorteo.toml").is_some();
    let last = server(&scratch, &address);
    all_succeed(clients, &scratch, &files);
    let ended = last.stops_on("TERM");
    assert_eq!(ended.count("action: sorteo | result: success"), usize::from(!held));
}

#[test]
fn killing_the_server_around_the_draw_holds_it_once() {
    let scratch = Scratch::new();
    let mut moments = moments();
    let files: Vec<Vec<Bet>> = (1..=5).map(|agency| bets(agency, 20)).collect();
    for (agency, bets) in (1..).zip(&files) {
        scratch.write(&format!("agencies/agency-{agency}.csv"), csv(bets, Ends::Lf));
    }
    let address = lasting_address();
    let clients: Vec<Program> = (1..=5).map(|agency| client(&scratch, &address, agency)).collect();
    let (mut held, mut kills) = (None, 0);
    // Until the draw was held, and then some more.
    for round in 0..60 {
        let server = server(&scratch, &address);
        server.logs("action: accept_connections | result: in_progress");
        moments.pass(30_000 + round * 2_000);
        server.kill();
        kills += 1;
        let result = scratch.read_if_there("sorteo.toml");
        assert!(held.is_none() || result == held, "the result has changed");
        if result.is_some() {
            assert_all_stored(&scratch, &files);
            held = result;
            if kills >= KILLS {
                break;
            }
        }
    }
    let last = server(&scratch, &address);
    all_succeed(clients, &scratch, &files);
    // The clients may have heard from one before.
    last.address();
    if held.is_some() {
        assert_eq!(scratch.read_if_there("sorteo.toml"), held);
        last.stops_on("TERM").never_says("action: sorteo");
    } else {
        assert_eq!(last.stops_on("TERM").count("action: sorteo | result: success"), 1);
    }
}

#[test]
fn killing_the_clients_again_and_again_loses_nothing_and_repeats_nothing() {
    let scratch = Scratch::new();
    let mut moments = moments();
    let files = agencies(&scratch);
    let server = scratch.server().start();
    let address = server.address();
    for _ in 0..KILLS {
        let all = scratch
            .client(&address)
            .variables(&[("CLI_BATCH_MAX_AMOUNT", BATCH), ("CLI_WINDOW", "4")]);
        let all = all.start();
        // Of the 420 batches that there are.
        let batches = 1 + moments.below(25);
        if !all.logs_times_before_its_end("action: apuesta_enviada | result: success", batches) {
            // On a busy machine there may be nothing left to send.
            break;
        }
        moments.pass(2_000);
        all.kill();
    }
    let ended = scratch.client(&address).run();
    ended.succeeds();
    assert_eq!(ended.sorted_stdout(), all_winners(&files));
    assert_all_stored(&scratch, &files);
    let ended = server.stops_on("TERM");
    assert_eq!(ended.count("action: sorteo | result: success"), 1);
}

#[test]
fn killing_clients_that_wait_for_the_draw_does_not_keep_it_from_being_held() {
    let scratch = Scratch::new();
    let files: Vec<Vec<Bet>> = (1..=5).map(|agency| bets(agency, 9)).collect();
    for (agency, bets) in (1..).zip(&files) {
        scratch.write(&format!("agencies/agency-{agency}.csv"), csv(bets, Ends::Lf));
    }
    let server = scratch.server().start();
    let address = server.address();
    let mut moments = moments();
    for agency in [1, 2, 3, 4] {
        // Twice, so that one is killed while it waits and one that takes its place, or before.
        for _ in 0..2 {
            let client = client(&scratch, &address, agency);
            client.logs("action: config | result: success");
            moments.pass(60_000);
            client.kill();
        }
    }
    let all = scratch.client(&address).run();
    all.succeeds();
    assert_eq!(all.sorted_stdout(), all_winners(&files));
    assert_all_stored(&scratch, &files);
    assert_eq!(server.stops_on("TERM").count("action: sorteo | result: success"), 1);
}

#[test]
fn killing_both_sides_in_turn_loses_nothing_and_repeats_nothing() {
    let scratch = Scratch::new();
    let mut moments = moments();
    let files = agencies(&scratch);
    let address = lasting_address();
    let mut clients: Vec<Program> =
        (1..=5).map(|agency| client(&scratch, &address, agency)).collect();
    for _ in 0..KILLS {
        let server = server(&scratch, &address);
        let batches = 1 + moments.below(15);
        if !server.logs_times_or(STORED, batches, DRAW) {
            server.kill();
            break;
        }
        let agency = 1 + moments.below(5);
        let restarted = client(&scratch, &address, agency);
        // The one before still runs, and is fenced off.
        moments.pass(10_000);
        std::mem::replace(&mut clients[agency - 1], restarted).kill();
        moments.pass(10_000);
        server.kill();
    }
    let last = server(&scratch, &address);
    all_succeed(clients, &scratch, &files);
    last.stops_on("TERM");
}

#[test]
fn two_clients_of_one_agency_at_once_store_each_line_once() {
    let scratch = Scratch::new();
    let bets = bets(1, 1500);
    scratch.write("agencies/agency-1.csv", csv(&bets, Ends::Lf));
    let server = scratch.server().arguments(&["--agencies", "1"]).start();
    let address = server.address();
    let client = || {
        let client = scratch.client(&address).variable("CLI_ID", "1");
        client.variables(&[("CLI_BATCH_MAX_AMOUNT", "2"), ("CLI_WINDOW", "1000")]).start()
    };
    let first = client();
    // It has many batches on their way when the second takes the agency over.
    server.logs("action: apuesta_recibida | result: success");
    let second = client();
    for client in [first, second] {
        let ended = client.ends();
        ended.succeeds();
        assert_eq!(ended.stdout, winners(1, &bets).concat());
    }
    assert_all_stored(&scratch, &[bets]);
    server.stops_on("TERM");
}

#[test]
fn a_start_that_is_held_up_keeps_the_bets_of_a_server_that_came_and_went_meanwhile() {
    // It has looked for the files, and is about to create them.
    let held_up = ["strace", "-D", "-o", "/dev/null", "-e", "inject=unlink:signal=STOP:when=1"];
    if !starts_programs(&held_up) {
        return;
    }
    let scratch = Scratch::new();
    let late = scratch.server().started_by(&held_up).start();
    late.catches_signals();
    late.is_blocked();
    let server = scratch.server().start();
    let mut agency = Peer::at(server.address());
    agency.says("APUESTA|1|Ana|Paz|30904465|1999-03-17|7574;FINAPUESTA");
    agency.hears("CONFIRMARAPUESTA|1");
    server.stops_on("TERM");
    late.signal("CONT");
    let mut agency = Peer::at(late.address());
    agency.says("REANUDAR|1");
    agency.hears("REANUDAR|1|30904465|7574");
    late.stops_on("TERM");
}

/// The calls in the trace of a server, each when it is over: its name and the files, or the reply that is sent.
fn calls_of(trace: &str, directory: &str) -> Vec<String> {
    // By thread, while the line of a call is interrupted by those of others.
    let mut begun = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').expect("the thread comes first");
        let call = call.trim_start();
        if let Some(beginning) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, beginning);
            continue;
        }
        let call = if call.starts_with("<...") { begun.remove(thread) } else { Some(call) };
        let (name, arguments) = call.and_then(|call| call.split_once('(')).unwrap_or_default();
        // Some processors have only other forms of these.
        let forms = ["ftruncate", "rename", "send"];
        let name = forms.into_iter().find(|form| name.starts_with(form)).unwrap_or(name);
        let files = match name {
            "fdatasync" | "fsync" | "ftruncate" => {
                let (_, path) = arguments.split_once('<').expect("strace names the file");
                let path = path.split('>').next().expect("a split has a first part");
                path.strip_prefix(directory).map(|name| name.trim_start_matches('/').to_owned())
            }
            "rename" => Some(arguments.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ")),
            "send" => arguments.split('"').nth(1).filter(|sent| sent.contains('|')).map(Into::into),
            _ => None,
        };
        calls.extend(files.map(|files| format!("{name} {files}")));
    }
    calls
}

#[test]
fn everything_is_on_disk_before_anyone_hears_of_it() {
    let traced = ["strace", "-D", "-f", "-y", "-s", "99", "-o", "trace", "-e"];
    let traced =
        [&traced[..], &["trace=fdatasync,fsync,/^(ftruncate|rename|send|socketcall)"]].concat();
    let scratch = Scratch::new();
    if !starts_programs(&["strace", "-D", "-f", "-y", "-o", "/dev/null"]) {
        return;
    }
    let server = scratch.server().arguments(&["--agencies", "1", "--exit-after-draw"]);
    let server = server.started_by(&traced).start();
    let mut agency = Peer::at(server.address());
    agency.says("APUESTA|1|Ana|Paz|30904465|1999-03-17|7574;FINAPUESTA");
    agency.hears("CONFIRMARAPUESTA|1");
    agency.says("GANADORES|1");
    agency.hears("GANADORES|30904465");
    agency.leaves();
    server.ends().succeeds();
    let directory = scratch.path("").canonicalize().expect("it is there");
    let directory = directory.to_str().expect("a path in UTF-8");
    let calls = calls_of(&scratch.read("trace"), directory);
    let expected = [
        // The start tries the directories of the result and of the journal, and does so again with the lock of a new
        // `bets.csv`.
        "fsync ",
        "fsync ",
        "fsync ",
        "fsync ",
        // An empty file and its journal.
        "ftruncate bets.journal.draft",
        "fdatasync bets.journal.draft",
        "ftruncate bets.csv",
        "fdatasync bets.csv",
        "fsync ",
        "rename bets.journal.draft bets.journal",
        "fsync ",
        "fdatasync bets.journal",
        "send CONFIRMARAPUESTA|1\\n",
        // The draw.
        "ftruncate sorteo.toml.draft",
        "fdatasync sorteo.toml.draft",
        "rename sorteo.toml.draft sorteo.toml",
        "fsync ",
        "fdatasync bets.csv",
        "fdatasync bets.journal",
        "send GANADORES|30904465\\n",
        // The stop: a slot, a log of zeros, and another slot.
        "fdatasync bets.csv",
        "fdatasync bets.journal",
        "fdatasync bets.journal",
        "fdatasync bets.journal",
    ];
    assert_eq!(calls, expected, "{}", calls.join("\n"));
}
