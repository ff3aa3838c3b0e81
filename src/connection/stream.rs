//! A connection as a conversation sees it: bytes in and bytes out, each within a time.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// How long a connection that ends by the server's will is read on, so that what was written to the
/// peer last is not lost to a reset.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);
/// How many bytes are read on, for the same reason.
pub const DRAIN_BYTES_MAX: usize = 16 << 20;

/// One connection, which one thread talks over.
#[derive(Debug)]
pub struct Stream<'s> {
    socket: &'s TcpStream,
}

impl<'s> Stream<'s> {
    /// A connection that carries bytes as they are.
    pub fn plain(socket: &'s TcpStream) -> Stream<'s> {
        Stream { socket }
    }

    /// Ends a conversation: nothing more is written, and what the peer still sends is read and thrown
    /// away until it ends too, within a bound, so that it hears what was written last.
    pub fn drain(&self) {
        drain(self.socket);
    }
}

/// A connection as a reader and a writer that give up at a point in time, however slowly bytes drip.
#[derive(Debug)]
pub struct Timed<'s> {
    stream: &'s Stream<'s>,
    deadline: Instant,
}

impl<'s> Timed<'s> {
    /// Reads and writes `stream` for at most `time` from now on.
    pub fn new(stream: &'s Stream<'s>, time: Duration) -> Timed<'s> {
        Timed { stream, deadline: Instant::now() + time }
    }

    /// Goes on for at most `time` from now on.
    pub fn renew(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    fn socket(&self) -> TimedSocket<'s> {
        TimedSocket { socket: self.stream.socket, deadline: self.deadline }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket().read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same of a socket.
#[derive(Debug)]
struct TimedSocket<'s> {
    socket: &'s TcpStream,
    deadline: Instant,
}

impl<'s> TimedSocket<'s> {
    fn new(socket: &'s TcpStream, time: Duration) -> TimedSocket<'s> {
        TimedSocket { socket, deadline: Instant::now() + time }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // The system's granularity; less than that would mean no bound at all.
        const SHORTEST: Duration = Duration::from_micros(1);
        if left < SHORTEST { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for TimedSocket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl Write for TimedSocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn drain(socket: &TcpStream) {
    // Where the peer is gone already there is nobody left to hear anything.
    if socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let reader = TimedSocket::new(socket, DRAIN_TIME_MAX);
    let _ended_or_bound_reached =
        io::copy(&mut reader.take(DRAIN_BYTES_MAX as u64), &mut io::sink());
}
