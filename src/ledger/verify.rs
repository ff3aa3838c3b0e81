//! Checks the files of a server that is not running. Changes and repairs nothing.

use super::disk::{Disk, FileSystem, Mode};
use super::error::{OpenError, at};
use super::examine::Examined;
use super::files::{Files, Paths};
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
    files.check_slot(&confirmed)?;
    let mut examined = Examined::new(&files, &confirmed)?;
    examined.compare_hash(&files, &confirmed)?;
    if examined.differences.is_empty() {
        let Repair { cut_bytes, written_bytes, .. } = examined.repair;
        if written_bytes > 0 {
            let what = "are missing or changed: the next start writes them from the journal";
            differs(bets, format!("the last {written_bytes} confirmed bytes {what}"));
        }
        if cut_bytes > 0 {
            let last = if files.journal.is_some() { "confirmed byte" } else { "line end" };
            let what = format!("behind its last {last}: the next start cuts them off");
            differs(bets, format!("has {cut_bytes} bytes {what}"));
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
