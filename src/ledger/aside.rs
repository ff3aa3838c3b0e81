//! Sets the files of a finished draw aside, so that another can begin.

use super::Settings;
use super::disk::{Disk, FileSystem, Mode};
use super::error::{OpenError, at, refused};
use super::files::{Files, Paths};
use super::open::{self, Opened};
use crate::bet::Agencies;
use crate::stop::Stop;
use std::ffi::OsString;
use std::path::Path;

const NOT_FINISHED: &str = "is missing, because the draw is not finished; start without --new-draw to finish it, or move \
                            the files away yourself";

/// Sets the files of a finished draw aside, as `bets.1.csv`, `bets.1.journal` and `sorteo.1.toml` or with the
/// next free number, in the directories that symbolic links lead to. Returns their new paths. If a crash interrupts it,
/// calling it again completes it.
///
/// # Errors
///
/// [`OpenError::Refused`] if there is no finished draw, or if a file has its old name while another one has the new name;
/// the errors of [`Ledger::open`](super::Ledger::open).
pub fn set_aside(settings: &Settings, stop: &Stop) -> Result<Paths, OpenError> {
    set_aside_on(FileSystem, settings, stop)
}

pub(super) fn set_aside_on<D: Disk>(
    disk: D,
    settings: &Settings,
    stop: &Stop,
) -> Result<Paths, OpenError> {
    let files = Files::lock(&disk, settings, Mode::Write, stop)?;
    if files.bets.is_none() && files.journal.is_none() && files.result.is_none() {
        let what = "there is no draw to set aside; start without --new-draw";
        return Err(refused(&files.paths.bets, what));
    }
    let confirmed = files.confirmed()?;
    let slot = confirmed.slot;
    if files.are_half_aside(&confirmed) {
        return finish(&disk, &files.paths, slot.aside);
    }
    if files.result.is_none() && slot.held.is_none() {
        return Err(refused(&files.paths.result, NOT_FINISHED));
    }
    drop(files);

    // The next lottery may have another number of agencies.
    let agencies = Agencies::new(slot.agencies).unwrap_or(settings.agencies);
    let settings = Settings { agencies, ..settings.clone() };
    let (opened, found) = open::open(disk, &settings, stop)?;
    let Opened { disk, paths, bets: _locked, mut journal, extent, .. } = opened;
    if found.result.is_none() {
        // Between the two locks another process has set the draw aside.
        return Err(refused(&paths.result, NOT_FINISHED));
    }
    let aside = free_number(&disk, &paths)?;
    journal.slot.aside = aside;
    at(&paths.journal, journal.close(extent))?;
    finish(&disk, &paths, aside)
}

/// Renames the files that still have their old names. Renames the journal last, because it records that the renaming
/// is not complete.
fn finish(disk: &impl Disk, paths: &Paths, number: u32) -> Result<Paths, OpenError> {
    let names = numbered(paths, number);
    for (from, to) in [
        (&paths.bets, &names.bets),
        (&paths.result, &names.result),
        (&paths.journal, &names.journal),
    ] {
        let (is_here, is_there) = (at(from, disk.exists(from))?, at(to, disk.exists(to))?);
        if is_here && is_there {
            let what = "is there already: move one of the two away, and run --new-draw again";
            return Err(refused(from, format!("{} {what}", to.display())));
        }
        let rename = || {
            if !is_there {
                disk.rename(from, to)?;
            }
            disk.sync_directory_of(to)
        };
        at(from, rename())?;
    }
    Ok(names)
}

/// Returns the lowest number, from 1, that is free for all three files.
fn free_number(disk: &impl Disk, paths: &Paths) -> Result<u32, OpenError> {
    let mut number = 1;
    loop {
        let Paths { bets, journal, result } = numbered(paths, number);
        let mut taken = false;
        for path in [bets, journal, result] {
            taken |= at(&path, disk.exists(&path))?;
        }
        if !taken {
            return Ok(number);
        }
        number += 1;
    }
}

fn numbered(paths: &Paths, number: u32) -> Paths {
    // `bets.csv` and 2 make `bets.2.csv`.
    let name = |path: &Path| {
        let mut extension = OsString::from(number.to_string());
        // An empty extension, and one that is not UTF-8, keep two names apart that differ by nothing else.
        if let Some(last) = path.extension() {
            extension.push(".");
            extension.push(last);
        }
        path.with_extension(extension)
    };
    Paths { bets: name(&paths.bets), journal: name(&paths.journal), result: name(&paths.result) }
}
