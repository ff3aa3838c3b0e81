//! The state of the lottery, asked once.

use super::conversation::{Broken, Conversation, no_reply_within, stream, unexpected};
use super::dial::dial;
use super::{Error, Settings, watched};
use crate::bet::AGENCIES_MAX;
use crate::protocol::{Command, MESSAGE_BYTES_MAX, Reply};
use crate::stop::Stop;
use crate::summary::Summary;
use log::info;
use std::sync::Arc;

/// The most bytes of one agency in a status.
const AGENCY_BYTES_MAX: usize = 40;

/// Asks the server for the state of the lottery, once.
///
/// # Errors
///
/// [`Error::Stopped`] as soon as `stop` comes, or why there is no answer.
pub fn status(settings: &Settings, stop: &Stop) -> Result<Summary, Error> {
    watched(stop, |sockets| {
        let address = &settings.server_address;
        let failed = |error| Error::NoServer(format!("{address}: {error}"));
        let socket = Arc::new(dial(address, stop).map_err(failed)?.ok_or(Error::Stopped)?);
        let open = sockets.register(socket).ok_or(Error::Stopped)?;
        let answer = stream(&open, settings).and_then(|stream| {
            let mut conversation = Conversation::new(stream, settings.reply_timeout);
            let answer = ask(&mut conversation, settings);
            conversation.end();
            answer
        });
        info!("action: close_socket | result: success");
        answer.map_err(|broken| match broken {
            _ if sockets.is_closed() => Error::Stopped,
            Broken::Lost(reason) | Broken::Replaced(reason) => {
                Error::NoServer(format!("{address}: {reason}"))
            }
            Broken::Final(error) => error,
        })
    })
}

fn ask(conversation: &mut Conversation<'_>, settings: &Settings) -> Result<Summary, Broken> {
    let limit = settings.reply_timeout;
    let bytes_max = MESSAGE_BYTES_MAX + usize::from(AGENCIES_MAX) * AGENCY_BYTES_MAX;
    conversation.tell(&Command::Status)?;
    match conversation.expect_within(limit, bytes_max)? {
        Some(Reply::Status(status)) => Ok(status),
        Some(other) => Err(unexpected(&other)),
        None => Err(no_reply_within(limit)),
    }
}
