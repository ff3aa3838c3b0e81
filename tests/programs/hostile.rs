//! At stake: that nobody is hurt by somebody else. Peers that are silent, slow, deaf, greedy or speak
//! another language, and systems that are out of file descriptors or of room, cost themselves and no
//! more: beside them agencies are served as ever, and afterwards the server is as it was.

use crate::sample::{Bet, Ends, all_winners, assert_all_stored, bets, csv};
use crate::support::certificates::Certificates;
use crate::support::peer::Peer;
use crate::support::program::{Program, Scratch, Start, WITHIN, starts_programs};
use loteria::connection::{Connector, Stream};
use std::io::{self, Write};
use std::net::Shutdown;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at something that cannot be waited for.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What a process has open and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holdings {
    descriptors: usize,
    threads: usize,
}

impl Holdings {
    fn of(program: &Program) -> Holdings {
        let count = |what: &str| {
            let entries = std::fs::read_dir(format!("/proc/{}/{what}", program.id()));
            entries.expect("Linux tells").count()
        };
        Holdings { descriptors: count("fd"), threads: count("task") }
    }

    /// Waits until the program has no more than this.
    #[track_caller]
    fn are_back(self, program: &Program) {
        let start = Instant::now();
        while Holdings::of(program) != self {
            let now = Holdings::of(program);
            assert!(start.elapsed() < WITHIN, "it had {self:?} and keeps {now:?}");
            thread::sleep(LOOK_AGAIN_AFTER);
        }
    }
}

/// The most memory that the program has had at a time, in KiB.
fn peak_kib(program: &Program) -> usize {
    status_kib(program, "VmHWM:")
}

/// What the system tells of the program under this name, in KiB.
fn status_kib(program: &Program, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id()));
    let status = status.expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the name");
    let number = line.trim().split(' ').next().expect("a number and its unit");
    number.parse().expect("a number")
}

/// Only Linux tells what a process holds.
fn is_linux() -> bool {
    Path::new("/proc/self/fd").is_dir()
}

/// The next line, or what there is of it where the connection ends.
fn line(peer: &mut Peer) -> String {
    String::from_utf8(peer.rest_of_a_line()).expect("text")
}

fn bet(agency: usize, place: usize) -> String {
    format!("APUESTA|{agency}|Ana|Paz|{}|1999-03-17|{}", 30_000_000 + place, place % 7_000)
}

/// The numbers of kinds of peers.
const STANDING: usize = 6;
const STANDING_IN_TLS: usize = 3;
const RUDE: usize = 8;

/// Makes `peer` one that takes a place and never completes a command of a batch. Returns whether the server took its
/// bytes.
pub(crate) fn stands(peer: &mut Peer, kind: usize) -> bool {
    match kind % STANDING {
        // Silent.
        0 => true,
        // Within a message, and within a batch that is never closed.
        1 => peer.tries(b"APUESTA|1|Ana|Pa"),
        2 => peer.tries(format!("{}\n", bet(1, 1)).as_bytes()),
        // Half-closed, with and without something to answer.
        3 => peer.stream().shutdown(Shutdown::Write).is_ok(),
        4 => peer.tries(b"ECO|a\nECO|half of") && peer.stream().shutdown(Shutdown::Write).is_ok(),
        // Deaf: sends commands that are answered, as many as are taken, and reads no answer.
        _ => {
            peer.stream().set_nonblocking(true).expect("a socket can be asked");
            while peer.tries(&[b'\n'; 4096]) {}
            true
        }
    }
}

/// The same in TLS, for a peer with a certificate.
///
/// # Errors
///
/// The handshake fails, or the server has closed the connection.
pub(crate) fn stands_in_tls<'p>(
    peer: &'p Peer,
    connector: &Connector,
    kind: usize,
) -> io::Result<Stream<'p>> {
    let mut stream = Stream::connect(peer.stream(), connector, WITHIN)?;
    match kind % STANDING_IN_TLS {
        0 => {}
        1 => stream.write_all(b"APUESTA|1|Ana|Pa")?,
        _ => {
            // As much as is taken while nobody reads the answers.
            stream.within(Duration::from_millis(100));
            while stream.write_all(&[b'\n'; 4096]).is_ok() {}
        }
    }
    Ok(stream)
}

