//! One bet, placed and confirmed, and stored once even if the connection is lost.

use super::attempts::{Attempts, Progress};
use super::conversation::Conversation;
use super::dial::Turns;
use super::error::Error;
use super::{Settings, watched};
use crate::bet::{AgencyId, Bet};
use crate::protocol::{BatchWriter, LastBet};
use crate::stop::Stop;
use log::info;

/// A bet and the agency that places it.
#[derive(Clone, Copy, Debug)]
pub struct SingleBet<'a> {
    /// The agency.
    pub agency: AgencyId,
    /// The bet.
    pub bet: Bet<'a>,
}

/// Places one bet, and returns when it is confirmed.
///
/// # Errors
///
/// [`Error::Stopped`] as soon as `stop` comes, or why the bet is not known to be stored.
pub fn place(single: SingleBet<'_>, settings: &Settings, stop: &Stop) -> Result<(), Error> {
    watched(stop, |sockets| {
        let turns = Turns::new();
        let attempts = Attempts { id: single.agency, settings, stop, sockets, turns: &turns };
        // The number of stored bets of the agency before this one was sent for the first time.
        let mut before = None;
        let mut is_sent = false;
        let outcome = attempts.run(
            || {},
            |conversation, _turn, progress| {
                let stored =
                    settings.resume && single.is_stored(conversation, &mut before, progress)?;
                if !stored {
                    is_sent = true;
                    let sent = single.send(conversation, progress);
                    if matches!(sent, Err(Error::Refused(..))) {
                        // The server did not store the bet, so bets that are stored by now are those of other clients.
                        before = None;
                    }
                    sent?;
                }
                let (dni, numero) = (single.bet.document(), single.bet.number());
                info!("action: apuesta_enviada | result: success | dni: {dni} | numero: {numero}");
                Ok(true)
            },
        );
        if is_sent && matches!(outcome, Err(Error::Stopped)) {
            info!(
                "action: interrupt | result: success | stored: unknown | next: compare the agency's bets in \
                 --status before the bet is placed again"
            );
        }
        outcome
    })
}

impl SingleBet<'_> {
    /// Asks how many bets of the agency are stored. Returns whether this one is among them, because an earlier
    /// connection stored it and its confirmation was lost.
    fn is_stored(
        &self,
        conversation: &mut Conversation<'_>,
        before: &mut Option<u64>,
        progress: &mut Progress,
    ) -> Result<bool, Error> {
        let (bets, last) = conversation.resume(self.agency)?;
        let own = LastBet { document: self.bet.document(), number: self.bet.number() };
        let is_last = last == Some(own);
        let first = *before.get_or_insert(bets);
        let since = bets.checked_sub(first).ok_or(Error::BetsGone {
            agency: self.agency,
            confirmed: first,
            stored: bets,
        })?;
        match since {
            1 if is_last => Ok(true),
            0 | 1 => {
                *before = Some(bets);
                progress.in_doubt = false;
                Ok(false)
            }
            _ => Err(Error::OtherClient(since)),
        }
    }

    fn send(
        &self,
        conversation: &mut Conversation<'_>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let mut writer = BatchWriter::new(self.agency, 1);
        writer.push(self.agency, self.bet);
        writer.close();
        progress.in_doubt = true;
        conversation.send(writer.messages())?;
        conversation.expect_stored(1)
    }
}
