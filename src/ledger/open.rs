//! Opens the files: locks them, reads what is confirmed, refuses files that differ from it, and repairs the traces
//! of a crash.
//!
//! Checks everything before it changes anything.

use super::adopt::{self, CheckFailed, Checked, InvalidLine};
use super::count::{Count, Stored};
use super::disk::{self, Disk, DiskFile, Mode};
use super::hash;
use super::journal::{Confirmed, Extent, Held, Journal, Slot};
use super::pass::{self, Lines, PassFailed};
use super::result::DrawResult;
use super::winners::{Documents, Winners};
use super::{JOURNAL_EXTENSION, Repair, Settings};
use crate::bet::{Agencies, PerAgency};
use crate::stop::Stop;
use std::io;
use std::path::{Path, PathBuf};
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
    let paths = Paths::of(&disk, settings)?;
    let files = Files::lock(&disk, &paths, Mode::Write)?;
    let confirmed = files.confirmed(&paths, settings.agencies, stop)?;
    let slot = confirmed.slot;
    if slot.aside != 0 && (files.bets.is_none() || files.result.is_none()) {
        return Err(OpenError::HalfAside { result: paths.result });
    }
    check_agencies(&confirmed, settings.agencies)?;
    let stored = files.check_bets(&paths, &confirmed, settings.agencies, stop)?;
    let bets = stored.clone().map(|_, stored| stored.bets);
    let result = files.check_result(&paths, &confirmed, &bets, stop)?;
    if result.is_none() {
        disk::try_replace(&disk, &paths.result).map_err(|error| io_error(&paths.result, error))?;
    }

    // Nothing was changed so far.
    let extent = confirmed.extent();
    let slot = Slot {
        epoch: slot.epoch,
        extent,
        agencies: settings.agencies.count(),
        stopped: false,
        held: result.as_ref().map(|(_, held)| *held),
        aside: 0,
    };
    let adopted = files.journal.is_none() && files.bets.is_some() && extent.bytes > 0;
    let (bets, repair) = repair(&disk, &paths, files.bets, &confirmed)
        .map_err(|error| io_error(&paths.bets, error))?;
    let journal = match files.journal {
        None => Journal::create(&disk, &paths.journal, slot),
        Some(file) => {
            let mut journal = Journal::resume(file, slot, confirmed.has_empty_log());
            journal.checkpoint(slot).map(|()| journal)
        }
    };
    let journal = journal.map_err(|error| io_error(&paths.journal, error))?;
    Ok(Opened {
        disk,
        paths,
        bets: Arc::new(bets),
        journal,
        extent,
        stored,
        result: result.map(|(result, _)| result),
        repair: Repair { adopted, ..repair },
    })
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
        None => {
            let bets = disk.create(&paths.bets)?;
            if !bets.try_lock(Mode::Write)? {
                return Err(io::Error::other("another server is using it"));
            }
            bets
        }
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

/// The paths of the files, with symbolic links followed.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) bets: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) result: PathBuf,
}

impl Paths {
    pub(super) fn of(disk: &impl Disk, settings: &Settings) -> Result<Paths, OpenError> {
        let follow =
            |path: &Path| disk::follow_links(disk, path).map_err(|error| io_error(path, error));
        let bets = follow(&settings.bets)?;
        let journal = bets.with_extension(JOURNAL_EXTENSION);
        let result = follow(&settings.result)?;
        for (one, other) in [(&journal, &bets), (&journal, &result), (&bets, &result)] {
            if names_one_file(one, other) {
                return Err(OpenError::SamePath { path: one.clone() });
            }
        }
        Ok(Paths { bets, journal, result })
    }

    /// Returns the error of a `bets.csv` or a journal that differs from what was confirmed.
    fn bets_not_confirmed(&self, path: &Path, what: String) -> OpenError {
        OpenError::NotConfirmed { path: path.to_owned(), what, journal: self.journal.clone() }
    }

    /// Returns the error of an invalid `sorteo.toml`.
    fn bad_result(&self, what: String) -> OpenError {
        let (path, journal) = (self.result.clone(), self.journal.clone());
        OpenError::BadResult { path, what, journal }
    }

