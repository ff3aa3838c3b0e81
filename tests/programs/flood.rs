//! At stake: that one address that opens connections as fast as it is let delays nobody for long. Five agencies with
//! default settings, and 500 where there are 600 places, finish a lottery in at most twice their time alone plus a
//! second. Not run unless they are asked for, because they take all processors for a minute: `make flood`.

use crate::sample::{Bet, Ends, all_winners, assert_all_stored, bets, csv};
use crate::support::certificates::Certificates;
use crate::support::program::{Ended, Program, Scratch, Start, show};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The threads that open connections.
const THREADS: usize = 8;
/// The connections that each of them keeps: more together than a server has places.
const KEPT: usize = 200;
/// How long a connection is tried for where `LOTERIA_FLOOD_PATIENCE_MS` says nothing else. A full backlog drops it, and
/// the next one is tried.
const PATIENCE_MS: u64 = 100;
/// How long a handshake is tried for.
const SHAKES_HANDS_WITHIN: Duration = Duration::from_secs(1);
/// Between two bytes, or two messages, on a connection that is kept.
const PERIOD: Duration = Duration::from_secs(1);
/// The clock of `/proc/PID/stat`, in ticks a second.
const TICKS: f64 = 100.0;

/// The use of each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Silent,
    /// A byte of a message is sent each second.
    Drips,
    /// A message that is answered is sent, and another each second.
    Echoes,
    /// The first message of a handshake is sent.
    HalfHandshake,
    /// The same, a byte a second.
    DripsHandshake,
    /// The handshake is made without a certificate.
    NoCertificate,
    /// The handshake is made with the certificate of another agency.
    Certificate,
}

/// The material with which the flood connects in TLS.
struct Keys {
    anonymous: Arc<ClientConfig>,
    agency: Arc<ClientConfig>,
    /// The first message of a handshake.
    hello: Vec<u8>,
}

impl Keys {
    fn of(certificates: &Certificates) -> Keys {
        let path = |file: &str| certificates.path(file);
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(path("authority.pem"));
        roots.add(authority.expect("a certificate")).expect("a good one");
        let config = || {
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("TLS 1.3 is there")
                .with_root_certificates(roots.clone())
        };
        let certificate = CertificateDer::from_pem_file(path("other.pem"));
        let chain = vec![certificate.expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(path("other.key")).expect("a key");
        let anonymous = Arc::new(config().with_no_client_auth());
        let agency = Arc::new(config().with_client_auth_cert(chain, key).expect("they fit"));
        let mut hello = Vec::new();
        client(&anonymous).write_tls(&mut hello).expect("a vector takes all");
        Keys { anonymous, agency, hello }
    }
}

fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    let server = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::clone(config), server).expect("a client")
}

struct Flood<'f> {
    kind: Kind,
    address: SocketAddr,
    keys: Option<&'f Keys>,
    patience: Duration,
    end: AtomicBool,
    opened: AtomicUsize,
}

