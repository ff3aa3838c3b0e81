//! The protocol of `docs/protocol.md`: commands and replies as values, and as text both ways. Text
//! becomes valid values here and nowhere else. No I/O.

use crate::bet::{Agencies, AgencyId, BET_FIELDS, Bet, InvalidBet, is_document, is_number};
use crate::summary::Summary;
use crate::text::excerpt;
use std::fmt;

mod error;
mod plain;
mod status;
#[cfg(test)]
mod tests;

pub use error::{Effect, ErrorCode, Refusal};
pub use plain::{BatchRead, BatchReader, BatchWriter};

/// The most bytes of a message, its line end included.
pub const MESSAGE_BYTES_MAX: usize = 8192;

/// Ends a message.
const MESSAGE_END: char = '\n';
/// Stands between commands.
const COMMAND_SEPARATOR: char = ';';
/// Stands between fields.
const FIELD_SEPARATOR: char = '|';

/// The words of the protocol. This table and the one of [`ErrorCode`] are all there are.
mod word {
    pub(super) const BET: &str = "APUESTA";
    pub(super) const CLOSE_BATCH: &str = "FINAPUESTA";
    pub(super) const STORED: &str = "CONFIRMARAPUESTA";
    pub(super) const WINNERS: &str = "GANADORES";
    pub(super) const RESUME: &str = "REANUDAR";
    pub(super) const ECHO: &str = "ECO";
    pub(super) const STATUS: &str = "ESTADO";
    pub(super) const PENDING: &str = "PENDIENTE";
    pub(super) const HELD: &str = "REALIZADO";
    pub(super) const OPEN: &str = "ABIERTA";
    pub(super) const FINISHED: &str = "TERMINADA";
    pub(super) const WAITING: &str = "ESPERA";
    pub(super) const ERROR: &str = "ERROR";
}

/// What a client can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// A bet, for the open batch.
    Bet {
        /// Where it was placed.
        agency: AgencyId,
        /// The bet.
        bet: Bet<'a>,
    },
    /// The open batch is complete: store it.
    CloseBatch,
    /// The agency has no more bets: who won?
    Winners {
        /// Who asks.
        agency: AgencyId,
    },
    /// How many bets of the agency are stored? From here on its older connections store none.
    Resume {
        /// Who asks.
        agency: AgencyId,
    },
    /// Are you there?
    Echo(&'a str),
    /// How does the lottery stand?
    Status,
}

impl<'a> Command<'a> {
    /// The commands of a message, given without its line end. They may be empty.
    pub fn split(message: &str) -> impl Iterator<Item = &str> {
        message.split(COMMAND_SEPARATOR)
    }

    /// The command that `text` is, all of it.
    ///
    /// # Errors
    ///
    /// What keeps it from being one. That text is never a valid command in another spelling.
    pub fn parse(text: &'a str, agencies: Agencies) -> Result<Command<'a>, InvalidCommand> {
        let mut fields = text.split(FIELD_SEPARATOR);
        match fields.next().unwrap_or_default() {
            word::BET => {
                let [agency, bet @ ..] = exactly::<{ 1 + BET_FIELDS }>(word::BET, fields)?;
                let agency = agencies.parse(agency).map_err(InvalidCommand::Bet)?;
                let bet = Bet::new(bet).map_err(InvalidCommand::Bet)?;
                Ok(Command::Bet { agency, bet })
            }
            word::CLOSE_BATCH => {
                exactly::<0>(word::CLOSE_BATCH, fields).map(|[]| Command::CloseBatch)
            }
            word::WINNERS => {
                let [agency] = exactly(word::WINNERS, fields)?;
                let agency = agencies.parse(agency).map_err(InvalidCommand::Agency)?;
                Ok(Command::Winners { agency })
            }
            word::RESUME => {
                let [agency] = exactly(word::RESUME, fields)?;
                let agency = agencies.parse(agency).map_err(InvalidCommand::Agency)?;
                Ok(Command::Resume { agency })
            }
            word::ECHO => {
                let [text] = exactly(word::ECHO, fields)?;
                if text.chars().any(char::is_control) {
                    return Err(InvalidCommand::EchoCharacter);
                }
                Ok(Command::Echo(text))
            }
            word::STATUS => exactly::<0>(word::STATUS, fields).map(|[]| Command::Status),
            "" if text.is_empty() => Err(InvalidCommand::Empty),
            other => Err(InvalidCommand::Unknown(excerpt(other))),
        }
    }

    /// Whether `text`, valid or not, is meant to be a bet.
    pub fn is_bet(text: &str) -> bool {
        text.split(FIELD_SEPARATOR).next() == Some(word::BET)
    }
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Bet { agency, bet } => {
                let [first_name, last_name, document, birthdate, number] = bet.fields();
                write!(
                    formatter,
                    "{}|{agency}|{first_name}|{last_name}|{document}|{birthdate}|{number}",
                    word::BET
                )
            }
            Command::CloseBatch => formatter.write_str(word::CLOSE_BATCH),
            Command::Winners { agency } => write!(formatter, "{}|{agency}", word::WINNERS),
            Command::Resume { agency } => write!(formatter, "{}|{agency}", word::RESUME),
            Command::Echo(text) => write!(formatter, "{}|{text}", word::ECHO),
            Command::Status => formatter.write_str(word::STATUS),
        }
    }
}

