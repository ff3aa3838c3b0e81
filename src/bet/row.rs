//! A bet as a line of CSV, with quotes: the general way to read and write the agencies' files and `bets.csv`. The
//! only user of the `csv` crate.

use super::agency::AGENCY_DIGITS_MAX;
use super::{Agencies, AgencyId, BET_FIELDS, Bet, InvalidBet};
use std::borrow::Cow;
use thiserror::Error;

/// The most bytes of a line, its end included: more than any bet takes, however it is quoted.
pub const ROW_BYTES_MAX: usize = 8192;

/// The fields of one line of CSV.
#[derive(Debug)]
pub struct Fields(pub(super) csv::StringRecord);

impl Fields {
    /// Splits `line`, given without its line end, into fields by RFC 4180.
    ///
    /// # Errors
    ///
    /// [`InvalidRow::NotUtf8`] if it is not UTF-8, [`InvalidRow::Quotes`] if its quotes are not those of RFC 4180.
    pub fn parse(line: &[u8]) -> Result<Fields, InvalidRow> {
        let text = std::str::from_utf8(line).map_err(|_| InvalidRow::NotUtf8)?;
        let mut fields = csv::StringRecord::with_capacity(text.len(), 1 + BET_FIELDS);
        let mut rest = Some(text);
        while let Some(text) = rest {
            let (field, behind) = first_field(text).ok_or(InvalidRow::Quotes)?;
            fields.push_field(&field);
            rest = behind;
        }
        Ok(Fields(fields))
    }

    /// Returns the bet of a line of an agency's file.
    ///
    /// # Errors
    ///
    /// There are not five fields, or the first invalid field.
    pub fn bet(&self) -> Result<Bet<'_>, InvalidRow> {
        self.bet_after(0)
    }

    /// Returns the agency and the bet of a line of `bets.csv`. Does not check the agency.
    ///
    /// # Errors
    ///
    /// There are not six fields, or the first invalid field of the bet.
    pub(crate) fn agency_and_bet(&self) -> Result<(&str, Bet<'_>), InvalidRow> {
        let bet = self.bet_after(1)?;
        Ok((&self.0[0], bet))
    }

    fn bet_after(&self, before: usize) -> Result<Bet<'_>, InvalidRow> {
        let expected = before + BET_FIELDS;
        if self.0.len() != expected {
            return Err(InvalidRow::FieldCount { expected, found: self.0.len() });
        }
        let fields = std::array::from_fn(|place| &self.0[before + place]);
        Bet::new(fields).map_err(InvalidRow::Bet)
    }
}

/// Returns the first field of a line, and the text behind the comma that ends it, if there is one. Returns `None` if its
/// quotes are not those of RFC 4180. The `csv` crate accepts such a field too, and changes it: `"Juan "Pipo" Gil"` becomes
/// `Juan Pipo" Gil"`. Building its reader takes 30 µs, too long for every line.
fn first_field(text: &str) -> Option<(Cow<'_, str>, Option<&str>)> {
    let Some(mut quoted) = text.strip_prefix('"') else {
        let (field, behind) =
            text.split_once(',').map_or((text, None), |(field, behind)| (field, Some(behind)));
        return (!field.contains('"')).then_some((field.into(), behind));
    };
    let mut field = String::new();
    loop {
        let (part, behind) = quoted.split_once('"')?;
        let rest = behind.strip_prefix(',');
        if rest.is_some() || behind.is_empty() {
            let whole = if field.is_empty() { part.into() } else { (field + part).into() };
            return Some((whole, rest));
        }
        field.push_str(part);
        // A doubled quote stands for one.
        quoted = behind.strip_prefix('"')?;
        field.push('"');
    }
}

/// Appends the line of `bets.csv` for a bet, with quotes only if needed, and with its line end.
pub fn write_row(agency: AgencyId, bet: &Bet<'_>, out: &mut Vec<u8>) {
    use std::io::Write;
    let fields = bet.fields().map(|field| {
        if field.contains([',', '"']) { Cow::Owned(in_quotes(field)) } else { field.into() }
    });
    writeln!(out, "{agency},{}", fields.join(","))
        .expect("a vector takes all that is written to it");
}

/// Returns `field` in quotes as RFC 4180 has them.
fn in_quotes(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
}

/// Returns the agency of a line of `bets.csv`, and the place of the comma after it. Returns `None` if it is none of
/// `agencies`.
pub fn agency_of(row: &[u8], agencies: Agencies) -> Option<(AgencyId, usize)> {
    // Text that is no line may have its next comma far away.
    let comma = row.iter().take(AGENCY_DIGITS_MAX + 1).position(|&byte| byte == b',')?;
    let agency = AgencyId::parse(&row[..comma])?;
    (agency.get() <= agencies.count()).then_some((agency, comma))
}

/// Returns document and number of a valid line of `bets.csv`, with or without its line end. Returns `None` for other
/// text.
pub fn document_and_number(row: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(row).ok()?;
    let mut from_the_end = text.trim_end_matches('\n').rsplit(',');
    let number = from_the_end.next()?.to_owned();
    let document = from_the_end.nth(1)?.to_owned();
    Some((document, number))
}

/// The error of a line of CSV.
///
/// Its text begins with the field at fault, or with `line`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidRow {
    /// It is longer than [`ROW_BYTES_MAX`].
    #[error("line: longer than any bet")]
    TooLong,
    /// It is not UTF-8.
    #[error("line: must be UTF-8")]
    NotUtf8,
    /// A quoted field goes on behind its closing quote, or has none; or a field with a quote is not quoted.
    #[error(
        "line: a quoted field must end at its closing quote, and a field that holds a quote must be quoted, with \
         that quote doubled"
    )]
    Quotes,
    /// It has too few or too many fields.
    #[error("line: must have {expected} fields, not {found}")]
    FieldCount {
        /// The number that it must have.
        expected: usize,
        /// The number that it has.
        found: usize,
    },
    /// A field is invalid.
    #[error(transparent)]
    Bet(#[from] InvalidBet),
    /// Its fields are quoted otherwise than `bets.csv` quotes them.
    #[error("line: must have quotes only where they are needed")]
    OtherQuotes,
}

impl InvalidRow {
    /// Returns whether its agency is none of the lottery.
    pub(crate) fn is_agency(&self) -> bool {
        matches!(self, InvalidRow::Bet(InvalidBet { field: "agency", .. }))
    }
}
