//! A central office inside the test, on a port and in a directory of its own, and agencies that talk
//! with it in plain bytes. Every wait has an end, and a failure prints what was said until then, in
//! the notation of `docs/protocol.md`.

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use loteria::bet::Agencies;
use loteria::draw::Draw;
use loteria::ledger::{self, Ledger, OpenError};
use loteria::protocol::ErrorCode;
use loteria::server;
use loteria::stop::{Stop, Stopper};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take that has to happen: far longer than it does, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What an office is opened with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lottery {
    pub(crate) agencies: u16,
    pub(crate) winning_number: u16,
    pub(crate) message_timeout: Duration,
    pub(crate) newcomer_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) exit_after_draw: bool,
}

impl Lottery {
    /// A lottery of `agencies` as it is where nothing else is configured.
    pub(crate) fn of(agencies: u16) -> Lottery {
        Lottery {
            agencies,
            winning_number: 7574,
            message_timeout: Duration::from_secs(60),
            newcomer_timeout: Duration::from_secs(60),
            max_connections: 1024,
            exit_after_draw: false,
        }
    }

    pub(crate) fn won_by(self, winning_number: u16) -> Lottery {
        Lottery { winning_number, ..self }
    }

    pub(crate) fn timeout_ms(self, milliseconds: u64) -> Lottery {
        Lottery { message_timeout: Duration::from_millis(milliseconds), ..self }
    }

    pub(crate) fn connections(self, max_connections: usize) -> Lottery {
        Lottery { max_connections, ..self }
    }
}

/// A directory for the files of one test. Nothing here is about surviving a power cut, so it is in
/// memory where the system offers that, and its syncs cost nothing.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let directory =
        if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    directory.expect("a scratch directory")
}

/// What was said so far, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript(Arc<Mutex<Vec<String>>>);

impl Transcript {
    fn note(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Ends the test.
    #[track_caller]
    pub(crate) fn fail(&self, what: impl std::fmt::Display) -> ! {
        const SHOWN: usize = 60;
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hidden = lines.len().saturating_sub(SHOWN);
        let shown = lines[hidden..].join("\n");
        panic!("{what}\nWhat was said, after {hidden} lines that are not shown:\n{shown}\n");
    }
}

/// A server that runs in a thread of the test.
#[derive(Debug)]
pub(crate) struct Office {
    directory: Arc<TempDir>,
    lottery: Lottery,
    address: SocketAddr,
    running: Option<Running>,
    connections: AtomicU32,
    transcript: Transcript,
}

#[derive(Debug)]
struct Running {
    stop: Stopper,
    outcome: Receiver<Result<(), String>>,
    thread: JoinHandle<()>,
    listening_socket: TcpStream,
}

impl Office {
    /// Opens an office in a directory of its own.
    pub(crate) fn start(lottery: Lottery) -> Office {
        Office::start_in(Arc::new(scratch()), lottery)
    }

    /// Opens an office over the files of a stopped server that has no bets. Creating a journal costs more than
    /// most conversations, so a test with thousands of offices starts them here.
    pub(crate) fn start_over_empty_files(lottery: Lottery) -> Office {
        let directory = scratch();
        let journal = File::create(directory.path().join("bets.journal"));
        EmptyJournal::get().write_to(&journal.expect("a journal can be made"));
        Office::start_in(Arc::new(directory), lottery)
    }

    /// Opens an office over a `bets.csv` without a journal, which it adopts.
    pub(crate) fn start_over_bets(bets: &str, lottery: Lottery) -> Office {
        let directory = scratch();
        std::fs::write(directory.path().join("bets.csv"), bets).expect("a file can be written");
        Office::start_in(Arc::new(directory), lottery)
    }