/// The fields that are left, if there are exactly `N`.
fn exactly<'a, const N: usize>(
    word: &'static str,
    fields: impl Iterator<Item = &'a str>,
) -> Result<[&'a str; N], InvalidCommand> {
    let mut found = 0;
    let mut taken = [""; N];
    for field in fields {
        if let Some(place) = taken.get_mut(found) {
            *place = field;
        }
        found += 1;
    }
    if found == N {
        Ok(taken)
    } else {
        Err(InvalidCommand::FieldCount { word, expected: N, found })
    }
}

/// Why a text is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidCommand {
    /// There is nothing.
    Empty,
    /// Its first field is no word of the protocol.
    Unknown(String),
    /// A field is missing or there is one too many.
    FieldCount {
        /// The command's word.
        word: &'static str,
        /// How many fields it has after the word.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The agency is none of the lottery's.
    Agency(InvalidBet),
    /// The text of an echo holds a control character.
    EchoCharacter,
    /// A field of the bet is against the rules.
    Bet(InvalidBet),
}

impl InvalidCommand {
    /// The code that answers it.
    pub fn code(&self) -> ErrorCode {
        match self {
            InvalidCommand::Empty => ErrorCode::EmptyCommand,
            InvalidCommand::Unknown(_) => ErrorCode::UnknownCommand,
            InvalidCommand::FieldCount { .. } => ErrorCode::FieldCount,
            InvalidCommand::Agency(_) | InvalidCommand::EchoCharacter => ErrorCode::InvalidField,
            InvalidCommand::Bet(_) => ErrorCode::InvalidBet,
        }
    }
}

impl fmt::Display for InvalidCommand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidCommand::Empty => formatter.write_str("a command must not be empty"),
            InvalidCommand::Unknown(word) => {
                write!(formatter, "no command is called \"{word}\"")
            }
            InvalidCommand::FieldCount { word, expected, found } => {
                write!(formatter, "{word} must have {expected} fields after its name, not {found}")
            }
            InvalidCommand::Agency(invalid) | InvalidCommand::Bet(invalid) => {
                invalid.fmt(formatter)
            }
            InvalidCommand::EchoCharacter => {
                formatter.write_str("text: must not hold a control character")
            }
        }
    }
}

impl std::error::Error for InvalidCommand {}

/// What a server can answer, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The batch is on disk.
    Stored {
        /// How many bets it has.
        bets: u64,
    },
    /// The draw was held.
    Winners {
        /// The documents of the agency's winners, in the order in which their bets were stored; who
        /// won twice is there twice.
        documents: Vec<&'a str>,
    },
    /// How far the agency got.
    Resume {
        /// How many of its bets are stored.
        bets: u64,
        /// The one stored last; none where there is none.
        last: Option<LastBet<'a>>,
    },
    /// The text of an echo.
    Echo(&'a str),
    /// How the lottery stands.
    Status(Summary),
    /// What was asked could not be done.
    Error {
        /// A word of [`ErrorCode`], or of a later one.
        code: &'a str,
        /// What, where and why, for people.
        detail: &'a str,
    },
}

