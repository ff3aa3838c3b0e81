//! A socket with a deadline.

use crate::system::uninterrupted;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The shortest timeout that a socket takes. Zero would mean none at all.
const SHORTEST_TIMEOUT: Duration = Duration::from_micros(1);

/// The time for which a connection that this side closes is still read, so that a reset does not destroy the last
/// reply.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);
/// The most bytes that are read in that time.
pub const DRAIN_BYTES_MAX: usize = 16 << 20;

/// A socket whose reads and writes all end by one deadline, however slowly bytes drip.
#[derive(Debug)]
pub(super) struct TimedSocket<'s> {
    socket: &'s TcpStream,
    deadline: Instant,
}

impl<'s> TimedSocket<'s> {
    /// Returns `socket` with a deadline that has passed: nothing can be read or written before another is
    /// set.
    pub(super) fn new(socket: &'s TcpStream) -> TimedSocket<'s> {
        TimedSocket { socket, deadline: Instant::now() }
    }

    pub(super) fn until(&mut self, deadline: Instant) -> &mut Self {
        self.deadline = deadline;
        self
    }

    /// Sets the deadline to `time` from now.
    pub(super) fn within(&mut self, time: Duration) -> &mut Self {
        self.until(Instant::now() + time)
    }

    /// Returns the first byte that arrives and leaves it there. Returns `None` at the end.
    pub(super) fn peek(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        let count = uninterrupted(|| {
            self.socket.set_read_timeout(Some(self.left()?))?;
            self.socket.peek(&mut first)
        })?;
        Ok((count > 0).then_some(first[0]))
    }

    /// Returns whether there is nothing to read, not even the end.
    pub(super) fn is_quiet(&self) -> bool {
        let peeked = self.socket.set_nonblocking(true).and_then(|()| self.socket.peek(&mut [0]));
        let blocks_again = self.socket.set_nonblocking(false).is_ok();
        blocks_again && peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Half-closes the socket and discards what still arrives, within [`DRAIN_TIME_MAX`] and [`DRAIN_BYTES_MAX`], so that
    /// a reset does not destroy what was written last.
    pub(super) fn drain(&mut self) {
        // It fails if the peer has closed the connection, and then nothing is left to protect.
        if self.socket.shutdown(Shutdown::Write).is_ok() {
            let mut rest = self.within(DRAIN_TIME_MAX).take(DRAIN_BYTES_MAX as u64);
            let _ended_or_bound_reached = io::copy(&mut rest, &mut io::sink());
        }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left < SHORTEST_TIMEOUT { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for TimedSocket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(buffer)
    }
}

impl Write for TimedSocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::TimedSocket;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_connection_that_is_drained_is_half_closed_first() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut peer = TcpStream::connect(address).expect("it listens");
        peer.set_read_timeout(Some(Duration::from_secs(30))).expect("a bound for reads");
        let (mut socket, _) = listener.accept().expect("one connects");
        socket.write_all(b"the error\n").expect("it is open");
        thread::scope(|scope| {
            scope.spawn(|| TimedSocket::new(&socket).drain());
            let mut heard = String::new();
            // The socket itself stays open until this has ended.
            peer.read_to_string(&mut heard).expect("an end that is no reset");
            assert_eq!(heard, "the error\n");
            drop(peer);
        });
    }
}
