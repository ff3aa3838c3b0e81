//! At stake: that a recipe of `docs/data.md` can be copied and works. Each of its blocks is run where a reader
//! would run it, over what real servers stored, and has to print what the block behind it says.
//!
//! A recipe whose tool is not installed is skipped, and says so. The one for PostgreSQL asks the server of the
//! variables that `psql` knows (`PGHOST`, …), and is skipped where `PGHOST` is not set.

use crate::pages::{Block, blocks, page, python_has, tool};
use crate::support::peer::Peer;
use crate::support::program::{Start, lasting_address, run, skipped};
use std::fs;
use std::path::Path;
use std::process::Command;

const PAGE: &str = "docs/data.md";

/// A block to run, and what it has to print.
struct Recipe {
    code: Block,
    printed: String,
}

/// The page's own `bets.csv`.
fn sample() -> String {
    let samples: Vec<Block> =
        blocks(&page(PAGE)).into_iter().filter(|block| block.kind == "csv").collect();
    let [sample] = &samples[..] else { panic!("{PAGE} should have one block of csv") };
    sample.text.clone()
}

/// All of the page's blocks but the sample: pairs of a recipe and what it prints.
fn recipes() -> Vec<Recipe> {
    let blocks: Vec<Block> =
        blocks(&page(PAGE)).into_iter().filter(|block| block.kind != "csv").collect();
    let recipe = |pair: &[Block]| {
        let [code, printed] = pair else { panic!("the last block of {PAGE} has no output") };
        let place = format!("{PAGE}:{}", code.line);
        assert!(["sh", "python"].contains(&code.kind.as_str()), "{place}: {}", code.kind);
        assert_eq!(printed.kind, "text", "{place}: what does it print?");
        Recipe { code: code.clone(), printed: printed.text.clone() }
    };
    blocks.chunks(2).map(recipe).collect()
}

/// The recipes of the sections that need these tools.
#[track_caller]
fn recipes_with(needed: impl Fn(&Recipe) -> bool) -> Vec<Recipe> {
    let chosen: Vec<Recipe> = recipes().into_iter().filter(needed).collect();
    assert!(!chosen.is_empty(), "{PAGE} has no such recipe any more");
    chosen
}

impl Recipe {
    fn first_word(&self) -> &str {
        self.code.text.split_whitespace().next().expect("a recipe is not empty")
    }

    fn imports(&self, module: &str) -> bool {
        self.code.kind == "python" && self.code.text.contains(&format!("import {module}\n"))
    }

    /// Whether it needs no more than what is nearly everywhere.
    fn is_plain(&self) -> bool {
        match self.code.kind.as_str() {
            "sh" => !["sqlite3", "psql"].contains(&self.first_word()),
            _ => !self.imports("duckdb") && !self.imports("pandas"),
        }
    }

    #[track_caller]
    fn works_in(&self, directory: &Path) {
        let mut command = match self.code.kind.as_str() {
            "sh" => Command::new("bash"),
            _ => Command::new("python3"),
        };
        // UTF-8 whatever the machine's language; the programs have it in their own settings.
        command.args(["-c", &self.code.text]).current_dir(directory).env("PYTHONUTF8", "1");
        let ended = run(command);
        ended.exits(0);
        assert_eq!(
            ended.stdout, self.printed,
            "{PAGE}:{} prints otherwise:\n{ended}",
            self.code.line
        );
    }
}

/// Runs them over the sample, as three servers have stored it: one all of it, two a part.
#[track_caller]
fn all_work(recipes: &[Recipe]) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let sample = sample();
    store(&sample, 3, scratch.path());
    let (mut north, mut south) = (String::new(), String::new());
    for line in sample.split_inclusive('\n') {
        match line.strip_prefix("3,") {
            Some(rest) => south.extend(["1,", rest]),
            None => north.push_str(line),
        }
    }
    store(&north, 2, &scratch.path().join("servers/north"));
    store(&south, 1, &scratch.path().join("servers/south"));
    for recipe in recipes {
        recipe.works_in(scratch.path());
    }
}

