//! The log lines of batches, and the replies to refusals of the ledger and to evictions.

use super::{End, Peer};
use crate::bet::row::document_and_number;
use crate::ledger::RequestError;
use crate::places::Eviction;
use crate::protocol::{ErrorCode, Refusal};
use crate::text::{excerpt, log_lines};
use log::{Level, info, log_enabled};

/// Returns the error that a server sends when it stops.
pub(super) fn stopping(detail: &str) -> Refusal {
    ErrorCode::Stopping.with(detail)
}

impl From<RequestError> for End {
    fn from(error: RequestError) -> End {
        let refusal = match error {
            RequestError::TakenOver => {
                ErrorCode::TakenOver.with("a newer connection took the agency over")
            }
            RequestError::Finished => {
                ErrorCode::AgencyFinished.with("the agency has said that it has no more bets")
            }
            RequestError::DrawHeld => ErrorCode::DrawHeld.with("the draw was held"),
            RequestError::WriteFailed(reason) => ErrorCode::StorageFailed
                .with(format_args!("nothing of the batch is stored: {}", excerpt(&reason))),
            RequestError::Ended => return End::Ledger,
        };
        End::Refused(refusal)
    }
}

impl From<Eviction> for Refusal {
    fn from(eviction: Eviction) -> Refusal {
        match eviction {
            Eviction::Newcomers(max) => ErrorCode::TooManyConnections
                .with(format_args!("limit of {max} connections without an agency reached")),
            Eviction::Connections(max) => ErrorCode::TooManyConnections
                .with(format_args!("limit of {max} connections reached")),
            Eviction::Agency(max) => ErrorCode::Superseded
                .with(format_args!("newer connections of the agency, which may have {max}")),
        }
    }
}

impl From<Eviction> for End {
    fn from(eviction: Eviction) -> End {
        End::Refused(eviction.into())
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