/// Sends garbage, half a message or nothing, and leaves, by a reset for some kinds. The server may close it before.
pub(crate) fn is_rude(mut peer: Peer, kind: usize) {
    let kind = kind % RUDE;
    let _had_enough = match kind {
        0 => true,
        1 => peer.tries(&[b'x'; 100_000]),
        2 => peer.tries(b"GET / HTTP/1.1\r\nHost: loteria\r\n\r\n"),
        3 => peer.tries(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        4 => peer.tries(&[0; 5000]),
        5 => peer.tries(b"ECO|a") && peer.tries(b"b\n"),
        6 => b"ECO|dripping\n".chunks(1).all(|byte| peer.tries(byte)),
        _ => peer.tries(b"FINAPUESTA;FINAPUESTA;X\n"),
    };
    // Some of them are answered.
    if matches!(kind, 1 | 2 | 5) {
        peer.resets()
    }
}

/// Comes and goes in every rude way, until it is told to end; how often.
fn rude_peers(address: &str, end: &AtomicBool, turn: usize) -> usize {
    let mut came = 0;
    while !end.load(Ordering::Relaxed) {
        is_rude(Peer::at(address), came + turn);
        came += 1;
    }
    came
}

#[test]
fn beside_hostile_peers_five_agencies_are_served_and_afterwards_nothing_is_left_of_them() {
    if is_linux() {
        served_beside_hostile_peers(&Scratch::new(), None);
    }
}

#[test]
#[cfg_attr(not(feature = "tls"), ignore = "the programs were built without TLS")]
fn in_tls_too_five_agencies_are_served_beside_hostile_peers() {
    if is_linux() {
        let scratch = Scratch::new();
        let certificates = Certificates::new(&scratch, "tls", 5);
        served_beside_hostile_peers(&scratch, Some(&certificates));
    }
}

fn served_beside_hostile_peers(scratch: &Scratch, certificates: Option<&Certificates>) {
    let shows = |start: Start, name: &str| match certificates {
        Some(certificates) => start.shows(certificates, name),
        None => start,
    };
    let files: Vec<Vec<Bet>> = (1..=5).map(|agency| bets(agency, 1_000)).collect();
    for (agency, bets) in (1..).zip(&files) {
        scratch.write(&format!("agencies/agency-{agency}.csv"), csv(bets, Ends::Lf));
    }
    let server = shows(scratch.server(), "server").variable("SERVER_MESSAGE_TIMEOUT_MS", "10000");
    let server = server.start();
    let address = server.address();
    let end = AtomicBool::new(false);
    let before = Holdings::of(&server);

    let standing = (0..120).map(|kind| {
        let mut peer = Peer::at(&address);
        assert!(stands(&mut peer, kind), "peer {kind}");
        peer
    });
    let standing: Vec<Peer> = standing.collect();
    let connector = certificates.map(|all| all.connector("agency-1", &address));
    let sockets: Vec<Peer> =
        connector.iter().flat_map(|_| (0..30).map(|_| Peer::at(&address))).collect();
    let in_tls = connector.iter().flat_map(|connector| {
        let stands = |(kind, peer)| stands_in_tls(peer, connector, kind).expect("a place");
        sockets.iter().enumerate().map(stands)
    });
    let in_tls: Vec<Stream<'_>> = in_tls.collect();
    let came: usize = thread::scope(|scope| {
        let (address, end) = (&address, &end);
        let rude: Vec<_> =
            (0..3).map(|turn| scope.spawn(move || rude_peers(address, end, turn))).collect();
        // Slowly, so that many come meanwhile.
        let client = scratch.client(address).variable("CLI_BATCH_PERIOD_MS", "20");
        let ended = shows(client, "agencies").run();
        end.store(true, Ordering::Relaxed);
        ended.succeeds();
        assert_eq!(ended.sorted_stdout(), all_winners(&files));
        rude.into_iter().map(|rude| rude.join().expect("rude peers are not refused")).sum()
    });
    assert_all_stored(scratch, &files);
    assert!(came > 100, "only {came} came");
    drop(in_tls);
    drop((standing, sockets));

    // The thread of the hash has ended with the draw.
    Holdings { threads: before.threads - 1, ..before }.are_back(&server);
    let peak = peak_kib(&server);
    assert!(peak < 64 << 10, "they have cost {peak} KiB");
    assert_eq!(server.stops_on("TERM").count("action: sorteo | result: success"), 1);
}

#[test]
fn whoever_comes_past_the_bound_hears_so_and_places_become_free_again() {
    if !is_linux() {
        return;
    }
    let scratch = Scratch::new();
    let server = scratch.server().variable("SERVER_MAX_CONNECTIONS", "50").start();
    let address = server.address();
    let before = Holdings::of(&server);
    for _round in 0..3 {
        let mut peers: Vec<Peer> = (0..300).map(|_| Peer::at(&address)).collect();
        let mut served = 0;
        for peer in &mut peers {
            let _refused = peer.tries(b"ECO|a\n");
            served += usize::from(line(peer) == "ECO|a\n");
        }
        assert!(served >= 16, "the last newcomers have the places, and {served} were served");
        drop(peers);
        before.are_back(&server);
    }
    let mut later = Peer::at(&address);
    later.says("ECO|b");
    later.hears("ECO|b");
    server.stops_on("TERM");
}

/// Asks until there is a place: the connection before may not be gone yet.
fn insists(address: &str, message: &str, answer: &str) -> Peer {
    let start = Instant::now();
    loop {
        let mut peer = Peer::at(address);
        let _refused = peer.tries(format!("{message}\n").as_bytes());
        let heard = line(&mut peer);
        if heard.trim_end() == answer {
            return peer;
        }
        assert!(heard.starts_with("ERROR|too_many_connections|"), "{heard:?}");
        assert!(start.elapsed() < WITHIN, "there is never a place for {message:?}");
        thread::sleep(LOOK_AGAIN_AFTER);
    }
}

#[test]
fn agencies_that_ask_again_or_died_while_they_waited_leave_a_place_for_the_last() {
    let scratch = Scratch::new();
    let server = scratch.server().arguments(&["--agencies", "3"]);
    let server = server.variable("SERVER_MAX_CONNECTIONS", "3").start();
    let address = server.address();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        for agency in [1, 2] {
            waiting.push(insists(&address, &format!("ECO|in;GANADORES|{agency}"), "ECO|in"));
        }
    }
    insists(&address, "GANADORES|3", "GANADORES|");
    let mut told = 0;
    for mut peer in waiting {
        let heard = line(&mut peer);
        // One that did not wait yet may have left its place to another.
        let left = ["ERROR|superseded|", "ERROR|too_many_connections|"];
        let left = left.iter().any(|error| heard.starts_with(error));
        assert!(heard == "GANADORES|\n" || left, "{heard}");
        told += usize::from(heard == "GANADORES|\n");
    }
    assert!(told >= 2, "one connection of each agency waited");
    server.stops_on("TERM");
}

