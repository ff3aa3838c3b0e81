//! The start: checks the files against each other and against the journal, and then repairs the traces of a crash.
//!
//! Checks everything before it changes anything.

use super::count::Account;
use super::disk::{self, Disk, DiskFile, Mode};
use super::error::{OpenError, at};
use super::examine::Examined;
use super::files::{Files, Paths};
use super::journal::{Confirmed, Extent, Held, Journal, Slot};
use super::{Found, Settings};
use crate::bet::PerAgency;
use crate::stop::Stop;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open ledger whose `bets.csv` holds all that is confirmed, and nothing else.
pub(super) struct Opened<D: Disk> {
    pub(super) disk: D,
    pub(super) paths: Paths,
    /// The path of `bets.csv` in the settings, which may be a symbolic link to it.
    pub(super) bets_name: PathBuf,
    pub(super) bets: Arc<D::File>,
    pub(super) journal: Journal<D::File>,
    pub(super) extent: Extent,
    pub(super) accounts: PerAgency<Account>,
}

/// Opens the ledger, and returns what its files held. Creates the files of a new lottery.
pub(super) fn open<D: Disk>(
    disk: D,
    settings: &Settings,
    stop: &Stop,
) -> Result<(Opened<D>, Found), OpenError> {
    let files = Files::lock(&disk, settings, Mode::Write, stop)?;
    let confirmed = files.confirmed()?;
    files.check_slot(&confirmed)?;
    let mut examined = Examined::new(&files, &confirmed)?;
    // After a crash or a copy between the draw and its record, only the hash can show a difference.
    if confirmed.slot.held.is_none() {
        examined.compare_hash(&files, &confirmed)?;
    }
    let Examined { accounts, result, differences, repair } = examined;
    if let Some((path, what)) = differences.into_iter().next() {
        return Err(files.not_confirmed(path, what));
    }
    let Files { paths, bets, journal, result: text, .. } = files;
    let ready = match &result {
        None => disk::try_replace(&disk, &paths.result),
        Some(_) => make_durable(&disk, &paths.result),
    };
    at(&paths.result, ready)?;
    if journal.is_none() {
        // If both files are missing, the error names `bets.csv`, as the settings do, unless a link leads the journal to
        // another directory.
        let is_beside = paths.journal.parent() == paths.bets.parent();
        let path = if bets.is_none() && is_beside { &paths.bets } else { &paths.journal };
        at(path, disk::try_replace(&disk, &paths.journal))?;
    }
    let Some(bets) = bets else {
        // `bets.csv` was not locked, so another server may have come and gone meanwhile. Everything is checked again with the
        // lock of the new file.
        at(&paths.bets, disk.create(&paths.bets))?;
        drop(journal);
        return open(disk, settings, stop);
    };

    // Nothing was changed so far, but for the creation of an empty `bets.csv`.
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
    let confirm = || at(&paths.bets, write_confirmed(&disk, &paths, &bets, &confirmed));
    let journal = match journal {
        // A torn line is cut off only if there is room for the journal, because the start logs the cut.
        None => Journal::create(&disk, &paths.journal, slot, confirm)?,
        Some(file) => {
            confirm()?;
            at(&paths.journal, Journal::resume(file, slot, confirmed.has_empty_log()))?
        }
    };
    let found = Found { bets: accounts.values().map(|account| account.bets).sum(), result, repair };
    let (bets_name, bets) = (settings.bets.clone(), Arc::new(bets));
    Ok((Opened { disk, paths, bets_name, bets, journal, extent, accounts }, found))
}

/// Makes the draw's result durable, before the journal records that it is there: a crash may have come before its
/// directory was synced, and an operator may have copied it.
fn make_durable(disk: &impl Disk, result: &Path) -> io::Result<()> {
    if let Some(file) = disk.open(result, Mode::Read)? {
        file.sync()?;
    }
    disk.sync_directory_of(result)
}

/// Makes `bets.csv` what is confirmed, durably.
fn write_confirmed<D: Disk>(
    disk: &D,
    paths: &Paths,
    bets: &D::File,
    confirmed: &Confirmed,
) -> io::Result<()> {
    if !confirmed.rows.is_empty() {
        bets.write_at(&confirmed.rows, confirmed.base.bytes)?;
    }
    // Even if it has this length: after a failed sync the disk may have another one than the system shows.
    bets.truncate(confirmed.extent().bytes)?;
    bets.sync()?;
    disk.sync_directory_of(&paths.bets)
}
