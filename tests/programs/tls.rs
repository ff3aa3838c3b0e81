//! At stake: that nobody speaks for an agency who is not it. Over connections in TLS lotteries go on as
//! over plain ones, and a peer without a certificate, with one of another authority, out of date, of
//! another kind or of another agency is refused, and the log says so.
//!
//! Needs the feature `tls`, and `openssl` to make certificates with.

use crate::sample::{Ends, all_winners, assert_all_stored, bets, csv, five_agencies};
use crate::support::certificates::Certificates;
use crate::support::peer::Peer;
use crate::support::program::{Program, Scratch, Start, WITHIN};
use loteria::connection::{Acceptor, Connector, Stream, TlsFiles};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::cell::Cell;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// One bet of agency 3.
const BET: &str = "APUESTA|3|Ana|Paz|30904465|1999-03-17|7574;FINAPUESTA";

/// A server in TLS and what its clients show.
struct Office {
    scratch: Scratch,
    certificates: Certificates,
    server: Program,
    address: String,
    /// How often the server has read its files again.
    reloads: Cell<usize>,
}

impl Office {
    fn open() -> Office {
        Office::open_with(&[])
    }

    fn open_with(variables: &[(&str, &str)]) -> Office {
        Office::open_for(&[], variables)
    }

    fn open_for(arguments: &[&str], variables: &[(&str, &str)]) -> Office {
        let scratch = Scratch::new();
        let certificates = Certificates::new(&scratch, "tls", 5);
        let start = scratch.server().arguments(arguments).shows(&certificates, "server");
        let server = start.variables(variables).start();
        let address = server.address();
        Office { scratch, certificates, server, address, reloads: Cell::default() }
    }

    fn client(&self, shows: &str) -> Start {
        self.scratch.client(&self.address).shows(&self.certificates, shows)
    }

    fn connector(&self, shows: &str) -> Connector {
        self.certificates.connector(shows, &self.address)
    }

    /// Talks with the server as `shows`.
    fn talk(&self, shows: &str, conversation: impl FnOnce(&mut Peer<Stream<'_>>)) {
        talk(&self.address, &self.connector(shows), conversation);
    }

    /// The server rejects a handshake, and logs why.
    #[track_caller]
    fn rejects(&self, why: &str) {
        let line = self.server.logs(&format!(" | error: {why}"));
        let start = "action: handshake | result: fail | ip: 127.0.0.1 | port: ";
        assert!(line.contains(start), "{line}");
    }

    /// Lets the server read its files again.
    fn reloads(&self) {
        self.reloads.set(self.reloads.get() + 1);
        self.server.signal("HUP");
        let success = "action: reload_certificates | result: success";
        self.server.logs_times(success, self.reloads.get());
    }

    /// Revokes the certificate of an agency.
    fn revokes(&self, agency: u16) {
        self.certificates.revoke(agency);
        self.reloads();
    }

    /// A peer that has not said who it is.
    fn socket(&self) -> TcpStream {
        socket(&self.address)
    }
}

fn socket(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the server accepts");
    socket.set_read_timeout(Some(WITHIN)).expect("a bound for reads");
    socket
}

fn talk(address: &str, connector: &Connector, conversation: impl FnOnce(&mut Peer<Stream<'_>>)) {
    let socket = socket(address);
    conversation(&mut peer(&socket, connector));
}

/// A connection in TLS.
fn peer<'s>(socket: &'s TcpStream, connector: &Connector) -> Peer<Stream<'s>> {
    Peer::over(Stream::connect(socket, connector, WITHIN).expect("a handshake"))
}

impl Peer<Stream<'_>> {
    /// Asks until the status of the lottery holds `state`.
    fn asks_until(&mut self, state: &str) {
        loop {
            self.says("ESTADO");
            if self.hears_a_line().contains(state) {
                return;
            }
        }
    }

    /// The server does not believe who this is: nothing is heard but TLS's own word for it.
    #[track_caller]
    fn is_refused(&mut self, alert: &str) {
        // It may be refused before this is sent.
        let _refused = self.tries(format!("{BET}\n").as_bytes());
        let error = self.rest_or_error().expect_err("a refusal");
        assert!(loteria::connection::is_distrust(&error), "{error}");
        assert!(error.to_string().ends_with(&format!("alert {alert}")), "{error}");
    }
}

#[test]
fn five_agencies_each_with_its_certificate_hold_a_lottery() {
    let office = Office::open();
    let files = five_agencies(&office.scratch);
    let start = |agency: usize| {
        office.client(&format!("agency-{agency}")).variable("CLI_ID", agency.to_string()).start()
    };
    let clients: Vec<Program> = (1..=5).map(start).collect();
    let mut winners = Vec::new();
    for client in clients {
        let ended = client.ends();
        ended.succeeds().says("action: config | result: success").says("| tls: true");
        winners.extend(ended.sorted_stdout());
    }
    winners.sort();
    assert_eq!(winners, all_winners(&files));
    assert_all_stored(&office.scratch, &files);
    let ended = office.server.stops_on("TERM");
    for agency in 1..=5 {
        ended.says(&format!(" | agencies: {agency}\n"));
    }
    ended.never_says("error:");
}

#[test]
fn one_certificate_may_name_several_agencies_and_one_that_names_none_may_ask() {
    let office = Office::open();
    let files = five_agencies(&office.scratch);
    let ended = office.client("agencies").run();
    ended.succeeds();
    assert_eq!(ended.sorted_stdout(), all_winners(&files));
    assert_all_stored(&office.scratch, &files);
    office.server.logs(" | agencies: 1, 2, 3, 4, 5");

    let asked = office.client("server").arguments(&["--status", "--log-level", "info"]).run();
    asked.exits(0).says("action: close_socket | result: success\n");
    assert!(asked.stdout.contains("draw: held"), "{asked}");
    office.talk("server", |nobody| {
        nobody.says("ECO|hola");
        nobody.hears("ECO|hola");
        nobody.says("REANUDAR|1");
        nobody.hears("ERROR|wrong_agency|agency: this connection may not speak for agency 1");
    });
    office.server.logs("action: authorize | result: fail | agency: 1 | authorized: none");
}

#[test]
fn whoever_is_one_agency_does_not_speak_for_another() {
    let office = Office::open();
    office.scratch.write("agencies/agency-3.csv", csv(&bets(3, 20), Ends::Lf));
    let ended = office.client("agency-2").variable("CLI_ID", "3").run();
    ended.exits(1).says("wrong_agency: agency: this connection may not speak for agency 3");
    office.server.logs("action: authorize | result: fail | agency: 3 | authorized: 2");

    let refusal = "agency: this connection may not speak for agency 3";
    office.talk("agency-3", |own| {
        own.says("REANUDAR|3");
        own.hears("REANUDAR|0");
        own.says(BET);
        own.hears("CONFIRMARAPUESTA|1");
        office.talk("agency-2", |other| {
            other.says(BET);
            other.hears(&format!("ERROR|wrong_agency|bet 1: {refusal}"));
            for command in ["GANADORES|3", "REANUDAR|3"] {
                other.says(command);
                other.hears(&format!("ERROR|wrong_agency|{refusal}"));
            }
            // Unless there is another reason.
            other.says(&BET.replace("7574", "x"));
            other.hears_a_line_of("ERROR|invalid_bet|bet 1: number: ");
            other.says(&BET.replace("|3|", "|2|").replace("FINAPUESTA", "REANUDAR|3"));
            other.hears_a_line_of("ERROR|open_batch|");
            other.says("FINAPUESTA");
            // It is itself all the while, and still held to that.
            other.says("REANUDAR|2");
            other.hears("REANUDAR|0");
            other.says("REANUDAR|3");
            other.hears(&format!("ERROR|wrong_agency|{refusal}"));
        });
        // Neither taken over nor finished.
        own.says(BET);
        own.hears("CONFIRMARAPUESTA|1");
    });
    assert_eq!(office.scratch.read("bets.csv").lines().count(), 2);
}

#[test]
fn no_name_but_its_own_is_an_agency_s() {
    let office = Office::open();
    let odd = [
        "DNS:agency-03",
        "DNS:AGENCY-3",
        "DNS:agency-3.example",
        "DNS:my-agency-3",
        "DNS:*.agency-3",
        "DNS:agency3",
        "DNS:3",
        "DNS:agency-0",
        "DNS:agency-65539",
        "email:agency-3@example.com",
        "URI:agency-3",
        "IP:127.0.0.3",
    ];
    // Its common name is that of the agency, and counts for nothing.
    office.certificates.sign("agency-3", "clientAuth", &odd.join(","));
    office.talk("agency-3", |peer| {
        for command in [BET, "REANUDAR|3", "GANADORES|3"] {
            peer.says(command);
            peer.hears_a_line_of("ERROR|wrong_agency|");
        }
    });
    office.server.logs(" | agencies: none");
}

