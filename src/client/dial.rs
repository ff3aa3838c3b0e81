//! Connects to the server. A stop interrupts it.

use crate::connection::is_timeout;
use crate::stop::Stop;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread::Builder;
use std::time::Duration;

/// The longest time of each attempt to connect to one address, in milliseconds. A full accept backlog drops SYNs, and
/// the kernel retries only after a second.
const CONNECT_TIMES_MS: [u64; 4] = [250, 500, 1000, 2000];

/// The most threads of the client that connect at the same time: fewer than the accept backlog of a listening socket,
/// because a full one drops SYNs.
const DIALS_MAX: usize = 32;

/// A limit on how many threads connect at the same time.
pub(super) struct Dials {
    take: Sender<()>,
    give_back: Receiver<()>,
}

impl Dials {
    pub(super) fn new() -> Dials {
        let (take, give_back) = bounded(DIALS_MAX);
        Dials { take, give_back }
    }

    /// Connects to `address`, `HOST:PORT`, in its turn. Returns `None` if the stop came meanwhile.
    pub(super) fn dial(&self, address: &str, stop: &Stop) -> io::Result<Option<TcpStream>> {
        select! {
            recv(stop.channel()) -> _ => return Ok(None),
            send(self.take, ()) -> _ => {}
        }
        let outcome = dial(address, stop);
        // Cannot block, because this thread has put one item into the channel.
        let _place = self.give_back.recv();
        outcome
    }
}

/// Connects to `address`, `HOST:PORT`. Returns `None` if the stop came meanwhile.
///
/// An IP address that answers soon needs no thread. A name look-up cannot be interrupted, so a thread of its own does
/// it. That thread is the only one that is not joined when the program stops.
pub(super) fn dial(address: &str, stop: &Stop) -> io::Result<Option<TcpStream>> {
    if let Ok(address) = address.parse() {
        match once(&address, Duration::from_millis(CONNECT_TIMES_MS[0])) {
            Err(error) if is_timeout(&error) => {}
            outcome => return outcome.map(Some),
        }
    }
    let (connected, outcome) = bounded(1);
    let owned = address.to_owned();
    Builder::new().name("connect".into()).spawn(move || {
        // The receiver is dropped if the program stops.
        let _stopped = connected.send(connect(&owned));
    })?;
    select! {
        recv(stop.channel()) -> _ => Ok(None),
        recv(outcome) -> outcome => match outcome {
            Ok(stream) => stream.map(Some),
            Err(_) => Err(io::Error::other("the thread that connects panicked")),
        },
    }
}

/// Connects to the first of the addresses behind `address` that accepts.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match connect_to(&address) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects to one address, in several attempts if there is no answer at all.
fn connect_to(address: &SocketAddr) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::TimedOut.into();
    for time in CONNECT_TIMES_MS.map(Duration::from_millis) {
        match once(address, time) {
            Err(error) if is_timeout(&error) => last = error,
            outcome => return outcome,
        }
    }
    Err(last)
}

/// Connects to one address within `time`.
fn once(address: &SocketAddr, time: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, time)?;
    // A port without a listener can be the very one that the kernel connects from.
    if stream.local_addr().ok() == stream.peer_addr().ok() {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // Batches are written whole, so that delaying small segments gains nothing.
    stream.set_nodelay(true)?;
    Ok(stream)
}
