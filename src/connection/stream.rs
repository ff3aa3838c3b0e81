//! A connection as a conversation sees it: bytes in and bytes out, each within a time.

use super::tls::{Acceptor, Connector, Tls};
use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// How long a connection that ends by the server's will is read on, so that what was written to the
/// peer last is not lost to a reset.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);
/// How many bytes are read on, for the same reason.
pub const DRAIN_BYTES_MAX: usize = 16 << 20;

/// The first byte of whoever speaks TLS: a record of the handshake.
const TLS_FIRST_BYTE: u8 = 0x16;

/// One connection, plain or in TLS, which one thread talks over.
#[derive(Debug)]
pub struct Stream<'s> {
    socket: &'s TcpStream,
    tls: Option<RefCell<Tls>>,
}

impl<'s> Stream<'s> {
    /// A connection that carries bytes as they are.
    pub fn plain(socket: &'s TcpStream) -> Stream<'s> {
        Stream { socket, tls: None }
    }

    /// The server's side of a connection in TLS, whose handshake may take `time`.
    ///
    /// # Errors
    ///
    /// The peer does not speak TLS, or is not believed; or those of the socket. It has heard why as far
    /// as TLS can say it.
    pub fn accept(
        socket: &'s TcpStream,
        acceptor: &Acceptor,
        time: Duration,
    ) -> Result<Stream<'s>, AcceptError> {
        let mut timed = TimedSocket::new(socket, time);
        if !matches!(timed.peek()?, None | Some(TLS_FIRST_BYTE)) {
            return Err(AcceptError::NotTls);
        }
        let tls = acceptor.accept(&mut timed).inspect_err(|_| drain(socket))?;
        Ok(Stream { socket, tls: Some(RefCell::new(tls)) })
    }

    /// The client's side of a connection in TLS, whose handshake may take `time`.
    ///
    /// # Errors
    ///
    /// The server is not believed, or does not speak TLS; or those of the socket.
    pub fn connect(
        socket: &'s TcpStream,
        connector: &Connector,
        time: Duration,
    ) -> io::Result<Stream<'s>> {
        let tls = connector.connect(&mut TimedSocket::new(socket, time))?;
        Ok(Stream { socket, tls: Some(RefCell::new(tls)) })
    }

    /// The host names in the certificate that the peer has shown.
    pub fn peer_names(&self) -> Vec<String> {
        self.tls.as_ref().map(|tls| tls.borrow().peer_names()).unwrap_or_default()
    }

    /// Gives back the memory in which bytes arrive; for a peer that will be silent for long.
    pub fn shrink(&self) {
        if let Some(tls) = &self.tls {
            tls.borrow_mut().shrink();
        }
    }

    /// Tells the peer that nothing more will be written, where the socket's own end is no proof of that.
    pub fn end(&self) {
        if let Some(tls) = &self.tls {
            // A peer that is gone, or takes nothing any more, need not be told.
            let _gone = tls.borrow_mut().end(&mut TimedSocket::new(self.socket, DRAIN_TIME_MAX));
        }
    }

    /// Ends a conversation: nothing more is written, and what the peer still sends is read and thrown
    /// away until it ends too, within a bound, so that it hears what was written last.
    pub fn drain(&self) {
        self.end();
        drain(self.socket);
    }
}

/// Why there is no conversation with a peer.
#[derive(Debug)]
pub enum AcceptError {
    /// It does not speak TLS.
    NotTls,
    /// It is not believed, or the connection broke.
    Failed(io::Error),
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> AcceptError {
        AcceptError::Failed(error)
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
        match &self.stream.tls {
            None => self.socket().read(buffer),
            Some(tls) => tls.borrow_mut().read(&mut self.socket(), buffer),
        }
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.stream.tls {
            None => self.socket().write(bytes),
            Some(tls) => tls.borrow_mut().write(&mut self.socket(), bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same of a socket.
#[derive(Debug)]
pub(super) struct TimedSocket<'s> {
    socket: &'s TcpStream,
    deadline: Instant,
}

impl<'s> TimedSocket<'s> {
    fn new(socket: &'s TcpStream, time: Duration) -> TimedSocket<'s> {
        TimedSocket { socket, deadline: Instant::now() + time }
    }

    /// The first byte that arrives, without taking it; `None` at the end.
    fn peek(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        loop {
            self.socket.set_read_timeout(self.left()?)?;
            match self.socket.peek(&mut first) {
                Ok(count) => return Ok((count > 0).then_some(first[0])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
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

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write_vectored(parts)
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