impl<'f> Flood<'f> {
    fn new(kind: Kind, address: &str, keys: Option<&'f Keys>) -> Flood<'f> {
        let address = address.parse().expect("an address");
        let patience = std::env::var("LOTERIA_FLOOD_PATIENCE_MS");
        let patience = patience.map_or(PATIENCE_MS, |text| text.parse().expect("a number"));
        let patience = Duration::from_millis(patience);
        let (end, opened) = (AtomicBool::default(), AtomicUsize::default());
        Flood { kind, address, keys, patience, end, opened }
    }

    /// Opens connections until it is told to end.
    fn run(&self) {
        let mut kept: VecDeque<(TcpStream, usize)> = VecDeque::new();
        let mut refreshed = Instant::now();
        while !self.end.load(Ordering::Relaxed) {
            if let Ok(socket) = TcpStream::connect_timeout(&self.address, self.patience) {
                self.opened.fetch_add(1, Ordering::Relaxed);
                // The server may have closed it.
                let _closed = self.begin(&socket);
                kept.push_back((socket, 1));
            }
            if kept.len() > KEPT {
                kept.pop_front();
            }
            if refreshed.elapsed() >= PERIOD {
                refreshed = Instant::now();
                kept.retain_mut(|(socket, sent)| {
                    *sent += 1;
                    self.goes_on(socket, *sent - 1).is_ok()
                });
            }
        }
    }

    fn begin(&self, mut socket: &TcpStream) -> io::Result<()> {
        match (self.kind, self.keys) {
            (Kind::Silent, _) => Ok(()),
            (Kind::Drips, _) => socket.write_all(b"E"),
            (Kind::Echoes, _) => socket.write_all(b"ECO|a\n"),
            (Kind::HalfHandshake, Some(keys)) => socket.write_all(&keys.hello),
            (Kind::DripsHandshake, Some(keys)) => socket.write_all(&keys.hello[..1]),
            (Kind::NoCertificate, Some(keys)) => shake_hands(socket, &keys.anonymous),
            (Kind::Certificate, Some(keys)) => shake_hands(socket, &keys.agency),
            _ => panic!("it has no keys"),
        }
    }

    /// Sends more. Fails if the server takes no more.
    fn goes_on(&self, mut socket: &TcpStream, sent: usize) -> io::Result<()> {
        match (self.kind, self.keys) {
            (Kind::Drips, _) => socket.write_all(b"C"),
            (Kind::Echoes, _) => socket.write_all(b"ECO|a\n"),
            (Kind::DripsHandshake, Some(keys)) => socket.write_all(&keys.hello[sent..=sent]),
            _ => Ok(()),
        }
    }
}

fn shake_hands(mut socket: &TcpStream, config: &Arc<ClientConfig>) -> io::Result<()> {
    socket.set_read_timeout(Some(SHAKES_HANDS_WITHIN))?;
    client(config).complete_io(&mut socket).map(drop)
}

/// A lottery: its agencies' files, and how its server is started.
struct Lottery {
    scratch: Scratch,
    files: Vec<Vec<Bet>>,
    certificates: Option<Certificates>,
}

/// The cost of a lottery.
struct Took {
    time: Duration,
    retries: usize,
    /// The server's processor time, in seconds.
    cpu: f64,
    peak_kib: u64,
}

impl Lottery {
    fn of(agencies: usize, bets_each: usize, in_tls: bool) -> Lottery {
        let scratch = Scratch::new();
        let files: Vec<Vec<Bet>> = (1..=agencies).map(|agency| bets(agency, bets_each)).collect();
        for (agency, bets) in (1..).zip(&files) {
            scratch.write(&format!("agencies/agency-{agency}.csv"), csv(bets, Ends::Lf));
        }
        let certificates = in_tls.then(|| {
            let certificates = Certificates::new(&scratch, "tls", 5);
            let names: Vec<String> =
                (1..=agencies).map(|agency| format!("DNS:agency-{agency}")).collect();
            certificates.sign("all", "clientAuth", &names.join(","));
            // An agency that is none of these.
            certificates.sign("other", "clientAuth", &format!("DNS:agency-{}", agencies + 1));
            certificates
        });
        Lottery { scratch, files, certificates }
    }

    fn shows(&self, start: Start, name: &str) -> Start {
        match &self.certificates {
            Some(certificates) => start.shows(certificates, name),
            None => start,
        }
    }

    fn server(&self) -> Program {
        let agencies = self.files.len();
        let server = self.shows(self.scratch.server(), "server");
        let server = server.variable("AGENCIES", agencies.to_string());
        let places = if agencies > 5 { "600" } else { "1024" };
        server.variable("SERVER_MAX_CONNECTIONS", places).start()
    }