#[test]
fn peers_that_take_all_file_descriptors_do_not_keep_the_draw_from_being_held() {
    if !is_linux() {
        return;
    }
    let scratch = Scratch::new();
    // No peer may leave because its time is up.
    let server = scratch.server().variable("SERVER_NEWCOMER_TIMEOUT_MS", "600000");
    let server = server.arguments(&["--agencies", "1"]).limited("-n 64").start();
    let address = server.address();
    let mut agency = Peer::at(&address);
    agency.says(&format!("{};FINAPUESTA", bet(1, 1)));
    agency.hears("CONFIRMARAPUESTA|1");

    let mut peers: Vec<Peer> = (0..100).map(|_| Peer::at(&address)).collect();
    // A later one has the place of another, which was silent longest, as soon as that has ended in time.
    let start = Instant::now();
    loop {
        let mut later = Peer::at(&address);
        if later.tries(b"ECO|a\n") && line(&mut later) == "ECO|a\n" {
            peers.push(later);
            break;
        }
        assert!(start.elapsed() < WITHIN, "there is never a place");
    }
    // On a busy machine some are shut before their threads can tell them.
    let is_told = |peer| line(peer).starts_with("ERROR|too_many_connections|");
    assert!(peers[..10].iter_mut().any(is_told));
    agency.says("GANADORES|1");
    agency.hears("GANADORES|");
    assert!(scratch.read_if_there("sorteo.toml").is_some());

    drop(peers);
    let start = Instant::now();
    loop {
        let mut later = Peer::at(&address);
        let _no_place_yet = later.tries(b"ECO|a\n");
        if line(&mut later) == "ECO|a\n" {
            break;
        }
        assert!(start.elapsed() < WITHIN, "nobody is accepted any more");
    }
    let ended = server.stops_on("TERM");
    assert!(ended.stderr.len() < 2_000, "it logged {} lines", ended.stderr.len());
}