    fn pass_failed(&self, failed: PassFailed) -> OpenError {
        match failed {
            PassFailed::Io(error) => io_error(&self.bets, error),
            PassFailed::Interrupted => OpenError::Interrupted,
        }
    }
}

/// Returns whether two paths are the same in spite of `./` or a missing directory. Does not know that two directories
/// are one.
fn names_one_file(one: &Path, other: &Path) -> bool {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute(one) == absolute(other)
}

/// The files that exist, locked.
pub(super) struct Files<F> {
    pub(super) bets: Option<F>,
    pub(super) journal: Option<F>,
    /// The bytes of `sorteo.toml`.
    pub(super) result: Option<Vec<u8>>,
}

impl<F: DiskFile> Files<F> {
    pub(super) fn lock<D: Disk<File = F>>(
        disk: &D,
        paths: &Paths,
        mode: Mode,
    ) -> Result<Files<F>, OpenError> {
        let bets = lock(disk, &paths.bets, mode)?;
        let journal = lock(disk, &paths.journal, mode)?;
        let result = disk.open(&paths.result, Mode::Read);
        let result = result.and_then(|file| file.map(|file| disk::read_all(&file)).transpose());
        let result = result.map_err(|error| io_error(&paths.result, error))?;
        Ok(Files { bets, journal, result })
    }

    /// Returns what the journal confirms. Without a journal, all complete lines of `bets.csv` are confirmed.
    pub(super) fn confirmed(
        &self,
        paths: &Paths,
        agencies: Agencies,
        stop: &Stop,
    ) -> Result<Confirmed, OpenError> {
        match &self.journal {
            Some(journal) => {
                let bytes =
                    disk::read_all(journal).map_err(|error| io_error(&paths.journal, error))?;
                Confirmed::parse(&bytes)
                    .map_err(|damage| paths.bets_not_confirmed(&paths.journal, damage.to_string()))
            }
            None => {
                let checked = self.check_lines(paths, agencies, stop)?;
                Ok(Confirmed::adopted(checked.extent, agencies))
            }
        }
    }

    /// Checks every complete line of `bets.csv`.
    pub(super) fn check_lines(
        &self,
        paths: &Paths,
        agencies: Agencies,
        stop: &Stop,
    ) -> Result<Checked, OpenError> {
        let Some(bets) = &self.bets else { return Ok(Checked::default()) };
        adopt::check(bets, agencies, stop).map_err(|failed| match failed {
            CheckFailed::Pass(failed) => paths.pass_failed(failed),
            CheckFailed::Invalid(line) => OpenError::InvalidLine { path: paths.bets.clone(), line },
        })
    }

    /// Returns the length of `bets.csv`, 0 if it is missing.
    pub(super) fn bets_bytes(&self, paths: &Paths) -> Result<u64, OpenError> {
        let length = self.bets.as_ref().map_or(Ok(0), DiskFile::length);
        length.map_err(|error| io_error(&paths.bets, error))
    }

    /// Reads all that is confirmed, in `bets.csv` and then in the journal. Returns the extent that was read from
    /// `bets.csv`, and the parts that `make` began and all lines were added to.
    fn read<L: Lines>(
        &self,
        paths: &Paths,
        confirmed: &Confirmed,
        stop: &Stop,
        make: impl Fn() -> L + Sync,
    ) -> Result<(Extent, Vec<L>), OpenError> {
        let (extent, mut lines) = match &self.bets {
            None => (Extent::default(), Vec::new()),
            Some(bets) => pass::over(bets, confirmed.base.bytes, stop, &make)
                .map_err(|failed| paths.pass_failed(failed))?,
        };
        let mut logged = make();
        logged.add(&confirmed.rows);
        lines.push(logged);
        Ok((extent, lines))
    }

