//! The batches of a conversation that are not stored yet. Knows no sockets and no ledger.

use crate::bet::row::write_row;
use crate::bet::{AgencyId, Bet};
use crate::lines::LineBuffer;
use crate::protocol::BatchReader;

/// The most bytes of an open batch, as lines of `bets.csv`: about five thousand bets.
pub const BATCH_BYTES_MAX: usize = 256 << 10;

/// The rows of the closed batches, or of the open one. A batch is opened only when no closed one is left.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// As lines of `bets.csv`.
    pub(super) rows: Vec<u8>,
    /// The number of bets of each closed batch.
    pub(super) closed: Vec<u32>,
    pub(super) open: Open,
}

/// The batch that is not closed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Open {
    /// There is none.
    #[default]
    Nothing,
    /// It is open, with this number of bets.
    Bets(u32),
    /// It had an error. The rest of it is dropped, its end included.
    Refused,
}

impl Batches {
    /// Takes the messages at the beginning of `lines` that are a whole batch each. Returns whether there
    /// were any.
    pub(super) fn gather(&mut self, reader: &BatchReader, lines: &mut LineBuffer<'_>) -> bool {
        let before = self.closed.len();
        while let Some(batch) = reader.read(lines.rest(), &mut self.rows) {
            lines.take(batch.message_bytes);
            self.closed.push(batch.bets);
        }
        self.closed.len() > before
    }

    /// Adds a bet to the open batch. Returns whether the batch is within its bound.
    pub(super) fn add(&mut self, agency: AgencyId, bet: &Bet<'_>) -> bool {
        debug_assert!(self.closed.is_empty(), "the rows are those of the open batch");
        write_row(agency, bet, &mut self.rows);
        let within_bound = self.rows.len() <= BATCH_BYTES_MAX;
        if within_bound {
            self.open = Open::Bets(self.bets() + 1);
        }
        within_bound
    }

    /// Returns the number of bets of the open batch.
    pub(super) fn bets(&self) -> u32 {
        match self.open {
            Open::Bets(bets) => bets,
            Open::Nothing | Open::Refused => 0,
        }
    }

    /// Closes the open batch. Returns `false` if there is none.
    pub(super) fn close(&mut self) -> bool {
        let open = std::mem::take(&mut self.open);
        if let Open::Bets(bets) = open {
            self.closed.push(bets);
        }
        open != Open::Nothing
    }

    /// Drops the open batch, if there is one, up to its end.
    pub(super) fn refuse(&mut self) {
        if self.open != Open::Nothing {
            self.rows.clear();
            self.open = Open::Refused;
        }
    }
}
