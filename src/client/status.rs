//! Asking how the lottery stands.

use super::conversation::{Broken, Conversation, refused, stream, unexpected};
use super::dial::dial;
use super::{Failed, Settings, watched};
use crate::bet::AGENCIES_MAX;
use crate::protocol::{Command, MESSAGE_BYTES_MAX, Reply};
use crate::stop::Stop;
use crate::summary::Summary;
use log::info;
use std::sync::Arc;

/// The most bytes of one agency in a status.
const AGENCY_BYTES_MAX: usize = 40;

/// Asks the server, once, how the lottery stands.
///
/// # Errors
///
/// [`Failed::Stopped`] as soon as `stop` is closed, or why there is no answer.
pub fn status(settings: &Settings, stop: &Stop) -> Result<Summary, Failed> {
    watched(stop, |sockets| {
        let address = &settings.server_address;
        let failed = |error| Failed::NoServer(format!("{address}: {error}"));
        let socket = Arc::new(dial(address, stop).map_err(failed)?.ok_or(Failed::Stopped)?);
        let open = sockets.register(socket).ok_or(Failed::Stopped)?;
        let answer = stream(&open, settings).and_then(|stream| {
            let mut conversation = Conversation::new(&stream, settings.reply_timeout);
            let answer = ask(&mut conversation, settings);
            stream.end();
            answer
        });
        info!("action: close_socket | result: success");
        answer.map_err(|broken| match broken {
            _ if sockets.is_closed() => Failed::Stopped,
            Broken::Lost(reason) => Failed::NoServer(format!("{address}: {reason}")),
            Broken::Final(failed) => failed,
        })
    })
}

fn ask(conversation: &mut Conversation<'_>, settings: &Settings) -> Result<Summary, Broken> {
    conversation.send(format!("{}\n", Command::Status).as_bytes())?;
    let bytes_max = MESSAGE_BYTES_MAX + usize::from(AGENCIES_MAX) * AGENCY_BYTES_MAX;
    match conversation.hear_within(settings.reply_timeout, bytes_max)? {
        Some(Reply::Status(status)) => Ok(status),
        Some(Reply::Error { code, detail }) => Err(refused(code, detail)),
        Some(other) => Err(unexpected(&other)),
        None => {
            let limit = settings.reply_timeout.as_millis();
            Err(Broken::Lost(format!("no reply within {limit} ms")))
        }
    }
}