#[test]
fn deaf_peers_that_take_all_file_descriptors_do_not_keep_the_server_from_stopping() {
    let scratch = Scratch::new();
    let server = scratch.server().variable("SERVER_NEWCOMER_TIMEOUT_MS", "600000");
    let server = server.limited("-n 32").start();
    let address = server.address();
    let mut peers: Vec<Peer> = (0..40).map(|_| Peer::at(&address)).collect();
    for peer in &mut peers {
        peer.stream().set_nonblocking(true).expect("a socket can be asked");
        while peer.tries(&[b'\n'; 4096]) {}
    }
    server.stops_on("TERM");
}

#[test]
fn peers_that_take_all_address_space_leave_enough_for_their_own_open_batches() {
    if !is_linux() {
        return;
    }
    let scratch = Scratch::new();
    // Under a limit the system's library takes less.
    let server = scratch.server().limited("-v 100000").start();
    server.address();
    let idle = status_kib(&server, "VmSize:");
    server.stops_on("TERM");

    let server = scratch.server().variable("AGENCIES", "200");
    let server = server.limited(&format!("-v {}", idle + (20 << 10))).start();
    let address = server.address();
    let mut peers = Vec::new();
    for agency in 1..=200 {
        let mut peer = Peer::at(&address);
        // One that has named its agency keeps its place.
        if !peer.tries(format!("{};ECO|a\n", bet(agency, 1)).as_bytes())
            || line(&mut peer).is_empty()
        {
            break;
        }
        peers.push((agency, peer));
    }
    assert!((2..200).contains(&peers.len()), "the limit was not reached: {}", peers.len());
    for (agency, peer) in &mut peers {
        let bets: String = (2..=180).map(|place| bet(*agency, place) + "\n").collect();
        peer.says(&format!("{bets}ECO|b"));
    }
    assert!(peers.iter_mut().all(|(_, peer)| line(peer) == "ECO|b\n"));
    server.stops_on("TERM");
}

#[test]
fn one_message_with_a_thousand_long_answers_does_not_fill_the_memory() {
    if !is_linux() {
        return;
    }
    let scratch = Scratch::new();
    // On a busy machine a newcomer needs long to read so much.
    let server = scratch.server().variable("SERVER_NEWCOMER_TIMEOUT_MS", "600000");
    let server = server.arguments(&["--agencies", "2000"]).start();
    let address = server.address();
    let message = vec!["ESTADO"; 1_000].join(";");
    // Nobody reads: what is answered is either on its way or in the memory.
    let mut deaf: Vec<Peer> = (0..4).map(|_| Peer::at(&address)).collect();
    deaf.iter_mut().for_each(|peer| peer.says(&message));
    let mut reader = Peer::at(&address);
    reader.says(&message);
    let one = line(&mut reader);
    assert!(one.starts_with("ESTADO|"), "{one:.40}");
    let mut rest = (1..1_000).map(|_| line(&mut reader));
    assert!(rest.all(|line| line == one), "every command is answered alike");
    let peak = peak_kib(&server);
    assert!(peak < 64 << 10, "five messages have cost {peak} KiB");
    server.stops_on("TERM");
}

