//! The start: checks the files against each other and against the journal, and then repairs the traces of a crash.
//!
//! Checks everything before it changes anything.

use super::count::Stored;
use super::disk::{self, Disk, DiskFile, Mode};
use super::error::{OpenError, at};
use super::files::{Files, Paths};
use super::journal::{Confirmed, Extent, Held, Journal, Slot};
use super::result::DrawResult;
use super::{Repair, Settings};
use crate::bet::PerAgency;
use crate::stop::Stop;
use std::io;
use std::sync::Arc;

/// An open ledger whose `bets.csv` holds all that is confirmed, and nothing else.
pub(super) struct Opened<D: Disk> {
    pub(super) disk: D,
    pub(super) paths: Paths,
    pub(super) bets: Arc<D::File>,
    pub(super) journal: Journal<D::File>,
    pub(super) extent: Extent,
    pub(super) stored: PerAgency<Stored>,
    pub(super) result: Option<DrawResult>,
    pub(super) repair: Repair,
}

/// Opens the ledger. Creates the files of a new lottery.
pub(super) fn open<D: Disk>(
    disk: D,
    settings: &Settings,
    stop: &Stop,
) -> Result<Opened<D>, OpenError> {
    let files = Files::lock(&disk, settings, Mode::Write, stop)?;
    let confirmed = files.confirmed()?;
    if files.are_half_aside(&confirmed) {
        return Err(OpenError::HalfAside(files.paths.result));
    }
    files.check_agencies(&confirmed)?;
    let stored = files.check_bets(&confirmed)?;
    let result = check_result(&files, &confirmed, &stored)?;
    let Files { paths, bets, journal, result: text, .. } = files;
    if result.is_none() {
        at(&paths.result, disk::try_replace(&disk, &paths.result))?;
    }

    // Nothing was changed so far.
    let extent = confirmed.extent();
    let held = result.as_ref().zip(text.as_deref());
    let slot = Slot {
        epoch: confirmed.slot.epoch,
        extent,
        agencies: settings.agencies.count(),
        stopped: false,
        held: held.map(|(result, text)| Held::on(result.winning_number, text)),
        aside: 0,
    };
    let adopted = journal.is_none() && bets.is_some() && extent.bytes > 0;
    let (bets, repair) = at(&paths.bets, repair(&disk, &paths, bets, &confirmed))?;
    let journal = match journal {
        None => Journal::create(&disk, &paths.journal, slot),
        Some(file) => Journal::resume(file, slot, confirmed.has_empty_log()),
    };
    let journal = at(&paths.journal, journal)?;
    let (bets, repair) = (Arc::new(bets), Repair { adopted, ..repair });
    Ok(Opened { disk, paths, bets, journal, extent, stored, result, repair })
}

/// Checks that `sorteo.toml` matches the confirmed bets, if it exists, and that it exists if the draw was held.
fn check_result<F: DiskFile>(
    files: &Files<'_, F>,
    confirmed: &Confirmed,
    stored: &PerAgency<Stored>,
) -> Result<Option<DrawResult>, OpenError> {
    let (result, mut differences) = files.compare_result(confirmed, stored)?;
    // After a crash or a copy between the draw and its record, only the hash can show a difference.
    if let Some(result) = &result
        && differences.is_empty()
        && confirmed.slot.held.is_none()
    {
        differences.extend(files.hash_difference(result, confirmed)?);
    }
    match differences.into_iter().next() {
        None => Ok(result),
        Some(what) => {
            let (path, journal) = (files.paths.result.clone(), files.paths.journal.display());
            let way_out = format!(
                "restore the file, or move it and {journal} away to hold the draw again over the bets that are there"
            );
            Err(OpenError::NotConfirmed { path, what, way_out })
        }
    }
}

/// Makes `bets.csv` what is confirmed, durably.
fn repair<D: Disk>(
    disk: &D,
    paths: &Paths,
    bets: Option<D::File>,
    confirmed: &Confirmed,
) -> io::Result<(D::File, Repair)> {
    let bets = match bets {
        Some(bets) => bets,
        None => disk::create_locked(disk, &paths.bets)?,
    };
    let (length, end) = (bets.length()?, confirmed.extent().bytes);
    if !confirmed.rows.is_empty() {
        bets.write_at(&confirmed.rows, confirmed.base.bytes)?;
    }
    if length > end {
        bets.truncate(end)?;
    }
    bets.sync()?;
    disk.sync_directory_of(&paths.bets)?;
    let repair = Repair {
        adopted: false,
        cut_bytes: length.saturating_sub(end),
        written_bytes: end.saturating_sub(length),
    };
    Ok((bets, repair))
}