    fn start_in(directory: Arc<TempDir>, lottery: Lottery) -> Office {
        // Not the address that its clients have: the system keeps the port of a closed connection for a minute, and the
        // cuts at every byte close more connections in that time than one address has ports.
        let address = if cfg!(target_os = "linux") { "127.0.0.2:0" } else { "127.0.0.1:0" };
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("the port's number");
        let copy = OwnedFd::from(listener.try_clone().expect("a second name"));
        let listening_socket = TcpStream::from(copy);
        let (stop, stopped) = Stopper::new();
        let (ended, outcome) = bounded(1);
        let path = directory.path().to_owned();
        let thread = std::thread::spawn(move || {
            let served = serve(&listener, &path, lottery, &stopped);
            drop(listener);
            // The test may be over already, by a failure of its own.
            let _over = ended.send(served);
        });
        Office {
            directory,
            lottery,
            address,
            running: Some(Running { stop, outcome, thread, listening_socket }),
            connections: AtomicU32::new(0),
            transcript: Transcript::default(),
        }
    }

    /// A new connection.
    pub(crate) fn agency(&self) -> Agency {
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        Peer { number, transcript: self.transcript.clone(), ..Peer::at(self.address) }
    }

    /// Shuts the listening socket, as the system does if it destroys it.
    pub(crate) fn accepts_no_more(&self) {
        let running = self.running.as_ref().expect("a running server");
        running.listening_socket.shutdown(Shutdown::Both).expect("it listens");
    }

    /// How long a peer may take for a message, or to be told.
    pub(crate) fn message_timeout(&self) -> Duration {
        self.lottery.message_timeout
    }

    /// What stands in `bets.csv`.
    pub(crate) fn bets(&self) -> String {
        let path = self.path_of("bets.csv");
        std::fs::read_to_string(path).expect("bets.csv can be read")
    }

    /// Whether the result of the draw is on disk.
    pub(crate) fn draw_is_on_disk(&self) -> bool {
        self.path_of("sorteo.toml").exists()
    }

    pub(crate) fn path_of(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    #[track_caller]
    pub(crate) fn has_stored(&self, bets: &str) {
        let stored = self.bets();
        if stored != bets {
            self.transcript.fail(format_args!("bets.csv should be\n{bets}\nand it is\n{stored}\n"));
        }
    }

    #[track_caller]
    pub(crate) fn has_stored_count(&self, bets: usize) {
        let stored = self.bets();
        if stored.lines().count() != bets {
            self.transcript.fail(format_args!("bets.csv should have {bets} lines:\n{stored}"));
        }
    }

    /// `bets.csv` has these documents, in this order.
    #[track_caller]
    pub(crate) fn has_stored_documents(&self, documents: &[String]) {
        let stored = self.bets();
        if !stored
            .lines()
            .map(|line| line.split(',').nth(3))
            .eq(documents.iter().map(|text| Some(text.as_str())))
        {
            self.transcript.fail(format_args!("bets.csv should have {documents:?}:\n{stored}"));
        }
    }

    /// Asks for the status until it says that the agency waits for the draw.
    #[track_caller]
    pub(crate) fn agency_waits(&self, agency: usize) {
        let mut asking = self.agency();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            asking.says("ESTADO");
            let status = asking.hears_a_line();
            let field = status.split('|').nth(agency + 1).expect("a field for each agency");
            if field.ends_with(",ESPERA") {
                return asking.leaves();
            }
        }
        self.transcript.fail(format_args!("agency {agency} does not wait"));
    }

    #[track_caller]
    pub(crate) fn draw_is_on_disk_or_not(&self, held: bool) {
        if self.draw_is_on_disk() != held {
            self.transcript.fail(format_args!("whether the draw is held should be {held}"));
        }
    }

    /// Stops the server and waits until it has ended, which fails where it does not.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let Running { stop, outcome, thread, .. } = self.running.take().expect("a running server");
        drop(stop);
        self.end(&outcome, thread);
    }

    /// Waits until the server has ended by itself.
    #[track_caller]
    pub(crate) fn ends_by_itself(&mut self) {
        let Running { stop, outcome, thread, .. } = self.running.take().expect("a running server");
        self.end(&outcome, thread);
        drop(stop);
    }

