//! At stake: exactly once and one draw, whatever is killed. The server and its clients are killed and started
//! again at moments, in numbers and with settings that a seed draws, over and over. After each kill
//! what is stored of an agency is the beginning of its file; after each storm every line of every file
//! is stored once and in order, the winners are right and the draw was held once.
//!
//! A storm takes about a second, and there are as many as fit into `LOTERIA_STORM_SECONDS`, 10 where
//! nothing else is said. `LOTERIA_STORM_SEED` begins with the storm of that seed; the seed of a storm that
//! fails is shown. With the feature `tls` those of even seeds are in TLS. What follows from a seed is what
//! happens and after which pauses; what the programs have done by then is the machine's.

use crate::sample::{Bet, Ends, assert_all_stored, bets, csv, stored_in, winners};
use crate::support::certificates::Certificates;
use crate::support::program::{Program, Scratch, Start, lasting_address, show};
use crate::support::random::Random;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// One storm: its files, its settings, and what runs.
struct Storm<'c> {
    seed: u64,
    scratch: Scratch,
    address: String,
    files: Vec<Vec<Bet>>,
    server: Option<Program>,
    clients: Vec<Option<Program>>,
    settings: Vec<(&'static str, String)>,
    /// What they show each other, where this storm is in TLS.
    certificates: Option<&'c Certificates>,
    /// The draw's result, once there is one.
    result: Option<String>,
    kills: usize,
}

