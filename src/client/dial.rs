//! Connects to the server. A stop interrupts it.

use crate::connection::is_timeout;
use crate::stop::{self, Stop};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The longest time of each attempt to connect to one address, in milliseconds. A full accept backlog drops SYNs, and
/// the kernel retries only after a second. The long ones are for a slow network. The short ones between them are for a
/// server under a flood, which drops several attempts in a row.
const CONNECT_TIMES_MS: [u64; 15] =
    [50, 50, 100, 50, 50, 200, 50, 50, 400, 50, 50, 1000, 50, 50, 2000];

/// The most agencies of a client that connect or send at the same time: fewer than the accept backlog of a listening
/// socket, because a full one drops SYNs; few, so that both sides need less memory and fewer wake-ups; and enough to
/// send while others wait for a slow disk.
pub(super) const TURNS_MAX: usize = 64;

/// A limit on how many agencies connect or send at the same time.
pub(super) struct Turns {
    take: Sender<()>,
    give_back: Receiver<()>,
    /// The time of the last progress of any agency.
    pub(super) progress: Arc<Mutex<Instant>>,
}

/// The turn of one agency, until it is dropped.
pub(super) struct Turn<'t>(&'t Turns);

impl Turns {
    pub(super) fn new() -> Turns {
        let (take, give_back) = bounded(TURNS_MAX);
        Turns { take, give_back, progress: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Blocks until there is a turn. Returns `None` if the stop came meanwhile.
    pub(super) fn wait(&self, stop: &Stop) -> Option<Turn<'_>> {
        select! {
            recv(stop.channel()) -> _ => None,
            send(self.take, ()) -> _ => Some(Turn(self)),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Cannot block, because this turn has put one item into the channel.
        let _place = self.0.give_back.recv();
    }
}

/// Connects to `address`, `HOST:PORT`. Returns `None` if the stop came meanwhile.
///
/// An IP address that answers soon needs no thread. A name look-up cannot be interrupted, so a thread of its own does
/// it.
pub(super) fn dial(address: &str, stop: &Stop) -> io::Result<Option<TcpStream>> {
    if let Ok(address) = address.parse() {
        match once(&address, Duration::from_millis(CONNECT_TIMES_MS[0])) {
            Err(error) if is_timeout(&error) => {}
            outcome => return outcome.map(Some),
        }
    }
    let owned = address.to_owned();
    let connect = move || first_of(owned.to_socket_addrs()?, once);
    stop::interruptible("connect", stop, Duration::ZERO, connect)?.transpose()
}

/// Attempts each address in its order until one succeeds. Returns the last error if none does.
fn first_of<C>(
    addresses: impl Iterator<Item = SocketAddr>,
    attempt: impl Fn(&SocketAddr, Duration) -> io::Result<C>,
) -> io::Result<C> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        for time in CONNECT_TIMES_MS {
            match attempt(&address, Duration::from_millis(time)) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
            // Only an address that does not answer at all is tried again.
            if !is_timeout(&last) {
                break;
            }
        }
    }
    Err(last)
}

/// Connects to one address within `time`.
fn once(address: &SocketAddr, time: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, time)?;
    // If nothing listens on the port, the kernel may choose it as its own and connect the socket to itself.
    if stream.local_addr().ok() == stream.peer_addr().ok() {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    // Batches are written whole, so that delaying small segments gains nothing.
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::{CONNECT_TIMES_MS, TURNS_MAX, Turns, first_of};
    use crate::stop::{Stop, Stopper};
    use std::cell::RefCell;
    use std::io::ErrorKind::{self, ConnectionRefused, TimedOut};

    #[test]
    fn seven_attempts_that_a_full_backlog_drops_cost_little_more_than_half_a_second() {
        // Each step from here on is for a network that is twice as slow.
        assert_eq!(CONNECT_TIMES_MS[..7].iter().sum::<u64>(), 550);
        let mut longest = 0;
        for times in CONNECT_TIMES_MS.chunks(3) {
            assert!(times[..2] == [50, 50] && times[2] > longest, "{times:?}");
            longest = times[2];
        }
    }

    /// Returns the port of the address that accepts, or the error, and the ports that were attempted. The addresses have
    /// the ports from 0 on, and respond with these errors, or accept.
    fn attempted(errors: &[Option<ErrorKind>]) -> (Result<u16, ErrorKind>, Vec<u16>) {
        let ports = RefCell::new(Vec::new());
        let addresses = (0..).zip(errors).map(|(port, _)| ([127, 0, 0, 1], port).into());
        let connected = first_of(addresses, |address, _| {
            ports.borrow_mut().push(address.port());
            errors[usize::from(address.port())].map_or(Ok(address.port()), |kind| Err(kind.into()))
        });
        (connected.map_err(|error| error.kind()), ports.into_inner())
    }

    #[test]
    fn an_address_that_refuses_is_tried_once_and_one_that_does_not_answer_each_time() {
        let (refused, silent) = (Some(ConnectionRefused), Some(TimedOut));
        assert_eq!(attempted(&[refused]), (Err(ConnectionRefused), vec![0]));
        assert_eq!(attempted(&[refused, refused]), (Err(ConnectionRefused), vec![0, 1]));
        assert_eq!(attempted(&[refused, None, None]), (Ok(1), vec![0, 1]));
        let times = vec![0; CONNECT_TIMES_MS.len()];
        assert_eq!(attempted(&[silent]), (Err(TimedOut), times.clone()));
        assert_eq!(attempted(&[silent, None]), (Ok(1), [times, vec![1]].concat()));
        assert_eq!(attempted(&[]), (Err(ErrorKind::NotFound), vec![]));
    }

    #[test]
    fn no_more_than_the_limit_have_a_turn_and_one_that_ends_makes_room() {
        let (turns, stop) = (Turns::new(), Stop::never());
        let mut taken: Vec<_> = (0..TURNS_MAX).map(|_| turns.wait(&stop)).collect();
        assert!(taken.iter().all(Option::is_some));
        let (stopper, stopped) = Stopper::new();
        stopper.stop();
        assert!(turns.wait(&stopped).is_none(), "there was no turn left but for the stop");
        taken.pop();
        assert!(turns.wait(&stop).is_some());
    }
}
