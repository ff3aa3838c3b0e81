//! What became of batches, as the peer is told and as the log says.

use super::End;
use crate::bet::row::document_and_number;
use crate::ledger::Refused;
use crate::protocol::{ErrorCode, Refusal, Reply};
use crate::text::{LogLines, excerpt};
use log::{Level, info, log_enabled};

/// What a peer hears of a server that stops.
pub(super) fn stopping(detail: &str) -> Refusal {
    ErrorCode::Stopping.with(detail)
}

/// What a peer is told of what the ledger did not do; nothing where it has ended.
pub(super) fn refusal_of(refused: Refused) -> Result<Refusal, End> {
    match refused {
        Refused::TakenOver => {
            Ok(ErrorCode::TakenOver.with("a newer connection took the agency over"))
        }
        Refused::Finished => {
            Ok(ErrorCode::AgencyFinished.with("the agency has said that it has no more bets"))
        }
        Refused::DrawHeld => Ok(ErrorCode::DrawHeld.with("the draw was held")),
        Refused::WriteFailed(error) => Ok(ErrorCode::StorageFailed
            .with(format_args!("nothing of the batch is stored: {}", excerpt(&error)))),
        Refused::Ended => Err(End::Ledger),
    }
}

/// Logs and answers batches that are stored.
pub(super) fn stored(batches: &[u32], answers: &mut Vec<u8>) {
    info!(
        "{}",
        LogLines(batches, |bets: &u32| format!(
            "action: apuesta_recibida | result: success | cantidad: {bets}"
        ))
    );
    for &bets in batches {
        Reply::Stored { bets: bets.into() }.write(answers);
    }
}

pub(super) fn log_refused(batches: &[u32], refusal: &Refusal) {
    info!(
        "{}",
        LogLines(batches, |bets: &u32| format!(
            "action: apuesta_recibida | result: fail | cantidad: {bets} | error: {refusal}"
        ))
    );
}

/// Logs the bets of batches of one, and at debug level all.
pub(super) fn log_bets(rows: &[u8], batches: &[u32]) {
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
                    "action: apuesta_almacenada | result: success | dni: {dni} | numero: {numero}"
                );
            }
        }
    }
}
