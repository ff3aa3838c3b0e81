//! At stake: that SIGTERM and SIGINT end both programs in whatever state they are, soon and well: exit code
//! 0, a line for the signal, for each socket, file and thread that is closed, and `exit` last. Nothing
//! that was confirmed is lost by it and nothing is stored in part.

use crate::fake_server::{FakeServer, Office, locked};
use crate::sample::{Ends, bets, csv, five_agencies, stored};
use crate::support::peer::Peer;
use crate::support::program::{
    Ended, Program, Scratch, Start, lasting_address, not_tried, starts_programs,
};
use std::fs::File;
use std::io::{ErrorKind, pipe};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SIGNALS: [&str; 2] = ["TERM", "INT"];
const ACCEPTED: &str = "action: accept_connections | result: success";

mod of_the_server {
    use super::*;

    /// Stops the server: everything that was opened is closed, and told.
    fn stop(server: Program, signal: &str, address: &str) -> Ended {
        let ended = server.stops_on(signal);
        let accepted = ended.count(ACCEPTED);
        let closed = ended.count("action: close_socket | result: success | ip: ");
        assert_eq!(accepted, closed, "{ended}");
        // A thread may have served several connections.
        let threads = ended.count("action: close_thread | result: success | thread: session-");
        assert!(threads <= closed && (threads > 0 || closed == 0), "{ended}");
        for thread in ["accept", "hash", "ledger", "signals"] {
            ended.says(&format!("action: close_thread | result: success | thread: {thread}"));
        }
        for file in ["bets.csv", "bets.journal"] {
            ended.says(&format!("action: close_file | result: success | file: {file}"));
        }
        let listeners = ended.stderr.iter().filter(|line| {
            line.contains("action: close_socket | result: success | address: 127.0.0.1:")
        });
        assert_eq!(listeners.count(), 1, "{ended}");
        let refused = TcpStream::connect(address).map_err(|error| error.kind());
        assert!(matches!(refused, Err(ErrorKind::ConnectionRefused)), "{refused:?}");
        ended
    }

