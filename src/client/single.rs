//! One bet, placed and confirmed, and stored once even if the connection is lost.

use super::attempts::Attempts;
use super::conversation::Conversation;
use super::dial::Turns;
use super::error::Error;
use super::{Settings, watched};
use crate::bet::{AgencyId, Bet};
use crate::protocol::BatchWriter;
use crate::stop::Stop;
use crate::summary::Standing;
use log::info;

/// Places one bet, and returns when it is confirmed.
///
/// # Errors
///
/// [`Error::Stopped`] as soon as `stop` comes, or why the bet is not known to be stored.
pub fn place(
    agency: AgencyId,
    bet: Bet<'_>,
    settings: &Settings,
    stop: &Stop,
) -> Result<(), Error> {
    let mut batch = BatchWriter::new(agency, 1);
    batch.push(agency, bet);
    batch.close();
    watched(stop, |sockets| {
        let turns = Turns::new();
        let attempts = Attempts { id: agency, settings, stop, sockets, turns: &turns };
        // The stored bets of the agency before this bet was sent for the first time.
        let mut before = None;
        let mut may_be_stored = false;
        let outcome = attempts.run(
            || {},
            |conversation, _turn, progress| {
                let is_done = settings.resume && is_stored(agency, bet, conversation, &mut before)?;
                if !is_done {
                    (may_be_stored, progress.in_doubt) = (true, true);
                    let sent = conversation.send(batch.messages());
                    let sent = sent.and_then(|()| conversation.expect_stored(1));
                    if matches!(sent, Err(Error::Refused(..))) {
                        // The server did not store the bet, so bets that are stored by now are those of other clients.
                        (before, may_be_stored, progress.in_doubt) = (None, false, false);
                    }
                    sent?;
                }
                let (dni, numero) = (bet.document(), bet.number());
                info!("action: apuesta_enviada | result: success | dni: {dni} | numero: {numero}");
                Ok(true)
            },
        );
        outcome.map_err(|error| match error {
            Error::Stopped => {
                let stored = if may_be_stored {
                    "unknown | next: compare the agency's bets in --status before the bet is placed again"
                } else {
                    "0 | next: run the client again, it places the bet"
                };
                info!("action: interrupt | result: success | stored: {stored}");
                error
            }
            error if may_be_stored => Error::Failed(format!(
                "{error}; this bet may be stored: look for it in bets.csv before it is placed again"
            )),
            error => error,
        })
    })
}

/// Asks how many bets of the agency are stored. Returns whether this one is among them, because an earlier connection
/// stored it and its confirmation was lost.
fn is_stored(
    agency: AgencyId,
    bet: Bet<'_>,
    conversation: &mut Conversation<'_>,
    before: &mut Option<Standing>,
) -> Result<bool, Error> {
    let now = conversation.resume(agency)?;
    let is_last = now.last == Some((bet.document().into(), bet.number().into()));
    let before = before.get_or_insert_with(|| now.clone());
    match now.bets.saturating_sub(before.bets) {
        0 if now != *before => Err(Error::bets_gone(agency, before.bets, now.bets)),
        1 if is_last => Ok(true),
        0 | 1 => {
            *before = now;
            Ok(false)
        }
        since => Err(Error::Failed(format!(
            "connection lost before the confirmation, and {since} bets of the agency were stored meanwhile, by \
             another client too"
        ))),
    }
}
