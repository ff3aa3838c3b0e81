//! A connection, plain or in TLS: a reader and a writer with a deadline.

use super::Layer;
use super::timed::{DRAIN_TIME_MAX, TimedSocket};
use super::tls::{Acceptor, Connector};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The first byte of a TLS connection: the type of a handshake record.
const TLS_FIRST_BYTE: u8 = 0x16;

/// One connection, plain or in TLS.
///
/// Reads and writes fail with a timeout after the deadline that was set last. A plain connection must be given one
/// before its first read or write; one in TLS begins with that of its handshake.
#[derive(Debug)]
pub struct Stream<'s> {
    socket: TimedSocket<'s>,
    tls: Option<Box<dyn Layer>>,
}

impl<'s> Stream<'s> {
    /// Returns a connection that carries bytes as they are.
    pub fn plain(socket: &'s TcpStream) -> Stream<'s> {
        Stream { socket: TimedSocket::new(socket), tls: None }
    }

    /// Performs the server's side of a TLS handshake, which may take `time`. Calls `heard` whenever bytes of it arrive.
    /// Returns `None` if the peer does not speak TLS.
    ///
    /// # Errors
    ///
    /// The peer's certificate is rejected, and a TLS alert was sent; or the socket fails.
    pub fn accept(
        socket: &'s TcpStream,
        acceptor: &Acceptor,
        time: Duration,
        heard: &dyn Fn(),
    ) -> io::Result<Option<Stream<'s>>> {
        let mut socket = TimedSocket::new(socket);
        if !matches!(socket.within(time).peek()?, None | Some(TLS_FIRST_BYTE)) {
            return Ok(None);
        }
        let tls = acceptor.accept(&mut socket, heard);
        // So that a reset does not destroy the alert.
        let tls = tls.inspect_err(|_| socket.drain())?;
        Ok(Some(Stream { socket, tls: Some(tls) }))
    }

    /// Performs the client's side of a TLS handshake, which may take `time`.
    ///
    /// # Errors
    ///
    /// The server's certificate is rejected; it does not speak TLS; or the socket fails.
    pub fn connect(
        socket: &'s TcpStream,
        connector: &Connector,
        time: Duration,
    ) -> io::Result<Stream<'s>> {
        let mut socket = TimedSocket::new(socket);
        let tls = connector.connect(socket.within(time))?;
        Ok(Stream { socket, tls: Some(tls) })
    }

    /// Sets the deadline of the reads and writes that follow.
    pub fn until(&mut self, deadline: Instant) -> &mut Self {
        self.socket.until(deadline);
        self
    }

    /// Sets the deadline to `time` from now.
    pub fn within(&mut self, time: Duration) -> &mut Self {
        self.socket.within(time);
        self
    }

    /// Returns the DNS names in the peer's certificate. There are none without TLS.
    pub fn peer_names(&self) -> Vec<String> {
        self.tls.as_ref().map(|tls| tls.peer_names()).unwrap_or_default()
    }

    /// Verifies that the certificate that a client showed is still good: it has not expired, and is not on a list
    /// of revoked ones. Cheap enough for every batch, because it looks at most once a second, or when the
    /// files were read again.
    ///
    /// # Errors
    ///
    /// Returns why the certificate is rejected.
    pub(crate) fn verify_again(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.verify_again())
    }

    /// Returns whether all that has arrived has been read, the peer's end included.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.socket.is_quiet() && !self.tls.as_mut().is_some_and(|tls| tls.has_unread())
    }

    /// Frees the memory in which bytes arrive, before a long wait.
    pub(crate) fn shrink(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.shrink();
        }
    }

    /// Sends TLS's close_notify, because a connection in TLS that ends without it counts as lost.
    pub fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            // A peer that is gone, or no longer reads, need not be told.
            let _gone = tls.end(self.socket.within(DRAIN_TIME_MAX));
        }
    }

    /// Ends the conversation: writes nothing more, and discards what still arrives until the peer ends too, within
    /// limits, so that the peer can read what was written last.
    pub fn drain(&mut self) {
        self.end();
        self.socket.drain();
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.read(buffer),
            Some(tls) => tls.read(&mut self.socket, buffer),
        }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(tls) => tls.write(&mut self.socket, bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
