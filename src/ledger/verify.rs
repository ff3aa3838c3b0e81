//! Checks the files of a server that is not running. Changes and repairs nothing.

use super::disk::{Disk, DiskFile, FileSystem, Mode};
use super::error::{OpenError, at};
use super::examine::Examined;
use super::files::{Files, Paths};
use super::journal::Confirmed;
use super::result::DrawResult;
use super::{Repair, Settings};
use crate::stop::Stop;
use crate::text::{LogValue, noun_for};
use std::io;
use std::path::{Path, PathBuf};

/// The lines of a check, in words after the path of a file: at least one for each file.
#[derive(Debug)]
pub struct Verified {
    /// The content of each file without differences, and that of the draw's result even if it has some.
    pub contents: Vec<String>,
    /// The differences. If there are none, the files are what was confirmed.
    pub differences: Vec<String>,
}

/// Reads the files and compares them with each other. Takes the winning number from the result, not from `settings`.
///
/// # Errors
///
/// There is no file, one cannot be read, a server is using them, two have one path, the bets are of a lottery with another
/// number of agencies, setting the files aside was interrupted, or `stop` came.
pub fn verify(settings: &Settings, stop: &Stop) -> Result<Verified, OpenError> {
    verify_on(&FileSystem, settings, stop)
}

pub(super) fn verify_on(
    disk: &impl Disk,
    settings: &Settings,
    stop: &Stop,
) -> Result<Verified, OpenError> {
    let files = Files::lock(disk, settings, Mode::Read, stop)?;
    let Paths { bets, journal, result } = &files.paths;
    let draw = files.result.as_deref().map(DrawResult::parse);
    if files.bets.is_none() && files.journal.is_none() && draw.is_none() {
        let why = "no such file, and no journal beside it";
        return at(bets, Err(io::Error::new(io::ErrorKind::NotFound, why)));
    }
    let mut differences = Differences::default();
    if files.journal.is_none() && (files.bets.is_none() || files.bets_bytes()? > 0) {
        differences.push(journal, "is missing: nothing says what was confirmed".into());
    }
    let by_journal = differences.note(files.journal_confirms())?.flatten();
    for page in by_journal.iter().flat_map(|confirmed| &confirmed.damaged_pages) {
        differences.push(journal, format!("page {page} is damaged: the next start repairs it"));
    }
    if files.bets.is_none() && by_journal.is_none() {
        differences.push(bets, "is missing, and no journal says what was confirmed".into());
    }
    // The checksum of a journal stands for a check of the lines.
    let by_lines = match by_journal {
        Some(_) => None,
        None => differences.note(files.lines_confirm())?,
    };
    let mut count = 0;
    if let Some(confirmed) = by_journal.as_ref().or(by_lines.as_ref()) {
        count = differences.examine(&files, confirmed)?;
    } else if let Some(draw) = &draw {
        let invalid = draw.as_ref().err().cloned();
        differences.push(result, invalid.unwrap_or("cannot be compared with the bets".into()));
    }

    let is_held = matches!(draw, Some(Ok(_)));
    let of_result = match draw {
        Some(Ok(draw)) => {
            let (number, winners) = (draw.winning_number, draw.winners_of_all());
            let noun = noun_for(winners, "winner");
            format!("held at {} on {number}, {winners} {noun}", draw.held_at)
        }
        _ if by_journal.is_none() && !differences.0.is_empty() => {
            "not there, and no journal says whether the draw was held".into()
        }
        _ => "not there, the draw was not held".into(),
    };
    let of_journal = match by_journal {
        Some(confirmed) => format!("confirms {} bytes of bets", confirmed.extent().bytes),
        None => "not there, no bets are stored".into(),
    };
    let of_bets = match files.bets {
        Some(_) => format!("{count} {}, all valid", noun_for(count, "bet")),
        None => "not there, no bets are confirmed".into(),
    };
    let contents = [(result, of_result), (journal, of_journal), (bets, of_bets)].into_iter();
    let contents =
        contents.filter(|(path, _)| !differences.are_of(path) || (*path == result && is_held));
    Ok(Verified {
        contents: contents.map(|(path, what)| line(path, &what)).collect(),
        differences: differences.0.iter().map(|(path, what)| line(path, what)).collect(),
    })
}

fn line(path: &Path, what: &str) -> String {
    format!("{}: {what}", LogValue(path.display()))
}

/// The paths of files, and how each differs.
#[derive(Default)]
struct Differences(Vec<(PathBuf, String)>);

impl Differences {
    fn push(&mut self, path: &Path, what: String) {
        self.0.push((path.to_owned(), what));
    }

    fn are_of(&self, path: &Path) -> bool {
        self.0.iter().any(|(other, _)| other == path)
    }

    /// Notes the error of a file that was read. Returns `None` then. Fails for any other error.
    fn note<T>(&mut self, checked: Result<T, OpenError>) -> Result<Option<T>, OpenError> {
        match checked {
            Ok(checked) => return Ok(Some(checked)),
            Err(OpenError::NotConfirmed { path, what, .. }) => self.push(&path, what),
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Notes the differences between the files and what is confirmed. Returns the number of stored bets.
    fn examine(
        &mut self,
        files: &Files<'_, impl DiskFile>,
        confirmed: &Confirmed,
    ) -> Result<u64, OpenError> {
        files.check_slot(confirmed)?;
        let mut examined = Examined::new(files, confirmed)?;
        examined.compare_hash(files, confirmed)?;
        for (path, what) in examined.differences {
            self.push(path, what);
        }
        let (bets, Repair { cut_bytes, written_bytes, .. }) = (&files.paths.bets, examined.repair);
        if !self.are_of(bets) {
            if written_bytes > 0 {
                let what = "are missing or changed: the next start writes them from the journal";
                self.push(bets, format!("the last {written_bytes} confirmed bytes {what}"));
            }
            if cut_bytes > 0 {
                let last = if confirmed.slot.epoch > 0 { "confirmed byte" } else { "line end" };
                let what = format!("behind its last {last}: the next start cuts them off");
                self.push(bets, format!("has {cut_bytes} bytes {what}"));
            }
        }
        Ok(examined.accounts.values().map(|account| account.bets).sum())
    }
}