    /// Checks that `bets.csv` is what is confirmed, or what a crash can leave of it. Returns the bets of each agency.
    pub(super) fn check_bets(
        &self,
        paths: &Paths,
        confirmed: &Confirmed,
        agencies: Agencies,
        stop: &Stop,
    ) -> Result<PerAgency<Stored>, OpenError> {
        let refuse = |what| Err(paths.bets_not_confirmed(&paths.bets, what));
        let (length, base) = (self.bets_bytes(paths)?, confirmed.base);
        let end = confirmed.extent().bytes;
        if self.bets.is_none() && base.bytes > 0 {
            return refuse(format!("is missing, and {end} bytes of bets were confirmed"));
        }
        if length < base.bytes || (confirmed.sealed && length != end) {
            return refuse(format!("has {length} bytes, and {end} bytes of bets were confirmed"));
        }
        let (found, count) = self.count(paths, confirmed, agencies, stop)?;
        if found != base {
            let bytes = base.bytes;
            return refuse(format!("its first {bytes} bytes are not those that were confirmed"));
        }
        if count.strangers > 0 {
            return refuse(format!("has {} lines of no agency of the lottery", count.strangers));
        }
        Ok(count.stored)
    }

    /// Counts all that is confirmed. Also returns the extent that was read from `bets.csv`.
    pub(super) fn count(
        &self,
        paths: &Paths,
        confirmed: &Confirmed,
        agencies: Agencies,
        stop: &Stop,
    ) -> Result<(Extent, Count), OpenError> {
        let (found, counts) = self.read(paths, confirmed, stop, || Count::new(agencies))?;
        Ok((found, counts.into_iter().fold(Count::new(agencies), Count::join)))
    }

    /// Returns each agency's winners among all that is confirmed.
    pub(super) fn winners(
        &self,
        paths: &Paths,
        confirmed: &Confirmed,
        agencies: Agencies,
        winning_number: u16,
        stop: &Stop,
    ) -> Result<Documents, OpenError> {
        let make = || Winners::new(agencies, winning_number);
        let (_, parts) = self.read(paths, confirmed, stop, make)?;
        Ok(Winners::join(agencies, parts))
    }

    /// Returns the SHA-256 of all that is confirmed.
    pub(super) fn sha256(
        &self,
        paths: &Paths,
        confirmed: &Confirmed,
        stop: &Stop,
    ) -> Result<String, OpenError> {
        hash::of(self.bets.as_ref(), confirmed.base.bytes, &confirmed.rows, stop)
            .map_err(|error| io_error(&paths.bets, error))?
            .ok_or(OpenError::Interrupted)
    }

    /// Checks that `sorteo.toml` matches the confirmed bets, if it exists, and that it exists if the draw was held.
    fn check_result(
        &self,
        paths: &Paths,
        confirmed: &Confirmed,
        bets: &PerAgency<u64>,
        stop: &Stop,
    ) -> Result<Option<(DrawResult, Held)>, OpenError> {
        let recorded = confirmed.slot.held;
        let Some(text) = &self.result else {
            return recorded.map_or(Ok(None), |held| {
                let number = held.winning_number;
                Err(paths.bad_result(format!("is missing, and the draw was held on {number}")))
            });
        };
        let result = DrawResult::parse(text).map_err(|what| paths.bad_result(what))?;
        let winning_number = result.winning_number;
        let winners = self.winners(paths, confirmed, bets.agencies(), winning_number, stop)?;
        let mut differences = result.differences(text, confirmed.extent(), bets, &winners);
        let held = Held { winning_number, result_crc: crc32fast::hash(text) };
        if recorded.is_some_and(|recorded| recorded != held) {
            differences.push("was changed after the draw".into());
        }
        // After a crash or a copy between the draw and its record, only the hash can show a difference.
        if recorded.is_none()
            && differences.is_empty()
            && self.sha256(paths, confirmed, stop)? != result.bets_sha256
        {
            differences.push("was held over other bets: their SHA-256 differs".into());
        }
        match differences.into_iter().next() {
            Some(difference) => Err(paths.bad_result(difference)),
            None => Ok(Some((result, held))),
        }
    }
}

