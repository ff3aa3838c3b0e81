//! At stake: what somebody sees who starts the programs on a terminal: that lines which repeat do not push the
//! winners off it, that nothing is wider than it is, and that no line that stays is left behind.
//!
//! `script` of util-linux gives the programs a terminal. What they write to it is replayed on a small screen.

use crate::sample::{all_winners, five_agencies};
use crate::support::program::{Ended, Scratch, Start, WITHIN, lasting_address};
use std::time::Instant;

/// Starts a program on a terminal of 40 columns and 12 rows.
fn on_terminal(start: Start) -> Start {
    start.on_terminal(40, 12)
}

/// What is on the screen after all that was written to it, line by line: it understands what the programs use.
fn screen(ended: &Ended) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut row = 0;
    let mut text = ended.stdout.as_str();
    while let Some(letter) = text.chars().next() {
        text = &text[letter.len_utf8()..];
        match letter {
            '\r' => {}
            '\n' => row += 1,
            '\x1b' => {
                let end = text.find(|c: char| c.is_ascii_alphabetic()).expect("an end");
                let count = text[1..end].parse().unwrap_or(1);
                match text.as_bytes()[end] {
                    b'A' => row -= count,
                    b'J' => lines.truncate(row),
                    other => panic!("not understood: {other}"),
                }
                text = &text[end + 1..];
            }
            letter => lines[row].push(letter),
        }
        lines.resize(lines.len().max(row + 1), String::new());
    }
    lines
}

/// The lines of a terminal that were ever on it and stayed below the log.
fn staying(ended: &Ended) -> impl Iterator<Item = &str> {
    // Before the first line those that were there are erased.
    let erased = |line: &str| line.rfind("\x1b[J").map_or(0, |at| at + "\x1b[J".len());
    let lines = ended.stdout.split(['\r', '\n']).map(move |line| &line[erased(line)..]);
    lines.filter(|line| line.starts_with("agency ") || line.starts_with("draw: "))
}

#[test]
fn a_server_whose_terminal_is_closed_ends_and_leaves_its_files_to_the_next() {
    let scratch = Scratch::new();
    let address = lasting_address();
    let start = || scratch.bare_server().arguments(&["--address", &address]);
    let server = on_terminal(start()).start();
    server.prints("result: in_progress");
    // This ends the terminal, and not the server on it.
    server.kill();
    let deadline = Instant::now() + WITHIN;
    let next = loop {
        assert!(Instant::now() < deadline, "it still has its port or its files");
        let next = start().start();
        if next.logs_times_before_its_end("result: in_progress", 1) {
            break next;
        }
    };
    next.stops_on("TERM").never_says("action: recover");
}

