//! The commands of a client.

use super::error::{ErrorCode, Refusal};
use super::{COMMAND_SEPARATOR, FIELD_SEPARATOR, word, write_fields};
use crate::bet::{Agencies, AgencyId, BET_FIELDS, Bet, InvalidBet};
use crate::text::excerpt;
use std::fmt;
use std::str::Split;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Adds a bet to the open batch.
    Bet {
        /// The agency that it was placed with.
        agency: AgencyId,
        /// The bet.
        bet: Bet<'a>,
    },
    /// Closes the open batch, which is then stored.
    CloseBatch,
    /// Says that the agency has no more bets, and asks for its winners.
    Winners {
        /// The agency.
        agency: AgencyId,
    },
    /// Asks how many bets of the agency are stored. Its older connections store no more.
    Resume {
        /// The agency.
        agency: AgencyId,
    },
    /// Asks for the text back.
    Echo(&'a str),
    /// Asks for the state of the lottery.
    Status,
}

impl<'a> Command<'a> {
    /// Splits a message, given without its line end, into commands, which may be empty.
    pub fn split(message: &str) -> impl Iterator<Item = &str> {
        message.split(COMMAND_SEPARATOR)
    }

    /// Parses `text` as one command. A valid command has no second spelling.
    ///
    /// # Errors
    ///
    /// Returns the first error.
    pub fn parse(text: &'a str, agencies: Agencies) -> Result<Command<'a>, Refusal> {
        let only_agency = |word, fields| {
            let [agency] = exactly(word, fields)?;
            agencies.parse(agency).map_err(|error| ErrorCode::InvalidField.with(error))
        };
        let mut fields = text.split(FIELD_SEPARATOR);
        match fields.next().unwrap_or_default() {
            word::BET => {
                let [agency, bet @ ..] = exactly::<{ 1 + BET_FIELDS }>(word::BET, fields)?;
                let invalid = |error: InvalidBet| ErrorCode::InvalidBet.with(error);
                let agency = agencies.parse(agency).map_err(invalid)?;
                let bet = Bet::new(bet).map_err(invalid)?;
                Ok(Command::Bet { agency, bet })
            }
            word::CLOSE_BATCH => {
                exactly::<0>(word::CLOSE_BATCH, fields).map(|[]| Command::CloseBatch)
            }
            word::WINNERS => Ok(Command::Winners { agency: only_agency(word::WINNERS, fields)? }),
            word::RESUME => Ok(Command::Resume { agency: only_agency(word::RESUME, fields)? }),
            word::ECHO => {
                let [text] = exactly(word::ECHO, fields)?;
                if text.chars().any(char::is_control) {
                    return Err(
                        ErrorCode::InvalidField.with("text: must not hold a control character")
                    );
                }
                Ok(Command::Echo(text))
            }
            word::STATUS => exactly::<0>(word::STATUS, fields).map(|[]| Command::Status),
            "" if text.is_empty() => {
                Err(ErrorCode::EmptyCommand.with("a command must not be empty"))
            }
            other => {
                let detail = format_args!("no command is called \"{}\"", excerpt(other));
                Err(ErrorCode::UnknownCommand.with(detail))
            }
        }
    }

    /// Returns whether `text`, valid or not, has the word of a bet.
    pub(crate) fn is_bet(text: &str) -> bool {
        text.split(FIELD_SEPARATOR).next() == Some(word::BET)
    }

    /// Returns whether `text`, valid or not, has the word that closes a batch.
    pub(crate) fn is_close(text: &str) -> bool {
        text.split(FIELD_SEPARATOR).next() == Some(word::CLOSE_BATCH)
    }
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Bet { agency, bet } => {
                let [first_name, last_name, document, birthdate, number] = &bet.fields();
                let fields: [&dyn fmt::Display; 2 + BET_FIELDS] =
                    [&word::BET, agency, first_name, last_name, document, birthdate, number];
                write_fields(formatter, &fields)
            }
            Command::CloseBatch => formatter.write_str(word::CLOSE_BATCH),
            Command::Winners { agency } => write_fields(formatter, &[&word::WINNERS, agency]),
            Command::Resume { agency } => write_fields(formatter, &[&word::RESUME, agency]),
            Command::Echo(text) => write_fields(formatter, &[&word::ECHO, text]),
            Command::Status => formatter.write_str(word::STATUS),
        }
    }
}

/// Returns the fields that are left, if there are exactly `N`.
fn exactly<'a, const N: usize>(
    word: &str,
    mut fields: Split<'a, char>,
) -> Result<[&'a str; N], Refusal> {
    let found = fields.clone().count();
    if found != N {
        let detail = format_args!("{word} must have {N} fields after its name, not {found}");
        return Err(ErrorCode::FieldCount.with(detail));
    }
    Ok(std::array::from_fn(|_| fields.next().unwrap_or_default()))
}