fn lock<D: Disk>(disk: &D, path: &Path, mode: Mode) -> Result<Option<D::File>, OpenError> {
    let failed = |error| io_error(path, error);
    let Some(file) = disk.open(path, mode).map_err(failed)? else { return Ok(None) };
    file.length().map_err(failed)?;
    if file.try_lock(mode).map_err(failed)? && file.is_at(path).map_err(failed)? {
        Ok(Some(file))
    } else {
        Err(OpenError::Locked { path: path.to_owned() })
    }
}

/// Checks that the bets are of a lottery with this number of agencies, or that there are none.
pub(super) fn check_agencies(confirmed: &Confirmed, agencies: Agencies) -> Result<(), OpenError> {
    let (stored, asked) = (confirmed.slot.agencies, agencies.count());
    let is_new = confirmed.extent().bytes == 0 && confirmed.slot.held.is_none();
    if stored == asked || is_new {
        return Ok(());
    }
    Err(OpenError::OtherAgencies { stored, asked })
}

pub(super) fn io_error(path: &Path, error: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), error }
}

/// The reason why a ledger was not opened, checked or set aside. Nothing was changed, except that
/// [`OpenError::Io`] and [`OpenError::Thread`] can come after some changes, which the next start completes.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file could not be used.
    #[error("{}: {error}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// Another server has the file.
    #[error(
        "{}: another server is using it: stop it, or name other files with --bets and DRAW_FILE",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Two of the files have the same path.
    #[error(
        "{}: is the path of two files: bets.csv, the journal beside it with the extension journal, and \
         DRAW_FILE have to be three",
        path.display()
    )]
    SamePath {
        /// The path.
        path: PathBuf,
    },
    /// A `bets.csv` without a journal has a line that this program would not write.
    #[error("{}:{line}; nothing was changed", path.display())]
    InvalidLine {
        /// The file.
        path: PathBuf,
        /// The line and its error.
        line: InvalidLine,
    },
    /// `bets.csv` or its journal differs from what was confirmed.
    #[error(
        "{}: {what}; nothing was changed: restore the file, or move {} away to go on with what is there, and \
         the agencies send the rest again",
        path.display(),
        journal.display()
    )]
    NotConfirmed {
        /// The file.
        path: PathBuf,
        /// The error.
        what: String,
        /// The journal.
        journal: PathBuf,
    },
    /// The draw's result is missing, or does not match the bets.
    #[error(
        "{}: {what}; nothing was changed: restore the file, or move it and {} away to hold the draw again over \
         the bets that are there",
        path.display(),
        journal.display()
    )]
    BadResult {
        /// The file.
        path: PathBuf,
        /// The error.
        what: String,
        /// The journal.
        journal: PathBuf,
    },
    /// The bets are of a lottery with another number of agencies.
    #[error(
        "the bets are of a lottery of {stored} agencies, and this one has {asked}: go on with AGENCIES={stored}; or \
         begin another lottery, after the draw with --new-draw, before it without the files (docker compose \
         down -v)"
    )]
    OtherAgencies {
        /// The number of agencies of the stored bets.
        stored: u16,
        /// The number of agencies in the settings.
        asked: u16,
    },
    /// A new draw was requested before the last one was held.
    #[error(
        "the draw is not finished: there is no {}; start without --new-draw to finish it, or move the files \
         away yourself",
        result.display()
    )]
    NotFinished {
        /// The result that is missing.
        result: PathBuf,
    },
    /// A new draw was requested without an old one.
    #[error("{}: there is no draw to set aside; start without --new-draw", bets.display())]
    NoDraw {
        /// The bets that are missing.
        bets: PathBuf,
    },
    /// Some of the files are set aside, and some are not.
    #[error("{}: a finished draw is half set aside: run --new-draw again", result.display())]
    HalfAside {
        /// The result.
        result: PathBuf,
    },
    /// The program was stopped.
    #[error("stopped while reading the bets")]
    Interrupted,
    /// The thread could not be started.
    #[error("no thread for the ledger: {0}")]
    Thread(io::Error),
}
