//! At stake: all promises at once. Honest agencies send their files beside hostile peers of every kind, over a network
//! that delays, reorders, silences, half-closes, resets and cuts connections. The server is killed, stopped and
//! restarted, and the clients are killed and restarted, over and over. After each kill the stored bets of an agency are
//! the beginning of its file; after each stop they are whole batches. Then the network is healed, and every agency must
//! finish beside the hostile peers: each line of each file is stored once and in order, the winners are right and the
//! draw was held once.
//!
//! A seed selects the settings, the events, the moments and the disturbances. The progress of the programs between two
//! of them depends on the machine.
//! A storm takes some seconds, and there are as many as fit into `LOTERIA_STORM_SECONDS`, 3 by default.
//! `LOTERIA_STORM_SEED` is the seed of the first. The seed of a storm that fails is shown. With the feature `tls` storms
//! of even seeds are in TLS.

use crate::cable::Cable;
use crate::hostile::{is_rude, stands, stands_in_tls};
use crate::sample::{Bet, Ends, assert_all_stored, bets, csv, stored_in, winners};
use crate::support::certificates::Certificates;
use crate::support::peer::Peer;
use crate::support::program::{Program, Scratch, Start, lasting_address, show};
use crate::support::random::Random;
use loteria::connection::{Connector, Stream};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The time for a reply of clients that leave a silent connection within a storm, in milliseconds.
const IMPATIENT: &str = "200";
/// The longest time for a client after a storm. A client without progress ends earlier by itself, and a busy machine
/// makes them wait for each other.
const PATIENCE: Duration = Duration::from_secs(300);

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
    /// Between the client of each agency and the server.
    cables: Vec<Cable>,
    server: Option<Program>,
    clients: Vec<Option<Program>>,
    settings: Vec<(&'static str, String)>,
    /// What they show each other, where this storm is in TLS.
    certificates: Option<&'c Certificates>,
    /// The draw's result, once there is one.
    result: Option<String>,
    done: Done,
}

/// The numbers of events.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    kills: usize,
    stops: usize,
    disturbances: usize,
    hostile_peers: usize,
}

impl<'c> Storm<'c> {
    fn new(seed: u64, random: &mut Random, certificates: Option<&'c Certificates>) -> Storm<'c> {
        let scratch = Scratch::new();
        let agencies = 1 + random.below(5);
        let longest = random.one_of(&[30, 300, 900]);
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
            ("CLI_REPLY_TIMEOUT_MS", random.one_of(&[IMPATIENT, "30000"]).into()),
            ("CLI_RETRY_FOR_MS", "120000".into()),
            ("LOG_LEVEL", random.one_of(&["info", "debug"]).into()),
        ];
        // Not drawn: but for this a seed is the same storm with TLS and without.
        let certificates = certificates.filter(|_| seed.is_multiple_of(2));
        let address = lasting_address();
        Storm {
            seed,
            scratch,
            cables: files.iter().map(|_| Cable::to(&address)).collect(),
            address,
            clients: files.iter().map(|_| None).collect(),
            files,
            server: None,
            settings,
            certificates,
            result: None,
            done: Done::default(),
        }
    }

    /// Rages and calms down, beside up to two threads of hostile peers.
    fn runs(mut self, random: &mut Random) -> Done {
        let over = AtomicBool::new(false);
        let address = self.address.clone();
        let connectors = self.certificates.into_iter().flat_map(|all| {
            (1..=2).map(|agency| all.connector(&format!("agency-{agency}"), &address))
        });
        let connectors: Vec<Connector> = connectors.collect();
        let besiegers: Vec<Random> = (0..random.below(3)).map(|_| random.another()).collect();
        thread::scope(|scope| {
            let besiegers: Vec<_> = besiegers
                .into_iter()
                .map(|random| scope.spawn(|| besiege(&address, &connectors, random, &over)))
                .collect();
            let siege = EndsSiege(&over);
            self.rage(random);
            self.calms_down();
            drop(siege);
            for besieger in besiegers {
                self.done.hostile_peers += besieger.join().expect("it takes whatever comes");
            }
        });
        self.done
    }

    fn rage(&mut self, random: &mut Random) {
        let longest_pause = random.one_of(&[1, 5, 20, 60]);
        for _ in 0..5 + random.below(25) {
            let agency = random.below(self.files.len());
            match random.below(14) {
                0 | 1 => self.start_server(),
                2 | 3 => {
                    self.stop_server();
                    self.start_server();
                }
                4 => self.kill_server(),
                5..8 => self.restart_client(agency),
                8..10 => self.reorder(agency, random),
                _ => {
                    self.cables[agency].disturb(random);
                    self.done.disturbances += 1;
                }
            }
            random.pass(longest_pause * 1_000);
        }
        // A busy machine may take longer for a reply, or for a handshake, than the impatient wait.
        let impatient = self.settings.iter_mut().find(|(_, value)| value == IMPATIENT);
        let all_again = impatient.is_some() || random.below(2) == 0;
        impatient.into_iter().for_each(|(_, value)| *value = "30000".into());
        if self.server.is_none() || random.below(2) == 0 {
            self.start_server();
        }
        for client in 0..self.files.len() {
            if all_again || self.clients[client].is_none() {
                self.restart_client(client);
            }
        }
    }