/// A client's configuration as others write it, as far as it is the same for all of these.
fn others(
    certificates: &Certificates,
    provider: CryptoProvider,
) -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(certificates.path("authority.pem"));
    roots.add(authority.expect("a certificate")).expect("a good one");
    rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .with_root_certificates(roots)
}

/// The configuration of agency 3.
fn of_agency_3(certificates: &Certificates, provider: CryptoProvider) -> rustls::ClientConfig {
    let path = |file: &str| certificates.path(file);
    let certificate = CertificateDer::from_pem_file(path("agency-3.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(path("agency-3.key")).expect("a key");
    let config = others(certificates, provider).with_client_auth_cert(vec![certificate], key);
    config.expect("a key that fits")
}

/// A connection of such a client.
fn connect(
    office: &Office,
    config: &Arc<rustls::ClientConfig>,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let server = ServerName::try_from("localhost").expect("a name");
    let connection = rustls::ClientConnection::new(Arc::clone(config), server);
    rustls::StreamOwned::new(connection.expect("a client"), office.socket())
}

#[test]
fn who_shows_no_certificate_is_refused() {
    let office = Office::open();
    let config =
        Arc::new(others(&office.certificates, ring::default_provider()).with_no_client_auth());
    let mut stream = connect(&office, &config);
    // More than is read before it is refused.
    stream.write_all(format!("{BET}\n").repeat(4_000).as_bytes()).expect("it can be sent");
    let refused = stream.read_to_end(&mut Vec::new()).expect_err("a refusal").to_string();
    assert!(refused.contains("CertificateRequired"), "{refused}");
    let nothing = stream.sock.read_to_end(&mut Vec::new()).expect("an end that is no reset");
    assert_eq!(nothing, 0);
    office.rejects("the peer presented no certificate");
    assert_eq!(office.scratch.read("bets.csv"), "");
}

#[test]
fn nobody_comes_back_without_showing_its_certificate_again() {
    let office = Office::open();
    // It would resume what it can, as most do.
    let config = Arc::new(of_agency_3(&office.certificates, ring::default_provider()));
    for _ in 0..2 {
        let mut stream = connect(&office, &config);
        stream.write_all(b"ECO|a\n").expect("it can be sent");
        stream.read_exact(&mut [0; 6]).expect("an answer");
        assert_eq!(stream.conn.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(stream.conn.tls13_tickets_received(), 0, "with one it could send early data");
    }
}

#[test]
fn of_the_ciphers_that_a_client_offers_the_server_takes_the_one_with_the_cheapest_handshake() {
    use rustls::CipherSuite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
    let office = Office::open();
    let all = ring::default_provider();
    let mut one = ring::default_provider();
    one.cipher_suites.truncate(1);
    // Most clients prefer it, and some may have no other.
    assert_eq!(one.cipher_suites[0].suite(), TLS13_AES_256_GCM_SHA384);
    for (offered, taken) in [(all, TLS13_AES_128_GCM_SHA256), (one, TLS13_AES_256_GCM_SHA384)] {
        let config = Arc::new(of_agency_3(&office.certificates, offered));
        let mut stream = connect(&office, &config);
        stream.write_all(b"ECO|a\n").expect("it can be sent");
        stream.read_exact(&mut [0; 6]).expect("an answer");
        assert_eq!(stream.conn.negotiated_cipher_suite().map(|suite| suite.suite()), Some(taken));
    }
}

#[test]
fn who_speaks_an_older_tls_is_refused() {
    let office = Office::open();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-tls1_2", "-connect", &office.address]).stdin(Stdio::null());
    let output = command.output().expect("openssl, which these tests need");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("alert protocol version"), "{said}");
    office.rejects("");
}

#[test]
fn who_is_of_another_authority_is_refused_on_either_side() {
    let office = Office::open();
    office.scratch.write("agencies/agency-3.csv", csv(&bets(3, 20), Ends::Lf));
    let other = Certificates::new(&office.scratch, "other", 5);

    // The client believes the server, and the server does not believe the client.
    let both = office.client("agency-3").shows(&other, "agency-3");
    let both = both.variable("TLS_AUTHORITY", office.certificates.path("authority.pem"));
    let ended = both.variable("CLI_ID", "3").run();
    ended.exits(1).says("error: TLS: the peer rejected this side's certificate: alert ");
    ended.never_says("next_try_ms");
    let not_ours = "the peer's certificate: it is not signed by a trusted CA";
    office.rejects(not_ours);

    // The client does not believe the server.
    let ended = office.client("agency-3").shows(&other, "agency-3").variable("CLI_ID", "3").run();
    ended.exits(1).says("error: TLS: the peer's certificate: it is not signed by a trusted CA; ");
    ended.never_says("next_try_ms");
    office.server.logs("the peer rejected this side's certificate: alert ");
    assert_eq!(office.scratch.read("bets.csv"), "");
}

#[test]
fn while_an_authority_is_replaced_both_are_believed() {
    let scratch = Scratch::new();
    let before = Certificates::new(&scratch, "before", 1);
    let after = Certificates::new(&scratch, "after", 1);
    let both = scratch.read("before/authority.pem") + &scratch.read("after/authority.pem");
    scratch.write("both.pem", both);
    let files = vec![bets(1, 8)];
    scratch.write("agencies/agency-1.csv", csv(&files[0], Ends::Lf));
    let both = scratch.path("both.pem");
    let server = scratch.server().shows(&after, "server").variable("TLS_AUTHORITY", &both);
    let server = server.variable("AGENCIES", "1").start();
    for certificates in [&before, &after] {
        let client = scratch.client(&server.address()).shows(certificates, "agency-1");
        let ended = client.variable("TLS_AUTHORITY", &both).run();
        ended.succeeds();
        assert_eq!(ended.sorted_stdout(), all_winners(&files));
    }
    assert_all_stored(&scratch, &files);
}

#[test]
fn a_certificate_out_of_date_or_of_another_kind_is_refused() {
    let office = Office::open();
    let certificates = &office.certificates;
    certificates.sign("for-servers", "serverAuth", "DNS:agency-3");
    office.talk("for-servers", |peer| peer.is_refused("UnsupportedCertificate"));
    office.rejects("the peer's certificate: ");

    certificates.sign_for(Duration::from_secs(1), 3);
    office.server.logs_while("error: the peer's certificate: it has expired", || {
        talk(&office.address, &office.connector("agency-3"), |peer| {
            // It ends in either way.
            let _ended = peer.tries(b"ECO|a\n");
            let _ended = peer.rest_of_a_line();
        });
    });
    office.talk("agency-3", |peer| peer.is_refused("CertificateExpired"));
    assert_eq!(office.scratch.read("bets.csv"), "");
}

#[test]
fn a_client_believes_a_server_only_for_the_host_it_asked_for_and_no_agency_in_its_place() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "tls", 1);
    scratch.write("agencies/agency-1.csv", csv(&bets(1, 3), Ends::Lf));
    certificates.sign("elsewhere", "serverAuth", "DNS:elsewhere");
    certificates.sign("agency", "clientAuth", "DNS:agency-1,IP:127.0.0.1");
    for (shown, why) in
        [("elsewhere", "not valid for name \"127.0.0.1\""), ("agency", "the peer's certificate: ")]
    {
        let server = scratch.server().shows(&certificates, shown).start();
        let client = scratch.client(&server.address()).shows(&certificates, "agency-1");
        let ended = client.variable("CLI_ID", "1").run();
        ended.exits(1).says(why).says("[tls] in config.toml").never_says("next_try_ms");
        server.stops_on("TERM").says("the peer rejected this side's certificate: alert ");
    }
}

#[test]
fn who_does_not_speak_tls_hears_so() {
    let office = Office::open();
    office.scratch.write("agencies/agency-1.csv", csv(&bets(1, 3), Ends::Lf));
    let ended = office.scratch.client(&office.address).variable("CLI_ID", "1").run();
    ended
        .exits(1)
        .says("tls_required: this server speaks TLS and nothing else; [tls] in config.toml ");
    ended.never_says("next_try_ms");
    office.rejects("the peer does not speak TLS");

    let mut socket = office.socket();
    socket.write_all(b"ECO|hola\nECO|").expect("it can be sent");
    socket.shutdown(Shutdown::Write).expect("it can be shut");
    let mut heard = String::new();
    socket.read_to_string(&mut heard).expect("an answer, and an end that is no reset");
    assert_eq!(heard, "ERROR|tls_required|this server speaks TLS and nothing else\n");
}

/// A client in TLS, and where it looks for its server: in the test itself.
fn client_of_this_test(scratch: &Scratch, certificates: &Certificates) -> (TcpListener, Program) {
    scratch.write("agencies/agency-1.csv", csv(&bets(1, 3), Ends::Lf));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    let client = scratch.client(&address).shows(certificates, "agency-1").variable("CLI_ID", "1");
    (listener, client.start())
}