    /// Waits until the server has ended by itself with an error.
    #[track_caller]
    pub(crate) fn fails(&mut self) -> String {
        let Running { stop, outcome, thread, .. } = self.running.take().expect("a running server");
        let outcome = self.outcome(&outcome, thread);
        drop(stop);
        outcome.expect_err("a failure")
    }

    #[track_caller]
    fn end(&self, outcome: &Receiver<Result<(), String>>, thread: JoinHandle<()>) {
        if let Err(reason) = self.outcome(outcome, thread) {
            self.transcript.fail(format_args!("the server failed: {reason}"));
        }
    }

    #[track_caller]
    fn outcome(
        &self,
        outcome: &Receiver<Result<(), String>>,
        thread: JoinHandle<()>,
    ) -> Result<(), String> {
        let outcome = match outcome.recv_timeout(PATIENCE) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => self.transcript.fail("the server does not stop"),
            Err(RecvTimeoutError::Disconnected) => self.transcript.fail("the server panicked"),
        };
        thread.join().expect("it has nothing left to panic over");
        outcome
    }

    /// Stops the server and opens another over the same files.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Opens another server over the same files after the one before has ended.
    pub(crate) fn start_again(&mut self) {
        let again = Office::start_in(Arc::clone(&self.directory), self.lottery);
        let connections = AtomicU32::new(self.connections.load(Ordering::Relaxed));
        *self = Office { connections, transcript: self.transcript.clone(), ..again };
    }

    /// Puts a line into what a failure shows.
    pub(crate) fn note(&self, line: String) {
        self.transcript.note(line);
    }
}

/// The journal of a server that was started and stopped.
#[derive(Debug)]
struct EmptyJournal {
    bytes: u64,
    /// The pages that are not zeros, each with its place in the file.
    pages: Vec<(u64, Vec<u8>)>,
}

impl EmptyJournal {
    fn get() -> &'static EmptyJournal {
        static JOURNAL: OnceLock<EmptyJournal> = OnceLock::new();
        JOURNAL.get_or_init(|| {
            const PAGE: usize = 4096;
            let mut office = Office::start(Lottery::of(1));
            let mut agency = office.agency();
            // A server that is stopped before it has opened its files makes none.
            agency.says("ECO|open");
            agency.hears("ECO|open");
            agency.leaves();
            office.stop();
            let bytes = std::fs::read(office.path_of("bets.journal")).expect("it has a journal");
            let pages = (0..).step_by(PAGE).zip(bytes.chunks(PAGE));
            let pages = pages.filter(|(_, page)| *page != [0; PAGE]);
            EmptyJournal {
                bytes: bytes.len() as u64,
                pages: pages.map(|(place, page)| (place, page.to_owned())).collect(),
            }
        })
    }

    /// Leaves a hole in the file for the zeros, which takes no memory.
    fn write_to(&self, file: &File) {
        file.set_len(self.bytes).expect("the file can be lengthened");
        for (place, page) in &self.pages {
            file.write_all_at(page, *place).expect("the file can be written");
        }
    }
}

fn serve(
    listener: &TcpListener,
    directory: &Path,
    lottery: Lottery,
    stop: &Stop,
) -> Result<(), String> {
    let agencies = Agencies::new(lottery.agencies).expect("a valid number of agencies");
    let settings = ledger::Settings {
        bets: directory.join("bets.csv"),
        result: directory.join("sorteo.toml"),
        agencies,
        winning_number: lottery.winning_number,
    };
    let (ledger, found) = match Ledger::open(&settings, stop) {
        // Stopped before it began, which is no failure.
        Err(OpenError::Interrupted) => return Ok(()),
        opened => opened.map_err(|error| error.to_string())?,
    };
    let draw = match found.result {
        Some(result) => Draw::held(agencies, result),
        None => Draw::pending(agencies),
    };
    let settings = server::Settings {
        max_connections: lottery.max_connections,
        message_timeout: lottery.message_timeout,
        newcomer_timeout: lottery.newcomer_timeout,
        exit_after_draw: lottery.exit_after_draw,
        tls: None,
    };
    let served = server::run(listener, &ledger, &draw, &settings, stop);
    let closed = ledger.close();
    served.map_err(|error| error.to_string()).and(closed.map_err(|error| error.to_string()))
}