#[test]
#[cfg(target_os = "linux")]
fn a_start_that_gets_no_thread_says_which() {
    for (threads, why) in [
        (2, "error: no thread for signals: "),
        (3, "error: no thread for the ledger: "),
        (5, "error: no thread to accept connections: "),
    ] {
        let scratch = Scratch::new();
        let Some(server) = scratch.server_of(54_322) else { return };
        let limited = server.started_by(&["prlimit", &format!("--nproc={threads}")]);
        limited.refuses_to_start().says(why);
    }
    let scratch = Scratch::new();
    let Some(server) = scratch.server_of(54_322) else { return };
    let server = server.arguments(&["--address", "localhost:0"]);
    let limited = server.started_by(&["prlimit", "--nproc=3"]);
    limited.refuses_to_start().says("error: localhost:0: no thread listen: ");
}

#[test]
#[cfg(target_os = "linux")]
fn a_connection_that_gets_no_thread_is_closed_without_an_error() {
    let scratch = Scratch::new();
    let Some(server) = scratch.server_of(54_325) else { return };
    // Six threads of its own.
    let server = server.started_by(&["prlimit", "--nproc=6"]).start();
    let address = server.address();
    Peer::at(&address).hears_the_end();
    server.logs("action: start_thread | result: fail | error: ");
    server.stops_on("TERM");
}

#[test]
#[cfg(target_os = "linux")]
fn a_client_that_gets_no_thread_for_an_agency_does_not_wait_for_the_draw_with_the_others() {
    let scratch = Scratch::new();
    let server = scratch.server().arguments(&["--agencies", "2"]).start();
    for agency in [1, 2] {
        scratch.write(&format!("agencies/agency-{agency}.csv"), "Ana,Paz,30000001,1999-03-17,75\n");
    }
    let Some(client) = scratch.of(54_324, scratch.client(&server.address())) else { return };
    // Four threads of its own, and one of an agency.
    let ended = client.started_by(&["prlimit", "--nproc=5"]).run();
    ended.exits(1).prints("").says("error: no thread: ");
    server.stops_on("TERM");
}

#[test]
#[cfg(target_os = "linux")]
fn a_large_file_is_read_without_a_thread_to_spare() {
    let scratch = Scratch::new();
    let Some(server) = scratch.server_of(54_323) else { return };
    let row = "1,Ana,Paz,30000001,1999-03-17,75\n";
    // So large that parts of it are read side by side.
    scratch.write("bets.csv", row.repeat((17 << 20) / row.len()));
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(scratch.path("bets.csv"), everyone).expect("its own");
    // Six threads of its own, and one of the agency.
    let server = server.arguments(&["--agencies", "1"]).started_by(&["prlimit", "--nproc=7"]);
    let server = server.start();
    let mut agency = Peer::at(server.address());
    agency.says("GANADORES|1");
    agency.hears("GANADORES|");
    server.stops_on("TERM");
}

#[test]
fn a_start_without_room_for_the_journal_leaves_no_part_of_it() {
    let scratch = Scratch::new();
    scratch.server().limited("-f 4096").refuses_to_start().says("error: bets.journal: ");
    assert_eq!(scratch.names(), ["bets.csv"]);
    assert_eq!(scratch.read("bets.csv"), "");
    // The next start cuts the torn line off, and logs that.
    let torn = "1,Ana,Paz,30904461,1999-03-17,7574\n1,An";
    scratch.write("bets.csv", torn);
    scratch.server().limited("-f 4096").refuses_to_start().says("error: bets.journal: ");
    assert_eq!(scratch.names(), ["bets.csv"]);
    assert_eq!(scratch.read("bets.csv"), torn);
}