#[test]
fn a_client_that_speaks_tls_says_so_where_the_server_does_not() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "tls", 1);
    let (listener, client) = client_of_this_test(&scratch, &certificates);
    let (mut socket, _) = listener.accept().expect("the client connects");
    socket.write_all(b"ERROR|invalid_utf8|byte 1\n").expect("it can be answered");
    let ended = client.ends();
    ended.exits(1).says("TLS: the peer does not speak TLS; ").never_says("next_try_ms");
}

#[test]
fn a_client_tries_again_where_only_this_connection_is_broken() {
    const ALERT_INTERNAL_ERROR: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 80];
    const ALERT_PROTOCOL_VERSION: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 70];
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "tls", 1);
    let (listener, client) = client_of_this_test(&scratch, &certificates);
    let next = || listener.accept().expect("the client connects").0;
    let acceptor = Acceptor::open(&certificates.files("server")).expect("the files are good");

    next().write_all(&ALERT_INTERNAL_ERROR).expect("it can be sent");
    // What is no record once there was TLS, and then an end that nobody says.
    for damage in [[0; 40].as_slice(), &[]] {
        let mut socket = next();
        let stream = Stream::accept(&socket, &acceptor, WITHIN, &|| {}).expect("a handshake");
        let stream = stream.expect("the client speaks TLS");
        let mut message = String::new();
        let heard = BufReader::new(stream).read_line(&mut message);
        heard.expect("the client's first message");
        socket.write_all(damage).expect("it can be sent");
    }
    client.logs_times("next_try_ms", 3);
    next().write_all(&ALERT_PROTOCOL_VERSION).expect("it can be sent");
    let ended = client.ends();
    ended.exits(1).says("TLS: the peer does not speak TLS 1.3: alert ");
    ended.says("error: TLS handshake: received fatal alert: ");
    ended.says("error: received corrupt message of type InvalidContentType");
    ended.says("error: peer closed connection without sending TLS close_notify");
    assert_eq!(ended.count("action: close_socket | result: success"), 4, "{ended}");
}

#[test]
fn a_newcomer_within_its_handshake_is_not_silent_while_bytes_of_it_come() {
    const NEWCOMERS_MAX: usize = 16;
    let office = Office::open_with(&[("SERVER_MAX_CONNECTIONS", "20")]);
    let accepted = |count: usize| {
        office.server.logs_times("accept_connections | result: in_progress", count + 1);
    };
    let config = Arc::new(of_agency_3(&office.certificates, ring::default_provider()));
    let mut first = connect(&office, &config);
    accepted(1);
    let mut silent = office.socket();
    accepted(2);
    first.conn.write_tls(&mut first.sock).expect("it can be sent");
    first.sock.peek(&mut [0]).expect("the server's part of the handshake");
    let _more: Vec<TcpStream> = (2..=NEWCOMERS_MAX).map(|_| office.socket()).collect();
    assert_eq!(silent.read(&mut [0]).expect("its end"), 0);
    first.write_all(b"ECO|a\n").expect("it can be sent");
    first.read_exact(&mut [0; 6]).expect("an answer");
}

#[test]
fn who_was_told_that_this_is_tls_leaves_its_place_to_the_next_newcomer() {
    const NEWCOMERS_MAX: usize = 16;
    let office = Office::open_with(&[("SERVER_MAX_CONNECTIONS", "20")]);
    let accepted = |count: usize| {
        office.server.logs_times("accept_connections | result: in_progress", count + 1);
    };
    let oldest = office.socket();
    accepted(1);
    let mut plain = office.socket();
    plain.write_all(b"ECO|hola\n").expect("it can be sent");
    // It has not closed yet.
    plain.peek(&mut [0]).expect("an answer");
    let _more: Vec<TcpStream> = (2..=NEWCOMERS_MAX).map(|_| office.socket()).collect();
    accepted(NEWCOMERS_MAX + 1);
    let mut peer = peer(&oldest, &office.connector("agency-3"));
    peer.says("ECO|a");
    peer.hears("ECO|a");
}

#[test]
fn a_handshake_has_the_time_of_a_newcomer_however_slowly_it_drips() {
    let office = Office::open_with(&[("SERVER_NEWCOMER_TIMEOUT_MS", "300")]);
    let silent = office.socket();
    let mut dripping = office.socket();
    // A record of 500 bytes of a handshake, of which there will never be as many.
    dripping.write_all(&[0x16, 3, 1, 1, 244, 1, 0, 1, 240]).expect("it can be sent");
    thread::scope(|scope| {
        scope.spawn(|| {
            while dripping.try_clone().is_ok_and(|mut one| one.write_all(&[0]).is_ok()) {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let not_over = " | error: not over within 300 ms";
        office.server.logs_times(not_over, 2);
    });
    let mut silent = silent;
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).expect("the end");
    assert!(rest.is_empty(), "{rest:?}");
}

#[test]
fn the_time_of_the_first_message_begins_at_the_end_of_the_handshake() {
    let office = Office::open_with(&[("SERVER_MESSAGE_TIMEOUT_MS", "3000")]);
    let socket = office.socket();
    // Together longer than the message may take; each far shorter.
    thread::sleep(Duration::from_millis(1_800));
    let mut peer = peer(&socket, &office.connector("agency-3"));
    thread::sleep(Duration::from_millis(1_800));
    peer.says("ECO|a");
    peer.hears("ECO|a");
}

#[test]
fn those_past_the_bound_hear_so_in_tls() {
    let office = Office::open_with(&[("SERVER_MAX_CONNECTIONS", "1")]);
    office.talk("agency-1", |first| {
        first.says("ECO|a");
        first.hears("ECO|a");
        office.talk("agency-2", |second| {
            let too_many = "limit of 1 connections reached";
            second.hears(&format!("ERROR|too_many_connections|{too_many}"));
            second.hears_the_end();
        });
        let mut silent = office.socket();
        assert_eq!(silent.read(&mut [0]).expect("the end"), 0);
        office.rejects("not over within 1000 ms");
        first.says("ECO|b");
        first.hears("ECO|b");
    });
}

#[test]
fn connections_count_for_the_agencies_of_their_certificates_as_soon_as_they_have_shown_them() {
    let office = Office::open_with(&[("SERVER_NEWCOMER_TIMEOUT_MS", "3000")]);
    let connectors = ["agencies", "server"].map(|shows| office.connector(shows));
    // They come one after the other, because the time of each begins when it does.
    let places = [const { OnceLock::new() }; 26];
    let mut free = places.iter();
    let mut come = |connector| {
        let place = free.next().expect("there is a place for each");
        let mut peer = peer(place.get_or_init(|| office.socket()), connector);
        peer.says("ECO|a");
        peer.hears("ECO|a");
        peer
    };
    let is_superseded = |peer: &mut Peer<Stream<'_>>| {
        peer.hears_a_line_of("ERROR|superseded|");
        peer.hears_the_end();
    };
    // Four for each of the five agencies, and four for all that name none.
    let mut several: Vec<_> = (0..20).map(|_| come(&connectors[0])).collect();
    let mut nobody: Vec<_> = (0..4).map(|_| come(&connectors[1])).collect();
    several.push(come(&connectors[0]));
    nobody.push(come(&connectors[1]));
    is_superseded(&mut several[0]);
    is_superseded(&mut nobody[0]);
    // Then four for the agency that they name.
    for peer in &mut several[1..6] {
        peer.says("REANUDAR|1");
        peer.hears("REANUDAR|0");
    }
    is_superseded(&mut several[1]);
    // None of them is a newcomer, whose time is over after that of a later connection.
    let mut silent = office.socket();
    assert_eq!(silent.read(&mut [0]).expect("the end"), 0);
    for peer in several[2..].iter_mut().chain(&mut nobody[1..]) {
        peer.says("ECO|b");
        peer.hears("ECO|b");
    }
}

#[test]
fn an_agency_without_a_connection_gets_in_though_others_with_certificates_hold_the_rest_of_the_places()
 {
    // The agencies of the lottery, those that wait, and the certificates of the others: of all five agencies, of none, or of
    // an agency of another lottery.
    let lotteries: [(&str, &[u16], &[&str]); 5] = [
        ("5", &[1, 2, 3, 4], &["agencies", "agencies"]),
        ("5", &[1, 2, 3, 4], &["server", "agencies"]),
        ("5", &[], &["agencies", "agencies", "agencies", "agencies", "agencies", "server"]),
        ("3", &[1, 2], &["agency-4", "agency-5"]),
        ("3", &[1, 2], &["agency-4", "server"]),
    ];
    for (agencies, waiting, others) in lotteries {
        let places = (waiting.len() + others.len()).to_string();
        let variables = [("AGENCIES", agencies), ("SERVER_MAX_CONNECTIONS", places.as_str())];
        let office = Office::open_with(&variables);
        let sockets: Vec<_> = (0..=waiting.len() + others.len()).map(|_| OnceLock::new()).collect();
        let mut free = sockets.iter();
        let mut come = |shows: &str| {
            let socket =
                free.next().expect("there is one for each").get_or_init(|| office.socket());
            peer(socket, &office.connector(shows))
        };
        let mut peers: Vec<_> = Vec::new();
        for agency in waiting {
            let mut peer = come(&format!("agency-{agency}"));
            peer.says(&format!("GANADORES|{agency}"));
            peers.push(peer);
            office.talk("server", |asks| asks.asks_until(&format!("|{agency},0,ESPERA")));
        }
        for shows in others {
            let mut peer = come(shows);
            peer.says("ECO|a");
            peer.hears("ECO|a");
            peers.push(peer);
        }
        let mut last = come(&format!("agency-{agencies}"));
        last.says(&format!("REANUDAR|{agencies}"));
        last.hears("REANUDAR|0");
    }
}

/// A server of two agencies that is to end after the draw. Agency 2 has been told its winners, and agency 1 leaves in
/// this way. Returns whether it has been told too.
fn counts_as_told(leaves: impl FnOnce(&Office)) -> bool {
    let variables = [("AGENCIES", "2"), ("SERVER_MESSAGE_TIMEOUT_MS", "1500")];
    let office = Office::open_for(&["--exit-after-draw"], &variables);
    let (connector, address) = (office.connector("agency-2"), &office.address);
    thread::scope(|scope| {
        scope.spawn(move || {
            let socket = socket(address);
            let mut other = peer(&socket, &connector);
            other.asks_until("ESPERA");
            other.says("GANADORES|2");
            other.hears("GANADORES|");
            other.stream_mut().end();
        });
        leaves(&office);
    });
    let ended = office.server.ends();
    ended.succeeds();
    ended.count("told: not every agency") == 0
}

/// An agency that was answered, and reads no more.
fn hears_winners<'s>(socket: &'s TcpStream, office: &Office) -> Peer<Stream<'s>> {
    let mut peer = peer(socket, &office.connector("agency-1"));
    peer.says("GANADORES|1");
    peer.hears("GANADORES|");
    peer
}

