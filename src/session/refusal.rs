//! The error replies for what the ledger refuses and for evictions.

use super::End;
use crate::ledger::RequestError;
use crate::places::Eviction;
use crate::protocol::{ErrorCode, Refusal};
use crate::text::excerpt;

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
            Eviction::Agency(max) => ErrorCode::Superseded.with(format_args!(
                "limit of {max} connections of the agency or certificate reached"
            )),
        }
    }
}