    /// Plays it once, from the start of the client to its end.
    fn play(&self, server: Program) -> Took {
        let client = self.scratch.bare_client();
        let client = self.shows(client.variable("CLI_SERVER_ADDRESS", server.address()), "all");
        let start = Instant::now();
        let ended: Ended = client.run();
        let time = start.elapsed();
        ended.exits(0);
        assert_eq!(ended.sorted_stdout(), all_winners(&self.files));
        assert_all_stored(&self.scratch, &self.files);
        let retries = ended.count("next_try_ms");
        let (cpu, peak_kib) = (cpu(server.id()), peak_kib(&server));
        server.stops_quietly();
        for file in ["bets.csv", "bets.journal", "sorteo.toml"] {
            std::fs::remove_file(self.scratch.path(file)).expect("a file");
        }
        Took { time, retries, cpu, peak_kib }
    }

    /// Plays it alone and under one kind of flood. Returns a text if the flood delays it beyond the bound.
    fn under_flood(&self, kind: Kind, keys: Option<&Keys>) -> Option<String> {
        let alone = self.play(self.server());
        let server = self.server();
        let flood = Flood::new(kind, &server.address(), keys);
        let own = cpu(std::process::id());
        let start = Instant::now();
        let took = thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| flood.run());
            }
            let took = self.play(server);
            flood.end.store(true, Ordering::Relaxed);
            took
        });
        let (own, opened) = (cpu(std::process::id()) - own, flood.opened.into_inner());
        let bound = 2 * alone.time + Duration::from_secs(1);
        show(&format!(
            "{} agencies, tls {}, {kind:?}: alone {:.2?} (cpu {:.2} s, {} KiB), under the flood {:.2?}, retries {}, \
             server's cpu {:.2} s, peak {} KiB; {opened} connections ({:.0}/s), flood's cpu {own:.2} s",
            self.files.len(),
            keys.is_some(),
            alone.time,
            alone.cpu,
            alone.peak_kib,
            took.time,
            took.retries,
            took.cpu,
            took.peak_kib,
            opened as f64 / start.elapsed().as_secs_f64(),
        ));
        (took.time > bound).then(|| format!("{kind:?}: {:.2?}, bound {bound:.2?}", took.time))
    }
}

/// The processor time that a process has used, in seconds.
fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux tells");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split(' ').skip(12).take(2).map(|field| field.parse::<f64>());
    ticks.map(|ticks| ticks.expect("a number")).sum::<f64>() / TICKS
}

/// The most memory that the program has had at a time, in KiB.
fn peak_kib(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id()));
    let status = status.expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    line.trim().split(' ').next().expect("a number and its unit").parse().expect("a number")
}

const IN_PLAIN: [Kind; 3] = [Kind::Silent, Kind::Drips, Kind::Echoes];
const IN_TLS: [Kind; 5] = [
    Kind::Silent,
    Kind::HalfHandshake,
    Kind::DripsHandshake,
    Kind::NoCertificate,
    Kind::Certificate,
];

/// Returns whether this flood is the one that `LOTERIA_FLOOD_KIND` names, or there is no such name.
fn is_wanted(in_tls: bool, kind: Kind) -> bool {
    let name = format!("{}-{kind:?}", if in_tls { "tls" } else { "plain" });
    std::env::var("LOTERIA_FLOOD_KIND").map_or(true, |wanted| name == wanted)
}

/// Plays a lottery alone and under each kind of flood, in plain and in TLS.
fn under_floods(agencies: usize, bets_each: usize) {
    let mut missed = Vec::new();
    for (in_tls, kinds) in [(false, &IN_PLAIN[..]), (true, &IN_TLS[..])] {
        let lottery = Lottery::of(agencies, bets_each, in_tls);
        let keys = lottery.certificates.as_ref().map(Keys::of);
        let wanted = kinds.iter().filter(|kind| is_wanted(in_tls, **kind));
        missed.extend(wanted.filter_map(|kind| lottery.under_flood(*kind, keys.as_ref())));
    }
    assert!(missed.is_empty(), "too slow: {missed:?}");
}
#[test]
#[ignore = "takes its time"]
fn five_agencies_finish_under_any_flood() {
    under_floods(5, 3_000);
}

#[test]
#[ignore = "takes its time"]
fn five_hundred_agencies_finish_under_any_flood() {
    under_floods(500, 200);
}