#[test]
fn an_agency_has_been_told_in_tls_when_it_ends_or_goes_on_after_the_answer() {
    let ways: [fn(&TcpStream, Peer<Stream<'_>>); 3] = [
        |_, mut peer| peer.stream_mut().end(),
        |socket, mut peer| {
            peer.stream_mut().end();
            socket.shutdown(Shutdown::Write).expect("it is open");
            peer.hears_the_end();
        },
        |_, mut peer| {
            // The server may stop before it answers.
            peer.says("ECO|a");
            peer.rest();
        },
    ];
    for leaves in ways {
        let told = counts_as_told(|office| {
            let socket = office.socket();
            leaves(&socket, hears_winners(&socket, office));
        });
        assert!(told);
    }
}

#[test]
fn an_agency_has_not_been_told_in_tls_when_its_connection_was_cut_or_it_said_all_before_the_answer()
{
    let ways: [fn(&Office); 5] = [
        // Without TLS's own end, which plain TCP does not have.
        |office| {
            let socket = office.socket();
            drop(hears_winners(&socket, office));
        },
        |office| {
            let socket = office.socket();
            let _peer = hears_winners(&socket, office);
            socket.shutdown(Shutdown::Write).expect("it is open");
            assert_eq!((&socket).read(&mut [0]).expect("the end"), 0);
        },
        // A reset, because the answer is not read.
        |office| {
            let socket = office.socket();
            let mut peer = peer(&socket, &office.connector("agency-1"));
            peer.says("GANADORES|1");
            socket.peek(&mut [0]).expect("an answer");
        },
        // Its end came with its question, or more did than the server reads at once.
        |office| sends_before_the_answer(office, b"GANADORES|1\n", true),
        |office| {
            let more = b"GANADORES|1\n".iter().copied().chain(b"ECO|a\n".repeat(4_000));
            sends_before_the_answer(office, &more.collect::<Vec<u8>>(), false);
        },
    ];
    for (way, leaves) in ways.into_iter().enumerate() {
        assert!(!counts_as_told(leaves), "way {way}");
    }
}

/// Asks as agency 1 and sends nothing after the answer.
fn sends_before_the_answer(office: &Office, message: &[u8], ends: bool) {
    let path = |file: &str| office.certificates.path(file);
    let certificate = CertificateDer::from_pem_file(path("agency-1.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(path("agency-1.key")).expect("a key");
    let config = others(&office.certificates, ring::default_provider())
        .with_client_auth_cert(vec![certificate], key);
    let mut stream = connect(office, &Arc::new(config.expect("a key that fits")));
    stream.conn.complete_io(&mut stream.sock).expect("a handshake");
    stream.conn.writer().write_all(message).expect("it is taken");
    if ends {
        stream.conn.send_close_notify();
    }
    // All of it arrives together.
    let mut flight = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut flight).expect("a vector takes all");
    }
    stream.sock.write_all(&flight).expect("it can be sent");
    stream.sock.read_to_end(&mut Vec::new()).expect("the end");
}

#[test]
fn a_server_that_does_not_speak_tls_answers_who_does_with_an_error() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "tls", 1);
    scratch.write("agencies/agency-1.csv", csv(&bets(1, 3), Ends::Lf));
    let server = scratch.server().start();
    let client = scratch.client(&server.address()).shows(&certificates, "agency-1");
    let ended = client.variable("CLI_ID", "1").run();
    ended.exits(1).says("TLS: the peer does not speak TLS; ").never_says("next_try_ms");
    server.logs("action: conversation | result: fail | error: invalid_utf8: ");
}

#[test]
fn an_end_that_is_said_is_told_from_one_that_is_not() {
    let office = Office::open_with(&[("AGENCIES", "1")]);
    let closed = "action: close_socket | result: success";
    office.talk("agency-1", |peer| {
        peer.says("REANUDAR|1");
        peer.hears("REANUDAR|0");
        // It says no more, and goes on listening.
        peer.says(&BET.replace("|3|", "|1|"));
        peer.says("GANADORES|1");
        peer.stream_mut().end();
        peer.hears("CONFIRMARAPUESTA|1");
        peer.hears("GANADORES|30904465");
        peer.hears_the_end();
    });
    office.server.logs_times(closed, 1);
    office.talk("agency-1", |peer| {
        peer.says("ECO|a");
        peer.hears("ECO|a");
    });
    office.server.logs_times(closed, 2);
    let ended = office.server.stops_on("TERM");
    assert_eq!(ended.count("error: connection lost"), 1, "{ended}");
}

#[test]
fn a_stop_is_heard_in_tls_and_ends_handshakes() {
    let office = Office::open();
    let mut silent = office.socket();
    let mut half = office.socket();
    half.write_all(&[0x16, 3, 1, 1]).expect("it can be sent");
    let Office { certificates, server, address, .. } = &office;
    talk(address, &certificates.connector("agency-1", address), |peer| {
        peer.says("ECO|a");
        peer.hears("ECO|a");
        server.signal("TERM");
        peer.hears("ERROR|stopping|the server is stopping");
        peer.hears_the_end();
    });
    let ended = office.server.ends();
    ended.succeeds();
    assert_eq!(ended.count("action: close_socket | result: success | ip: "), 3, "{ended}");
    for socket in [&mut silent, &mut half] {
        // However it ends.
        let _ended = socket.read_to_end(&mut Vec::new());
    }
}

#[test]
fn who_has_sent_much_and_waits_for_the_draw_costs_little() {
    const AGENCIES: usize = 60;
    const BETS: usize = 150;
    const BATCHES: usize = 160;
    let office = Office::open_with(&[("AGENCIES", "61")]);
    let names: Vec<String> = (1..=AGENCIES).map(|agency| format!("DNS:agency-{agency}")).collect();
    office.certificates.sign("many", "clientAuth", &names.join(","));
    let connector = office.connector("many");
    let Some(before) = resident_kib(&office.server) else { return };
    let mut waiting = Vec::new();
    for agency in 1..=AGENCIES {
        let socket = socket(&office.address);
        let mut stream = Stream::connect(&socket, &connector, WITHIN).expect("a handshake");
        // All at once, so that the server takes as much at a time as it ever does.
        let bet = format!("APUESTA|{agency}|Ana|Paz|30904465|1999-03-17|12;");
        let batches = format!("{}FINAPUESTA\n", bet.repeat(BETS)).repeat(BATCHES);
        let sending = stream.write_all(batches.as_bytes());
        sending.expect("it can be sent");
        let finish = format!("GANADORES|{agency}\n");
        stream.write_all(finish.as_bytes()).expect("it can be sent");
        let replies = BufReader::new(&mut stream);
        assert_eq!(replies.lines().take(BATCHES).filter(Result::is_ok).count(), BATCHES);
        waiting.push(socket);
    }
    // That the last one waits is known by the answer to whoever asks.
    office.talk("server", |peer| {
        peer.asks_until(&format!("{AGENCIES},{},ESPERA", BETS * BATCHES));
    });
    let grown = resident_kib(&office.server).unwrap_or_default().saturating_sub(before);
    let each = grown / AGENCIES as u64;
    assert!(each < 600, "each of {AGENCIES} agencies that wait costs {each} KiB");
}

