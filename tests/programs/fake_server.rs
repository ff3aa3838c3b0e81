//! At stake: what a client does with servers that are not ours, or ours on a bad day. A fake server does
//! what a test tells it, and records every message.

use crate::support::program::WITHIN;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const MESSAGE_BYTES_MAX: usize = 8192;

/// A server that talks as it was told; gone when dropped.
pub(crate) struct FakeServer {
    pub(crate) address: String,
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Record {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    /// Without their ends.
    messages: Vec<String>,
    streams: Vec<TcpStream>,
}

impl Record {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeServer {
    /// Calls `talk` with each connection, in a thread of its own.
    pub(crate) fn start(talk: impl Fn(&mut Peer) + Send + Sync + 'static) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address").to_string();
        let record = Arc::<Record>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let accepting = thread::spawn({
            let (record, stop) = (Arc::clone(&record), Arc::clone(&stop));
            move || accept(&listener, &record, &stop, &talk)
        });
        FakeServer { address, record, stop, accepting: Some(accepting) }
    }

    pub(crate) fn connections(&self) -> usize {
        self.record.heard().streams.len()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.record.heard().messages.clone()
    }

    /// Waits for `times` messages that begin with `start`.
    pub(crate) fn hears_times(&self, start: &str, times: usize) {
        let deadline = Instant::now() + WITHIN;
        let mut heard = self.record.heard();
        while heard.messages.iter().filter(|message| message.starts_with(start)).count() < times {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{times} × {start:?} never came: {:?}", heard.messages);
            let waited = self.record.changed.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // To wake the thread that accepts; where that fails it is awake.
        let _knock = TcpStream::connect(&self.address);
        for stream in &self.record.heard().streams {
            let _closed_already = stream.shutdown(Shutdown::Both);
        }
        let accepting = self.accepting.take().expect("it is joined once");
        let joined = accepting.join();
        assert!(thread::panicking() || joined.is_ok(), "the fake server found something wrong");
    }
}

fn accept(
    listener: &TcpListener,
    record: &Arc<Record>,
    stop: &AtomicBool,
    talk: &(impl Fn(&mut Peer) + Sync),
) {
    thread::scope(|scope| {
        for number in 1.. {
            let (stream, _) = listener.accept().expect("a connection");
            if stop.load(Ordering::SeqCst) {
                return;
            }
            stream.set_read_timeout(Some(WITHIN)).expect("a time above zero");
            stream.set_write_timeout(Some(WITHIN)).expect("a time above zero");
            let own = stream.try_clone().expect("a second handle");
            record.heard().streams.push(own);
            if stop.load(Ordering::SeqCst) {
                // Whoever stops may have shut the others before this one was among them.
                return;
            }
            let mut peer =
                Peer { number, lines: BufReader::new(stream), record: Arc::clone(record) };
            scope.spawn(move || talk(&mut peer));
        }
    });
}

/// One connection of a fake server, closed when its talk is over.
pub(crate) struct Peer {
    /// From 1.
    pub(crate) number: usize,
    lines: BufReader<TcpStream>,
    record: Arc<Record>,
}

impl Peer {
    /// The next message without its end; `None` at the end of the connection.
    pub(crate) fn hears(&mut self) -> Option<String> {
        let mut line = Vec::new();
        // A peer that is gone is at its end too, be it within a character.
        let _gone = self.lines.read_until(b'\n', &mut line);
        let message = line.strip_suffix(b"\n")?;
        let message = std::str::from_utf8(message).expect("messages are UTF-8").to_owned();
        let bytes = line.len();
        assert!(bytes <= MESSAGE_BYTES_MAX, "a message of {bytes} bytes");
        self.record.heard().messages.push(message.clone());
        self.record.changed.notify_all();
        Some(message)
    }

    /// Sends `text` as it is.
    pub(crate) fn says(&mut self, text: &str) {
        // The client may have gone, which is its right.
        let _gone = self.lines.get_mut().write_all(text.as_bytes());
    }

    /// Whether nothing comes for `time`.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        if !self.lines.buffer().is_empty() {
            return false;
        }
        let stream = self.lines.get_ref();
        stream.set_read_timeout(Some(time)).expect("a time above zero");
        let silent = stream.peek(&mut [0]).is_err();
        stream.set_read_timeout(Some(WITHIN)).expect("a time above zero");
        silent
    }

    /// Reads on until the client leaves.
    pub(crate) fn listens_on(&mut self) {
        while self.hears().is_some() {}
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The record holds another handle, which would keep the connection open.
        let _closed_already = self.lines.get_ref().shutdown(Shutdown::Both);
    }
}

/// A server that does its work, for one agency. It knows the four words of the older dialect, and
/// `REANUDAR` where it is told to.
#[derive(Default)]
pub(crate) struct Office {
    pub(crate) knows_resume: bool,
    /// Bets as they were sent, in their order.
    pub(crate) stored: Vec<String>,
    /// How many bets each batch had.
    pub(crate) batches: Vec<usize>,
    pub(crate) winners: Vec<String>,
}

impl Office {
    pub(crate) fn shared(knows_resume: bool) -> Arc<Mutex<Office>> {
        Arc::new(Mutex::new(Office { knows_resume, ..Office::default() }))
    }

    /// The answers to a message, one behind the other.
    pub(crate) fn answer(&mut self, message: &str) -> String {
        let mut open = Vec::new();
        let mut answers = String::new();
        for command in message.split(';') {
            let (word, rest) = command.split_once('|').unwrap_or((command, ""));
            match word {
                "APUESTA" => open.push(rest.to_owned()),
                "FINAPUESTA" => {
                    answers.push_str(&format!("CONFIRMARAPUESTA|{}\n", open.len()));
                    self.batches.push(open.len());
                    self.stored.append(&mut open);
                }
                "GANADORES" => {
                    answers.push_str(&format!("GANADORES|{}\n", self.winners.join("|")));
                }
                "REANUDAR" if self.knows_resume => answers.push_str(&self.standing()),
                _ => answers.push_str("ERROR|unknown_command|what is that\n"),
            }
        }
        assert!(open.is_empty(), "a message of ours holds whole batches");
        answers
    }

    fn standing(&self) -> String {
        let Some(last) = self.stored.last() else { return "REANUDAR|0\n".into() };
        let fields: Vec<&str> = last.split('|').collect();
        format!("REANUDAR|{}|{}|{}\n", self.stored.len(), fields[3], fields[5])
    }
}

pub(crate) fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fake server that answers everything at once.
pub(crate) fn honest(office: &Arc<Mutex<Office>>) -> FakeServer {
    honest_unless(office, |_, _, _| false)
}

/// The same, unless `ends`, which is called with each message first, ends the connection.
pub(crate) fn honest_unless(
    office: &Arc<Mutex<Office>>,
    ends: impl Fn(&mut Peer, &Mutex<Office>, &str) -> bool + Send + Sync + 'static,
) -> FakeServer {
    let office = Arc::clone(office);
    FakeServer::start(move |peer| {
        while let Some(message) = peer.hears() {
            if ends(peer, &office, &message) {
                return;
            }
            let answers = locked(&office).answer(&message);
            peer.says(&answers);
        }
    })
}
