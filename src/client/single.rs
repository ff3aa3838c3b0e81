//! One bet, placed and confirmed, and stored once whatever becomes of the connection.

use super::attempts::{Attempts, Progress};
use super::conversation::{Broken, Conversation, unexpected};
use super::dial::Dials;
use super::{Failed, Settings, watched};
use crate::bet::{AgencyId, Bet};
use crate::protocol::{BatchWriter, Command, Reply};
use crate::stop::Stop;
use log::info;

/// A bet and where it is placed.
#[derive(Clone, Copy, Debug)]
pub struct SingleBet<'a> {
    /// Where it is placed.
    pub agency: AgencyId,
    /// The bet.
    pub bet: Bet<'a>,
}

/// Places one bet and hears that it is stored.
///
/// # Errors
///
/// [`Failed::Stopped`] as soon as `stop` is closed, or why it is not known to be stored.
pub fn place(single: SingleBet<'_>, settings: &Settings, stop: &Stop) -> Result<(), Failed> {
    watched(stop, |sockets| {
        let dials = Dials::new();
        let attempts = Attempts { id: single.agency, settings, stop, sockets, dials: &dials };
        // How many bets of the agency were stored before this one was first sent.
        let mut before = None;
        attempts.run(|_, conversation, progress| {
            let stored =
                settings.resume && single.is_stored(conversation, &mut before, progress)?;
            if !stored {
                single.send(conversation, progress)?;
            }
            let (dni, numero) = (single.bet.document(), single.bet.number());
            info!("action: apuesta_enviada | result: success | dni: {dni} | numero: {numero}");
            Ok(())
        })
    })
}

impl SingleBet<'_> {
    /// Asks how far the agency got: whether this bet was stored by a connection before, whose
    /// confirmation was lost.
    fn is_stored(
        &self,
        conversation: &mut Conversation<'_>,
        before: &mut Option<u64>,
        progress: &mut Progress,
    ) -> Result<bool, Broken> {
        let agency = self.agency;
        conversation.send(format!("{}\n", Command::Resume { agency }).as_bytes())?;
        match conversation.expect()? {
            Reply::Resume { bets, last } => {
                let first = *before.get_or_insert(bets);
                if bets == first {
                    progress.in_doubt = false;
                    return Ok(false);
                }
                let own = last.is_some_and(|last| {
                    (last.document, last.number) == (self.bet.document(), self.bet.number())
                });
                if bets == first + 1 && own {
                    return Ok(true);
                }
                let why = format!("{} bets of somebody else were stored meanwhile", bets - first);
                Err(Failed::Unknown(why).into())
            }
            other => Err(unexpected(&other)),
        }
    }

    fn send(
        &self,
        conversation: &mut Conversation<'_>,
        progress: &mut Progress,
    ) -> Result<(), Broken> {
        let mut writer = BatchWriter::new(self.agency, 1);
        writer.push(self.agency, self.bet);
        writer.close();
        progress.in_doubt = true;
        conversation.send(writer.messages())?;
        match conversation.expect()? {
            Reply::Stored { bets: 1 } => Ok(()),
            Reply::Stored { bets } => {
                Err(Failed::Answer(format!("that {bets} bets are stored of a batch of 1")).into())
            }
            other => Err(unexpected(&other)),
        }
    }
}