/// The memory that a program has, in KiB; `None` where the system does not tell.
fn resident_kib(program: &Program) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn what_is_wrong_with_a_file_is_said_and_nothing_is_started() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "tls", 2);
    scratch.write("empty", "");
    scratch.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    scratch.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    scratch.write("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    for (variable, value, why) in [
        ("TLS_CERTIFICATE", "missing.pem", "tls: missing.pem: No such file"),
        ("TLS_CERTIFICATE", "empty", "tls: empty: no certificate in PEM"),
        ("TLS_KEY", "empty", "tls: empty: no key in PEM"),
        ("TLS_KEY", "tls/agency-2.key", "tls: tls/agency-2.key: not the key of "),
        ("TLS_KEY", "locked.key", "tls: locked.key: no key in PEM, or one with a passphrase"),
        ("TLS_AUTHORITY", "empty", "tls: empty: no certificate in PEM"),
        ("TLS_AUTHORITY", "broken.pem", "tls: broken.pem: "),
        ("TLS_AUTHORITY", "cut.pem", "tls: cut.pem: a certificate in PEM is cut off: its END line"),
        ("TLS_KEY", "", "error: tls: also needs tls.key (TLS_KEY)"),
    ] {
        for program in [scratch.server(), scratch.client("127.0.0.1:1")] {
            let start = program.shows(&certificates, "agency-1").variable(variable, value);
            start.run().exits(2).says(why);
        }
    }
    assert!(!scratch.names().contains(&"bets.csv".into()), "the server touched its files");
    // Who only checks files needs none to speak with.
    scratch.write("bets.csv", "");
    let verify = scratch.server().shows(&certificates, "missing").arguments(&["--verify"]);
    verify.run().succeeds();
    let odd = scratch.client("a b:1").shows(&certificates, "agency-1");
    odd.run().exits(2).says("tls: \"a b\": no certificate can name such a host");
}

#[test]
fn certificates_that_are_there_stay_and_more_agencies_can_follow() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "tls", 2);
    let read = |name: &str| scratch.read(&format!("tls/{name}"));
    let stay = ["authority.pem", "authority.key", "server.pem", "agency-1.key", "agency-2.pem"];
    let before = stay.map(read);
    let all_of_two = read("agencies.pem");
    Certificates::new(&scratch, "tls", 2);
    assert_eq!(read("agencies.pem"), all_of_two);
    Certificates::new(&scratch, "tls", 3);
    assert_eq!(stay.map(read), before);
    assert_ne!(read("agencies.pem"), all_of_two, "it names the third too");

    // Others of this machine do not get at the keys, and the authority's is nobody's but its owner's.
    let mode = |path: &str| {
        let path = if path.is_empty() { scratch.path("tls") } else { certificates.path(path) };
        std::fs::metadata(path).expect("it was made").permissions().mode() & 0o777
    };
    assert_eq!([mode(""), mode("authority.key"), mode("agency-3.key")], [0o700, 0o600, 0o644]);
    assert!(scratch.names() == ["tls"], "{:?}", scratch.names());
}