/// One connection to a server, plain unless it was made otherwise.
#[derive(Debug)]
pub(crate) struct Peer<S = TcpStream> {
    number: u32,
    replies: BufReader<S>,
    transcript: Transcript,
}

/// A peer that speaks for an agency.
pub(crate) type Agency = Peer;

impl<S: Read + Write> Peer<S> {
    /// Talks over `stream`, which has bounds for reads and writes.
    pub(crate) fn over(stream: S) -> Peer<S> {
        Peer { number: 1, replies: BufReader::new(stream), transcript: Transcript::default() }
    }

    /// Sends a message.
    #[track_caller]
    pub(crate) fn says(&mut self, message: &str) {
        self.sends(format!("{message}\n").as_bytes());
    }

    /// Sends bytes, be they a message or not.
    #[track_caller]
    pub(crate) fn sends(&mut self, bytes: &[u8]) {
        self.note('>', &shown(bytes));
        if let Err(error) = self.replies.get_mut().write_all(bytes) {
            self.fail(format_args!("connection {} cannot send: {error}", self.number));
        }
    }

    /// Sends bytes that the other side may not want any more. Returns whether it took them.
    pub(crate) fn tries(&mut self, bytes: &[u8]) -> bool {
        self.note('>', &shown(bytes));
        self.replies.get_mut().write_all(bytes).is_ok()
    }

    /// Hears this line.
    #[track_caller]
    pub(crate) fn hears(&mut self, expected: &str) {
        let heard = self.hears_a_line();
        if heard != expected {
            self.fail(format_args!("connection {} should hear {expected}", self.number));
        }
    }

    /// Hears a line that begins so.
    #[track_caller]
    pub(crate) fn hears_a_line_of(&mut self, beginning: &str) {
        if !self.hears_a_line().starts_with(beginning) {
            self.fail(format_args!("connection {} should hear {beginning}…", self.number));
        }
    }

    /// Hears an error of this code; its detail.
    #[track_caller]
    pub(crate) fn hears_error(&mut self, code: ErrorCode) -> String {
        let heard = self.hears_a_line();
        let prefix = format!("ERROR|{}|", code.word());
        match heard.strip_prefix(&prefix) {
            Some(detail) => detail.to_owned(),
            None => self.fail(format_args!("connection {} should hear {prefix}…", self.number)),
        }
    }

    /// Hears whatever line comes.
    #[track_caller]
    pub(crate) fn hears_a_line(&mut self) -> String {
        let mut line = Vec::new();
        match self.replies.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(_) => {
                let rest = shown(&line);
                self.fail(format_args!("connection {} ended after {rest:?}", self.number))
            }
            Err(error) => self.fail(format_args!("connection {} hears {error}", self.number)),
        }
        line.pop();
        self.note('<', &shown(&line));
        String::from_utf8(line).unwrap_or_else(|_| self.fail("an answer that is not UTF-8"))
    }

    /// Hears nothing more: the server has ended the conversation, and not by a reset.
    #[track_caller]
    pub(crate) fn hears_the_end(&mut self) {
        let mut byte = [0];
        match self.replies.read(&mut byte) {
            Ok(0) => self.note(' ', "ends"),
            Ok(_) => {
                let line = self.hears_a_line();
                self.fail(format_args!("connection {} should hear the end: {line}", self.number))
            }
            Err(error) => {
                self.fail(format_args!("connection {} should hear the end: {error}", self.number))
            }
        }
    }

    /// The next line, or what there is of it when the connection ends, in whatever way.
    pub(crate) fn rest_of_a_line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        // However it ends is fine here.
        let _ended = self.replies.read_until(b'\n', &mut line);
        line
    }

    /// What is still said until the connection ends well, or the error that it ends with.
    pub(crate) fn rest_or_error(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.replies.read_to_end(&mut rest).map(|_| rest)
    }

    pub(crate) fn stream_mut(&mut self) -> &mut S {
        self.replies.get_mut()
    }

    /// What is still said until the connection ends, in whatever way.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // However it ends is fine here.
        let _ended = self.replies.read_to_end(&mut rest);
        rest
    }

    fn note(&self, direction: char, what: &str) {
        self.transcript.note(format!("{}{direction} {what}", self.number));
    }

    #[track_caller]
    pub(crate) fn fail(&self, what: impl std::fmt::Display) -> ! {
        self.transcript.fail(what)
    }
}