impl<'c> Storm<'c> {
    fn new(seed: u64, random: &mut Random, certificates: Option<&'c Certificates>) -> Storm<'c> {
        let scratch = Scratch::new();
        let agencies = 1 + random.below(5);
        let longest = random.one_of(&[0, 30, 300, 1_500]);
        let mut files = Vec::new();
        for agency in 1..=agencies {
            let bets = bets(agency, random.below(longest + 1));
            let ends = random.one_of(&[Ends::Lf, Ends::Crlf, Ends::LfBetween]);
            scratch.write(&format!("agencies/agency-{agency}.csv"), csv(&bets, ends));
            files.push(bets);
        }
        let settings = vec![
            ("AGENCIES", agencies.to_string()),
            ("SERVER_MAX_CONNECTIONS", random.one_of(&["7", "20", "1024"]).into()),
            ("CLI_BATCH_MAX_AMOUNT", random.one_of(&["1", "2", "7", "120", "1000000"]).into()),
            ("CLI_BATCH_PERIOD_MS", random.one_of(&["0", "0", "1"]).into()),
            ("CLI_WINDOW", random.one_of(&["1", "2", "4", "33", "256"]).into()),
            ("CLI_REPLY_TIMEOUT_MS", random.one_of(&["50", "30000"]).into()),
            ("LOG_LEVEL", random.one_of(&["info", "debug"]).into()),
        ];
        // Not drawn: but for this a seed is the same storm with TLS and without.
        let certificates = certificates.filter(|_| seed.is_multiple_of(2));
        Storm {
            seed,
            scratch,
            address: lasting_address(),
            clients: files.iter().map(|_| None).collect(),
            files,
            server: None,
            settings,
            certificates,
            result: None,
            kills: 0,
        }
    }

    fn rage(&mut self, random: &mut Random) {
        let longest_pause = random.one_of(&[1, 5, 20, 60]);
        for _ in 0..5 + random.below(25) {
            match random.below(8) {
                0..3 => self.restart_server(),
                3 => self.kill_server(),
                _ => self.restart_client(random.below(self.files.len())),
            }
            random.pass(longest_pause * 1_000);
        }
        let all_again = random.below(2) == 0;
        if self.server.is_none() || random.below(2) == 0 {
            self.restart_server();
        }
        for client in 0..self.files.len() {
            if all_again || self.clients[client].is_none() {
                self.restart_client(client);
            }
        }
    }

    fn restart_server(&mut self) {
        self.kill_server();
        let start = self.scratch.bare_server().arguments(&["--address", &self.address]);
        self.server = Some(self.with_settings(start, "server").start());
    }

    fn kill_server(&mut self) {
        let Some(server) = self.server.take() else { return };
        server.kill();
        self.kills += 1;
        self.check_what_is_left();
    }

    fn restart_client(&mut self, client: usize) {
        if let Some(running) = self.clients[client].take() {
            running.kill();
            self.kills += 1;
        }
        let start = self.scratch.client(&self.address);
        let start = start.variable("CLI_ID", (client + 1).to_string());
        self.clients[client] =
            Some(self.with_settings(start, &format!("agency-{}", client + 1)).start());
    }

    /// The program with this storm's settings; in TLS it shows that it is `name`.
    fn with_settings(&self, start: Start, name: &str) -> Start {
        let start = self.certificates.into_iter().fold(start, |start, all| start.shows(all, name));
        self.settings.iter().fold(start, |start, (name, value)| start.variable(name, value))
    }

    /// What is stored of each agency is the beginning of its file; a result stays as it is.
    fn check_what_is_left(&mut self) {
        let seed = self.seed;
        let text = self.scratch.read_if_there("bets.csv").unwrap_or_default();
        let complete = text.rfind('\n').map_or(0, |at| at + 1);
        for (agency, stored) in stored_in(&text[..complete]) {
            let file = &self.files[agency - 1];
            let beginning = file.starts_with(&stored);
            assert!(beginning, "seed {seed}: agency {agency} has {} bets stored", stored.len());
        }
        let result = self.scratch.read_if_there("sorteo.toml");
        let same = self.result.is_none() || self.result == result;
        assert!(same, "seed {seed}: the result was {:?} and is {result:?}", self.result);
        if result.is_some() && self.result.is_none() {
            assert_all_stored(&self.scratch, &self.files);
        }
        self.result = result;
    }

    /// Lets everyone come to an end and checks what has come of it.
    fn calms_down(mut self) -> usize {
        for (agency, client) in (1..).zip(std::mem::take(&mut self.clients)) {
            let ended = client.expect("all of them run").ends();
            ended.succeeds();
            let expected = winners(agency, &self.files[agency - 1]).concat();
            assert_eq!(ended.stdout, expected, "seed {}: agency {agency}", self.seed);
        }
        let before = self.result.is_some();
        self.check_what_is_left();
        assert!(self.result.is_some(), "seed {}: winners without a result", self.seed);
        assert_all_stored(&self.scratch, &self.files);
        let server = self.server.take().expect("it runs");
        // The clients may all have heard from one before, and this one may just be starting.
        server.address();
        let ended = server.stops_on("TERM");
        let held = ended.count("action: sorteo | result: success");
        assert!(held <= usize::from(!before), "seed {}: held again", self.seed);
        let verify = self.scratch.bare_server().arguments(&["--verify"]);
        self.with_settings(verify, "server").run().exits(0);
        self.kills
    }
}

#[test]
fn storms_of_kills_lose_nothing_repeat_nothing_and_hold_one_draw() {
    let time = Duration::from_secs(number("LOTERIA_STORM_SECONDS").unwrap_or(10));
    let first = number("LOTERIA_STORM_SEED");
    let first = first.unwrap_or_else(|| RandomState::new().hash_one("a seed") >> 16);
    let start = Instant::now();
    let scratch = Scratch::new();
    let certificates = cfg!(feature = "tls").then(|| Certificates::new(&scratch, "tls", 5));
    let (mut storms, mut kills) = (0, 0);
    while storms == 0 || start.elapsed() < time {
        let seed = first + storms;
        // Shown by the test runner where the test fails.
        show(&format!("LOTERIA_STORM_SEED={seed}"));
        let mut random = Random::new(seed);
        let mut storm = Storm::new(seed, &mut random, certificates.as_ref());
        storm.rage(&mut random);
        kills += storm.calms_down();
        storms += 1;
    }
    show(&format!("{storms} storms from seed {first}, {kills} kills, in {:?}", start.elapsed()));
}
