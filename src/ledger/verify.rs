//! Checks the files of a server that is not running. Changes and repairs nothing.

use super::disk::{Disk, DiskFile, FileSystem, Mode};
use super::error::{OpenError, at};
use super::examine::Examined;
use super::files::{Files, Paths};
use super::journal::Confirmed;
use super::result::DrawResult;
use super::{Repair, Settings};
use crate::stop::Stop;
use crate::text::LogValue;
use std::io;
use std::path::Path;

/// The content of the files, and their errors.
#[derive(Debug)]
pub struct Verified {
    /// The number of stored bets.
    pub bets: u64,
    /// The result of the draw, if it was held.
    pub result: Option<DrawResult>,
    /// The errors, each in words after the path of its file. If there are none, the files are what was confirmed.
    pub differences: Vec<String>,
}

/// Reads the files and compares them with each other. Takes the winning number from the result, not from `settings`.
///
/// # Errors
///
/// A file cannot be read, the bets are of a lottery with another number of agencies, setting the files aside was
/// interrupted, or `stop` came.
pub fn verify(settings: &Settings, stop: &Stop) -> Result<Verified, OpenError> {
    verify_on(&FileSystem, settings, stop)
}

pub(super) fn verify_on(
    disk: &impl Disk,
    settings: &Settings,
    stop: &Stop,
) -> Result<Verified, OpenError> {
    let files = Files::lock(disk, settings, Mode::Read, stop)?;
    if files.bets.is_none() && files.journal.is_none() {
        let why = "no such file, and no journal beside it";
        return at(&files.paths.bets, Err(io::Error::new(io::ErrorKind::NotFound, why)));
    }
    let mut differences = Vec::new();
    let mut differs =
        |path: &Path, what| differences.push(format!("{}: {what}", LogValue(path.display())));
    let Paths { bets, journal, result } = &files.paths;
    if files.journal.is_none() && files.bets_bytes()? > 0 {
        differs(journal, "is missing: nothing says what was confirmed".into());
    }
    let by_journal = noted(files.journal_confirms(), &mut differs)?.flatten();
    if let Some(confirmed) = &by_journal {
        if files.are_half_aside(confirmed) {
            return Err(OpenError::HalfAside(result.clone()));
        }
        files.check_agencies(confirmed)?;
        for page in &confirmed.damaged_pages {
            differs(journal, format!("page {page} is damaged: the next start mends it"));
        }
    }
    let by_lines = noted(files.lines_confirm(), &mut differs)?;
    let Some(confirmed) = by_journal.or(by_lines) else {
        if let Some(Err(what)) = files.result.as_deref().map(DrawResult::parse) {
            differs(result, what);
        }
        return Ok(Verified { bets: 0, result: None, differences });
    };
    let mut examined = Examined::new(&files, &confirmed)?;
    examined.compare_hash(&files, &confirmed)?;
    if examined.differences.is_empty() {
        for what in defects_to_repair(&files, &confirmed, examined.repair)? {
            differs(bets, what);
        }
    }
    for (path, what) in examined.differences {
        differs(path, what);
    }
    let bets = examined.stored.values().map(|stored| stored.bets).sum();
    Ok(Verified { bets, result: examined.result, differences })
}

/// Notes the error of a file that was read. Returns `None` then. Fails for any other error.
fn noted<T>(
    checked: Result<T, OpenError>,
    differs: &mut impl FnMut(&Path, String),
) -> Result<Option<T>, OpenError> {
    match checked {
        Ok(checked) => return Ok(Some(checked)),
        Err(OpenError::NotConfirmed { path, what, .. }) => differs(&path, what),
        Err(OpenError::InvalidLine { path, number, row }) => {
            differs(&path, format!("line {number}: {row}"));
        }
        Err(error) => return Err(error),
    }
    Ok(None)
}

/// Returns the defects of `bets.csv` that the next start repairs.
fn defects_to_repair(
    files: &Files<'_, impl DiskFile>,
    confirmed: &Confirmed,
    repair: Repair,
) -> Result<Vec<String>, OpenError> {
    let mut defects = Vec::new();
    let Repair { cut_bytes, written_bytes, .. } = repair;
    let end = confirmed.extent().bytes;
    let missing = end.saturating_sub(files.bets_bytes()?);
    if written_bytes > missing {
        let first = end - written_bytes;
        defects.push(format!(
            "its bytes from {first} on are not those that were confirmed: the next start writes them from the journal"
        ));
    }
    if missing > 0 {
        defects.push(format!("lacks {missing} bytes that the next start adds from the journal"));
    }
    if cut_bytes > 0 {
        let what = match files.journal {
            Some(_) => "that were not confirmed",
            None => "behind its last line, without an end",
        };
        defects.push(format!("has {cut_bytes} bytes {what}: the next start cuts them off"));
    }
    Ok(defects)
}