    #[test]
    fn it_stops_with_all_kinds_of_peers_at_once() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let server = scratch.server().start();
            let address = server.address();
            let mut peers: Vec<Peer> = (0..8).map(|_| Peer::at(&address)).collect();
            peers[1].sends(b"APUESTA|1|");
            peers[2].says("ECO|here;GANADORES|2");
            peers[2].hears("ECO|here");
            peers[3].says("APUESTA|3|Ana|Gómez|30000001|2000-02-29|75;FINAPUESTA");
            peers[3].hears("CONFIRMARAPUESTA|1");
            peers[4].says("nonsense");
            peers[4].hears_a_line_of("ERROR|unknown_command|");
            // One does not read, so that the server is stuck in its answers.
            let echo = format!("ECO|{}\n", "x".repeat(8000)).into_bytes();
            let bound = peers[5].stream().set_write_timeout(Some(Duration::from_millis(100)));
            bound.expect("a time above zero");
            while peers[5].tries(&echo) {}
            drop(peers.pop());
            server.logs("action: close_thread | result: success | thread: session-8");
            stop(server, signal, &address).never_says("action: sorteo");
            for told in &mut peers[..5] {
                told.hears_a_line_of("ERROR|stopping|");
            }
            assert_eq!(scratch.names(), ["bets.csv", "bets.journal"]);
        }
    }

    /// Stops a server whose limits silent peers have reached. The agency that waits hears so.
    fn stops_within_its_limits(server: Start) {
        let server = server.start();
        let address = server.address();
        let mut waiting = Peer::at(&address);
        waiting.says("ECO|in;GANADORES|1");
        waiting.hears("ECO|in");
        let silent: Vec<Peer> = (0..60).map(|_| Peer::at(&address)).collect();
        // The last of them is accepted, whatever then becomes of it.
        server.logs_times(ACCEPTED, 61);
        let ended = server.stops_on("TERM");
        ended.says("action: close_thread | result: success | thread: accept");
        waiting.hears_a_line_of("ERROR|stopping|");
        drop(silent);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_stops_within_any_limit_that_silent_peers_have_reached_and_tells_the_agency_that_waits() {
        // Descriptors; the size of files; address space, in KiB.
        for limit in ["-n 40", "-f 8400", "-v 500000"] {
            let scratch = Scratch::new();
            stops_within_its_limits(scratch.server().limited(limit));
        }
    }

    #[test]
    fn it_stops_within_a_limit_on_its_user_s_threads() {
        let scratch = Scratch::new();
        let Some(server) = scratch.server_of(54_321) else { return };
        stops_within_its_limits(server.started_by(&["prlimit", "--nproc=20"]));
    }

    #[test]
    fn it_stops_within_a_limit_on_the_threads_of_its_control_group() {
        let scratch = Scratch::new();
        let name = format!("loteria-{}", std::process::id());
        // The first and the second version of control groups.
        let groups =
            ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(|base| Path::new(base).join(&name));
        let group = groups.iter().find(|group| {
            let made = std::fs::create_dir(group).is_ok();
            let limited = made && std::fs::write(group.join("pids.max"), "20").is_ok();
            if made && !limited {
                std::fs::remove_dir(group).expect("an empty group");
            }
            limited
        });
        let Some(group) = group else {
            return not_tried("control group that can be limited");
        };
        let enter = format!("echo $$ >{}/cgroup.procs && exec \"$0\" \"$@\"", group.display());
        stops_within_its_limits(scratch.server().started_by(&["/bin/sh", "-c", &enter]));
        std::fs::remove_dir(group).expect("an empty group");
    }

    #[test]
    fn a_signal_in_the_first_moments_ends_the_process_well() {
        // Each socket pair, such as the one that tells of signals, takes half a second.
        let slow =
            ["strace", "-D", "-o", "/dev/null", "-e", "inject=socketpair:delay_enter=500000"];
        if !starts_programs(&slow) {
            return;
        }
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let server = scratch.server().started_by(&slow).start();
            server.catches_signals();
            server.is_blocked();
            server.signal(signal);
            server.ends().exits(0);
        }
    }

    #[test]
    fn it_stops_in_a_storm_of_batches_and_what_it_confirmed_is_stored() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let files: Vec<_> = (1..=5).map(|agency| bets(agency, 3000)).collect();
            for (agency, bets) in (1..).zip(&files) {
                scratch.write(&format!("agencies/agency-{agency}.csv"), csv(bets, Ends::Lf));
            }
            let server = scratch.server().start();
            let address = server.address();
            let client = scratch.client(&address).variable("CLI_BATCH_MAX_AMOUNT", "3").start();
            server.logs_times("action: apuesta_recibida | result: success", 100);
            stop(server, signal, &address).never_says("action: sorteo");
            client.logs("action: connect | result: in_progress");
            let confirmed = client.stops_on(signal);

            let stored = stored(&scratch);
            for (agency, bets) in (1..).zip(&files) {
                let of_agency = stored.get(&agency).map_or(&[][..], Vec::as_slice);
                assert!(bets.starts_with(of_agency), "agency {agency}");
                assert!(of_agency.len().is_multiple_of(3), "a batch was stored in part");
                let confirmations = format!(
                    "action: apuesta_enviada | result: success | cantidad: 3 | client_id: {agency}"
                );
                let confirmed = 3 * confirmed.count(&confirmations);
                assert!(confirmed <= of_agency.len(), "{confirmed} of {}", of_agency.len());
            }
        }
    }

    /// Writes a sparse `bets.csv`, which takes minutes to read.
    fn write_endless_bets(scratch: &Scratch) {
        let bets = File::create(scratch.path("bets.csv")).expect("a file");
        bets.set_len(1 << 40).expect("a sparse file");
    }

    #[test]
    fn it_stops_while_it_reads_its_bets_at_the_start() {
        let scratch = Scratch::new();
        write_endless_bets(&scratch);
        let server = scratch.server().start();
        server.logs("action: config | result: success");
        let ended = server.stops_on("TERM");
        ended.says("action: close_socket | result: success | address: ");
        ended.says("action: close_file | result: success | file: bets.csv");
        assert_eq!(scratch.names(), ["bets.csv"]);
    }

    #[test]
    fn a_check_that_is_stopped_has_not_succeeded() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            write_endless_bets(&scratch);
            let check = scratch.bare_server().arguments(&["--verify"]).start();
            check.logs("action: config | result: success");
            check.signal(signal);
            let why = "error: interrupted before all files were read: nothing is known about them";
            check.ends().exits(1).prints("").says(why);
        }
    }

    #[test]
    fn it_stops_while_nobody_writes_its_settings_into_a_pipe() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let pipe =
                std::process::Command::new("mkfifo").arg(scratch.path("config.toml")).status();
            assert!(pipe.expect("`mkfifo` can be run").success());
            // A script goes on after a success.
            let programs = [
                (scratch.server(), 0),
                (scratch.bare_client(), 0),
                (scratch.server().arguments(&["--verify"]), 1),
                (scratch.bare_client().arguments(&["--status"]), 1),
            ];
            for (program, code) in programs {
                let program = program.start();
                program.catches_signals();
                program.is_blocked();
                program.signal(signal);
                program.ends().exits(code);
            }
            assert_eq!(scratch.names(), ["config.toml"]);
        }
    }

    #[test]
    fn it_stops_while_its_address_is_looked_up() {
        let sources = std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
        let names = sources.lines().filter_map(|line| line.strip_prefix("hosts:"));
        // Only glibc reads this file and the one of the aliases.
        if !cfg!(target_env = "gnu") || names.map(str::trim).collect::<Vec<_>>() != ["files dns"] {
            return not_tried("look-up of names in files and then by DNS");
        }
        for signal in SIGNALS {
            let scratch = Scratch::new();
            // The look-up of a name without dots reads this file first.
            let aliases = scratch.path("aliases");
            let pipe = std::process::Command::new("mkfifo").arg(&aliases).status();
            assert!(pipe.expect("`mkfifo` can be run").success());
            let server = scratch.bare_server().arguments(&["--address", "central:0"]);
            let server = server.variable("HOSTALIASES", &aliases).start();
            server.has_thread("signals");
            server.is_blocked();
            server.stops_on(signal);
            assert_eq!(scratch.names(), ["aliases"]);
        }
    }

    #[test]
    fn it_stops_on_a_system_that_does_not_shut_a_listening_socket() {
        // As macOS. Without peers the server shuts no other socket.
        let not_shut = ["strace", "-D", "-o", "/dev/null", "-e", "inject=shutdown:error=ENOTCONN"];
        if !starts_programs(&not_shut) {
            return;
        }
        for (signal, address) in SIGNALS.into_iter().zip(["127.0.0.1:0", "0.0.0.0:0"]) {
            let scratch = Scratch::new();
            let server = scratch.bare_server().arguments(&["--address", address]);
            let server = server.started_by(&not_shut).start();
            server.logs("action: accept_connections | result: in_progress");
            server.stops_on(signal);
        }
    }

    #[test]
    fn more_signals_than_one_change_nothing() {
        let scratch = Scratch::new();
        let server = scratch.server().start();
        let address = server.address();
        let silent = Peer::at(&address);
        server.logs(ACCEPTED);
        // It is in no hurry to leave: the peer does not.
        server.signal("INT");
        server.signal("TERM");
        let ended = server.ends();
        ended.succeeds().says("signal: SIGINT");
        drop(silent);
    }
}

