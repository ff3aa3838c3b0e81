//! The requests that the ledger's thread handles, and a connection's access to them.

use super::result::DrawResult;
use crate::bet::AgencyId;
use crate::summary::{AgencySummary, Standing};
use crossbeam_channel::Sender;
use std::sync::mpsc::{SyncSender, sync_channel};

/// A connection's access to the ledger.
#[derive(Debug)]
pub struct Access<'l> {
    pub(super) requests: &'l Sender<Request>,
    pub(super) ticket: u64,
}

impl Access<'_> {
    /// Stores `rows`, which are `bets` lines of `bets.csv` of `agency`. Blocks until they are durable.
    /// The buffer is lent to the ledger meanwhile, and is returned unchanged unless the ledger has ended.
    ///
    /// # Errors
    ///
    /// The reason why none of them is stored.
    pub fn store(
        &self,
        agency: AgencyId,
        bets: u64,
        rows: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        let lent = std::mem::take(rows);
        let (returned, outcome) = self.ask(|reply| {
            Request::Store(StoreRequest { ticket: self.ticket, agency, bets, rows: lent, reply })
        })?;
        *rows = returned;
        outcome
    }

    /// Takes `agency` over: draws a new ticket and makes it the agency's fence, so that older connections store none of
    /// its bets from here on.
    ///
    /// # Errors
    ///
    /// [`RequestError::Ended`].
    pub fn resume(&mut self, agency: AgencyId) -> Result<Standing, RequestError> {
        let (ticket, standing) = self.ask(|reply| Request::Resume { agency, reply })?;
        self.ticket = ticket;
        Ok(standing)
    }

    /// Closes `agency`: no connection stores any of its bets from here on.
    ///
    /// # Errors
    ///
    /// [`RequestError::TakenOver`] or [`RequestError::Ended`].
    pub fn finish(&self, agency: AgencyId) -> Result<(), RequestError> {
        self.ask(|reply| Request::Finish { ticket: self.ticket, agency, reply })?
    }

    /// Holds the draw over all that is stored. When this returns its result is durable, and no bet is
    /// stored any more. Returns `None` if the program is stopping. Must be called at most once.
    ///
    /// # Errors
    ///
    /// [`RequestError::Ended`], also if the disk failed.
    pub(crate) fn hold_draw(&self) -> Result<Option<DrawResult>, RequestError> {
        self.ask(|reply| Request::Hold { reply })
    }

    /// Returns the state of each agency, in their order: open or finished, because the ledger does not know which of them
    /// wait for the draw.
    ///
    /// # Errors
    ///
    /// [`RequestError::Ended`].
    pub fn count(&self) -> Result<Vec<AgencySummary>, RequestError> {
        self.ask(|reply| Request::Count { reply })
    }

    fn ask<T>(&self, request: impl FnOnce(SyncSender<T>) -> Request) -> Result<T, RequestError> {
        // A channel of the standard library, because one of crossbeam spins and yields before it blocks, and a sync takes
        // longer than that.
        let (reply, answer) = sync_channel(1);
        // Both fail for the same reason: the thread has ended.
        self.requests.send(request(reply)).map_err(|_| RequestError::Ended)?;
        answer.recv().map_err(|_| RequestError::Ended)
    }
}

/// The buffer that was lent, and the reason if its rows are not stored.
pub(super) type StoreAnswer = (Vec<u8>, Result<(), RequestError>);

/// One or several batches of one agency, which are stored together or not at all.
#[derive(Debug)]
pub(super) struct StoreRequest {
    pub(super) ticket: u64,
    pub(super) agency: AgencyId,
    /// The number of rows.
    pub(super) bets: u64,
    pub(super) rows: Vec<u8>,
    pub(super) reply: SyncSender<StoreAnswer>,
}

impl StoreRequest {
    pub(super) fn answer(self, outcome: Result<(), RequestError>) {
        // A closed reply channel means that the session has ended.
        let _gone = self.reply.send((self.rows, outcome));
    }
}

#[derive(Debug)]
pub(super) enum Request {
    Store(StoreRequest),
    Resume { agency: AgencyId, reply: SyncSender<(u64, Standing)> },
    Finish { ticket: u64, agency: AgencyId, reply: SyncSender<Result<(), RequestError>> },
    Count { reply: SyncSender<Vec<AgencySummary>> },
    Hold { reply: SyncSender<Option<DrawResult>> },
}

/// The reason why the ledger refused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// A newer connection took the agency over.
    TakenOver,
    /// The agency is finished.
    Finished,
    /// The draw was held.
    DrawHeld,
    /// The write failed with this error and was rolled back.
    WriteFailed(String),
    /// The ledger has ended. The batches of the last request may or may not be stored.
    Ended,
}
