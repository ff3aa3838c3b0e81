//! At stake: that many agencies are no other matter than five, and that a server that runs for long needs
//! no more than one that just began. Not run unless they are asked for, because they take their time:
//!
//! ```sh
//! cargo test --release --test programs -- load:: --ignored --nocapture --test-threads 1
//! ```
//!
//! `LOTERIA_SOAK_SECONDS` says how long the long one is, 120 where nothing else is said.

use crate::sample::{Bet, Ends, all_winners, assert_all_stored, bets, csv};
use crate::support::peer::Peer;
use crate::support::program::{Program, Scratch, lasting_address, show};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A number of `/proc/PID/status`, in KiB for memory.
fn status(program: &Program, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id()));
    let status = status.expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it is told");
    let number = line.trim_start_matches(':').trim().split(' ').next().expect("a number");
    number.parse().expect("a number")
}

fn descriptors(program: &Program) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", program.id()));
    entries.expect("Linux tells").count()
}

/// One draw of so many agencies, all at once, with so many bets each.
fn one_draw_of(agencies: usize, bets_each: usize) {
    let scratch = Scratch::new();
    let files: Vec<Vec<Bet>> = (1..=agencies).map(|agency| bets(agency, bets_each)).collect();
    for (agency, bets) in (1..).zip(&files) {
        scratch.write(&format!("agencies/agency-{agency}.csv"), csv(bets, Ends::Lf));
    }
    let settings = [("SERVER_MAX_CONNECTIONS", "5000"), ("LOG_LEVEL", "info")];
    let count = agencies.to_string();
    let server = scratch.server().arguments(&["--agencies", &count]).variables(&settings);
    let server = server.limited("-n 16384").start();
    let address = server.address();
    let start = Instant::now();
    let client = scratch.client(&address).variable("LOG_LEVEL", "warn").limited("-n 16384");
    let ended = client.run();
    let took = start.elapsed();
    ended.exits(0);
    assert_eq!(ended.sorted_stdout(), all_winners(&files));
    assert_all_stored(&scratch, &files);
    let (peak, threads) = (status(&server, "VmHWM"), status(&server, "Threads"));
    let stop = Instant::now();
    let ended = server.stops_on("TERM");
    show(&format!(
        "{agencies} agencies with {bets_each} bets each: {took:.2?}, server's peak {peak} KiB, {threads} \
         threads afterwards, stopped in {:.2?}",
        stop.elapsed()
    ));
    assert_eq!(ended.count("action: sorteo | result: success"), 1);
}

#[test]
#[ignore = "takes its time"]
fn five_hundred_agencies_have_one_draw() {
    one_draw_of(500, 200);
}

#[test]
#[ignore = "takes its time"]
fn two_thousand_agencies_have_one_draw() {
    one_draw_of(2_000, 100);
}

#[test]
#[ignore = "takes its time"]
fn nine_hundred_agencies_that_wait_do_not_keep_the_server_from_stopping() {
    let scratch = Scratch::new();
    // Not all of them come, so there is no draw.
    let server = scratch.server().arguments(&["--agencies", "2000"]);
    let server = server.variable("SERVER_MAX_CONNECTIONS", "5000").limited("-n 16384").start();
    let address = server.address();
    let waiting: Vec<Peer> = (1..=900)
        .map(|agency| {
            let mut peer = Peer::at(&address);
            peer.says(&format!("GANADORES|{agency}"));
            peer
        })
        .collect();
    while status(&server, "Threads") < 900 {
        thread::sleep(Duration::from_millis(10));
    }
    let start = Instant::now();
    server.stops_on("TERM");
    let took = start.elapsed();
    show(&format!("stopped with 900 of 2000 waiting: {took:.2?}"));
    drop(waiting);
}

/// Comes and goes as `agency` for as long as `time`: resumes, stores a batch, asks, and leaves.
fn come_and_go(address: &str, agency: usize, start: Instant, time: Duration, visits: &AtomicU64) {
    let mut place = 0;
    while start.elapsed() < time {
        let mut peer = Peer::at(address);
        let mut batch = String::new();
        for _ in 0..20 {
            batch.push_str(&format!(
                "APUESTA|{agency}|Ana|Paz|{}|1999-03-17|{};",
                10_000_000 + place % 80_000_000,
                place % 10_000
            ));
            place += 1;
        }
        peer.says(&format!("REANUDAR|{agency}\n{batch}FINAPUESTA\nESTADO\nX"));
        for expected in ["REANUDAR|", "CONFIRMARAPUESTA|20", "ESTADO|", "ERROR|"] {
            peer.hears_a_line_of(expected);
        }
        visits.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "takes its time"]
fn a_server_that_runs_for_long_needs_no_more_than_one_that_just_began() {
    let seconds = std::env::var("LOTERIA_SOAK_SECONDS").map_or(120, |text| {
        text.parse().unwrap_or_else(|_| panic!("LOTERIA_SOAK_SECONDS must be a number"))
    });
    let time = Duration::from_secs(seconds);
    let scratch = Scratch::new();
    // The last agency never comes, so there is no draw.
    let address = lasting_address();
    let server = scratch.bare_server().arguments(&["--agencies", "6", "--address", &address]);
    let server = server.variable("LOG_LEVEL", "warn").start();
    while TcpStream::connect(&address).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
    let visits = AtomicU64::new(0);
    let start = Instant::now();
    let mut samples = Vec::new();
    thread::scope(|scope| {
        for agency in 1..=5 {
            let (address, visits) = (&address, &visits);
            scope.spawn(move || come_and_go(address, agency, start, time, visits));
        }
        while start.elapsed() < time {
            thread::sleep(time / 20);
            let sample =
                (status(&server, "VmRSS"), status(&server, "Threads"), descriptors(&server));
            samples.push(sample);
        }
    });
    let visits = visits.into_inner();
    show(&format!(
        "{visits} visits in {:.0?}; KiB, threads, descriptors: {samples:?}",
        start.elapsed()
    ));
    let stored = scratch.read("bets.csv").lines().count();
    assert_eq!(u64::try_from(stored).expect("a number"), visits * 20);
    let largest = |samples: &[(u64, u64, usize)]| samples.iter().map(|sample| sample.0).max();
    let third = samples.len() / 3;
    let (early, late) = (largest(&samples[..third]), largest(&samples[2 * third..]));
    assert!(late < early.map(|kib| kib + 2_048), "it grew from {early:?} to {late:?} KiB");
    server.stops_quietly();
}
