//! The client's side of one connection: sends messages and reads replies, each within a limit of time.

use super::Settings;
use super::error::Error;
use crate::bet::AgencyId;
use crate::connection::{OpenSockets, Stream, is_distrust, is_timeout};
use crate::lines::without_end;
use crate::protocol::{Command, ErrorCode, MESSAGE_BYTES_MAX, Reply};
use crate::summary::Standing;
use crate::text::excerpt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Calls `work` with a conversation over `socket`, which is on the list of `sockets` meanwhile, and ends it.
pub(super) fn converse<T>(
    socket: TcpStream,
    sockets: &OpenSockets,
    settings: &Settings,
    work: impl FnOnce(&mut Conversation<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let socket = Arc::new(socket);
    if !sockets.register(&socket) {
        return Err(Error::Stopped);
    }
    let stream = BufReader::new(stream(&socket, settings)?);
    let Settings { reply_timeout, .. } = *settings;
    let mut conversation =
        Conversation { socket: &socket, stream, reply_timeout, line: Vec::new() };
    let outcome = work(&mut conversation);
    conversation.stream.get_mut().end();
    outcome
}

/// Returns the stream over a socket, in TLS if `settings` say so.
fn stream<'s>(socket: &'s TcpStream, settings: &Settings) -> Result<Stream<'s>, Error> {
    let Some(connector) = &settings.tls else { return Ok(Stream::plain(socket)) };
    let limit = settings.reply_timeout;
    Stream::connect(socket, connector, limit).map_err(|error| {
        if is_distrust(&error) {
            Error::Distrust(error.to_string())
        } else if is_timeout(&error) {
            let limit = limit.as_millis();
            Error::Lost(format!("no TLS handshake within {limit} ms"))
        } else {
            Error::Lost(format!("TLS handshake: {error}"))
        }
    })
}

/// One connection.
pub(super) struct Conversation<'s> {
    pub(super) socket: &'s Arc<TcpStream>,
    stream: BufReader<Stream<'s>>,
    reply_timeout: Duration,
    line: Vec<u8>,
}

impl Conversation<'_> {
    /// Sends a message of one command.
    pub(super) fn tell(&mut self, command: &Command<'_>) -> Result<(), Error> {
        self.send(format!("{command}\n").as_bytes())
    }

    /// Takes `agency` over, and returns which of its bets are stored.
    pub(super) fn resume(&mut self, agency: AgencyId) -> Result<Standing, Error> {
        self.tell(&Command::Resume { agency })?;
        match self.expect(MESSAGE_BYTES_MAX)? {
            Reply::Resume(standing) => Ok(standing),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a message that has one reply. Does not read the reply.
    ///
    /// # Errors
    ///
    /// If the message cannot be written and the server has sent a refusal, the error is that refusal.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        let sent = self.write(message);
        sent.map_err(|error| error.unless_refused(self.hear(self.reply_timeout, MESSAGE_BYTES_MAX)))
    }

    /// Writes whole messages.
    pub(super) fn write(&mut self, messages: &[u8]) -> Result<(), Error> {
        let written = self.stream.get_mut().within(self.reply_timeout).write_all(messages);
        written.map_err(|error| Error::Lost(error.to_string()))
    }

    /// Returns the next reply, which has at most `bytes_max` bytes.
    pub(super) fn expect(&mut self, bytes_max: usize) -> Result<Reply<'_>, Error> {
        let limit = self.reply_timeout;
        let reply = self.hear(limit, bytes_max)?;
        reply.ok_or_else(|| Error::Lost(format!("no reply within {} ms", limit.as_millis())))
    }

    /// Reads the confirmation of a batch of `bets` bets.
    pub(super) fn expect_stored(&mut self, bets: u32) -> Result<(), Error> {
        match self.expect(MESSAGE_BYTES_MAX)? {
            Reply::Stored { bets: stored } if stored == u64::from(bets) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Returns the next reply, which has at most `bytes_max` bytes and may take `time`. Returns `None` if none comes
    /// in time; the connection is then of no more use.
    ///
    /// # Errors
    ///
    /// An error of the server is its refusal.
    pub(super) fn hear(
        &mut self,
        time: Duration,
        bytes_max: usize,
    ) -> Result<Option<Reply<'_>>, Error> {
        self.stream.get_mut().within(time);
        self.line.clear();
        let mut bounded = (&mut self.stream).take(bytes_max as u64);
        match bounded.read_until(b'\n', &mut self.line) {
            Err(error) if is_timeout(&error) => return Ok(None),
            Err(error) if is_distrust(&error) => {
                return Err(Error::Distrust(error.to_string()));
            }
            Err(error) => return Err(Error::Lost(error.to_string())),
            Ok(_) => {}
        }
        if !self.line.ends_with(b"\n") {
            return Err(if self.line.len() == bytes_max {
                let what = format!("a line of more than {bytes_max} bytes");
                Error::Failed(format!("the server answered with {what}"))
            } else {
                Error::Lost("the server closed the connection".into())
            });
        }
        let line = without_end(&self.line);
        match std::str::from_utf8(line).ok().and_then(Reply::parse) {
            Some(Reply::Error { code, detail }) => {
                Err(Error::Refused(ErrorCode::from_word(code), format!("{code}: {detail}")))
            }
            Some(reply) => Ok(Some(reply)),
            None => {
                let said = excerpt(&String::from_utf8_lossy(line));
                let why = "the server does not speak this protocol, it sent";
                Err(Error::Failed(format!("{why} \"{said}\"")))
            }
        }
    }
}

/// Returns the error of a reply to another command.
pub(super) fn unexpected(reply: &Reply<'_>) -> Error {
    Error::Failed(format!("the server sent \"{reply}\", which is no reply to the command"))
}

#[cfg(test)]
mod tests {
    use super::Conversation;
    use crate::client::Error;
    use crate::connection::Stream;
    use crate::protocol::ErrorCode;
    use std::io::{BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::time::Duration;

    /// Returns the outcome of a write that fails while these replies have arrived.
    fn sent_against(replies: &[u8]) -> Result<(), Error> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let socket = Arc::new(TcpStream::connect(address).expect("it listens"));
        let (mut server, _) = listener.accept().expect("the client connects");
        server.write_all(replies).expect("the client has room for it");
        let mut conversation = Conversation {
            socket: &socket,
            stream: BufReader::new(Stream::plain(&socket)),
            reply_timeout: Duration::from_millis(100),
            line: Vec::new(),
        };
        // The server reads nothing, and this is more than the system buffers.
        conversation.send(&vec![b'x'; 64 << 20])
    }

    #[test]
    fn a_client_whose_write_fails_still_reads_the_error_that_has_arrived() {
        let sent = sent_against(b"ERROR|batch_too_long|why\n");
        let Err(Error::Refused(code, reply)) = sent else {
            panic!("{sent:?}");
        };
        assert_eq!((code, reply.as_str()), (Some(ErrorCode::BatchTooLong), "batch_too_long: why"));
        let no_refusals: [&[u8]; 3] =
            [b"HTTP/1.1 502 Bad Gateway\n", b"GANADORES", b"ECO|x\nERROR|batch_too_long|why\n"];
        for replies in no_refusals {
            let sent = sent_against(replies);
            assert!(matches!(sent, Err(Error::Lost(_))), "{sent:?}");
        }
    }
}