    /// Replaces a client that is sending batches, and delivers those in flight after the new client's first.
    fn reorder(&mut self, agency: usize, random: &mut Random) {
        if self.server.is_none() {
            self.start_server();
        }
        self.cables[agency].heal();
        self.restart_client(agency);
        self.wait_until_it_sends(agency);
        self.cables[agency].hold();
        random.pass(5_000);
        self.restart_client(agency);
        self.wait_until_it_sends(agency);
        self.done.disturbances += 1;
    }

    fn wait_until_it_sends(&self, client: usize) {
        const HAS_SENT: &[&str] = &["action: wait_for_draw", "action: exit"];
        let client = self.clients[client].as_ref().expect("it runs");
        client.logs_times_or("action: apuesta_enviada | result: success", 1, HAS_SENT);
    }

    /// Starts the server, in place of the one that runs.
    fn start_server(&mut self) {
        self.kill_server();
        let start = self.scratch.bare_server().arguments(&["--address", &self.address]);
        self.server = Some(self.with_settings(start, "server").start());
    }

    fn kill_server(&mut self) {
        let Some(server) = self.server.take() else { return };
        server.kill();
        self.done.kills += 1;
        self.check_what_is_left();
    }

    fn stop_server(&mut self) {
        let Some(server) = self.server.take() else { return };
        server.has_thread("signals");
        let ended = server.stops_on("TERM");
        self.done.stops += 1;
        self.check_what_is_left();
        // One that was stopped within its start repaired nothing.
        if ended.count("action: accept_connections | result: in_progress") > 0 {
            self.check_whole_batches();
        }
    }

    fn restart_client(&mut self, client: usize) {
        if let Some(running) = self.clients[client].take() {
            running.kill();
            self.done.kills += 1;
        }
        let start = self.scratch.client(&self.cables[client].address);
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

    /// The stored bets of each agency are whole batches. Checks only batches that always fit into a message.
    fn check_whole_batches(&self) {
        let batch = self.settings.iter().find(|(name, _)| *name == "CLI_BATCH_MAX_AMOUNT");
        let batch: usize = batch.expect("it is set").1.parse().expect("a number");
        if batch > 7 {
            return;
        }
        for (agency, stored) in stored_in(&self.scratch.read("bets.csv")) {
            let (seed, stored) = (self.seed, stored.len());
            let whole = stored.is_multiple_of(batch) || stored == self.files[agency - 1].len();
            assert!(whole, "seed {seed}: agency {agency} has {stored} bets in batches of {batch}");
        }
    }

    /// Lets everyone come to an end and checks what has come of it.
    fn calms_down(&mut self) {
        self.cables.iter().for_each(Cable::heal);
        for (agency, client) in (1..).zip(std::mem::take(&mut self.clients)) {
            let ended = client.expect("all of them run").ends_within(PATIENCE);
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
    }
}

/// Ends the hostile peers when it is dropped, by a failure as well.
struct EndsSiege<'o>(&'o AtomicBool);

impl Drop for EndsSiege<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends hostile peers in waves: up to 40 that stand while up to 40 others come and go. Returns their number.
fn besiege(
    address: &str,
    connectors: &[Connector],
    mut random: Random,
    over: &AtomicBool,
) -> usize {
    let mut came = 0;
    while !over.load(Ordering::Relaxed) {
        let mut peers: Vec<Peer> = Vec::new();
        peers.extend((0..random.below(40)).map_while(|_| Peer::at_if_there(address)));
        // The rest stays silent if the storm is not in TLS.
        let in_tls = random.below(peers.len() + 1);
        let (in_tls, plain) = peers.split_at_mut(in_tls);
        for peer in plain {
            let _taken = stands(peer, random.below(100));
        }
        let mut streams: Vec<Stream<'_>> = Vec::new();
        for peer in in_tls.iter().filter(|_| !connectors.is_empty()) {
            let connector = &connectors[random.below(connectors.len())];
            streams.extend(stands_in_tls(peer, connector, random.below(100)));
        }
        for _ in 0..random.below(40) {
            // The server may be away.
            let Some(peer) = Peer::at_if_there(address) else { break };
            is_rude(peer, random.below(100));
            came += 1;
            random.pass(2_000);
        }
        drop(streams);
        came += peers.len();
        random.pass(20_000);
    }
    came
}

#[test]
fn storms_of_kills_lose_nothing_repeat_nothing_and_hold_one_draw() {
    let time = Duration::from_secs(number("LOTERIA_STORM_SECONDS").unwrap_or(3));
    let first = number("LOTERIA_STORM_SEED");
    let first = first.unwrap_or_else(|| RandomState::new().hash_one("a seed") >> 16);
    let start = Instant::now();
    let scratch = Scratch::new();
    let certificates = cfg!(feature = "tls").then(|| Certificates::new(&scratch, "tls", 5));
    let (mut storms, mut done) = (0, Done::default());
    while storms == 0 || start.elapsed() < time {
        let seed = first + storms;
        // Shown by the test runner where the test fails.
        show(&format!("LOTERIA_STORM_SEED={seed}"));
        let mut random = Random::new(seed);
        let of_storm = Storm::new(seed, &mut random, certificates.as_ref()).runs(&mut random);
        done.kills += of_storm.kills;
        done.stops += of_storm.stops;
        done.disturbances += of_storm.disturbances;
        done.hostile_peers += of_storm.hostile_peers;
        storms += 1;
    }
    let took = start.elapsed();
    show(&format!("{storms} storms from seed {first} in {took:?}: {done:?}"));
}
