//! At stake: that `examples/national` keeps its word with real centrals: no draw is held before every agency of every
//! central waits, a gate that was killed goes on when it is started again, and the national draw finds exactly the
//! winners that the centrals told, or says what differs.
//!
//! Needs Python 3.11 for the gate, and PySpark with a Java runtime for the draw; without them nothing of it is tried,
//! and the tests say so. The draw runs on a cluster of two workers within this machine; the one with machines of
//! their own is `make docker-national`.

use crate::pages::{page, python_has, root};
use crate::support::program::{Ended, Program, Start, lasting_address, skipped};
use serde::Deserialize;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A central's name, and how many bets each of its agencies has.
const CENTRALS: [(&str, &[u32]); 3] =
    [("north", &[700, 20]), ("center", &[350]), ("south", &[90, 0])];

/// A session of Spark takes half a minute to start on a busy machine, and its tests begin many jobs.
const SPARK_PATIENCE: Duration = Duration::from_secs(600);

struct National {
    scratch: TempDir,
    addresses: Vec<String>,
}

impl National {
    fn new() -> National {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let addresses: Vec<String> = CENTRALS.iter().map(|_| lasting_address()).collect();
        let national = National { scratch, addresses };
        let mut list = String::new();
        for ((name, agencies), address) in CENTRALS.iter().zip(&national.addresses) {
            let count = agencies.len();
            writeln!(
                list,
                "[[central]]\nname = '{name}'\naddress = '{address}'\nagencies = {count}"
            )
            .expect("a string");
            fs::create_dir_all(national.path(&format!("centrals/{name}")))
                .expect("a scratch directory");
            for (agency, count) in (1..).zip(*agencies) {
                let path = format!("agencies/{name}/agency-{agency}.csv");
                fs::create_dir_all(national.path(&format!("agencies/{name}")))
                    .expect("a scratch directory");
                fs::write(national.path(&path), bets(name, agency, *count))
                    .expect("a scratch file");
            }
        }
        fs::write(national.path("centrals.toml"), list).expect("a scratch file");
        national
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn program(&self, executable: &str) -> Command {
        let mut command = Command::new(executable);
        command.current_dir(self.scratch.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").expect("a PATH"));
        command
    }

    fn server(&self, central: usize) -> Program {
        let (name, agencies) = CENTRALS[central];
        let mut command = self.program(env!("CARGO_BIN_EXE_server"));
        command.current_dir(self.path(&format!("centrals/{name}")));
        command.args(["--winning-number", "75", "--address", &self.addresses[central]]);
        command.args(["--agencies", &(agencies.len() + 1).to_string()]);
        let server = Start::of(command).start();
        server.logs("action: accept_connections | result: in_progress");
        server
    }

    fn agency(&self, central: usize, agency: usize) -> Program {
        let file = format!("agencies/{}/agency-{agency}.csv", CENTRALS[central].0);
        let mut command = self.program(env!("CARGO_BIN_EXE_client"));
        command.args(["--agency", &agency.to_string(), "--file", &file]);
        command.args(["--server", &self.addresses[central]]);
        Start::of(command).start()
    }

    fn gate(&self) -> Program {
        let mut command = self.program("python3");
        command.arg("-u").arg(root().join("examples/national/gate.py"));
        command.args(["--poll-seconds", "0.1", "--client", env!("CARGO_BIN_EXE_client")]);
        Start::of(command).start()
    }

    fn draws(&self) -> Vec<&str> {
        let held = |name: &&str| self.path(&format!("centrals/{name}/sorteo.toml")).exists();
        CENTRALS.iter().map(|(name, _)| *name).filter(held).collect()
    }

    fn national_draw(&self) -> Ended {
        let mut command = self.program("python3");
        // Spark's own directories of blocks and logs go to the scratch directory too.
        command.env("PYSPARK_SUBMIT_ARGS", SUBMIT).env("SPARK_LOCAL_DIRS", self.scratch.path());
        command.env("HOME", self.scratch.path()).env("PYTHONUTF8", "1");
        command.arg(root().join("examples/national/national_draw.py")).args(["centrals", "out"]);
        Start::of(command).start().ends_within(SPARK_PATIENCE)
    }

    /// The winners that the national draw has written, as `central,agency,document`.
    fn winners(&self) -> Vec<String> {
        let directory = fs::read_dir(self.path("out/winners")).expect("winners were written");
        let parts = directory.map(|entry| entry.expect("an entry").path());
        let mut winners = Vec::new();
        for part in
            parts.filter(|path| path.extension().is_some_and(|extension| extension == "csv"))
        {
            for row in csv::Reader::from_path(part).expect("a part of the winners").records() {
                let row = row.expect("the winners are CSV");
                winners.push(format!("{},{},{}", &row[0], &row[1], &row[4]));
            }
        }
        winners.sort();
        winners
    }
}

const SUBMIT: &str = "--master local-cluster[2,1,1024] --conf spark.ui.enabled=false \
    --conf spark.driver.host=127.0.0.1 --conf spark.sql.shuffle.partitions=2 pyspark-shell";

/// So many bets of people that no other agency has; every hundredth is on 75, in one of three ways to write it.
fn bets(central: &str, agency: u32, count: u32) -> String {
    let mut text = String::new();
    for place in 1..=count {
        let number = match place % 300 {
            0 => "75".to_owned(),
            100 => "0075".to_owned(),
            200 => "075".to_owned(),
            other => (1000 + other).to_string(),
        };
        let document = u32::from(central.as_bytes()[0]) * 100_000 + agency * 10_000 + place;
        writeln!(text, "\"Ana, hija\",Null,{document:08},1999-03-17,{number}").expect("a string");
    }
    text
}

#[test]
fn no_central_holds_its_draw_before_all_have_all_bets_and_the_national_draw_agrees() {
    if !python_has("tomllib") {
        skipped("examples/national", "python3 of 3.11 or later");
        return;
    }
    let national = National::new();
    let mut servers: Vec<Program> =
        (0..CENTRALS.len()).map(|central| national.server(central)).collect();
    let gate = national.gate();
    let mut agencies =
        vec![(0, national.agency(0, 1)), (0, national.agency(0, 2)), (2, national.agency(2, 2))];
    agencies.push((1, national.agency(1, 1)));
    gate.prints("north: 2 of 2 agencies wait, 720 bets");
    gate.prints("center: 1 of 1 agencies wait, 350 bets");
    gate.prints("south: 1 of 2 agencies wait, 0 bets");
    // A gate that is killed and started again knows as much as before.
    gate.kill();
    let gate = national.gate();
    gate.prints("south: 1 of 2 agencies wait, 0 bets");
    // Likewise a central that restarts: its agencies come again.
    servers.remove(0).kill();
    servers.insert(0, national.server(0));
    assert!(
        national.draws().is_empty(),
        "{:?} are held before all bets are there",
        national.draws()
    );
    agencies.push((2, national.agency(2, 1)));

    let gate = gate.ends();
    gate.exits(0);
    assert_eq!(national.draws(), ["north", "center", "south"], "{gate}");
    assert!(gate.stdout.contains("center: draw held over 350 bets, 3 of them won\n"), "{gate}");
    let mut told = Vec::new();
    for (central, agency) in agencies {
        let ended = agency.ends();
        ended.exits(0);
        told.extend(ended.stdout.lines().map(|winner| format!("{},{winner}", CENTRALS[central].0)));
    }
    told.sort();
    assert_eq!(told.len(), 10);
    let again = national.gate().ends();
    again.exits(0);
    assert!(again.stdout.contains("opening 0 of 3 draws"), "{again}");
    for server in servers {
        server.stops_quietly();
    }

    if !python_has("pyspark") {
        skipped("examples/national/national_draw.py", "PySpark for python3");
        return;
    }
    let ended = national.national_draw();
    ended.exits(0);
    assert_eq!(national.winners(), told, "{ended}");
}

#[test]
fn the_gate_and_the_national_draw_pass_their_own_tests() {
    for (tests, module) in [("test_gate.py", "tomllib"), ("test_national_draw.py", "pyspark")] {
        if python_has(module) {
            let mut command = Command::new("python3");
            command.arg(root().join("examples/national").join(tests));
            let ended = Start::of(command).start().ends_within(SPARK_PATIENCE);
            ended.exits(0).says("OK\n");
        } else {
            skipped(tests, &format!("{module} for python3"));
        }
    }
}

#[derive(Deserialize)]
struct Centrals {
    central: Vec<Central>,
}

#[derive(Deserialize)]
struct Central {
    name: String,
    address: String,
    agencies: u32,
}

#[test]
fn the_compose_file_and_the_script_have_the_centrals_of_centrals_toml() {
    let centrals: Centrals =
        toml::from_str(&page("examples/national/centrals.toml")).expect("TOML");
    let compose = page("examples/national/docker-compose.yaml");
    let script = page("examples/national/make-agencies.sh");
    assert_eq!(centrals.central.len(), CENTRALS.len());
    for Central { name, address, agencies } in centrals.central {
        let service = compose.split(&format!("\n  {name}:\n")).nth(1).expect("a service");
        let service = service.split("\n\n").next().expect("a split has a first part");
        assert!(service.contains(&format!("AGENCIES: \"{}\"", agencies + 1)), "{name}: {service}");
        assert_eq!(address, format!("{name}:12345"));
        assert!(compose.contains(&format!("/{name}:/app/agencies:ro")), "{name}");
        assert!(compose.contains(&format!("- {name}:/centrals/{name}:ro")), "{name}");
        assert!(script.contains(&format!("\nmake {name} {agencies} ")), "{name}");
    }
}
