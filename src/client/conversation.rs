//! The client's side of one connection: messages out, replies in, each within its time.

use super::{Failed, Settings};
use crate::connection::{OpenSocket, Stream, Timed, is_distrust, is_timeout};
use crate::protocol::{ErrorCode, MESSAGE_BYTES_MAX, Reply};
use crate::text::excerpt;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

/// How a try can end before its purpose is reached.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection is gone, or has to be: try again.
    Lost(String),
    /// Trying again would not help.
    Final(Failed),
}

impl From<Failed> for Broken {
    fn from(failed: Failed) -> Broken {
        Broken::Final(failed)
    }
}

impl From<super::FileFailed> for Broken {
    fn from(failed: super::FileFailed) -> Broken {
        Broken::Final(failed.into())
    }
}

/// The stream over a socket, as `settings` say.
pub(super) fn stream<'s>(
    socket: &'s OpenSocket<'_>,
    settings: &Settings,
) -> Result<Stream<'s>, Broken> {
    let socket = socket.socket();
    let Some(connector) = &settings.tls else { return Ok(Stream::plain(socket)) };
    let limit = settings.reply_timeout;
    Stream::connect(socket, connector, limit).map_err(|error| {
        if is_distrust(&error) {
            Failed::Distrust(error.to_string()).into()
        } else if is_timeout(&error) {
            let limit = limit.as_millis();
            Broken::Lost(format!("no TLS handshake within {limit} ms"))
        } else {
            Broken::Lost(format!("TLS handshake: {error}"))
        }
    })
}

/// One connection.
pub(super) struct Conversation<'s> {
    stream: &'s Stream<'s>,
    replies: BufReader<Timed<'s>>,
    reply_timeout: Duration,
    line: Vec<u8>,
}

impl<'s> Conversation<'s> {
    /// A conversation over `stream`, in which a reply may take `reply_timeout`.
    pub(super) fn new(stream: &'s Stream<'s>, reply_timeout: Duration) -> Conversation<'s> {
        let replies = BufReader::new(Timed::new(stream, reply_timeout));
        Conversation { stream, replies, reply_timeout, line: Vec::new() }
    }

    /// Sends whole messages.
    ///
    /// Where that fails the server may have said why before it closed; then that is the reason.
    pub(super) fn send(&mut self, messages: &[u8]) -> Result<(), Broken> {
        let sent = Timed::new(self.stream, self.reply_timeout).write_all(messages);
        sent.or_else(|error| {
            loop {
                match self.hear() {
                    Ok(Reply::Error { code, detail }) => return Err(refused(code, detail)),
                    Ok(_confirmation) => {}
                    Err(Broken::Final(Failed::Distrust(why))) => {
                        return Err(Failed::Distrust(why).into());
                    }
                    Err(_) => return Err(Broken::Lost(error.to_string())),
                }
            }
        })
    }

    /// The next reply; an error is the server's refusal.
    pub(super) fn expect(&mut self) -> Result<Reply<'_>, Broken> {
        match self.hear()? {
            Reply::Error { code, detail } => Err(refused(code, detail)),
            reply => Ok(reply),
        }
    }

    fn hear(&mut self) -> Result<Reply<'_>, Broken> {
        let limit = self.reply_timeout.as_millis();
        self.hear_within(self.reply_timeout, MESSAGE_BYTES_MAX)?
            .ok_or_else(|| Broken::Lost(format!("no reply within {limit} ms")))
    }

    /// The reply of at most `bytes_max` bytes that comes within `time`; `None` where none does, and
    /// then the conversation is over.
    pub(super) fn hear_within(
        &mut self,
        time: Duration,
        bytes_max: usize,
    ) -> Result<Option<Reply<'_>>, Broken> {
        self.replies.get_mut().renew(time);
        self.line.clear();
        let mut bounded = (&mut self.replies).take(bytes_max as u64);
        match bounded.read_until(b'\n', &mut self.line) {
            Err(error) if is_timeout(&error) => return Ok(None),
            Err(error) if is_distrust(&error) => {
                return Err(Failed::Distrust(error.to_string()).into());
            }
            Err(error) => return Err(Broken::Lost(error.to_string())),
            Ok(_) => {}
        }
        let Some(line) = self.line.strip_suffix(b"\n") else {
            return Err(if self.line.len() == bytes_max {
                Failed::Answer(format!("with a line of more than {bytes_max} bytes")).into()
            } else {
                Broken::Lost("the server closed the connection".into())
            });
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = String::from_utf8_lossy(line);
        // What is lossy is no reply, and is told as far as it can be.
        match std::str::from_utf8(line).ok().and_then(|line| Reply::parse(line).ok()) {
            Some(reply) => Ok(Some(reply)),
            None => Err(Failed::Dialect(excerpt(&text)).into()),
        }
    }
}

/// What a refusal means: some are the connection's fault, and another may do better.
pub(super) fn refused(code: &str, detail: &str) -> Broken {
    match ErrorCode::from_word(code) {
        Some(
            ErrorCode::TakenOver
            | ErrorCode::MessageTorn
            | ErrorCode::TimedOut
            | ErrorCode::Superseded
            | ErrorCode::TooManyConnections
            | ErrorCode::Stopping,
        ) => Broken::Lost(format!("the server ended it: {code}: {detail}")),
        _ => Broken::Final(Failed::Refused { code: code.into(), detail: detail.into() }),
    }
}

/// A reply where another was due.
pub(super) fn unexpected(reply: &Reply<'_>) -> Broken {
    Failed::Answer(format!("\"{reply}\", which answers another question")).into()
}