/// The bet of an agency that was stored last, as far as `REANUDAR` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBet<'a> {
    /// Its document.
    pub document: &'a str,
    /// Its number, as it was written.
    pub number: &'a str,
}

impl<'a> Reply<'a> {
    /// The reply that `line`, given without its line end, is.
    ///
    /// # Errors
    ///
    /// [`InvalidReply`] where it is none.
    pub fn parse(line: &'a str) -> Result<Reply<'a>, InvalidReply> {
        Reply::parse_known(line).ok_or_else(|| InvalidReply(excerpt(line)))
    }

    fn parse_known(line: &'a str) -> Option<Reply<'a>> {
        let (word, rest) = line.split_once(FIELD_SEPARATOR)?;
        if line.chars().any(char::is_control) || line.contains(COMMAND_SEPARATOR) {
            return None;
        }
        match word {
            word::STORED => Some(Reply::Stored { bets: parse_count(rest)? }),
            word::WINNERS if rest.is_empty() => Some(Reply::Winners { documents: Vec::new() }),
            word::WINNERS => {
                let documents: Vec<&str> = rest.split(FIELD_SEPARATOR).collect();
                let valid = documents.iter().all(|document| is_document(document));
                valid.then_some(Reply::Winners { documents })
            }
            word::RESUME => {
                let Some((bets, last)) = rest.split_once(FIELD_SEPARATOR) else {
                    return (rest == "0").then_some(Reply::Resume { bets: 0, last: None });
                };
                let bets = parse_count(bets).filter(|bets| *bets > 0)?;
                let (document, number) = last.split_once(FIELD_SEPARATOR)?;
                let valid = is_document(document) && is_number(number);
                let last = Some(LastBet { document, number });
                valid.then_some(Reply::Resume { bets, last })
            }
            word::ECHO => (!rest.contains(FIELD_SEPARATOR)).then_some(Reply::Echo(rest)),
            word::STATUS => status::parse(rest.split(FIELD_SEPARATOR)).map(Reply::Status),
            word::ERROR => {
                let (code, detail) = rest.split_once(FIELD_SEPARATOR)?;
                (!detail.contains(FIELD_SEPARATOR)).then_some(Reply::Error { code, detail })
            }
            _ => None,
        }
    }

    /// Appends the reply and its line end to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        write!(out, "{self}{MESSAGE_END}").expect("a vector takes all that is written to it");
    }
}

/// A count in plain decimal digits, without a sign or a leading zero.
fn parse_count(text: &str) -> Option<u64> {
    let canonical = text == "0" || text.starts_with(|c: char| matches!(c, '1'..='9'));
    canonical.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Reply<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Stored { bets } => write!(formatter, "{}|{bets}", word::STORED),
            Reply::Winners { documents } if documents.is_empty() => {
                write!(formatter, "{}|", word::WINNERS)
            }
            Reply::Winners { documents } => {
                formatter.write_str(word::WINNERS)?;
                documents.iter().try_for_each(|document| write!(formatter, "|{document}"))
            }
            Reply::Resume { bets, last } => {
                write!(formatter, "{}|{bets}", word::RESUME)?;
                last.iter()
                    .try_for_each(|last| write!(formatter, "|{}|{}", last.document, last.number))
            }
            Reply::Echo(text) => write!(formatter, "{}|{text}", word::ECHO),
            Reply::Status(summary) => {
                write!(formatter, "{}|{}", word::STATUS, status::Fields(summary))
            }
            Reply::Error { code, detail } => write!(formatter, "{}|{code}|{detail}", word::ERROR),
        }
    }
}

/// A line that is no reply of the protocol: the server speaks something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidReply(String);

impl fmt::Display for InvalidReply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "not a reply of the protocol: \"{}\"", self.0)
    }
}

impl std::error::Error for InvalidReply {}