#[test]
fn a_file_that_must_not_grow_any_more_is_answered_as_a_full_disk() {
    let scratch = Scratch::new();
    // The journal is larger than a few bets, and has to fit.
    const LIMIT: usize = 8400 * 512;
    let row = "1,Ana,Gómez,30000001,2000-02-29,75\n";
    let stored = LIMIT / row.len() - 100;
    scratch.write("bets.csv", row.repeat(stored));
    let server = scratch.server().arguments(&["--agencies", "1"]).limited("-f 8400").start();
    let address = server.address();
    let (mut confirmed, mut is_named) = (0, false);
    loop {
        let mut agency = Peer::at(&address);
        if is_named {
            // Then both batches are stored with one request.
            agency.says("REANUDAR|1");
            line(&mut agency);
        }
        let bets: Vec<String> = (0..50).map(|place| bet(1, confirmed + place)).collect();
        // A batch that would still fit is on its way behind it.
        let small = bet(1, confirmed);
        agency.says(&format!("{};FINAPUESTA\n{small};FINAPUESTA", bets.join(";")));
        let answer = line(&mut agency);
        if answer != "CONFIRMARAPUESTA|50\n" {
            assert!(answer.starts_with("ERROR|storage_failed|"), "{answer:?}");
            agency.hears_the_end();
            if is_named {
                break;
            }
            is_named = true;
            continue;
        }
        agency.hears("CONFIRMARAPUESTA|1");
        confirmed += 51;
        assert!(confirmed < 1_000, "the file grows all the same");
    }
    // What is left of the room is for a smaller batch, and for the draw.
    let confirmed = stored + confirmed;
    assert_eq!(scratch.read("bets.csv").lines().count(), confirmed);
    let mut agency = Peer::at(&address);
    agency.says("REANUDAR|1;GANADORES|1");
    assert!(line(&mut agency).starts_with(&format!("REANUDAR|{confirmed}|")));
    assert!(line(&mut agency).starts_with("GANADORES|"));
    server.stops_on("TERM");
}

#[test]
fn where_bets_csv_is_removed_or_replaced_nothing_more_is_confirmed() {
    for replaced in [false, true] {
        let scratch = Scratch::new();
        let file = bets(1, 30);
        scratch.write("agencies/agency-1.csv", csv(&file, Ends::Lf));
        let start = || scratch.server().arguments(&["--agencies", "1"]).start();
        let server = start();
        let mut agency = Peer::at(server.address());
        agency.says(&format!("{};FINAPUESTA", bet(1, 1)));
        agency.hears("CONFIRMARAPUESTA|1");

        if replaced {
            std::fs::rename(scratch.path("bets.csv"), scratch.path("other.csv")).expect("a file");
            scratch.write("bets.csv", "");
        } else {
            std::fs::remove_file(scratch.path("bets.csv")).expect("a file");
        }
        agency.says(&format!("{};FINAPUESTA", bet(1, 2)));
        let answer = agency.rest();
        assert_eq!(String::from_utf8_lossy(&answer), "", "it was told that it is stored");
        let ended = server.ends();
        ended.exits(1).says("bets.csv: was removed or replaced");

        // The next one says the way out: begin with what is there, and agencies send what is not.
        let refused = scratch.server().arguments(&["--agencies", "1"]).refuses_to_start();
        refused.says(
            "were confirmed; nothing was changed: restore the file, or move bets.journal away",
        );
        std::fs::remove_file(scratch.path("bets.journal")).expect("a file");
        let server = start();
        scratch.client(&server.address()).run().succeeds();
        assert_all_stored(&scratch, &[file]);
        server.stops_on("TERM");
    }
}

