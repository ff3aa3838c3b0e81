//! Checking what a server left behind, without one: nothing is changed or repaired.

use super::recovery::{self, InvalidLine};
use super::result::{AgencyResult, DrawResult};
use super::{OpenError, Settings, winners};
use crate::stop::Stop;
use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// What was found in the files.
#[derive(Debug)]
pub struct Verified {
    /// How many bets are stored.
    pub bets: u64,
    /// The result of the draw, where it was held.
    pub result: Option<DrawResult>,
    /// All that is not as it has to be; the files agree where there is nothing.
    pub differences: Vec<Difference>,
}

/// Something in the files that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A line of `bets.csv` is no bet of the lottery. Nothing behind it was read.
    InvalidLine(InvalidLine),
    /// The last line was never completed, and has so many bytes.
    Torn(u64),
    /// The result names more or fewer agencies than the lottery has.
    Agencies {
        /// How many the result has.
        result: usize,
        /// How many the lottery has.
        lottery: usize,
    },
    /// The result counts other bets of an agency than are stored.
    Bets {
        /// The agency.
        agency: u16,
        /// How many the result says.
        result: u64,
        /// How many are stored.
        stored: u64,
    },
    /// The result has other winners of an agency than the bets.
    Winners {
        /// The agency.
        agency: u16,
        /// Those that the result has.
        result: Vec<String>,
        /// Those that the bets make.
        stored: Vec<String>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::InvalidLine(line) => write!(formatter, "line {line}"),
            Difference::Torn(bytes) => write!(
                formatter,
                "the last line was never completed: {bytes} bytes that the next start cuts off"
            ),
            Difference::Agencies { result, lottery } => write!(
                formatter,
                "the result has {result} agencies, and the lottery {lottery}: see lottery.agencies"
            ),
            Difference::Bets { agency, result, stored } => write!(
                formatter,
                "agency {agency}: the result counts {result} bets, and {stored} are stored"
            ),
            Difference::Winners { agency, result, stored } => write!(
                formatter,
                "agency {agency}: the result has the winners {}, and the bets make {}",
                list(result),
                list(stored)
            ),
        }
    }
}

fn list(documents: &[String]) -> String {
    if documents.is_empty() { "none".into() } else { documents.join(" ") }
}

/// Reads `bets.csv` and the draw's result and says whether they agree. The winning number is the one of
/// the result, where there is one.
///
/// # Errors
///
/// A file cannot be read, or `stop` was closed.
pub fn verify(settings: &Settings, stop: &Stop) -> Result<Verified, OpenError> {
    let result = DrawResult::load(&settings.result)?;
    let mut verified = Verified { bets: 0, result, differences: Vec::new() };
    let open = || read(&settings.bets);
    let recovered = match recovery::check(open()?, settings.agencies, stop) {
        Ok(recovered) => recovered,
        Err(recovery::CheckFailed::Invalid(line)) => {
            verified.differences.push(Difference::InvalidLine(line));
            return Ok(verified);
        }
        Err(failed) => return Err(OpenError::checking(&settings.bets, failed)),
    };
    verified.bets = recovered.accounts.iter().map(|account| account.bets).sum();
    if recovered.torn_bytes > 0 {
        verified.differences.push(Difference::Torn(recovered.torn_bytes));
    }
    let Some(result) = &verified.result else { return Ok(verified) };
    let lottery = usize::from(settings.agencies.count());
    if result.agencies.len() != lottery {
        let result = result.agencies.len();
        verified.differences.push(Difference::Agencies { result, lottery });
    }
    let winners = winners::find(open()?, settings.agencies, result.winning_number, stop)
        .map_err(|error| OpenError::Io { path: settings.bets.clone(), error })?
        .ok_or(OpenError::Interrupted)?;
    for ((told, account), winners) in result.agencies.iter().zip(&recovered.accounts).zip(winners) {
        verified.differences.extend(compare(told, account.bets, winners));
    }
    Ok(verified)
}

/// What the result tells of an agency and its bets do not.
fn compare(told: &AgencyResult, bets: u64, winners: Vec<String>) -> Vec<Difference> {
    let mut differences = Vec::new();
    if told.bets != bets {
        let (agency, result, stored) = (told.id, told.bets, bets);
        differences.push(Difference::Bets { agency, result, stored });
    }
    if told.winners != winners {
        let (agency, result, stored) = (told.id, told.winners.clone(), winners);
        differences.push(Difference::Winners { agency, result, stored });
    }
    differences
}

fn read(path: &Path) -> Result<File, OpenError> {
    let failed = |error: io::Error| OpenError::Io { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("not a regular file")));
    }
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