#[test]
fn where_certificates_cannot_be_made_it_is_said_why() {
    let scratch = Scratch::new();
    Certificates::new(&scratch, "tls", 1);
    let fails = |arguments: &[&str], days: &str, why: &str| {
        let mut command = script(&scratch);
        let output = command.args(arguments).env("DAYS", days).output().expect("the script starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(why), "{arguments:?}: {said}");
    };
    fails(
        &["new", "1", "1.2.3"],
        "730",
        "new/server.pem could not be made; the error of openssl is above",
    );
    fails(
        &["days", "1"],
        "99999999",
        "days/server.pem could not be made; the error of openssl is above",
    );

    let file = |name: &str| scratch.path(&format!("tls/{name}"));
    std::fs::rename(file("authority.key"), scratch.path("kept.key")).expect("it was made");
    fails(&["tls", "2"], "730", "tls/authority.key is needed to sign agency-2.pem, and is missing");
    std::fs::rename(scratch.path("kept.key"), file("authority.key")).expect("it was kept");
    std::fs::remove_file(file("authority.pem")).expect("it was made");
    fails(&["tls", "2"], "730", "authority.pem is missing, and server.pem is signed by it");
    assert!(!file("authority.pem").exists());
    std::fs::create_dir(file("agency-2.pem")).expect("as Docker does");
    fails(&["tls", "2"], "730", "tls/agency-2.pem is a directory");
}

#[test]
fn certificates_are_made_in_the_directory_that_is_named_and_in_no_other() {
    let scratch = Scratch::new();
    for elsewhere in ["elsewhere", "elsewhere/tls"] {
        std::fs::create_dir(scratch.path(elsewhere)).expect("it is not there");
    }
    for directory in ["tls", "-", "-x", "two words"] {
        let mut command = script(&scratch);
        command.args([directory, "1"]).env("CDPATH", scratch.path("elsewhere"));
        command.env("OLDPWD", scratch.path("elsewhere"));
        let output = command.output().expect("the script starts");
        assert!(output.status.success(), "{directory}: {output:?}");
        assert!(scratch.path(directory).join("agencies.pem").exists(), "{directory}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("chmod"), "{output:?}");
    }
    // One that is somebody's is left as it is.
    let path = scratch.path("mine");
    std::fs::create_dir(&path).expect("it is not there");
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is the test's own");
    let output = script(&scratch).args(["mine", "1", "agency-3.example"]).output();
    let output = output.expect("the script starts");
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("`chmod 700` keeps them out"));
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let elsewhere = std::fs::read_dir(scratch.path("elsewhere/tls")).expect("it was made");
    assert_eq!(elsewhere.count(), 0);
    assert!(!scratch.path("elsewhere/agencies.pem").exists());
}

#[test]
fn the_first_arguments_make_a_certificate_again_and_other_hosts_do_not() {
    let scratch = Scratch::new();
    let run = |arguments: &[&str]| {
        let output = script(&scratch).args(arguments).output().expect("the script starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let first = ["tls", "2", "central.example.org", "10.1.2.3", "fe80::1"];
    assert_eq!(run(&first).0, Some(0));
    let before = scratch.read("tls/server.pem");
    std::fs::remove_file(scratch.path("tls/agency-2.pem")).expect("it was made");
    let (code, said) = run(&first);
    assert_eq!(code, Some(0), "{said}");
    assert!(scratch.path("tls/agency-2.pem").exists());
    for other in ["example.org", "10.1.2.4", "fe80::2"] {
        let (code, said) = run(&["tls", "2", "central.example.org", other]);
        assert!(code == Some(1) && said.contains(&format!("is not for {other};")), "{said}");
    }
    assert_eq!(scratch.read("tls/server.pem"), before);
}

#[test]
fn two_runs_at_once_make_certificates_of_one_authority() {
    let scratch = Scratch::new();
    let start = || script(&scratch).args(["tls", "3"]).spawn().expect("the script starts");
    for mut run in [start(), start()] {
        assert!(run.wait().expect("an exit code").success());
    }
    let mut verify = Command::new("openssl");
    verify.args([
        "verify",
        "-CAfile",
        "authority.pem",
        "server.pem",
        "agency-3.pem",
        "agencies.pem",
    ]);
    let verified = verify.current_dir(scratch.path("tls")).output().expect("openssl can be run");
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn a_full_disk_leaves_no_certificate_and_no_list_half_written() {
    let scratch = Scratch::new();
    let run = |prefix: &str, arguments: &[&str]| {
        let mut command = Command::new("sh");
        let script = script(&scratch).get_program().to_owned();
        command.args(["-c", &format!("{prefix} exec \"$0\" \"$@\"")]).arg(script);
        let output = command.args(arguments).current_dir(scratch.path("")).output();
        let output = output.expect("a shell starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let succeeds = |arguments: &[&str]| {
        let (code, said) = run("", arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    };
    // A write beyond 512 bytes of a file fails.
    let fails = |arguments: &[&str], file: &str| {
        let (code, said) = run("trap '' XFSZ; ulimit -f 1;", arguments);
        let why = format!("tls/{file} could not be written, perhaps because the disk is full");
        assert!(code == Some(1) && said.contains(&why), "{arguments:?}: {said}");
    };
    let is_there = |file: &str| scratch.path(&format!("tls/{file}")).exists();

    fails(&["tls", "3"], "authority.pem");
    succeeds(&["tls", "3"]);
    std::fs::remove_file(scratch.path("tls/server.pem")).expect("it was made");
    fails(&["tls", "3"], "server.pem");
    assert!(!is_there("server.pem"));
    // The list is longer than 512 bytes with the fourth certificate, and what it is made from with the sixth.
    succeeds(&["--revoke", "1", "tls"]);
    succeeds(&["tls", "3"]);
    fails(&["--revoke", "2", "tls"], "revoked.pem");
    succeeds(&["--revoke", "2", "tls"]);
    assert!(!is_there("agencies.pem") && !is_there("agency-2.pem"));
    succeeds(&["--revoke", "3", "tls"]);
    succeeds(&["tls", "3"]);
    let list = scratch.read("tls/revoked.txt");
    assert_eq!(list.lines().count(), 5);
    fails(&["--revoke", "1", "tls"], "revoked.txt");
    assert_eq!(scratch.read("tls/revoked.txt"), list);
    succeeds(&["--revoke", "1", "tls"]);
    assert_eq!(scratch.read("tls/revoked.txt").lines().count(), 7);
}

/// The script that makes certificates, in the scratch directory.
fn script(scratch: &Scratch) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/generar-certificados.sh");
    let mut command = Command::new(script);
    command.current_dir(scratch.path(""));
    command
}

#[test]
fn the_settings_may_stand_in_config_toml() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "tls", 1);
    let section = |name: &str| {
        format!(
            "[tls]\ncertificate = \"tls/{name}.pem\"\nkey = \"tls/{name}.key\"\nauthority = \"tls/authority.pem\"\n"
        )
    };
    scratch.write("server.toml", section("server"));
    scratch.write("agency.toml", section("agency-1"));
    scratch.write("agencies/agency-1.csv", csv(&bets(1, 8), Ends::Lf));
    let server =
        scratch.server().arguments(&["--config", "server.toml", "--agencies", "1"]).start();
    let client = scratch.client(&server.address()).arguments(&["--config", "agency.toml"]);
    client.run().succeeds().says("| tls: true");
    drop(certificates);
    server.stops_on("TERM").says("| tls: true");
}

#[test]
fn openssl_is_such_a_client_as_the_page_says() {
    let page = include_str!("../../docs/protocol.md");
    let (_, block) = page.split_once("openssl s_client").expect("the page has the command");
    let (arguments, _) = block.split_once("```").expect("the block ends");
    let office = Office::open();
    let arguments = arguments.replace("\\\n", " ").replace("localhost:12345", &{
        let (_, port) = office.address.rsplit_once(':').expect("a port");
        format!("localhost:{port}")
    });
    let mut child = Command::new("openssl")
        .arg("s_client")
        .args(arguments.split_whitespace())
        .current_dir(office.certificates.path(".."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl, which these tests need");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(b"REANUDAR|3\n").expect("it reads");
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    let heard = BufReader::new(output).read_line(&mut line);
    // It goes on until its connection ends.
    child.kill().expect("it is a child");
    child.wait().expect("it ends");
    heard.expect("an answer");
    assert_eq!(line, "REANUDAR|0\n");
}

#[test]
fn who_does_not_read_its_answers_in_tls_loses_its_connection_and_its_place() {
    let office = Office::open_with(&[("SERVER_MESSAGE_TIMEOUT_MS", "500")]);
    // More than the system's buffers hold in both directions.
    let echo = format!("ECO|{}\n", "x".repeat(8_000));
    office.scratch.write("said", format!("REANUDAR|3\n{}", echo.repeat(4_000)));
    // Not a connection of this crate, whose writes would wait as those of the server do.
    let mut openssl = Command::new("sh");
    openssl.current_dir(office.scratch.path(""));
    openssl.args(["-c", "exec openssl s_client \"$@\" <said", "sh", "-quiet", "-connect"]);
    openssl.args([&office.address, "-cert", "tls/agency-3.pem", "-key", "tls/agency-3.key"]);
    let (_unread, answers) = std::io::pipe().expect("a pipe");
    let _deaf = Start::of(openssl).stdout_to(OwnedFd::from(answers).into()).start();
    office.server.logs("action: conversation | result: fail | error: connection lost: ");
    office.server.logs("action: close_socket | result: success");
}

/// What a client hears whose certificate was good when it connected.
const NOT_ANY_MORE: &str =
    "ERROR|certificate_rejected|the certificate of this connection is not accepted any more: ";

/// A server that reads a list of revoked certificates, on which agency 5 is.
fn office_with_list() -> Office {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "tls", 5);
    certificates.sign("agency-5", "clientAuth", "DNS:agency-5");
    certificates.revoke(5);
    certificates.sign("agency-5", "clientAuth", "DNS:agency-5");
    certificates.sign(
        "others",
        "clientAuth",
        "DNS:agency-1,DNS:agency-2,DNS:agency-4,DNS:agency-5",
    );
    let start = scratch.server().shows(&certificates, "server");
    let server = start.variable("TLS_REVOKED", certificates.path("revoked.pem")).start();
    let address = server.address();
    Office { scratch, certificates, server, address, reloads: Cell::default() }
}

#[test]
fn a_revoked_certificate_is_refused_and_another_of_the_same_agency_is_not() {
    let office = office_with_list();
    office.talk("agency-5", |peer| {
        peer.says("REANUDAR|5");
        peer.hears("REANUDAR|0");
    });
    let before = office.connector("agency-5");
    office.revokes(5);
    talk(&office.address, &before, |peer| peer.is_refused("CertificateRevoked"));
    office.server.logs("error: the peer's certificate: it was revoked");
    office.talk("agency-3", |peer| {
        peer.says(BET);
        peer.hears("CONFIRMARAPUESTA|1");
    });
}

#[test]
fn no_connection_outlives_its_certificate() {
    let office = office_with_list();
    let connector = office.connector("agency-3");
    let sockets: Vec<TcpStream> = (0..4).map(|_| office.socket()).collect();
    let mut peers: Vec<Peer<Stream<'_>>> =
        sockets.iter().map(|socket| peer(socket, &connector)).collect();
    for peer in &mut peers {
        peer.says(BET);
        peer.hears("CONFIRMARAPUESTA|1");
    }
    office.revokes(3);
    // A batch of whole messages, one of several, and the two that ask.
    let bet = BET.trim_end_matches(";FINAPUESTA");
    let said = [BET, &format!("{bet}\nFINAPUESTA"), "REANUDAR|3", "GANADORES|3"];
    for (peer, said) in peers.iter_mut().zip(said) {
        peer.says(said);
        peer.hears(&format!("{NOT_ANY_MORE}it was revoked"));
        peer.hears_the_end();
    }
    assert_eq!(office.scratch.read("bets.csv").lines().count(), peers.len());
    office.talk("server", |peer| peer.asks_until("|3,4,ABIERTA|"));
}

#[test]
fn no_connection_outlives_the_authority_that_signed_its_certificate() {
    let office = Office::open();
    let _others = Certificates::new(&office.scratch, "others", 1);
    office.talk("agency-3", |peer| {
        peer.says(BET);
        peer.hears("CONFIRMARAPUESTA|1");
        office.scratch.write("tls/authority.pem", office.scratch.read("others/authority.pem"));
        office.reloads();
        peer.says(BET);
        peer.hears(&format!("{NOT_ANY_MORE}it is not signed by a trusted CA"));
        peer.hears_the_end();
    });
}

#[test]
fn who_waits_with_a_certificate_that_is_revoked_hears_no_winners() {
    let office = office_with_list();
    let (three, others) = (office.connector("agency-3"), office.connector("others"));
    let sockets: Vec<TcpStream> = (0..5).map(|_| office.socket()).collect();
    let mut waiting = peer(&sockets[0], &three);
    waiting.says(&format!("{BET};GANADORES|3"));
    waiting.hears("CONFIRMARAPUESTA|1");
    office.talk("server", |peer| peer.asks_until("|3,1,ESPERA|"));
    office.revokes(3);
    let mut rest: Vec<Peer<Stream<'_>>> =
        sockets[1..].iter().map(|socket| peer(socket, &others)).collect();
    for (peer, agency) in rest.iter_mut().zip([1, 2, 4, 5]) {
        peer.says(&format!("GANADORES|{agency}"));
    }
    for peer in &mut rest {
        peer.hears("GANADORES|");
    }
    waiting.hears(&format!("{NOT_ANY_MORE}it was revoked"));
    waiting.hears_the_end();
}

#[test]
fn no_connection_outlives_the_time_of_its_certificate_by_more_than_a_second() {
    let office = Office::open();
    let expires = office.certificates.sign_for(Duration::from_secs(5), 3);
    let confirmed = "CONFIRMARAPUESTA|1";
    office.talk("agency-3", |peer| {
        peer.says(BET);
        peer.hears(confirmed);
        // It is verified once more just before, unless the machine is too busy for that.
        let mut at = expires - Duration::from_millis(300);
        let mut stored = 1;
        loop {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            peer.says(BET);
            let line = peer.hears_a_line();
            if line != confirmed {
                assert_eq!(line, format!("{NOT_ANY_MORE}it has expired"));
                break;
            }
            assert!(at < expires, "not noticed within a second");
            at = expires + Duration::from_secs(1);
            stored += 1;
        }
        peer.hears_the_end();
        assert_eq!(office.scratch.read("bets.csv").lines().count(), stored);
    });
}

#[test]
fn a_handshake_that_ends_long_after_the_certificate_was_shown_does_not_prolong_its_time() {
    let office = Office::open();
    let expires = office.certificates.sign_for(Duration::from_secs(5), 3);
    let mut config = of_agency_3(&office.certificates, ring::default_provider());
    // In small records, so that the last one has nothing of the certificate.
    config.max_fragment_size = Some(64);
    let mut stream = connect(&office, &Arc::new(config));
    stream.conn.write_tls(&mut stream.sock).expect("it can be sent");
    while stream.conn.is_handshaking() {
        stream.conn.read_tls(&mut stream.sock).expect("the server's part of the handshake");
        stream.conn.process_new_packets().expect("a good one");
    }
    let begun = Instant::now();
    let mut rest = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut rest).expect("there is room");
    }
    let (last, shown) = rest.split_last().expect("the client's part of the handshake");
    stream.sock.write_all(shown).expect("it can be sent");
    // The server looks at a certificate again after a second.
    let late = expires.max(begun + Duration::from_secs(1));
    thread::sleep(late.saturating_duration_since(Instant::now()));
    stream.sock.write_all(&[*last]).expect("it can be sent");
    let mut peer = Peer::over(stream);
    peer.says(BET);
    peer.hears(&format!("{NOT_ANY_MORE}it has expired"));
    peer.hears_the_end();
    assert_eq!(office.scratch.read("bets.csv"), "");
}

#[test]
fn a_list_that_is_out_of_date_counts_all_the_same() {
    let office = office_with_list();
    let revoked = office.connector("agency-4");
    office.certificates.revoke(4);
    office.certificates.date_list("20200101000000Z", "20200102000000Z");
    office.reloads();
    talk(&office.address, &revoked, |peer| peer.is_refused("CertificateRevoked"));
    office.talk("agency-3", |peer| {
        peer.says(BET);
        peer.hears("CONFIRMARAPUESTA|1");
    });
}

#[test]
fn a_list_says_nothing_of_certificates_of_another_authority_of_the_same_name() {
    let office = office_with_list();
    let other = Certificates::new(&office.scratch, "other", 5);
    let revoked = office.connector("agency-4");
    office.certificates.revoke(4);
    let authorities =
        ["tls/authority.pem", "other/authority.pem"].map(|file| office.scratch.read(file));
    office.scratch.write("tls/authority.pem", authorities.concat());
    // In either order of the lists.
    other.revoke(4);
    let lists = ["tls/revoked.pem", "other/revoked.pem"].map(|file| office.scratch.read(file));
    for lists in [lists[0].clone(), lists.concat(), [lists[1].clone(), lists[0].clone()].concat()] {
        office.scratch.write("tls/revoked.pem", lists);
        office.reloads();
        for certificates in [&office.certificates, &other] {
            let authority = office.certificates.path("authority.pem");
            let files = TlsFiles { authority, ..certificates.files("agency-3") };
            let connector = Connector::open(&files, &office.address).expect("the files are good");
            talk(&office.address, &connector, |peer| {
                peer.says("ECO|a");
                peer.hears("ECO|a");
            });
        }
        talk(&office.address, &revoked, |peer| peer.is_refused("CertificateRevoked"));
    }
}

#[test]
fn a_list_that_no_trusted_authority_signed_revokes_none_and_is_warned_of_at_the_start_and_at_sighup()
 {
    let office = office_with_list();
    let listed = office.connector("agency-4");
    office.revokes(4);
    talk(&office.address, &listed, |peer| peer.is_refused("CertificateRevoked"));
    let other = Certificates::new(&office.scratch, "other", 5);
    other.revoke(4);
    let lists = ["tls", "other"].map(|directory| format!("{directory}/revoked.pem"));
    let [own, others] = lists.map(|file| office.scratch.read(&file));
    let file = office.certificates.path("revoked.pem");
    let warning = |list| format!("error: {}: no trusted CA signed list {list}", file.display());
    let reloads = |text: &str| {
        office.scratch.write("tls/revoked.pem", text);
        office.reloads();
    };

    // The other authority has the same name.
    reloads(&(own.clone() + &others));
    office.server.logs(&warning(2));
    // A bit of the signature is another.
    let end = own.rfind("\n-----END").expect("PEM");
    let at = own[..end - 8].rfind(|one: char| one.is_ascii_alphanumeric()).expect("base64");
    let mut changed = own.clone();
    changed.replace_range(at..=at, if &own[at..=at] == "A" { "B" } else { "A" });
    reloads(&changed);
    office.server.logs(&warning(1));
    talk(&office.address, &listed, |peer| {
        peer.says("REANUDAR|4");
        peer.hears("REANUDAR|0");
    });
    let authorities = ["tls/authority.pem", "other/authority.pem"];
    let authorities = authorities.map(|file| office.scratch.read(file)).concat();
    office.scratch.write("both.pem", authorities);
    reloads(&others);
    let ended = office.server.stops_on("TERM");
    assert_eq!((ended.count(&warning(1)), ended.count(&warning(2))), (2, 1), "{ended}");

    for (authority, warnings) in [("tls/authority.pem", 1), ("both.pem", 0)] {
        let start = office.scratch.server().shows(&office.certificates, "server");
        let start = start.variable("TLS_AUTHORITY", office.scratch.path(authority));
        let server = start.variable("TLS_REVOKED", &file).start();
        server.address();
        let ended = server.stops_on("TERM");
        assert_eq!(ended.count(&warning(1)), warnings, "{authority}: {ended}");
    }
}

#[test]
fn of_an_authority_without_a_list_no_certificate_is_revoked() {
    let office = office_with_list();
    let other = Certificates::new(&office.scratch, "other", 1);
    other.rename_authority("another");
    other.sign("agency-3", "clientAuth", "DNS:agency-3");
    let authorities =
        ["tls/authority.pem", "other/authority.pem"].map(|file| office.scratch.read(file));
    office.scratch.write("tls/authority.pem", authorities.concat());
    office.reloads();
    let authority = office.certificates.path("authority.pem");
    let files = TlsFiles { authority, ..other.files("agency-3") };
    let connector = Connector::open(&files, &office.address).expect("the files are good");
    talk(&office.address, &connector, |peer| {
        peer.says(BET);
        peer.hears("CONFIRMARAPUESTA|1");
    });
}

#[test]
fn a_server_shows_its_renewed_certificate_after_sighup_and_keeps_the_one_before_if_it_cannot() {
    let office = office_with_list();
    let connector = office.connector("agency-3");
    let shown = || {
        let socket = office.socket();
        peer(&socket, &connector).stream_mut().peer_names()
    };
    let names = ["server", "localhost"];
    assert_eq!(shown(), names);
    for broken in ["server.pem", "revoked.pem", "authority.pem"] {
        let file = office.certificates.path(broken);
        let good = std::fs::read(&file).expect("it was made");
        std::fs::write(&file, "no PEM").expect("a file of the test's own");
        office.server.signal("HUP");
        office.server.logs(&format!(
            "action: reload_certificates | result: fail | error: tls: {}",
            file.display()
        ));
        assert_eq!(shown(), names);
        std::fs::write(&file, good).expect("a file of the test's own");
    }
    office.certificates.sign("server", "serverAuth,clientAuth", "DNS:renewed,IP:127.0.0.1");
    assert_eq!(shown(), names);
    office.reloads();
    assert_eq!(shown(), ["renewed"]);
    let list = office.certificates.path("revoked.pem");
    office.server.logs(&format!("| result: success | revoked: {}", list.display()));
}

#[test]
fn a_server_without_a_list_says_so_when_it_reads_its_files_again() {
    let office = Office::open();
    office.scratch.write("config.toml", "[tls]\nrevoked = \"tls/revoked.pem\"\n");
    office.reloads();
    office.server.logs("action: reload_certificates | result: success | revoked: none");
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_not_waited_for_at_sighup_nor_at_the_stop_after_it() {
    let office = office_with_list();
    let list = office.certificates.path("revoked.pem");
    std::fs::remove_file(&list).expect("it was made");
    let pipe = std::process::Command::new("mkfifo").arg(&list).status();
    assert!(pipe.expect("`mkfifo` can be run").success());
    office.server.signal("HUP");
    let failed = "action: reload_certificates | result: fail | error: tls: ";
    office.server.logs(&format!("{failed}{}: not a regular file", list.display()));
    office.server.stops_on("TERM");
}

#[test]
fn both_programs_stop_while_nobody_writes_a_file_that_is_a_pipe() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "tls", 1);
    let pipe = scratch.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("`mkfifo` can be run").success());
    for variable in ["TLS_CERTIFICATE", "TLS_KEY", "TLS_AUTHORITY", "TLS_REVOKED"] {
        let client = scratch.bare_client();
        let programs = [(scratch.server(), "server"), (client, "agency-1")];
        // A client reads no list of revoked certificates.
        let readers = if variable == "TLS_REVOKED" { 1 } else { 2 };
        for (program, shows) in programs.into_iter().take(readers) {
            let program = program.shows(&certificates, shows).variable(variable, &pipe).start();
            program.catches_signals();
            program.is_blocked();
            program.signal("TERM");
            program.ends().exits(0);
        }
    }
}