impl Peer {
    /// A new connection to the server at `address`.
    pub(crate) fn at(address: impl ToSocketAddrs) -> Peer {
        Peer::at_if_there(address).expect("the server accepts")
    }

    /// The same where the server may be away.
    pub(crate) fn at_if_there(address: impl ToSocketAddrs) -> Option<Peer> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a bound for reads");
        stream.set_write_timeout(Some(PATIENCE)).expect("a bound for writes");
        Some(Peer::over(stream))
    }

    /// Says that it has nothing more to say, and goes on listening.
    #[track_caller]
    pub(crate) fn says_no_more(&mut self) {
        self.note(' ', "says no more");
        if let Err(error) = self.stream().shutdown(Shutdown::Write) {
            self.fail(format_args!("connection {} cannot be shut: {error}", self.number));
        }
    }

    /// Ends both directions, for every thread that uses the connection.
    pub(crate) fn hangs_up(&self) {
        // It fails where the server was faster.
        let _already_ended = self.stream().shutdown(Shutdown::Both);
    }

    /// Waits until the server has read all that was sent, which no answer shows in the middle of a message. A server that
    /// stops before it has read all resets the connection.
    #[track_caller]
    pub(crate) fn sees_all_read(&self) {
        let port = |address: io::Result<SocketAddr>| {
            format!(":{:04X}", address.expect("it is connected").port())
        };
        let (own, other) = (port(self.stream().local_addr()), port(self.stream().peer_addr()));
        let deadline = Instant::now() + PATIENCE;
        let is_on_its_way = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_between =
                |from: &str, to: &str| fields[1].ends_with(from) && fields[2].ends_with(to);
            // The queue of the sender, and behind the colon that of the receiver, both in bytes.
            is_between(&own, &other) && !fields[4].starts_with("00000000:")
                || is_between(&other, &own) && !fields[4].ends_with(":00000000")
        };
        while std::fs::read_to_string("/proc/net/tcp").expect("Linux").lines().any(is_on_its_way) {
            if Instant::now() > deadline {
                self.fail(format_args!("the server does not read from connection {}", self.number));
            }
            std::thread::yield_now();
        }
    }

    /// Leaves, and sees the server notice.
    #[track_caller]
    pub(crate) fn leaves(mut self) {
        self.says_no_more();
        self.hears_the_end();
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.replies.get_ref()
    }

    /// The same connection once more, for another thread.
    pub(crate) fn stream_again(&self) -> TcpStream {
        self.stream().try_clone().expect("a second handle of a socket")
    }

    /// Waits until an answer is there, and leaves without reading it, so that the system resets.
    pub(crate) fn resets(self) {
        let _ended = self.stream().peek(&mut [0]);
    }
}

/// Bytes for a failure's transcript, not too many of them.
fn shown(bytes: &[u8]) -> String {
    const SHOWN: usize = 300;
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).replace('\r', "\\r");
    let rest = bytes.len().saturating_sub(SHOWN);
    if rest > 0 { format!("{text}… and {rest} bytes more") } else { text }
}
