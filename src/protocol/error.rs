//! The errors that a server answers: one table of codes, each with its effect on the connection.

use super::reply::Reply;
use crate::bet::is_excluded;
use crate::text::escape;
use std::fmt;
use thiserror::Error;

/// The effect of an error on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The next message is read.
    Continues,
    /// No more messages are read. The connection is drained within a limit, and closed.
    Closes,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])+ $name:ident, $word:literal, $effect:ident;)+) => {
        /// The code of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorCode {
            $($(#[$doc])+ $name,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the table in `docs/protocol.md`.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),+];

            /// Returns the code as it is sent.
            pub fn word(self) -> &'static str {
                match self { $(ErrorCode::$name => $word,)+ }
            }

            /// Returns the effect on the connection.
            pub fn effect(self) -> Effect {
                match self { $(ErrorCode::$name => Effect::$effect,)+ }
            }
        }
    };
}

error_codes! {
    /// A message or a command is empty.
    EmptyCommand, "empty_command", Continues;
    /// No command has this name.
    UnknownCommand, "unknown_command", Continues;
    /// A field is missing, or there is one too many.
    FieldCount, "field_count", Continues;
    /// A field that is not of a bet is invalid.
    InvalidField, "invalid_field", Continues;
    /// A field of a bet is invalid.
    InvalidBet, "invalid_bet", Continues;
    /// The connection speaks for another agency.
    WrongAgency, "wrong_agency", Continues;
    /// The command is not allowed while a batch is open.
    OpenBatch, "open_batch", Continues;
    /// The agency is finished: it asked for its winners.
    AgencyFinished, "agency_finished", Continues;
    /// The draw was held.
    DrawHeld, "draw_held", Continues;
    /// A newer connection speaks for the agency.
    TakenOver, "taken_over", Continues;
    /// The batch could not be written and was rolled back. Later batches that are already in flight are not stored
    /// either, because the agency's bets would have a gap.
    StorageFailed, "storage_failed", Closes;
    /// The open batch has more bytes than a batch may have.
    BatchTooLong, "batch_too_long", Closes;
    /// A message is longer than the limit.
    MessageTooLong, "message_too_long", Closes;
    /// The connection ended within a message.
    MessageTorn, "message_torn", Closes;
    /// A message is not UTF-8.
    InvalidUtf8, "invalid_utf8", Closes;
    /// A message was not complete in time.
    TimedOut, "timed_out", Closes;
    /// A newer connection of the agency has this one's place.
    Superseded, "superseded", Closes;
    /// The server speaks TLS, and the peer does not.
    TlsRequired, "tls_required", Closes;
    /// The certificate of the client has expired or was revoked since the handshake.
    CertificateRejected, "certificate_rejected", Closes;
    /// A connection limit is reached, and other connections take precedence.
    TooManyConnections, "too_many_connections", Closes;
    /// The server is stopping.
    Stopping, "stopping", Closes;
}

impl ErrorCode {
    /// Returns the code whose word is `word`.
    pub fn from_word(word: &str) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|code| code.word() == word)
    }

    /// Returns an error of this code. Escapes the characters of its detail that no field can hold.
    pub fn with(self, detail: impl fmt::Display) -> Refusal {
        Refusal { code: self, detail: escape(&detail.to_string(), is_excluded) }
    }
}

/// An error that a server replies: its code, and the detail.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {detail}", code.word())]
pub struct Refusal {
    /// Why.
    pub code: ErrorCode,
    /// For people: one line that holds no delimiter of the protocol.
    pub detail: String,
}

impl Refusal {
    /// Returns its reply.
    pub fn reply(&self) -> Reply<'_> {
        Reply::Error { code: self.code.word(), detail: &self.detail }
    }
}
