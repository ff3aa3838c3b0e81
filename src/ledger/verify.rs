//! Checks the files of a server that is not running. Changes and repairs nothing.

use super::disk::{Disk, DiskFile, FileSystem, Mode};
use super::journal::{Confirmed, Held};
use super::open::{Files, OpenError, Paths, check_agencies, io_error};
use super::result::DrawResult;
use super::{Settings, disk};
use crate::stop::Stop;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The content of the files, and their errors.
#[derive(Debug)]
pub struct Verified {
    /// The number of stored bets.
    pub bets: u64,
    /// The result of the draw, if it was held.
    pub result: Option<DrawResult>,
    /// The errors. If there are none, the files are what was confirmed.
    pub differences: Vec<Difference>,
}

/// An error in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The file.
    pub path: PathBuf,
    /// The error, in words.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path.display(), self.what)
    }
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
    let paths = Paths::of(disk, settings)?;
    let files = Files::lock(disk, &paths, Mode::Read)?;
    if files.bets.is_none() && files.journal.is_none() {
        return Err(io_error(&paths.bets, io::ErrorKind::NotFound.into()));
    }
    let mut verification = Verification { files, paths, settings, stop, differences: Vec::new() };
    let (bets, result) = verification.run()?;
    Ok(Verified { bets, result, differences: verification.differences })
}

struct Verification<'v, F> {
    files: Files<F>,
    paths: Paths,
    settings: &'v Settings,
    stop: &'v Stop,
    differences: Vec<Difference>,
}

impl<F: DiskFile> Verification<'_, F> {
    fn run(&mut self) -> Result<(u64, Option<DrawResult>), OpenError> {
        let agencies = self.settings.agencies;
        let confirmed = self.journal()?;
        if let Some(confirmed) = &confirmed {
            check_agencies(confirmed, agencies)?;
        }
        let checked = match self.files.check_lines(&self.paths, agencies, self.stop) {
            Ok(checked) => checked,
            Err(OpenError::InvalidLine { line, .. }) => {
                self.bets_differ(format!("line {line}"));
                self.result(None)?;
                return Ok((0, None));
            }
            Err(error) => return Err(error),
        };
        if checked.torn_bytes > 0 && confirmed.is_none() {
            let bytes = checked.torn_bytes;
            self.bets_differ(format!("has {bytes} bytes behind its last line, without an end"));
        }
        let there = Confirmed::adopted(checked.extent, agencies);
        let Some(confirmed) = confirmed else {
            return Ok((checked.lines, self.result(Some(&there))?));
        };
        let stored = match self.files.check_bets(&self.paths, &confirmed, agencies, self.stop) {
            Ok(stored) => stored,
            Err(OpenError::NotConfirmed { what, .. }) => {
                self.bets_differ(what);
                self.result(Some(&Confirmed { slot: confirmed.slot, ..there }))?;
                return Ok((checked.lines, None));
            }
            Err(error) => return Err(error),
        };
        let (length, end) = (self.files.bets_bytes(&self.paths)?, confirmed.extent().bytes);
        if !self.has_logged_rows(&confirmed, length)? {
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
        Ok((bets, self.result(Some(&confirmed))?))
    }

    /// Returns whether `bets.csv`, as far as its `length` goes, has the rows of the journal's log in their place.
    fn has_logged_rows(&self, confirmed: &Confirmed, length: u64) -> Result<bool, OpenError> {
        let (rows, base) = (&confirmed.rows, confirmed.base.bytes);
        let there =
            usize::try_from(length - base).map_or(rows.len(), |bytes| bytes.min(rows.len()));
        let Some(bets) = &self.files.bets else { return Ok(true) };
        let found = disk::read(bets, base, there);
        Ok(found.map_err(|error| io_error(&self.paths.bets, error))? == rows[..there])
    }

    /// Returns the content of the journal. Returns `None` if it is missing or damaged.
    fn journal(&mut self) -> Result<Option<Confirmed>, OpenError> {
        let path = self.paths.journal.clone();
        let Some(journal) = &self.files.journal else {
            if self.files.bets_bytes(&self.paths)? > 0 {
                self.differ(&path, "is missing: nothing says what was confirmed".into());
            }
            return Ok(None);
        };
        let bytes = disk::read_all(journal).map_err(|error| io_error(&path, error))?;
        match Confirmed::parse(&bytes) {
            Ok(confirmed) => {
                for page in &confirmed.damaged_pages {
                    self.differ(&path, format!("page {page} is damaged: the next start mends it"));
                }
                Ok(Some(confirmed))
            }
            Err(damage) => {
                self.differ(&path, damage.to_string());
                Ok(None)
            }
        }
    }

    /// Checks the result against the bets, if those are known. Returns `None` if it is missing or cannot be parsed.
    fn result(&mut self, confirmed: Option<&Confirmed>) -> Result<Option<DrawResult>, OpenError> {
        let recorded = confirmed.and_then(|confirmed| confirmed.slot.held);
        let path = self.paths.result.clone();
        let Some(text) = self.files.result.clone() else {
            if recorded.is_some() {
                self.differ(&path, "is missing, and the draw was held".into());
            }
            return Ok(None);
        };
        let result = match DrawResult::parse(&text) {
            Ok(result) => result,
            Err(what) => {
                self.differ(&path, what);
                return Ok(None);
            }
        };
        let winning_number = result.winning_number;
        let held = Held { winning_number, result_crc: crc32fast::hash(&text) };
        if recorded.is_some_and(|recorded| recorded != held) {
            self.differ(&path, "was changed after the draw".into());
        }
        let Some(confirmed) = confirmed else { return Ok(Some(result)) };
        let (files, paths, stop) = (&self.files, &self.paths, self.stop);
        let agencies = self.settings.agencies;
        let (_, count) = files.count(paths, confirmed, agencies, stop)?;
        let bets = count.stored.map(|_, stored| stored.bets);
        let winners = files.winners(paths, confirmed, agencies, winning_number, stop)?;
        let mut differences = result.differences(&text, confirmed.extent(), &bets, &winners);
        if files.sha256(paths, confirmed, stop)? != result.bets_sha256 {
            differences.push("was held over other bets: their SHA-256 differs".into());
        }
        for difference in differences {
            self.differ(&path, difference);
        }
        Ok(Some(result))
    }

    fn bets_differ(&mut self, what: String) {
        let path = self.paths.bets.clone();
        self.differ(&path, what);
    }

    fn differ(&mut self, path: &Path, what: String) {
        self.differences.push(Difference { path: path.to_owned(), what });
    }
}
