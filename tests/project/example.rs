//! At stake: that `docs/protocol.md` is enough to write a client from. `examples/agency.py` was written from
//! that page alone, in standard Python; here it takes part in a lottery beside an agency of ours, is
//! refused, interrupted and restarted, and every bet has to be there once.
//!
//! Without python3 nothing of this is tried, and the tests say so.

use crate::pages::{page, root, tool};
use crate::support::program::{Program, Start, lasting_address, run, skipped};
use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A lottery of two agencies: the first is the example, the second is ours.
struct Lottery {
    scratch: TempDir,
    address: String,
}

impl Lottery {
    /// Nothing where the example cannot be run.
    fn new() -> Option<Lottery> {
        if tool("python3").is_none() {
            skipped("examples/agency.py", "python3");
            return None;
        }
        let scratch = tempfile::tempdir().expect("a scratch directory");
        Some(Lottery { scratch, address: lasting_address() })
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.scratch.path().join(name);
        fs::write(&path, text).expect("a scratch file can be written");
        path
    }

    fn bets(&self) -> String {
        fs::read_to_string(self.scratch.path().join("bets.csv")).expect("bets.csv can be read")
    }

    fn program(&self, executable: impl AsRef<Path>) -> Command {
        let mut command = Command::new(executable.as_ref());
        command.current_dir(self.scratch.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").expect("a PATH"));
        command
    }

    fn server(&self) -> Program {
        let mut command = self.program(env!("CARGO_BIN_EXE_server"));
        command.args(["--agencies", "2", "--winning-number", "75", "--address", &self.address]);
        let server = Start::of(command).start();
        server.logs("action: accept_connections | result: in_progress");
        server
    }

    fn ours(&self, file: &Path) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_client"));
        command.args(["--agency", "2", "--server", &self.address, "--file"]).arg(file);
        command
    }

    fn example(&self, file: &Path) -> Command {
        let mut command = self.program("python3");
        command.arg(root().join("examples/agency.py")).arg("1").arg(file);
        command.args(["--server", &self.address]);
        command
    }
}

/// Bets 1 to `count`. Every hundredth wins, each written in its own way; some names take quotes.
fn bets(count: u32) -> String {
    let mut text = String::new();
    for place in 1..=count {
        let name = match place % 50 {
            0 => "\"Paz, hija\"",
            1 => "\"la \"\"Ñata\"\"\"",
            _ => "Gómez",
        };
        let number = match place % 300 {
            0 => "75",
            100 => "0075",
            200 => "075",
            other => &other.to_string(),
        };
        let number = if place % 100 != 0 && number == "75" { "7575" } else { number };
        writeln!(text, "Ana,{name},{},1999-03-17,{number}", 30_000_000 + place).expect("a string");
    }
    text
}

/// The lines that `bets.csv` should have of an agency.
fn rows(agency: u32, bets: &str) -> Vec<String> {
    bets.lines().map(|line| format!("{agency},{line}")).collect()
}

fn rows_of(agency: u32, stored: &str) -> Vec<String> {
    let prefix = format!("{agency},");
    stored.lines().filter(|line| line.starts_with(&prefix)).map(str::to_owned).collect()
}

#[test]
fn it_is_about_a_hundred_lines_and_standard_python() {
    let source = page("examples/agency.py");
    assert!(source.lines().count() <= 110, "{} lines", source.lines().count());
    let imports: Vec<&str> = source.lines().filter(|line| line.contains("import ")).collect();
    assert_eq!(imports, ["import argparse, csv, random, re, socket, ssl, sys, time"]);
}

#[test]
fn it_is_refused_mended_interrupted_and_goes_on_beside_an_agency_of_ours() {
    let Some(lottery) = Lottery::new() else { return };
    let server = lottery.server();
    let (first, second) = (bets(400), bets(90));

    // The bet at line 250 is none. What was confirmed before its batch stays.
    let bad = first.replace("30000250,1999-03-17", "30000250,1999-02-30");
    let file = lottery.write("first.csv", &bad);
    run(lottery.example(&file))
        .exits(1)
        .says("0 of 400 bets are stored")
        .says("first.csv: the batch from line ")
        .says("birthdate")
        .prints("");
    let stored = lottery.bets().lines().count();
    assert!((1..250).contains(&stored), "{stored} bets");

    // Another file than before is not sent.
    let other = lottery.write("other.csv", &second);
    run(lottery.example(&other)).exits(1).says("is this the file sent before?").prints("");
    assert_eq!(lottery.bets().lines().count(), stored);

    // Mended, it goes on behind what is stored, and waits. It is stopped, and comes back.
    lottery.write("first.csv", &first);
    let example = Start::of(lottery.example(&file)).start();
    example.logs(&format!("{stored} of 400 bets are stored"));
    example.logs("waiting for the draw");
    drop(example);
    let example = Start::of(lottery.example(&file)).start();
    example.logs("400 of 400 bets are stored");
    example.logs("waiting for the draw");

    run(lottery.ours(&other)).exits(0).prints("");
    example.ends().exits(0).prints("1,30000100\n1,30000200\n1,30000300\n1,30000400\n");
    // The draw was held: asked again, it is the same.
    run(lottery.example(&file)).exits(0).prints("1,30000100\n1,30000200\n1,30000300\n1,30000400\n");

    server.stops_quietly();
    let stored = lottery.bets();
    assert_eq!(rows_of(1, &stored), rows(1, &first));
    assert_eq!(rows_of(2, &stored), rows(2, &second));
    assert!(stored.contains("1,Ana,\"Paz, hija\",30000050,1999-03-17,50\n"), "{stored}");
}