#[test]
fn a_key_that_others_can_read_is_warned_of_by_both_programs() {
    let warning = "other users of this machine can read this private key; let only the user of this program read it";
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "tls", 1);
    scratch.write("agencies/agency-1.csv", csv(&bets(1, 1), Ends::Lf));
    let set_mode = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode))
            .expect("a file of the test's own");
    };
    // The directories above keep others out, and then the mode of the key does.
    for (directory, key, warned) in
        [(0o700, 0o644, false), (0o711, 0o644, true), (0o711, 0o640, false)]
    {
        set_mode(&scratch.path(""), directory);
        set_mode(&certificates.path(""), directory);
        set_mode(&certificates.path("server.key"), key);
        set_mode(&certificates.path("agency-1.key"), key);
        let server = scratch.server().shows(&certificates, "server").start();
        server.address();
        // Nobody listens where the client looks for a server.
        let client = scratch.client("127.0.0.1:1").shows(&certificates, "agency-1");
        let ended = [server.stops_on("TERM"), client.variable("CLI_RETRY_FOR_MS", "0").run()];
        for (name, ended) in ["server", "agency-1"].iter().zip(ended) {
            let key = certificates.path(&format!("{name}.key"));
            let line = format!("error: {}: {warning}", key.display());
            assert_eq!(ended.count(&line), usize::from(warned), "{ended}");
        }
    }
}

