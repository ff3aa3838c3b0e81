//! Reaching the server, and being stopped meanwhile.

use crate::connection::is_timeout;
use crate::stop::Stop;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread::Builder;
use std::time::Duration;

/// How long one address may take to accept, in milliseconds, try by try. A server with too many at its
/// door ignores who comes, and the system itself would ask again only after a second.
const CONNECT_TIMES_MS: [u64; 4] = [250, 500, 1000, 2000];

/// How many of a program's threads connect at the same time: fewer than a listening socket keeps
/// waiting, for one more is not refused but ignored for a second.
const DIALS_MAX: usize = 32;

/// A bound on how many connect at the same time.
pub(super) struct Dials {
    take: Sender<()>,
    give_back: Receiver<()>,
}

impl Dials {
    pub(super) fn new() -> Dials {
        let (take, give_back) = bounded(DIALS_MAX);
        Dials { take, give_back }
    }

    /// A connection to `address`, `HOST:PORT`, in its turn; `None` where `stop` was closed meanwhile.
    pub(super) fn dial(&self, address: &str, stop: &Stop) -> io::Result<Option<TcpStream>> {
        select! {
            recv(stop.channel()) -> _ => return Ok(None),
            send(self.take, ()) -> _ => {}
        }
        let outcome = dial(address, stop);
        // It cannot be empty: this thread's own place is in it.
        let _place = self.give_back.recv();
        outcome
    }
}

/// A connection to `address`, `HOST:PORT`; `None` where `stop` was closed meanwhile.
///
/// Looking a name up cannot be interrupted, so it is done by a thread that is left alone when the
/// program stops: the only one that is not joined.
pub(super) fn dial(address: &str, stop: &Stop) -> io::Result<Option<TcpStream>> {
    let (connected, outcome) = bounded(1);
    let owned = address.to_owned();
    Builder::new().name("connect".into()).spawn(move || {
        // Nobody waits for it any more where the program stops.
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

/// The first of the addresses behind `address` that accepts.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match connect_to(&address) {
            // A port that nobody listens on can be the very one that the system connects from.
            Ok(stream) if stream.local_addr().ok() == stream.peer_addr().ok() => {
                last = io::ErrorKind::ConnectionRefused.into();
            }
            Ok(stream) => {
                // A batch is written whole, so there is nothing to wait for.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks again and again where nobody answers at all.
fn connect_to(address: &SocketAddr) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::TimedOut.into();
    for time in CONNECT_TIMES_MS.map(Duration::from_millis) {
        match TcpStream::connect_timeout(address, time) {
            Err(error) if is_timeout(&error) => last = error,
            outcome => return outcome,
        }
    }
    Err(last)
}

/// Waits for `time`; `false` as soon as `stop` is closed.
pub(super) fn pause(time: Duration, stop: &Stop) -> bool {
    !stop.wait_for(time)
}
