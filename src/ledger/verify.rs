//! Checks the files of a server that is not running. Changes and repairs nothing.

use super::Settings;
use super::disk::{Disk, DiskFile, FileSystem, Mode};
use super::error::{OpenError, at};
use super::files::Files;
use super::journal::Confirmed;
use super::result::DrawResult;
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
/// A file cannot be read, the bets are of a lottery with another number of agencies, or `stop` came.
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
    let mut verification = Verification { files: &files, differences: Vec::new() };
    let (bets, result) = verification.run()?;
    Ok(Verified { bets, result, differences: verification.differences })
}

struct Verification<'v, F> {
    files: &'v Files<'v, F>,
    differences: Vec<String>,
}

impl<F: DiskFile> Verification<'_, F> {
    fn run(&mut self) -> Result<(u64, Option<DrawResult>), OpenError> {
        let files = self.files;
        let confirmed = self.journal()?;
        if let Some(confirmed) = &confirmed {
            files.check_agencies(confirmed)?;
        }
        let Some(checked) = self.noted(files.check_lines())? else {
            if let Some(Err(what)) = files.result.as_deref().map(DrawResult::parse) {
                self.differ(&files.paths.result, what);
            }
            return Ok((0, None));
        };
        let there = Confirmed::adopted(checked.extent, files.agencies);
        let Some(confirmed) = confirmed else {
            if checked.torn_bytes > 0 {
                let bytes = checked.torn_bytes;
                self.bets_differ(format!("has {bytes} bytes behind its last line, without an end"));
            }
            return Ok((checked.lines, self.result(&there)?));
        };
        let Some(stored) = self.noted(files.check_bets(&confirmed))? else {
            return Ok((checked.lines, self.result(&Confirmed { slot: confirmed.slot, ..there })?));
        };
        let (length, end) = (files.bets_bytes()?, confirmed.extent().bytes);
        if !files.has_logged_rows(&confirmed)? {
            let base = confirmed.base.bytes;
            self.bets_differ(format!(
                "its bytes from {base} on are not those that were confirmed: the next start writes them from the \
                 journal"
            ));
        }
        if length < end {
            let bytes = end - length;
            self.bets_differ(format!(
                "lacks {bytes} bytes that the next start adds from the journal"
            ));
        }
        if length > end {
            let bytes = length - end;
            self.bets_differ(format!(
                "has {bytes} bytes that were not confirmed: the next start cuts them off"
            ));
        }
        let bets = stored.values().map(|stored| stored.bets).sum();
        Ok((bets, self.result(&confirmed)?))
    }

    /// Returns the content of the journal. Returns `None` if it is missing or damaged.
    fn journal(&mut self) -> Result<Option<Confirmed>, OpenError> {
        let (files, path) = (self.files, &self.files.paths.journal);
        if files.journal.is_none() {
            if files.bets_bytes()? > 0 {
                self.differ(path, "is missing: nothing says what was confirmed".into());
            }
            return Ok(None);
        }
        let confirmed = self.noted(files.confirmed())?;
        for page in confirmed.iter().flat_map(|confirmed| &confirmed.damaged_pages) {
            self.differ(path, format!("page {page} is damaged: the next start mends it"));
        }
        Ok(confirmed)
    }

    /// Checks the result against all that is confirmed. Returns `None` if it is missing or cannot be parsed.
    fn result(&mut self, confirmed: &Confirmed) -> Result<Option<DrawResult>, OpenError> {
        let files = self.files;
        let (_, count) = files.count(confirmed)?;
        let (result, mut differences) = files.compare_result(confirmed, &count.stored)?;
        if let Some(result) = &result {
            differences.extend(files.hash_difference(result, confirmed)?);
        }
        for difference in differences {
            self.differ(&files.paths.result, difference);
        }
        Ok(result)
    }

    /// Notes the error of a file that was read. Returns `None` then. Fails for any other error.
    fn noted<T>(&mut self, checked: Result<T, OpenError>) -> Result<Option<T>, OpenError> {
        match checked {
            Ok(checked) => return Ok(Some(checked)),
            Err(OpenError::NotConfirmed { path, what, .. }) => self.differ(&path, what),
            Err(OpenError::InvalidLine { path, number, row }) => {
                self.differ(&path, format!("line {number}: {row}"));
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    fn bets_differ(&mut self, what: String) {
        self.differ(&self.files.paths.bets, what);
    }

    fn differ(&mut self, path: &Path, what: String) {
        self.differences.push(format!("{}: {what}", LogValue(path.display())));
    }
}
