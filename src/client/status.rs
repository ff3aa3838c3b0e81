//! The state of the lottery, asked once.

use super::conversation::{converse, unexpected};
use super::dial::dial;
use super::{Error, Settings, watched};
use crate::bet::AGENCIES_MAX;
use crate::protocol::{Command, MESSAGE_BYTES_MAX, Reply};
use crate::stop::Stop;
use crate::summary::Summary;
use log::info;

/// The most bytes of one agency in a status.
const AGENCY_BYTES_MAX: usize = 40;

/// Asks the server for the state of the lottery.
///
/// # Errors
///
/// [`Error::Stopped`] as soon as `stop` comes, or why there is no answer.
pub fn status(settings: &Settings, stop: &Stop) -> Result<Summary, Error> {
    let bytes_max = MESSAGE_BYTES_MAX + usize::from(AGENCIES_MAX) * AGENCY_BYTES_MAX;
    watched(stop, |sockets| {
        let address = &settings.server_address;
        let failed = |error: Error| match error.remedy() {
            _ if sockets.is_closed() => Error::Stopped,
            Some(remedy) => Error::Failed(format!("{address}: {error}; {remedy}")),
            None => error,
        };
        let dialed = dial(address, stop).map_err(|error| failed(Error::Lost(error.to_string())));
        let socket = dialed?.ok_or(Error::Stopped)?;
        let outcome = converse(socket, sockets, settings, |conversation| {
            conversation.tell(&Command::Status)?;
            match conversation.expect(bytes_max)? {
                Reply::Status(status) => Ok(status),
                other => Err(unexpected(&other)),
            }
        });
        info!("action: close_socket | result: success");
        outcome.map_err(failed)
    })
}