/// Has a server in `directory` store these lines of `bets.csv` as they are, and hold the draw.
#[track_caller]
fn store(lines: &str, agencies: u32, directory: &Path) {
    fs::create_dir_all(directory).expect("a directory of the scratch directory");
    let address = lasting_address();
    let mut server = Command::new(env!("CARGO_BIN_EXE_server"));
    server.current_dir(directory).env_clear().arg("--exit-after-draw");
    server.args(["--address", &address, "--winning-number", "75"]);
    server.args(["--agencies", &agencies.to_string()]);
    let server = Start::of(server).start();
    server.logs("action: accept_connections | result: in_progress");

    let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(lines.as_bytes());
    for row in rows.records() {
        let row = row.expect("the sample is CSV");
        let bet: Vec<&str> = row.iter().collect();
        let mut agency = Peer::at(&address);
        agency.says(&format!("APUESTA|{};FINAPUESTA", bet.join("|")));
        agency.hears("CONFIRMARAPUESTA|1");
    }
    let mut asking: Vec<Peer> = (1..=agencies)
        .map(|agency| {
            let mut peer = Peer::at(&address);
            peer.says(&format!("GANADORES|{agency}"));
            peer
        })
        .collect();
    asking.iter_mut().for_each(|peer| peer.hears_a_line_of("GANADORES|"));
    drop(asking);
    server.ends().exits(0);
    let stored = fs::read_to_string(directory.join("bets.csv")).expect("bets.csv can be read");
    assert_eq!(stored, lines, "the sample of {PAGE} is not what a server writes");
}

#[test]
fn those_that_need_grep_awk_and_python_work() {
    let all = recipes_with(Recipe::is_plain);
    let (python, shell): (Vec<Recipe>, Vec<Recipe>) =
        all.into_iter().partition(|recipe| recipe.code.kind == "python");
    assert!(shell.len() >= 4 && python.len() >= 3, "{} and {}", shell.len(), python.len());
    all_work(&shell);
    // The youngest that they need is Python 3.11's tomllib.
    if python_has("tomllib") {
        all_work(&python)
    } else {
        skipped(PAGE, "python3 of 3.11 or later")
    }
}

#[test]
fn that_of_sqlite_works() {
    let recipes = recipes_with(|recipe| recipe.first_word() == "sqlite3");
    if tool("sqlite3").is_some() { all_work(&recipes) } else { skipped(PAGE, "sqlite3") }
}

#[test]
fn those_of_pandas_work() {
    let recipes = recipes_with(|recipe| recipe.imports("pandas"));
    if python_has("pandas") { all_work(&recipes) } else { skipped(PAGE, "pandas for python3") }
}

#[test]
fn those_of_duckdb_work() {
    let recipes = recipes_with(|recipe| recipe.imports("duckdb"));
    if python_has("duckdb") { all_work(&recipes) } else { skipped(PAGE, "duckdb for python3") }
}

#[test]
fn that_of_postgresql_works() {
    let recipes = recipes_with(|recipe| recipe.first_word() == "psql");
    let there = tool("psql").is_some() && std::env::var_os("PGHOST").is_some();
    if there { all_work(&recipes) } else { skipped(PAGE, "PostgreSQL (psql and PGHOST)") }
}

#[test]
fn every_recipe_is_run_by_one_of_these_tests() {
    for recipe in recipes() {
        let ways = [
            recipe.is_plain(),
            recipe.first_word() == "sqlite3",
            recipe.first_word() == "psql",
            recipe.imports("pandas"),
            recipe.imports("duckdb"),
        ];
        let count = ways.into_iter().filter(|way| *way).count();
        assert_eq!(count, 1, "{PAGE}:{}: {}", recipe.code.line, recipe.code.text);
    }
}

#[test]
fn the_gate_of_a_server_holds_its_draw_until_it_is_started() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let address = lasting_address();
    let program = |executable: &str, arguments: &[&str]| {
        let mut command = Command::new(executable);
        command.current_dir(scratch.path()).env_clear().args(arguments);
        command
    };
    let client = |agency: &str, file: &str| {
        let arguments = ["--agency", agency, "--file", file, "--server", &address];
        program(env!("CARGO_BIN_EXE_client"), &arguments)
    };
    let bets = "Juan,\"Gil, hijo\",4567890,1944-02-29,75\n";
    fs::write(scratch.path().join("bets-of-1.csv"), bets).expect("a scratch file");
    fs::write(scratch.path().join("gate.csv"), "").expect("a scratch file");

    let arguments = ["--address", &address, "--agencies", "2", "--winning-number", "75"];
    let server = Start::of(program(env!("CARGO_BIN_EXE_server"), &arguments)).start();
    server.logs("action: accept_connections | result: in_progress");
    let agency = Start::of(client("1", "bets-of-1.csv")).start();
    agency.logs("action: apuesta_enviada | result: success");
    assert!(!scratch.path().join("sorteo.toml").exists());
    run(client("2", "gate.csv")).exits(0).prints("");
    agency.ends().exits(0).prints("1,4567890\n");
    server.stops_quietly().says("action: sorteo | result: success");
}
