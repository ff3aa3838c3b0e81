//! Reaching the server, and being stopped meanwhile.

use crossbeam_channel::{Receiver, bounded, never, select};
use std::convert::Infallible;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::thread::Builder;
use std::time::Duration;

/// How long one address may take to accept.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// A connection to `address`, `HOST:PORT`; `None` where `stop` was closed meanwhile.
///
/// Looking a name up cannot be interrupted, so it is done by a thread that is left alone when the
/// program stops: the only one that is not joined.
pub(super) fn dial(address: &str, stop: &Receiver<Infallible>) -> io::Result<Option<TcpStream>> {
    let (connected, outcome) = bounded(1);
    let owned = address.to_owned();
    Builder::new().name("connect".into()).spawn(move || {
        // Nobody waits for it any more where the program stops.
        let _stopped = connected.send(connect(&owned));
    })?;
    select! {
        recv(stop) -> _ => Ok(None),
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
        match TcpStream::connect_timeout(&address, CONNECT_TIME_MAX) {
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

/// Waits for `time`; `false` as soon as `stop` is closed.
pub(super) fn pause(time: Duration, stop: &Receiver<Infallible>) -> bool {
    select! {
        recv(stop) -> _ => false,
        recv(never::<Infallible>()) -> _ => false,
        default(time) => true,
    }
}
