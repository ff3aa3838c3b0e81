//! The errors that a server answers: one table of codes, each with its effect on the connection.

use super::is_excluded;
use super::reply::Reply;
use std::fmt;
use thiserror::Error;

/// What becomes of the connection after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The next message is read.
    Continues,
    /// Nothing more is read; it is drained within a bound, and closed.
    Closes,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])+ $name:ident, $word:literal, $effect:ident;)+) => {
        /// Why something was not done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorCode {
            $($(#[$doc])+ $name,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the table in `docs/protocol.md`.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),+];

            /// The code as it is sent.
            pub fn word(self) -> &'static str {
                match self { $(ErrorCode::$name => $word,)+ }
            }

            /// What becomes of the connection.
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
    /// A field other than a bet's is against the rules.
    InvalidField, "invalid_field", Continues;
    /// A field of a bet is against the rules.
    InvalidBet, "invalid_bet", Continues;
    /// The connection speaks for another agency.
    WrongAgency, "wrong_agency", Continues;
    /// A batch is open where none may be.
    OpenBatch, "open_batch", Continues;
    /// The agency said that it has no more bets.
    AgencyFinished, "agency_finished", Continues;
    /// The draw was held.
    DrawHeld, "draw_held", Continues;
    /// A newer connection speaks for the agency.
    TakenOver, "taken_over", Continues;
    /// The disk did not take the batch; it is undone. Nor are later batches of the connection stored,
    /// which may be on their way: there would be a hole in what the agency sent.
    StorageFailed, "storage_failed", Closes;
    /// The open batch has more bytes than a batch may have.
    BatchTooLong, "batch_too_long", Closes;
    /// No line end within the most bytes that a message may have.
    MessageTooLong, "message_too_long", Closes;
    /// The connection ended within a message.
    MessageTorn, "message_torn", Closes;
    /// A message is no UTF-8.
    InvalidUtf8, "invalid_utf8", Closes;
    /// A message was not complete in time.
    TimedOut, "timed_out", Closes;
    /// A newer connection of the agency has this one's place.
    Superseded, "superseded", Closes;
    /// The server speaks TLS, and the peer does not.
    TlsRequired, "tls_required", Closes;
    /// The certificate of the client has expired or was revoked since it was shown.
    CertificateRejected, "certificate_rejected", Closes;
    /// As many connections as are allowed are open, and others need the place more.
    TooManyConnections, "too_many_connections", Closes;
    /// The server is stopping.
    Stopping, "stopping", Closes;
}

impl ErrorCode {
    /// Returns the code whose word is `word`.
    pub fn from_word(word: &str) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|code| code.word() == word)
    }

    /// Returns an error of this code. What no field can hold is escaped in its detail.
    pub fn with(self, detail: impl fmt::Display) -> Refusal {
        let mut detail = detail.to_string();
        if detail.contains(is_excluded) {
            let escape = |c: char| match c {
                c if is_excluded(c) => c.escape_unicode().to_string(),
                c => c.to_string(),
            };
            detail = detail.chars().map(escape).collect();
        }
        Refusal { code: self, detail }
    }
}

/// An error that a server answers: its code and what happened, where and why.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {detail}", code.word())]
pub struct Refusal {
    /// Why.
    pub code: ErrorCode,
    /// For people: one line that holds no delimiter of the protocol.
    pub detail: String,
}

impl Refusal {
    /// Returns the reply that tells it.
    pub fn reply(&self) -> Reply<'_> {
        Reply::Error { code: self.code.word(), detail: &self.detail }
    }
}
