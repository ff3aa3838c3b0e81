//! The batches of a conversation that are not stored yet, and the log lines of all. Knows no sockets and no ledger.

use super::Peer;
use crate::bet::row::{document_and_number, write_row};
use crate::bet::{AgencyId, Bet};
use crate::lines::LineBuffer;
use crate::protocol::{BatchReader, Refusal};
use crate::text::log_lines;
use log::{Level, info, log_enabled};

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
}

/// Logs stored batches, given by their numbers of bets.
pub(super) fn log_stored(batches: &[u32], peer: &Peer) {
    let peer = peer.to_string();
    let line = |bets: &u32| {
        format!("action: apuesta_recibida | result: success | cantidad: {bets} | {peer}")
    };
    info!("{}", log_lines(batches, line));
}

/// Logs refused batches, given by their numbers of bets.
pub(super) fn log_refused(batches: &[u32], refusal: &Refusal, peer: &Peer) {
    let line = |bets: &u32| {
        format!(
            "action: apuesta_recibida | result: fail | cantidad: {bets} | error: {refusal} | {peer}"
        )
    };
    info!("{}", log_lines(batches, line));
}

/// Logs each bet of a batch of one at level info, and all other bets at level debug.
pub(super) fn log_bets(rows: &[u8], batches: &[u32], peer: &Peer) {
    if !log_enabled!(Level::Debug) && !batches.contains(&1) {
        return;
    }
    let mut rows = rows.split(|&byte| byte == b'\n');
    for &bets in batches {
        for row in rows.by_ref().take(bets as usize) {
            let level = if bets == 1 { Level::Info } else { Level::Debug };
            if let Some((dni, numero)) = document_and_number(row) {
                log::log!(
                    level,
                    "action: apuesta_almacenada | result: success | dni: {dni} | numero: {numero} | {peer}"
                );
            }
        }
    }
}