#[test]
fn a_run_on_a_terminal_ends_with_the_winners_and_a_summary() {
    let scratch = Scratch::new();
    five_agencies(&scratch);
    let server = scratch.server().start();
    let slowly = [("CLI_BATCH_PERIOD_MS", "50"), ("CLI_BATCH_MAX_AMOUNT", "5")];
    let client = on_terminal(scratch.client(&server.address()).variables(&slowly)).run();
    client.exits(0);
    let screen = screen(&client);
    assert!(screen[0].contains("action: config | result: success"), "{screen:#?}");
    // Only the configuration, the winners and the summary are left.
    let winners = screen[1..]
        .iter()
        .take_while(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .count();
    let summary = &screen[1 + winners..];
    assert!(winners > 0 && summary.len() == 7, "{screen:#?}");
    assert!(
        summary[0].starts_with("agency   1: ") && summary[0].contains(" bets, "),
        "{screen:#?}"
    );
    assert!(summary[5].contains(" bets of 5 agencies stored, 23 winners, in "), "{screen:#?}");
    let sends = |line: &str| line.starts_with("agency   1 ") && line.contains(" bets/s, ");
    assert!(staying(&client).any(sends), "{client}");
    assert!(staying(&client).all(|line| line.chars().count() < 40), "{client}");
    server.stops_on("TERM");
}

#[test]
fn a_quiet_client_shows_winners_and_errors_and_nothing_else() {
    let scratch = Scratch::new();
    let files = five_agencies(&scratch);
    let server = scratch.server().start();
    let quiet = || scratch.client(&server.address()).arguments(&["--quiet"]);
    let winners = all_winners(&files);
    // Long enough for bars to be drawn.
    let slowly = [("CLI_BATCH_PERIOD_MS", "100"), ("CLI_BATCH_MAX_AMOUNT", "10")];
    let mut ended = on_terminal(quiet().variables(&slowly)).run();
    ended.exits(0);
    ended.stdout = ended.stdout.replace('\r', "");
    assert_eq!(ended.sorted_stdout(), winners);
    let ended = quiet().run();
    ended.exits(0);
    assert_eq!(ended.sorted_stdout(), winners);
    assert!(ended.stderr.is_empty(), "{ended}");
    quiet().arguments(&["--agency", "6"]).run().exits(1).says("agency-6.csv: ");
}

#[test]
fn a_level_that_is_asked_for_brings_the_lines_back() {
    let scratch = Scratch::new();
    five_agencies(&scratch);
    let server = scratch.server().start();
    scratch.write("config.toml", "log.level = \"info\"\n");
    let client = on_terminal(scratch.client(&server.address())).run();
    for line in ["apuesta_enviada", "consulta_ganadores", "close_thread", "action: exit"] {
        assert!(client.stdout.contains(line), "{client}");
    }
    assert!(!client.stdout.contains("bets of 5 agencies stored"), "{client}");
    server.stops_on("TERM");
}

#[test]
fn a_terminal_that_cannot_erase_lines_gets_the_log_of_a_file() {
    let scratch = Scratch::new();
    five_agencies(&scratch);
    let address = lasting_address();
    let server = scratch.bare_server().variable("SERVER_ADDRESS", &address);
    let server = on_terminal(server.variable("TERM", "dumb")).start();
    server.prints("accept_connections | result: in_progress");
    let client = on_terminal(scratch.client(&address).variable("TERM", "dumb")).run();
    server.types("\x03");
    let server = server.ends();
    for ended in [&client, &server] {
        assert!(!ended.stdout.contains('\x1b'), "{ended}");
        assert!(ended.stdout.contains("action: exit"), "{ended}");
    }
}

#[test]
fn the_board_says_whom_the_draw_waits_for_and_that_it_was_held_and_is_gone_at_the_end() {
    let scratch = Scratch::new();
    five_agencies(&scratch);
    let address = crate::support::program::lasting_address();
    let server = on_terminal(scratch.bare_server().variable("SERVER_ADDRESS", &address)).start();
    server.prints("draw: waits for agencies 1, 2, ");
    let first = scratch.client(&address).variable("CLI_ID", "1").start();
    server.prints("draw: waits for agencies 2, 3, ");
    scratch.client(&address).run().exits(0);
    first.ends().exits(0);
    server.prints("draw: held over ");
    server.types("\x03");
    let ended = server.ends();
    ended.exits(0);
    let screen = screen(&ended);
    assert!(
        screen.iter().any(|line| line.contains("action: sorteo | result: success")),
        "{screen:#?}"
    );
    assert!(screen.iter().all(|line| !line.starts_with("agency ")), "{screen:#?}");
    assert!(screen.iter().all(|line| !line.contains("thread: session-")), "{screen:#?}");
    assert!(staying(&ended).all(|line| line.chars().count() < 40), "{ended}");
}

#[test]
fn an_interrupted_client_says_what_is_stored_and_how_to_go_on() {
    let scratch = Scratch::new();
    five_agencies(&scratch);
    let server = scratch.server().start();
    let slowly = [("CLI_BATCH_PERIOD_MS", "100"), ("CLI_BATCH_MAX_AMOUNT", "1")];
    let client = on_terminal(scratch.client(&server.address()).variables(&slowly)).start();
    client.prints(" bets/s, ");
    client.types("\x03");
    let ended = client.ends();
    ended.exits(0);
    let screen = screen(&ended);
    let last = screen.iter().rfind(|line| !line.is_empty()).expect("a line");
    let (_, stored) =
        last.split_once("action: interrupt | result: success | stored: ").expect("its report");
    let (stored, _) = stored.split_once(" | of: ").expect("all bets of the agencies");
    assert!(stored.parse::<u64>().is_ok_and(|stored| stored > 0), "{screen:#?}");
    assert!(last.contains("run the client again, it goes on after the bets"), "{screen:#?}");
    assert!(screen.iter().all(|line| !line.starts_with("agency ")), "{screen:#?}");
    server.stops_on("TERM");
}

#[test]
fn agencies_without_a_server_share_one_line_of_a_short_log_for_each_error() {
    let scratch = Scratch::new();
    five_agencies(&scratch);
    let client = || {
        let client = scratch.client(&crate::support::program::lasting_address());
        client.variable("CLI_RETRY_FOR_MS", "200")
    };
    let (retry, failure) =
        ("action: connect | result: in_progress", "action: agency | result: fail");
    let short = on_terminal(client()).run();
    short.exits(1);
    assert_eq!(short.stdout.matches(retry).count(), 1, "{short}");
    assert_eq!(short.stdout.matches(failure).count(), 1, "{short}");
    let whole = client().run();
    whole.exits(1);
    assert!(whole.count(retry) >= 5 && whole.count(failure) == 5, "{whole}");
}

#[test]
fn an_interrupted_client_without_a_server_does_not_say_what_is_stored() {
    let scratch = Scratch::new();
    five_agencies(&scratch);
    let address = crate::support::program::lasting_address();
    let client = on_terminal(scratch.client(&address)).start();
    client.prints(" bets connecting");
    client.types("\x03");
    let ended = client.ends();
    ended.exits(0);
    let screen = screen(&ended);
    let last = screen.iter().rfind(|line| !line.is_empty()).expect("a line");
    let stored =
        format!("stored: unknown, no answer from {address} yet | next: run the client again");
    assert!(last.contains(&stored), "{screen:#?}");
    assert!(screen.iter().all(|line| !line.starts_with("agency ")), "{screen:#?}");
}
