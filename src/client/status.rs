//! The state of the lottery, asked once or again and again.

use super::conversation::{Conversation, converse, unexpected};
use super::dial::dial;
use super::{Error, Settings, watched};
use crate::bet::{AGENCIES_MAX, AgencyId};
use crate::protocol::{Command, MESSAGE_BYTES_MAX, Reply};
use crate::stop::Stop;
use crate::summary::Summary;
use log::info;
use std::time::Duration;

/// The most bytes of one agency in a status.
const AGENCY_BYTES_MAX: usize = 40;

/// Asks the server for the state of the lottery, once.
///
/// # Errors
///
/// [`Error::Stopped`] as soon as `stop` comes, or why there is no answer.
pub fn status(settings: &Settings, stop: &Stop) -> Result<Summary, Error> {
    connected(settings, stop, ask)
}

/// Asks the server for the state of the lottery every `period`, over one connection, as long as `tell` returns
/// true. The connection belongs to `agency`, so that the server does not close it as a newcomer. The agency must have
/// no more bets.
///
/// # Errors
///
/// [`Error::Stopped`] as soon as `stop` comes, or why there is no answer.
pub fn watch(
    agency: AgencyId,
    settings: &Settings,
    period: Duration,
    stop: &Stop,
    mut tell: impl FnMut(Summary) -> bool,
) -> Result<(), Error> {
    connected(settings, stop, |conversation| {
        // This takes the agency over, which has no effect because it has no more bets.
        conversation.resume(agency)?;
        while tell(ask(conversation)?) {
            if stop.wait_for(period) {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    })
}

/// Calls `work` with a new connection.
fn connected<T>(
    settings: &Settings,
    stop: &Stop,
    work: impl FnOnce(&mut Conversation<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    watched(stop, |sockets| {
        let address = &settings.server_address;
        let failed = |error: Error| match error.remedy() {
            _ if sockets.is_closed() => Error::Stopped,
            Some(remedy) => Error::Failed(format!("{address}: {error}; {remedy}")),
            None => error,
        };
        let dialed = dial(address, stop).map_err(|error| failed(Error::Lost(error.to_string())));
        let socket = dialed?.ok_or(Error::Stopped)?;
        let outcome = converse(socket, sockets, settings, work);
        info!("action: close_socket | result: success");
        outcome.map_err(failed)
    })
}

fn ask(conversation: &mut Conversation<'_>) -> Result<Summary, Error> {
    let bytes_max = MESSAGE_BYTES_MAX + usize::from(AGENCIES_MAX) * AGENCY_BYTES_MAX;
    conversation.tell(&Command::Status)?;
    match conversation.expect(bytes_max)? {
        Reply::Status(status) => Ok(status),
        other => Err(unexpected(&other)),
    }
}
