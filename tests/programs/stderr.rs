//! At stake: that a reader of stderr that stops delays nothing, and that one that is alive, however slow, loses
//! no line.

use crate::support::program::{Program, Scratch, Start, WITHIN, lasting_address};
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// So many that their lines, one for each at debug level, are more than pipe and queue hold together.
const BETS: usize = 80_000;

/// Starts a program whose stderr is a pipe that the test reads, or not.
fn unread(start: Start) -> (Program, PipeReader) {
    let (reader, writer) = pipe().expect("a pipe");
    (start.stderr_to(File::from(OwnedFd::from(writer))).start(), reader)
}

/// Reads far more slowly than a program writes, up to the end.
fn read_slowly(mut reader: PipeReader) -> JoinHandle<String> {
    thread::spawn(move || {
        let (mut log, mut part) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let count = reader.read(&mut part).expect("a pipe can be read");
            if count == 0 {
                return String::from_utf8(log).expect("text");
            }
            log.extend_from_slice(&part[..count]);
            thread::sleep(Duration::from_millis(20));
        }
    })
}

fn many_bets(scratch: &Scratch) {
    scratch.write("agencies/agency-1.csv", "Ana,Gómez,30000001,2000-02-29,75\n".repeat(BETS));
}

fn server_that_logs_all(scratch: &Scratch, address: &str) -> Start {
    let variables = [("AGENCIES", "1"), ("LOG_LEVEL", "debug"), ("SERVER_ADDRESS", address)];
    scratch.bare_server().variables(&variables)
}

/// A client that writes what it has to, once there is a server.
fn client(scratch: &Scratch, address: &str) -> Start {
    scratch.client(address).arguments(&["--quiet"])
}

#[test]
fn a_server_whose_log_nobody_reads_holds_the_draw_and_stops() {
    let (scratch, address) = (Scratch::new(), lasting_address());
    many_bets(&scratch);
    let (server, mut reader) = unread(server_that_logs_all(&scratch, &address));
    client(&scratch, &address).run().exits(0);
    assert_eq!(scratch.read("bets.csv").lines().count(), BETS);
    server.has_thread("signals");
    server.stops_quietly();
    let mut log = String::new();
    reader.read_to_string(&mut log).expect("what is in the pipe");
    assert!(log.contains("action: apuesta_almacenada | result: success"), "{log}");
}

#[test]
fn a_reader_that_goes_on_reads_how_many_lines_were_dropped() {
    let (scratch, address) = (Scratch::new(), lasting_address());
    many_bets(&scratch);
    let (server, reader) = unread(server_that_logs_all(&scratch, &address));
    client(&scratch, &address).run().exits(0);
    let (report, reported) = channel();
    let log = thread::spawn(move || {
        let mut log = String::new();
        for line in BufReader::new(reader).lines().map(|line| line.expect("text")) {
            if line.contains("dropped_lines") {
                report.send(()).expect("the test waits for it");
            }
            log.push_str(&(line + "\n"));
        }
        log
    });
    reported.recv_timeout(WITHIN).expect("they are reported although no line follows");
    // The draw was held, and whoever asks again adds lines.
    client(&scratch, &address).run().exits(0);
    server.stops_quietly();
    let log = log.join().expect("a reader");
    let dropped: Vec<&str> = log.lines().filter(|line| line.contains("dropped_lines")).collect();
    let [line] = dropped[..] else { panic!("{dropped:?}") };
    let (_, line) = line.split_once(" WARN ").expect("a level");
    let count = line.strip_prefix("action: write_log | result: fail | dropped_lines: ");
    let count: usize = count.and_then(|rest| rest.split(' ').next()?.parse().ok()).expect(line);
    let told = log.lines().filter(|line| line.contains("apuesta_almacenada")).count();
    assert!(told < BETS && told + count >= BETS, "{told} of {BETS} lines, {count} dropped");
    assert!(log.trim_end().ends_with("action: exit | result: success"), "{line}");
}

#[test]
fn a_slow_reader_loses_no_line() {
    let (scratch, address) = (Scratch::new(), lasting_address());
    many_bets(&scratch);
    // It ends by itself: after a signal it would wait for its reader for a moment only.
    let server = server_that_logs_all(&scratch, &address).arguments(&["--exit-after-draw"]);
    let (server, reader) = unread(server);
    let log = read_slowly(reader);
    client(&scratch, &address).run().exits(0);
    server.ends().exits(0);
    let log = log.join().expect("a reader");
    assert!(!log.contains("dropped_lines"));
    assert_eq!(log.lines().filter(|line| line.contains("apuesta_almacenada")).count(), BETS);
    assert!(log.ends_with("action: exit | result: success\n"), "{log}");
}

#[test]
fn a_slow_reader_loses_no_report_of_a_client() {
    let scratch = Scratch::new();
    scratch.write("agencies/agency-1.csv", "no bet\n".repeat(2 * BETS));
    let (client, reader) = unread(scratch.bare_client());
    let log = read_slowly(reader);
    client.ends().exits(1);
    let log = log.join().expect("a reader");
    let told = log.lines().filter_map(|line| line.strip_prefix("agencies/agency-1.csv:"));
    let told = told.filter_map(|rest| rest.split(':').next()?.parse::<usize>().ok());
    assert!(told.eq(1..=2 * BETS), "a line is missing");
    assert!(log.ends_with(" invalid lines; nothing was sent\n"), "{log}");
}

#[test]
fn a_client_whose_reports_nobody_reads_ends() {
    let scratch = Scratch::new();
    scratch.write("agencies/agency-1.csv", "no bet\n".repeat(BETS));
    let (client, reader) = unread(scratch.bare_client());
    client.ends().exits(1);
    drop(reader);
    // The same where a signal comes first.
    scratch.write("agencies/agency-1.csv", "no bet\n".repeat(20 * BETS));
    let (client, reader) = unread(scratch.bare_client());
    client.has_thread("signals");
    client.stops_quietly();
    drop(reader);
}

#[test]
fn a_client_whose_log_nobody_reads_hears_its_winners() {
    let scratch = Scratch::new();
    let bets = "Ana,Gómez,30000001,2000-02-29,75\n".repeat(2 * BETS / 3);
    scratch.write("agencies/agency-1.csv", bets + "Ana,Paz,30000002,2000-02-29,7574\n");
    let server = scratch.server().variable("AGENCIES", "1").start();
    let variables = [("CLI_BATCH_MAX_AMOUNT", "1"), ("CLI_WINDOW", "4096")];
    let (client, reader) = unread(scratch.client(&server.address()).variables(&variables));
    assert_eq!(client.ends().exits(0).stdout, "1,30000002\n");
    drop(reader);
    server.stops_on("TERM");
}

#[test]
fn a_closed_stderr_changes_nothing() {
    let (scratch, address) = (Scratch::new(), lasting_address());
    scratch.write("agencies/agency-1.csv", "Ana,Gómez,30000001,2000-02-29,7574\n");
    let server = server_that_logs_all(&scratch, &address);
    let (server, reader) = unread(server);
    drop(reader);
    let client = scratch.client(&address).run();
    assert_eq!(client.exits(0).stdout, "1,30000001\n");
    server.stops_quietly();
}
