//! Bounded lines over a blocking socket, in bounded time and memory, and the list of the sockets
//! that are open. Knows not what a line says.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

mod lines;
mod open_sockets;

pub use lines::{GrowthBudget, LineBuffer, LineTooLong};
pub use open_sockets::{OpenSocket, OpenSockets};

/// How long a connection that ends by the server's will is read on, so that what was written to the
/// peer last is not lost to a reset.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);
/// How many bytes are read on, for the same reason.
pub const DRAIN_BYTES_MAX: usize = 16 << 20;

/// A socket as a reader and a writer that give up at a point in time, however slowly bytes drip.
#[derive(Debug)]
pub struct Timed<'s> {
    stream: &'s TcpStream,
    deadline: Instant,
}

impl<'s> Timed<'s> {
    /// Reads and writes `stream` for at most `time` from now on.
    pub fn new(stream: &'s TcpStream, time: Duration) -> Timed<'s> {
        Timed { stream, deadline: Instant::now() + time }
    }

    /// Goes on for at most `time` from now on.
    pub fn renew(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // The system's granularity; less than that would mean no bound at all.
        const SHORTEST: Duration = Duration::from_micros(1);
        if left < SHORTEST { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether `error` says that the time was up: systems say it in two ways.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// Ends a conversation: nothing more is written, and what the peer still sends is read and thrown
/// away until it ends too, within a bound, so that it hears what was written last.
pub fn drain(stream: &TcpStream) {
    // Where the peer is gone already there is nobody left to hear anything.
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let reader = Timed::new(stream, DRAIN_TIME_MAX);
    let _ended_or_bound_reached =
        io::copy(&mut reader.take(DRAIN_BYTES_MAX as u64), &mut io::sink());
}