#[test]
fn a_certificate_that_expires_within_a_week_is_warned_of_by_both_programs() {
    let scratch = Scratch::new();
    scratch.write("agencies/agency-1.csv", csv(&bets(1, 1), Ends::Lf));
    for (days, is_warned) in [(1, true), (6, true), (8, false)] {
        let last = || {
            let time = jiff::Timestamp::now() + Duration::from_secs(days * 24 * 60 * 60);
            time.strftime("%F").to_string()
        };
        let before = last();
        let directory = format!("tls-{days}");
        let certificates = Certificates::good_for(&days.to_string(), &scratch, &directory, 1);
        let after = last();
        let server = scratch.server().shows(&certificates, "server").start();
        server.address();
        server.signal("HUP");
        server.logs("action: reload_certificates | result: success");
        // Nobody listens where the client looks for a server.
        let client = scratch.client("127.0.0.1:1").shows(&certificates, "agency-1");
        let ended = [server.stops_on("TERM"), client.variable("CLI_RETRY_FOR_MS", "0").run()];
        for (name, ended, reads) in [("server", &ended[0], 2), ("agency-1", &ended[1], 1)] {
            let file = certificates.path(&format!("{name}.pem"));
            let line =
                format!("error: {}: no peer accepts this certificate after ", file.display());
            let dated = [&before, &after].map(|day| ended.count(&format!("{line}{day}T")));
            let warnings = if is_warned { reads } else { 0 };
            assert_eq!(ended.count(&line), warnings, "{ended}");
            assert!(dated.contains(&warnings), "{before} or {after}: {ended}");
        }
    }
}

#[test]
fn certificates_are_renewed_before_they_expire_for_the_names_that_they_had() {
    let scratch = Scratch::new();
    let certificates = Certificates::good_for("20", &scratch, "tls", 2);
    let names = |file: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-ext", "subjectAltName,extendedKeyUsage", "-in"]);
        let output = openssl.arg(certificates.path(file)).output().expect("openssl can be run");
        String::from_utf8(output.stdout).expect("text")
    };
    let read = |file: &str| std::fs::read(certificates.path(file)).expect("it was made");
    let files = ["server.pem", "agency-1.pem", "agency-2.pem", "agencies.pem"];
    let before = files.map(|file| (read(file), names(file)));
    std::fs::remove_file(certificates.path("agency-1.pem")).expect("it was made");
    Certificates::good_for("40", &scratch, "tls", 2);
    let lasting = read("agency-1.pem");
    certificates.renew();
    assert_eq!(read("agency-1.pem"), lasting);
    for (file, (text, names_before)) in files.into_iter().zip(before) {
        assert!(read(file) != text, "{file} is renewed");
        assert_eq!(names(file), names_before, "{file}");
    }
    // Cron would mail a word.
    let again = script(&scratch).args(["--renew", "tls"]).output().expect("the script starts");
    assert!(again.status.success() && again.stderr.is_empty(), "{again:?}");
    // They are good, and so are their keys.
    let address = "127.0.0.1:1";
    for name in ["server", "agency-2", "agencies"] {
        certificates.connector(name, address);
    }
}

#[test]
fn a_revocation_covers_the_certificate_of_all_agencies_that_more_agencies_replaced() {
    let scratch = Scratch::new();
    let certificates = Certificates::new(&scratch, "tls", 2);
    for end in ["pem", "key"] {
        let [from, to] =
            ["agencies", "old"].map(|name| certificates.path(&format!("{name}.{end}")));
        std::fs::copy(from, to).expect("it was made");
    }
    Certificates::new(&scratch, "tls", 3);
    certificates.revoke(1);
    let start = scratch.server().shows(&certificates, "server");
    let server = start.variable("TLS_REVOKED", certificates.path("revoked.pem")).start();
    let address = server.address();
    let connector = certificates.connector("old", &address);
    talk(&address, &connector, |peer| peer.is_refused("CertificateRevoked"));
}

#[test]
fn a_revocation_covers_the_certificates_that_renewals_replaced() {
    let scratch = Scratch::new();
    let certificates = Certificates::good_for("20", &scratch, "tls", 2);
    for (number, name) in ["agency-1", "agencies", "agency-2"].into_iter().enumerate() {
        for end in ["pem", "key"] {
            let [from, to] = [name, &format!("old-{number}")]
                .map(|name| certificates.path(&format!("{name}.{end}")));
            std::fs::copy(from, to).expect("it was made");
        }
    }
    certificates.renew();
    certificates.revoke(1);
    let start = scratch.server().shows(&certificates, "server");
    let server = start.variable("TLS_REVOKED", certificates.path("revoked.pem")).start();
    let address = server.address();
    for revoked in ["old-0", "old-1"] {
        let connector = certificates.connector(revoked, &address);
        talk(&address, &connector, |peer| peer.is_refused("CertificateRevoked"));
    }
    for good in ["old-2", "agency-2"] {
        talk(&address, &certificates.connector(good, &address), |peer| {
            peer.says("ECO|a");
            peer.hears("ECO|a");
        });
    }
}

#[test]
fn the_agency_in_python_and_the_echo_script_speak_tls() {
    let office = Office::open_with(&[("AGENCIES", "1")]);
    let agency = bets(1, 300);
    office.scratch.write("agency-1.csv", csv(&agency, Ends::Lf));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = |authority: &str, shows: &str| {
        let mut command = Command::new("python3");
        command
            .arg(root.join("examples/agency.py"))
            .arg("1")
            .arg(office.scratch.path("agency-1.csv"));
        command.args(["--server", &office.address, "--tls"]).arg(office.scratch.path(authority));
        let [pem, key] =
            ["pem", "key"].map(|end| office.certificates.path(&format!("{shows}.{end}")));
        command.arg(pem).arg(key).output().expect("python3, which this test needs")
    };
    let echo = |authority: &str, address: &str| {
        let mut command = Command::new(root.join("scripts/validar-echo-server.sh"));
        command.env("SERVER_ADDRESS", address).env("ECHO_SECONDS", "5");
        command.env("TLS_AUTHORITY", office.scratch.path(authority));
        command.env("TLS_CERTIFICATE", office.certificates.path("agency-2.pem"));
        command.env("TLS_KEY", office.certificates.path("agency-2.key"));
        let output = command.output().expect("a shell");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    Certificates::new(&office.scratch, "other", 1);

    // Each looks whom it talks with, and the server whom.
    for (authority, why) in [("other/authority.pem", "verify error"), ("none.pem", "none.pem")] {
        let (code, said) = echo(authority, &office.address);
        assert!(code == Some(1) && said.contains(why), "{said}");
    }
    let output = python("other/authority.pem", "agency-1");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("CERTIFICATE_VERIFY_FAILED"), "{said}");
    let output = python("tls/authority.pem", "agency-2");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("wrong_agency"), "{said}");
    assert_eq!(office.scratch.read("bets.csv"), "");

    for host in ["127.0.0.1", "localhost"] {
        let address = office.address.replace("127.0.0.1", host);
        let (code, said) = echo("tls/authority.pem", &address);
        assert_eq!(code, Some(0), "{said}");
        // Of a name with two addresses openssl may say that one of them refused.
        if host == "127.0.0.1" {
            assert_eq!(said, format!("validar-echo-server: asking {address} directly\n"));
        }
    }
    let output = python("tls/authority.pem", "agency-1");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let winners = std::str::from_utf8(&output.stdout).expect("text");
    let mut winners: Vec<&str> = winners.split_inclusive('\n').collect();
    winners.sort_unstable();
    assert_eq!(winners, all_winners(std::slice::from_ref(&agency)));
    assert_all_stored(&office.scratch, &[agency]);
}