#[test]
fn it_takes_up_again_with_a_server_that_was_restarted() {
    let Some(lottery) = Lottery::new() else { return };
    let server = lottery.server();
    // A byte order mark is not part of the first name.
    let file = lottery.write("first.csv", &format!("\u{feff}{}", bets(300)));
    let other = lottery.write("second.csv", "");
    let example = Start::of(lottery.example(&file)).start();
    example.logs("waiting for the draw");

    server.stops_quietly();
    example.logs("trying again");
    let server = lottery.server();
    example.logs("300 of 300 bets are stored");
    run(lottery.ours(&other)).exits(0);
    example.ends().exits(0).prints("1,30000100\n1,30000200\n1,30000300\n");
    server.stops_quietly();
    assert_eq!(rows_of(1, &lottery.bets()), rows(1, &bets(300)));
}

#[test]
fn what_could_break_a_message_is_found_before_anything_is_sent() {
    let Some(lottery) = Lottery::new() else { return };
    // There is no server: nothing is sent.
    for (line, reason) in [
        ("Ana|,Paz,30904465,1999-03-17,1", "bad.csv:2: not 5 fields"),
        ("Ana;FINAPUESTA,Paz,30904465,1999-03-17,1", "bad.csv:2: not 5 fields"),
        ("Ana,Paz,30904465,1999-03-17", "bad.csv:2: not 5 fields"),
        ("Ana,\"Paz,30904465,1999-03-17,1", "unexpected end of data"),
    ] {
        let file = lottery.write("bad.csv", &format!("Ana,Paz,30904465,1999-03-17,1\n{line}\n"));
        run(lottery.example(&file)).exits(1).says(reason).prints("");
    }
    let missing = lottery.scratch.path().join("missing.csv");
    run(lottery.example(&missing)).exits(1).says("missing.csv").prints("");
}

#[test]
fn a_host_that_cannot_be_one_is_an_error_on_one_line() {
    let Some(lottery) = Lottery::new() else { return };
    let file = lottery.write("first.csv", &bets(1));
    let mut example = lottery.example(&file);
    example.args(["--server", "no..host:1"]);
    let ended = run(example);
    ended.exits(1).says("agency.py: ").prints("");
    assert_eq!(ended.stderr.len(), 1, "{ended}");
}

#[test]
fn a_server_that_is_not_there_is_named_and_asked_again() {
    let Some(lottery) = Lottery::new() else { return };
    let file = lottery.write("first.csv", &bets(1));
    let example = Start::of(lottery.example(&file)).start();
    example.logs(&format!("agency 1: {}: ", lottery.address));
    example.logs("trying again");
    let server = lottery.server();
    example.logs("waiting for the draw");
    drop(example);
    server.stops_quietly();
}

#[test]
fn a_reason_to_try_again_is_told_once() {
    let Some(lottery) = Lottery::new() else { return };
    let file = lottery.write("first.csv", &bets(1));
    let server = TcpListener::bind(&lottery.address).expect("a free port");
    // Python takes no SIGINT where it is ignored, as in the background of a script.
    let takes_signals = "import os, signal, sys\n\
        signal.signal(signal.SIGINT, signal.SIG_DFL)\n\
        os.execvp(sys.argv[1], sys.argv[1:])";
    let example = Start::of(lottery.example(&file));
    let example = example.started_by(&["python3", "-c", takes_signals]).start();
    for _ in 0..3 {
        let (socket, _) = server.accept().expect("it connects");
        let mut request = String::new();
        BufReader::new(socket).read_line(&mut request).expect("it asks");
        assert_eq!(request, "REANUDAR|1\n");
    }
    example.signal("INT");
    let ended = example.ends();
    ended.exits(1).says("stopped; run it again");
    assert_eq!(ended.count("the server ended the connection; trying again"), 1, "{ended}");
}
