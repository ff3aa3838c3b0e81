//! At stake: that a draw can be recounted by somebody else. `examples/control.py`, in standard Python, finds nothing
//! in a lottery of ours, and something in each of eight that were changed.
//!
//! Without python3 nothing of this is tried, and the tests say so.

use crate::pages::{root, tool};
use crate::support::program::{Program, Start, lasting_address, run, skipped};
use std::fs;
use std::path::Path;
use std::process::Command;

fn program(directory: &Path, executable: impl AsRef<Path>) -> Command {
    let mut command = Command::new(executable.as_ref());
    command.current_dir(directory).env_clear();
    command.env("PATH", std::env::var_os("PATH").expect("a PATH"));
    command
}

/// Has two agencies store these bets and hold the draw on 75.
fn hold_a_draw(directory: &Path) {
    for (number, bets) in [
        (1, "Ana,Paz,1234567,2000-01-01,75\nEva,\"Ruiz, h.\",12345678,1999-12-31,7\n"),
        (2, "Leo,Gómez,30000003,1980-06-15,0075\nAda,Sosa,30000004,1980-06-16,175\n"),
    ] {
        let agencies = directory.join("agencies");
        fs::create_dir_all(&agencies).expect("a directory");
        fs::write(agencies.join(format!("agency-{number}.csv")), bets).expect("a file");
    }
    let address = lasting_address();
    let mut server = program(directory, env!("CARGO_BIN_EXE_server"));
    server.args(["--agencies", "2", "--winning-number", "75", "--address", &address]);
    let server: Program = Start::of(server).start();
    server.logs("action: accept_connections | result: in_progress");
    let mut client = program(directory, env!("CARGO_BIN_EXE_client"));
    client.args(["--server", &address]);
    Start::of(client).run().exits(0);
    server.stops_quietly();
}

/// What the control says of the files, and its exit code.
fn control(directory: &Path) -> (String, Option<i32>) {
    let mut python = program(directory, "python3");
    python.arg(root().join("examples/control.py")).args(["bets.csv", "sorteo.toml"]);
    let output = python.output().expect("python3 can be run");
    let printed = String::from_utf8(output.stdout).expect("it prints text");
    (printed, output.status.code())
}

#[test]
fn the_control_agrees_with_a_draw_of_ours_and_with_none_that_was_changed() {
    if tool("python3").is_none() {
        return skipped("examples/control.py", "python3");
    }
    let directory = tempfile::tempdir().expect("a scratch directory");
    let directory = directory.path();
    hold_a_draw(directory);
    let agrees = "counts, winners and checksum agree\n".to_owned();
    assert_eq!(control(directory), (agrees.clone(), Some(0)));

    let read = |name: &str| fs::read_to_string(directory.join(name)).expect("a file of the server");
    let (bets, result) = (read("bets.csv"), read("sorteo.toml"));
    let last = bets.lines().last().expect("there are bets");
    let changed = [
        (bets.replace("1999-12-31", "1999-12-30"), result.clone(), "bets_sha256"),
        (format!("{bets}2,Ana,Paz,1234567,2000-01-01,1\n"), result.clone(), "bets, and"),
        (bets.replace(&format!("{last}\n"), ""), result.clone(), "bets_bytes"),
        (bets.replace(",1980-06-16,175", ",1980-06-16,075"), result.clone(), "yields"),
        (bets.clone(), result.replace("\"1234567\"", "\"1234568\""), "agency 1: winners"),
        (bets.clone(), result.replacen("bets = 2", "bets = 3", 1), "agency 1: 3 bets"),
        (bets.clone(), result.replace("id = 2", "id = 3"), "not numbered from 1"),
        (bets.clone(), result.replace("winning_number = 75", "winning_number = 7"), "yields"),
    ];
    for (bets, result, what) in changed {
        fs::write(directory.join("bets.csv"), bets).expect("a file");
        fs::write(directory.join("sorteo.toml"), result).expect("a file");
        let (printed, code) = control(directory);
        assert_eq!(code, Some(1), "{what}: {printed}");
        assert!(printed.contains(what), "{what}: {printed}");
    }
    fs::write(directory.join("bets.csv"), bets).expect("a file");
    fs::write(directory.join("sorteo.toml"), result).expect("a file");
    assert_eq!(control(directory), (agrees, Some(0)));

    // And so does the tool that everyone has.
    let mut sum = program(directory, "sha256sum");
    sum.arg("bets.csv");
    let summed = run(sum);
    let hash = summed.stdout.split(' ').next().expect("a hash").to_owned();
    assert!(read("sorteo.toml").contains(&format!("bets_sha256 = \"{hash}\"")), "{hash}");
}