#[test]
fn where_the_journal_is_removed_replaced_or_cut_nothing_more_is_confirmed_and_no_bet_is_lost() {
    let remove = |path: &Path| std::fs::remove_file(path);
    let replace = |path: &Path| {
        std::fs::copy(path, path.with_extension("copy"))?;
        std::fs::rename(path.with_extension("copy"), path)
    };
    let cut = |path: &Path| std::fs::File::options().write(true).open(path)?.set_len(100);
    type Change<'c> = &'c dyn Fn(&Path) -> std::io::Result<()>;
    let changes: [(Change<'_>, &str); 3] = [
        (&remove, "bets.journal: was removed or replaced"),
        (&replace, "bets.journal: was removed or replaced"),
        (&cut, "bets.journal: was cut or extended"),
    ];
    for (change, what) in changes {
        let scratch = Scratch::new();
        let start = || scratch.server().arguments(&["--agencies", "1"]).start();
        let server = start();
        let mut agency = Peer::at(server.address());
        agency.says(&format!("{};FINAPUESTA", bet(1, 1)));
        agency.hears("CONFIRMARAPUESTA|1");

        let journal = scratch.path("bets.journal");
        change(&journal).expect("a file");
        agency.says(&format!("{};FINAPUESTA", bet(1, 2)));
        let answer = agency.rest();
        assert_eq!(String::from_utf8_lossy(&answer), "", "{what}: it was told that it is stored");
        server.ends().exits(1).says(what);

        let _moved = std::fs::rename(&journal, scratch.path("moved"));
        let server = start();
        let mut agency = Peer::at(server.address());
        agency.says(&format!("{};FINAPUESTA;REANUDAR|1", bet(1, 2)));
        agency.hears("CONFIRMARAPUESTA|1");
        assert!(line(&mut agency).starts_with("REANUDAR|2|"));
        server.stops_on("TERM");
    }
}

#[test]
fn a_connection_that_cannot_be_accepted_is_logged_and_the_next_one_is_served() {
    for error in ["ECONNABORTED", "EMFILE"] {
        let inject = format!("inject=accept4:error={error}:when=1");
        let fails_once = ["strace", "-D", "-f", "-o", "/dev/null", "-e", &inject];
        if !starts_programs(&fails_once) {
            return;
        }
        let scratch = Scratch::new();
        let server = scratch.server().started_by(&fails_once).start();
        let status = scratch.client(&server.address()).arguments(&["--status"]).run();
        status.exits(0);
        let ended = server.stops_on("TERM");
        let failures = "action: accept_connections | result: fail | error: ";
        assert_eq!(ended.count(failures), 1, "{error}: {ended}");
    }
}

#[test]
fn a_program_that_has_too_few_file_descriptors_to_start_says_so() {
    for descriptors in 4..8 {
        let scratch = Scratch::new();
        scratch.write("agencies/agency-1.csv", "Ana,Paz,30904461,1999-03-17,7574\n");
        // Nothing listens there, and with enough descriptors the client says that.
        let client = scratch.client("127.0.0.1:1").variable("CLI_RETRY_FOR_MS", "0");
        for program in [scratch.server(), client] {
            let ended = program.limited(&format!("-n {descriptors}")).run();
            assert!(
                ended.stderr.iter().any(|line| line.contains("rror")),
                "{descriptors}: {ended}"
            );
        }
    }
}

#[test]
fn a_client_with_too_few_file_descriptors_for_its_agencies_says_so_at_once() {
    const AGENCIES: usize = 50;
    let scratch = Scratch::new();
    for agency in 1..=AGENCIES {
        scratch.write(&format!("agencies/agency-{agency}.csv"), csv(&bets(agency, 4), Ends::Lf));
    }
    let server = scratch.server().variable("AGENCIES", AGENCIES.to_string()).start();
    let client = scratch.client(&server.address()).limited("-n 50").run();
    client.exits(1).says("(os error 24)").never_says("is the server running");
    client.never_says("next_try_ms");
    assert!(client.last().contains("`ulimit -n`"), "{client}");
    // With enough of them it goes on where the other got to.
    let client = scratch.client(&server.address()).run();
    client.succeeds();
    assert_eq!(client.sorted_stdout().len(), AGENCIES, "one bet of each wins");
}

#[test]
#[cfg(target_os = "linux")]
fn a_client_with_little_address_space_has_enough_for_its_agencies() {
    const AGENCIES: usize = 30;
    let scratch = Scratch::new();
    for agency in 1..=AGENCIES {
        scratch.write(&format!("agencies/agency-{agency}.csv"), csv(&bets(agency, 4), Ends::Lf));
    }
    let server = scratch.server().variable("AGENCIES", AGENCIES.to_string()).start();
    let client = scratch.client(&server.address()).limited("-v 300000").run();
    client.succeeds();
    assert_eq!(client.sorted_stdout().len(), AGENCIES, "one bet of each wins");
}
