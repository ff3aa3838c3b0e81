//! At stake: that `agencies/` is what its generator makes, so that nobody has to trust or to keep by hand files
//! that demonstrations and other tests count on, and that the generator's bets are valid at any size.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use loteria::bet::Bet;

/// The generator as `cargo test` builds it, in a folder beside the programs.
fn generator() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_server"));
    let name = format!("make_agencies{}", std::env::consts::EXE_SUFFIX);
    let path = beside.with_file_name("examples").join(name);
    assert!(
        path.exists(),
        "{}: build it with `cargo build --example make_agencies`",
        path.display()
    );
    path
}

fn generate(arguments: &[&str], directory: &Path) -> Output {
    Command::new(generator()).args(arguments).arg(directory).output().expect("the generator starts")
}

fn made(arguments: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let output = generate(arguments, scratch.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    files_of(scratch.path())
}

fn files_of(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("a directory that can be read");
    entries
        .map(|entry| {
            let path = entry.expect("an entry that can be read").path();
            let name =
                path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a file that can be read"))
        })
        .collect()
}

fn committed() -> BTreeMap<String, Vec<u8>> {
    files_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("agencies"))
}

fn file(files: &BTreeMap<String, Vec<u8>>, agency: usize) -> &[u8] {
    &files[&format!("agency-{agency}.csv")]
}

/// The bets of a file's bytes, each checked at the same door that the client's are.
fn numbers_of(bytes: &[u8]) -> Vec<u16> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    let records = reader.records().map(|record| record.expect("a line of CSV"));
    records
        .map(|record| {
            let fields: Vec<&str> = record.iter().collect();
            let fields = fields.try_into().expect("five fields");
            let bet = Bet::new(fields).unwrap_or_else(|reason| panic!("{fields:?}: {reason}"));
            bet.fields()[4].parse().expect("a valid number")
        })
        .collect()
}

fn ends_of_lines(bytes: &[u8]) -> (usize, usize) {
    let all = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let crlf = bytes.windows(2).filter(|&pair| pair == b"\r\n").count();
    (all - crlf, crlf)
}

#[test]
fn the_command_in_the_generators_page_makes_the_committed_files() {
    let source = include_str!("../../examples/make_agencies.rs");
    let command = source
        .lines()
        .find_map(|line| line.strip_prefix("//! cargo run --example make_agencies -- "))
        .expect("the page holds its command");
    let arguments = command.strip_suffix(" agencies").expect("the command writes into agencies/");
    let arguments: Vec<&str> = arguments.split_whitespace().collect();

    let made = made(&arguments);
    let committed = committed();
    assert_eq!(made.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>());
    for (name, bytes) in made {
        assert!(bytes == committed[&name], "agencies/{name} is not what `{command}` makes");
    }
}

#[test]
fn the_committed_agencies_have_2_3_3_1_and_0_winners() {
    let committed = committed();
    let winners = (1..=5).map(|agency| {
        let numbers = numbers_of(file(&committed, agency));
        numbers.into_iter().filter(|&number| number == 7574).count()
    });
    assert_eq!(winners.collect::<Vec<_>>(), [2, 3, 3, 1, 0]);
}

#[test]
fn even_agencies_end_their_lines_with_crlf_and_agency_3_leaves_its_last_line_open() {
    let files = made(&["--bets", "2000"]);
    for agency in 1..=5 {
        let bytes = file(&files, agency);
        let bets = numbers_of(bytes).len();
        let expected = match agency {
            2 | 4 => (0, bets),
            3 => (bets - 1, 0),
            _ => (bets, 0),
        };
        assert_eq!(ends_of_lines(bytes), expected, "agency {agency}");
    }
}

#[test]
fn every_bet_is_valid_and_none_is_lost_between_the_agencies() {
    let files =
        made(&["--agencies", "7", "--bets", "100003", "--quoted-one-in", "3", "--seed", "11"]);
    let all: usize = files.values().map(|bytes| numbers_of(bytes).len()).sum();
    assert_eq!(all, 100_003);
}

#[test]
fn chance_gives_the_winning_number_neither_too_rarely_nor_too_often() {
    let files = made(&["--agencies", "1", "--bets", "100000"]);
    let winners = numbers_of(file(&files, 1)).into_iter().filter(|&number| number == 7574).count();
    // Ten are expected; the seed is fixed, so this holds always or never.
    assert!((1..=30).contains(&winners), "{winners}");
}

#[test]
fn another_seed_makes_other_bets() {
    let (one, other) =
        (made(&["--bets", "50", "--seed", "1"]), made(&["--bets", "50", "--seed", "2"]));
    assert_ne!(file(&one, 1), file(&other, 1));
}

#[test]
fn no_bets_at_all_are_as_many_empty_files() {
    let files = made(&["--agencies", "3", "--bets", "0"]);
    assert_eq!(files.len(), 3);
    assert!(files.values().all(Vec::is_empty));
}

#[test]
fn counts_of_winners_that_cannot_be_are_refused_before_anything_is_written() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let directory = scratch.path().join("made");
    for (arguments, words) in [
        (["--agencies", "2", "--winners-per-agency", "1"], "1 counts for 2 agencies"),
        (["--bets", "3", "--winners-per-agency", "9,0,0,0,0"], "agency 1 has only 3 bets"),
    ] {
        let output = generate(&arguments, &directory);
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(words), "{told}");
        assert!(!directory.exists());
    }
}
