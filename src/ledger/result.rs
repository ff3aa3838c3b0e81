//! The result of the draw, as a value and as `sorteo.toml`.

use crate::bet::{AgencyId, NUMBER_MAX, is_document};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use toml::value::Datetime;

/// A draw that was held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawResult {
    /// The number that won.
    pub winning_number: u16,
    /// When it was held, in UTC.
    pub held_at: Datetime,
    /// Every agency that took part, in their order.
    #[serde(default, rename = "agency")]
    pub agencies: Vec<AgencyResult>,
}

/// What the draw was for one agency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgencyResult {
    /// Its number.
    pub id: u16,
    /// How many bets it had.
    pub bets: u64,
    /// The documents of its winners, in the order in which their bets were stored.
    pub winners: Vec<String>,
}

impl DrawResult {
    /// The documents of the winners of `agency`; none where it took no part.
    pub fn winners(&self, agency: AgencyId) -> &[String] {
        let result = self.agencies.iter().find(|result| result.id == agency.get());
        result.map_or(&[], |result| &result.winners)
    }

    /// What stands in `sorteo.toml`.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("numbers, dates and digits can be written as TOML")
    }

    /// What stands in the file at `path`; `None` where there is no such file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not what this program writes.
    pub fn load(path: &Path) -> Result<Option<DrawResult>, InvalidResult> {
        let invalid = |reason: String| InvalidResult { path: path.to_owned(), reason };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(invalid(error.to_string())),
        };
        let result: DrawResult = toml::from_str(&text)
            .map_err(|error: toml::de::Error| invalid(error.message().to_owned()))?;
        result.check().map_err(invalid)?;
        Ok(Some(result))
    }

    fn check(&self) -> Result<(), String> {
        if self.winning_number > NUMBER_MAX {
            return Err(format!("winning_number: must be 0 to {NUMBER_MAX}"));
        }
        for (place, agency) in (1..).zip(&self.agencies) {
            if agency.id != place {
                return Err(format!("agency: number {} stands in place {place}", agency.id));
            }
            if let Some(other) = agency.winners.iter().find(|winner| !is_document(winner)) {
                return Err(format!("agency {place}: winners: no document is \"{other}\""));
            }
        }
        Ok(())
    }
}

/// A result that is there and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidResult {
    path: PathBuf,
    reason: String,
}

impl fmt::Display for InvalidResult {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for InvalidResult {}