mod of_the_client {
    use super::*;

    const FILE: &str = "agencies/agency-1.csv";

    fn agency_1(scratch: &Scratch, address: &str, variables: &[(&str, &str)]) -> Program {
        scratch.write(FILE, csv(&bets(1, 50), Ends::Lf));
        let client = scratch.client(address).arguments(&["--agency", "1"]);
        client.variable("CLI_BATCH_MAX_AMOUNT", "1").variables(variables).start()
    }

    /// Stops the client, which has `sockets` open: everything is closed, and told.
    fn stop(client: Program, signal: &str, sockets: usize) -> Ended {
        let ended = client.stops_on(signal);
        assert_eq!(ended.stdout, "");
        ended.says(&format!("action: close_file | result: success | file: {FILE}"));
        for thread in ["agency-1", "stop", "signals"] {
            ended.says(&format!("action: close_thread | result: success | thread: {thread}"));
        }
        let closed = ended.count("action: close_socket | result: success | client_id: 1");
        assert_eq!(closed, sockets, "{ended}");
        ended.never_says("result: fail");
        ended
    }

    #[test]
    fn it_stops_while_there_is_no_server() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let client = agency_1(&scratch, &lasting_address(), &[]);
            client.logs_times("action: connect | result: in_progress", 3);
            stop(client, signal, 0);
        }
    }

    #[test]
    fn it_stops_while_it_connects() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("a bound listener has an address");
        // Nobody accepts, until the system takes no more connections on the listener's behalf.
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queue.push(stream);
            assert!(queue.len() < 10_000, "the queue has no end");
        }
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let client = agency_1(&scratch, &address.to_string(), &[]);
            client.has_thread("connect");
            stop(client, signal, 0);
        }
    }

    #[test]
    fn it_stops_while_it_waits_for_an_answer() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let server = FakeServer::start(|peer| peer.listens_on());
            let client = agency_1(&scratch, &server.address, &[]);
            server.hears_times("REANUDAR|1", 1);
            stop(client, signal, 1);
        }
    }

    /// Stops a client that is to print the state of the lottery, and has not. Its log has this and no more.
    fn interrupt_status(client: Program, signal: &str) {
        client.signal(signal);
        let ended = client.ends();
        let why = "error: interrupted before the state of the lottery was printed";
        ended.exits(1).says(&format!("receive_signal | result: success | signal: SIG{signal}"));
        ended.says(why);
        assert_eq!(ended.stderr.len(), 2, "{ended}");
    }

    #[test]
    fn a_status_that_is_stopped_has_not_succeeded() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let server = FakeServer::start(|peer| peer.listens_on());
            let client = scratch.client(&server.address).arguments(&["--status"]).start();
            server.hears_times("ESTADO", 1);
            interrupt_status(client, signal);
        }
    }

    #[test]
    fn it_stops_while_it_pauses_between_batches() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let server = scratch.server().start();
            let period = [("CLI_BATCH_PERIOD_MS", "60000")];
            let client = agency_1(&scratch, &server.address(), &period);
            server.logs("action: apuesta_recibida | result: success");
            stop(client, signal, 1);
            assert_eq!(stored(&scratch)[&1].len(), 1);
        }
    }

    #[test]
    fn it_stops_while_it_sends() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let server = scratch.server().start();
            let period = [("CLI_BATCH_PERIOD_MS", "5")];
            let client = agency_1(&scratch, &server.address(), &period);
            server.logs_times("action: apuesta_recibida | result: success", 3);
            stop(client, signal, 1).never_says("consulta_ganadores");
            assert!(bets(1, 50).starts_with(&stored(&scratch)[&1]));
        }
    }

    #[test]
    fn it_stops_while_nobody_reads_what_it_prints() {
        // More than a pipe holds.
        const AGENCIES: usize = 10_000;
        let mut quickest = Duration::MAX;
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let server = FakeServer::start(|peer| {
                while let Some(message) = peer.hears() {
                    peer.says(&match message.split('|').next() {
                        Some("REANUDAR") => format!("REANUDAR|{AGENCIES}|30000001|7574\n"),
                        Some("GANADORES") => format!("GANADORES{}\n", "|30000001".repeat(AGENCIES)),
                        _ => {
                            let agencies = (1..=AGENCIES).map(|id| format!("|{id},1,ABIERTA"));
                            format!("ESTADO|PENDIENTE{}\n", agencies.collect::<String>())
                        }
                    });
                }
            });
            scratch.write(FILE, "Ana,Paz,30000001,2000-02-29,7574\n".repeat(AGENCIES));
            for arguments in [&["--agency", "1"][..], &["--status"]] {
                let (reader, writer) = pipe().expect("a pipe");
                let client = scratch.client(&server.address).arguments(arguments);
                let client = client.stdout_to(File::from(OwnedFd::from(writer))).start();
                client.has_thread("stdout");
                client.is_blocked();
                let start = Instant::now();
                if arguments == ["--status"] {
                    interrupt_status(client, signal);
                } else {
                    stop(client, signal, 1);
                }
                quickest = quickest.min(start.elapsed());
                drop(reader);
            }
        }
        // The promise is a second. A machine may be too busy for one of the four, or for three.
        assert!(quickest < Duration::from_secs(3), "the quickest stop took {quickest:?}");
    }

    #[test]
    fn it_stops_while_the_server_does_not_read() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let over = Arc::new(AtomicBool::new(false));
            let server = FakeServer::start({
                let over = Arc::clone(&over);
                move |peer| {
                    peer.hears();
                    peer.says("REANUDAR|0\n");
                    // One batch of many, and then no more.
                    peer.hears();
                    while !over.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                }
            });
            // More than the two sockets hold between them.
            let line = "Ana María Estela,Gómez de la Torre,30000001,2000-02-29,75\n";
            scratch.write(FILE, line.repeat(250_000));
            let client = scratch.client(&server.address).arguments(&["--agency", "1"]);
            let client = client.variable("CLI_WINDOW", "4096").start();
            server.hears_times("APUESTA", 1);
            client.is_blocked();
            stop(client, signal, 1);
            over.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn it_stops_while_it_waits_for_the_draw() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            let office = Office::shared(true);
            let server = FakeServer::start({
                let office = Arc::clone(&office);
                move |peer| {
                    while let Some(message) = peer.hears() {
                        if message.starts_with("GANADORES") {
                            return peer.listens_on();
                        }
                        let answer = locked(&office).answer(&message);
                        peer.says(&answer);
                    }
                }
            });
            let client = agency_1(&scratch, &server.address, &[]);
            server.hears_times("GANADORES|1", 1);
            stop(client, signal, 1).never_says("consulta_ganadores");
        }
    }

    #[test]
    fn it_stops_with_all_agencies_at_once() {
        for signal in SIGNALS {
            let scratch = Scratch::new();
            five_agencies(&scratch);
            let server = scratch.server().start();
            let client = scratch
                .client(&server.address())
                .variables(&[("CLI_BATCH_PERIOD_MS", "20"), ("CLI_BATCH_MAX_AMOUNT", "1")]);
            let client = client.start();
            server.logs_times("action: apuesta_recibida | result: success", 9);
            let ended = client.stops_on(signal);
            assert_eq!(ended.count("action: close_socket | result: success"), 5, "{ended}");
            assert_eq!(ended.count("action: close_file | result: success"), 10, "{ended}");
            assert_eq!(ended.stdout, "");
        }
    }

    #[test]
    fn it_stops_while_it_reads_its_file() {
        let scratch = Scratch::new();
        let line = "Ana,Gómez,30000001,2000-02-29,75\n";
        scratch.write(FILE, line.repeat(600_000));
        let server = FakeServer::start(|peer| peer.listens_on());
        let client = scratch.client(&server.address).arguments(&["--agency", "1"]).start();
        client.has_thread("signals");
        let ended = client.stops_on("TERM");
        ended.says(&format!("action: close_file | result: success | file: {FILE}"));
    }

    #[test]
    fn it_stops_with_a_single_bet_on_its_way() {
        for (signal, resume) in [("TERM", "true"), ("INT", "false")] {
            let scratch = Scratch::new();
            let server = FakeServer::start(|peer| peer.listens_on());
            let client = scratch.client(&server.address).variables(&[
                ("CLI_ID", "1"),
                ("NOMBRE", "Ana"),
                ("APELLIDO", "Gómez"),
                ("DOCUMENTO", "30000001"),
                ("NACIMIENTO", "2000-02-29"),
                ("NUMERO", "75"),
                ("CLI_RESUME", resume),
            ]);
            let client = client.start();
            server.hears_times("", 1);
            let ended = client.stops_on(signal);
            ended.never_says("apuesta_enviada").says("action: close_socket | result: success");
            ended.says("action: close_thread | result: success | thread: stop");
        }
    }
}
