//! Valid bets and valid agencies. Every value of these types is valid.
//!
//! Knows no sockets, files or threads, and neither the protocol's words nor the files' names: both
//! write a bet as the same five fields in the same order, each with its separator.

use crate::text::excerpt;
use thiserror::Error;

mod agency;
mod plain;
pub mod row;
#[cfg(test)]
pub(crate) mod tests;

pub use agency::{AGENCIES_MAX, Agencies, AgencyId, PerAgency};
pub use plain::{PlainBet, plain_bet};

/// The most characters (Unicode scalar values, not bytes) in a first or in a last name.
pub const NAME_CHARS_MAX: usize = 64;
/// The highest number that can be played.
pub const NUMBER_MAX: u16 = 9999;
/// The number of fields of a bet.
pub const BET_FIELDS: usize = 5;
/// The bytes of the shortest bet as CSV: two names of a letter, a document of 7 digits, a date, a number of one, and 4
/// commas.
pub(crate) const BET_BYTES_MIN: usize = 1 + 1 + 7 + 10 + 1 + 4;

/// The characters that delimit bets and their fields in messages.
pub(crate) const DELIMITERS: [char; 2] = ['|', ';'];

/// Returns whether no field may hold `c`: a delimiter, or a control character.
pub(crate) fn is_excluded(c: char) -> bool {
    let [field_end, command_end] = DELIMITERS;
    c == field_end || c == command_end || c.is_control()
}

/// A valid bet. Its fields are kept as they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bet<'a> {
    first_name: &'a str,
    last_name: &'a str,
    document: &'a str,
    birthdate: &'a str,
    number: &'a str,
}

impl<'a> Bet<'a> {
    /// Checks the five fields, in their order everywhere: first name, last name, document,
    /// birthdate, number.
    ///
    /// # Errors
    ///
    /// Returns the first invalid field and the rule it breaks.
    pub fn new(fields: [&'a str; BET_FIELDS]) -> Result<Bet<'a>, InvalidBet> {
        let [first_name, last_name, document, birthdate, number] = fields;
        check("first_name", first_name, check_name)?;
        check("last_name", last_name, check_name)?;
        check("document", document, check_document)?;
        check("birthdate", birthdate, check_birthdate)?;
        check("number", number, check_number)?;
        Ok(Bet { first_name, last_name, document, birthdate, number })
    }

    /// Returns the five fields, in the order that [`Bet::new`] takes them.
    pub fn fields(&self) -> [&'a str; BET_FIELDS] {
        [self.first_name, self.last_name, self.document, self.birthdate, self.number]
    }

    /// Returns the document of the person who placed it: 7 or 8 digits.
    pub fn document(&self) -> &'a str {
        self.document
    }

    /// Returns the number played, as it was written: `75` and `0075` are the same number.
    pub fn number(&self) -> &'a str {
        self.number
    }
}

fn check(
    field: &'static str,
    text: &str,
    rule: fn(&str) -> Result<(), Reason>,
) -> Result<(), InvalidBet> {
    rule(text).map_err(|reason| InvalidBet::new(field, reason, text))
}

fn check_name(text: &str) -> Result<(), Reason> {
    if text.chars().any(is_excluded) {
        return Err(Reason::NameCharacter);
    }
    if text.chars().all(char::is_whitespace) {
        return Err(Reason::NameBlank);
    }
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(Reason::NameLength);
    }
    Ok(())
}

fn check_document(text: &str) -> Result<(), Reason> {
    if is_document(text) { Ok(()) } else { Err(Reason::Document) }
}

fn check_birthdate(text: &str) -> Result<(), Reason> {
    let day = text.as_bytes().first_chunk().filter(|_| text.len() == plain::BIRTHDATE_BYTES);
    if day.is_some_and(plain::is_birthdate) { Ok(()) } else { Err(Reason::Birthdate) }
}

fn check_number(text: &str) -> Result<(), Reason> {
    if is_number(text) { Ok(()) } else { Err(Reason::Number) }
}

/// Returns whether `text` can be a bet's document.
pub(crate) fn is_document(text: &str) -> bool {
    matches!(text.len(), 7 | 8) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether `text` can be a bet's number.
pub fn is_number(text: &str) -> bool {
    matches!(text.len(), 1..=4) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum Reason {
    #[error("must be a number from 1 to {0}")]
    Agency(u16),
    #[error("must not hold a bar, a semicolon or a control character")]
    NameCharacter,
    #[error("must not be blank")]
    NameBlank,
    #[error("must have at most {NAME_CHARS_MAX} characters")]
    NameLength,
    #[error("must be 7 or 8 digits")]
    Document,
    #[error("must be a day of the years 1900 to 2099 written YYYY-MM-DD")]
    Birthdate,
    #[error("must be 0 to 9999 in one to four digits")]
    Number,
}

/// An invalid field of a bet, the rule that it breaks, and its text.
///
/// Its message is one line, whatever the field holds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {reason}, not \"{excerpt}\"")]
pub struct InvalidBet {
    field: &'static str,
    reason: Reason,
    excerpt: String,
}

impl InvalidBet {
    fn new(field: &'static str, reason: Reason, text: &str) -> InvalidBet {
        InvalidBet { field, reason, excerpt: excerpt(text) }
    }
}
