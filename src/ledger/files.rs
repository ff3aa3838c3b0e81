//! The three files, locked, and what they hold. A start, `--verify` and `--new-draw` begin with them. Changes nothing.

use super::adopt::{self, Checked};
use super::count::{Count, Stored};
use super::disk::{self, Disk, DiskFile, Mode};
use super::error::{OpenError, at};
use super::hash;
use super::journal::{Confirmed, Extent, Held};
use super::pass::{self, Lines};
use super::result::DrawResult;
use super::winners::Winners;
use super::{Settings, journal_of};
use crate::bet::{Agencies, PerAgency};
use crate::stop::Stop;
use std::path::{Path, PathBuf};

/// The paths of the three files.
#[derive(Clone, Debug)]
pub struct Paths {
    /// That of `bets.csv`.
    pub bets: PathBuf,
    /// That of `bets.journal`.
    pub journal: PathBuf,
    /// That of `sorteo.toml`.
    pub result: PathBuf,
}

impl Paths {
    /// Returns the paths that `settings` name, with symbolic links followed.
    fn of(disk: &impl Disk, settings: &Settings) -> Result<Paths, OpenError> {
        let follow = |path: &Path| at(path, disk::follow_links(disk, path));
        let bets = follow(&settings.bets)?;
        let journal = journal_of(&bets);
        let result = follow(&settings.result)?;
        for (one, other) in [(&journal, &bets), (&journal, &result), (&bets, &result)] {
            if names_one_file(one, other) {
                return Err(OpenError::SamePath(one.clone()));
            }
        }
        Ok(Paths { bets, journal, result })
    }

    /// Returns the ways to start again after `bets.csv` or the journal was changed.
    pub(super) fn way_out(&self) -> String {
        format!(
            "restore the file, or move {} away to go on with what is there, and the agencies send the rest again",
            self.journal.display()
        )
    }
}

/// Returns whether two paths are one name in one directory.
fn names_one_file(one: &Path, other: &Path) -> bool {
    let directory = |path| {
        let path = disk::directory_of(path);
        path.canonicalize().unwrap_or_else(|_| path.to_owned())
    };
    one.file_name() == other.file_name() && directory(one) == directory(other)
}

/// The files that exist, locked.
pub(super) struct Files<'s, F> {
    pub(super) paths: Paths,
    pub(super) bets: Option<F>,
    pub(super) journal: Option<F>,
    /// The bytes of `sorteo.toml`.
    pub(super) result: Option<Vec<u8>>,
    pub(super) agencies: Agencies,
    stop: &'s Stop,
}

impl<'s, F: DiskFile> Files<'s, F> {
    /// Opens and locks the files of `settings`. Reading them ends with [`OpenError::Interrupted`] as soon as `stop` comes.
    pub(super) fn lock<D: Disk<File = F>>(
        disk: &D,
        settings: &Settings,
        mode: Mode,
        stop: &'s Stop,
    ) -> Result<Files<'s, F>, OpenError> {
        let paths = Paths::of(disk, settings)?;
        let bets = lock(disk, &paths.bets, mode)?;
        let journal = lock(disk, &paths.journal, mode)?;
        let result = at(&paths.result, disk.open(&paths.result, Mode::Read))?;
        let result = result.map(|file| at(&paths.result, disk::read_all(&file))).transpose()?;
        Ok(Files { paths, bets, journal, result, agencies: settings.agencies, stop })
    }

    /// Returns what the journal confirms. Without a journal, all complete lines of `bets.csv` are confirmed.
    pub(super) fn confirmed(&self) -> Result<Confirmed, OpenError> {
        let Some(journal) = &self.journal else {
            return Ok(Confirmed::adopted(self.check_lines()?.extent, self.agencies));
        };
        let path = &self.paths.journal;
        let bytes = at(path, disk::read_all(journal))?;
        Confirmed::parse(&bytes).map_err(|damage| self.not_confirmed(path, damage))
    }

    /// Returns whether setting the files aside was interrupted.
    pub(super) fn are_half_aside(&self, confirmed: &Confirmed) -> bool {
        confirmed.slot.aside != 0 && (self.bets.is_none() || self.result.is_none())
    }

    /// Checks every complete line of `bets.csv`.
    pub(super) fn check_lines(&self) -> Result<Checked, OpenError> {
        let Some(bets) = &self.bets else { return Ok(Checked::default()) };
        adopt::check(bets, &self.paths.bets, self.agencies, self.stop)
    }

    /// Checks that the bets are of a lottery with this number of agencies, or that there are none.
    pub(super) fn check_agencies(&self, confirmed: &Confirmed) -> Result<(), OpenError> {
        let (stored, asked) = (confirmed.slot.agencies, self.agencies.count());
        let is_new = confirmed.extent().bytes == 0 && confirmed.slot.held.is_none();
        if stored == asked || is_new {
            Ok(())
        } else {
            Err(OpenError::OtherAgencies { stored, asked })
        }
    }

    /// Checks that `bets.csv` is what is confirmed, or what a crash can leave of it. Returns the bets of each agency.
    pub(super) fn check_bets(&self, confirmed: &Confirmed) -> Result<PerAgency<Stored>, OpenError> {
        let refuse = |what| Err(self.not_confirmed(&self.paths.bets, what));
        let (length, base) = (self.bets_bytes()?, confirmed.base);
        let end = confirmed.extent().bytes;
        // Without a seal a crash can leave no file while the log has all of its rows.
        if self.bets.is_none() && (base.bytes > 0 || confirmed.sealed && end > 0) {
            return refuse(format!("is missing, and {end} bytes of bets were confirmed"));
        }
        if length < base.bytes || (confirmed.sealed && length != end) {
            return refuse(format!("has {length} bytes, and {end} bytes of bets were confirmed"));
        }
        let (found, count) = self.count(confirmed)?;
        if found != base {
            let bytes = base.bytes;
            return refuse(format!("its first {bytes} bytes are not those that were confirmed"));
        }
        if count.strangers > 0 {
            return refuse(format!("has {} lines of no agency of the lottery", count.strangers));
        }
        Ok(count.stored)
    }

    /// Compares the draw's result with the `stored` bets of each agency, and with its record. Returns the result, if
    /// it is there and can be parsed, and the differences, the gravest first. Does not compare the hash.
    pub(super) fn compare_result(
        &self,
        confirmed: &Confirmed,
        stored: &PerAgency<Stored>,
    ) -> Result<(Option<DrawResult>, Vec<String>), OpenError> {
        let recorded = confirmed.slot.held;
        let Some(text) = &self.result else {
            let missing = recorded.map(|held| {
                format!("is missing, and the draw was held on {}", held.winning_number)
            });
            return Ok((None, missing.into_iter().collect()));
        };
        let result = match DrawResult::parse(text) {
            Ok(result) => result,
            Err(what) => return Ok((None, vec![what])),
        };
        let make = || Winners::new(self.agencies, result.winning_number);
        let (_, Winners { documents, .. }) = self.read(confirmed, make)?;
        let mut differences = result.differences(text, confirmed.extent(), stored, &documents);
        if recorded.is_some_and(|recorded| recorded != Held::on(result.winning_number, text)) {
            differences.push("was changed after the draw".into());
        }
        Ok((Some(result), differences))
    }

    /// Compares the hash in the draw's result with that of all that is confirmed. Returns the difference, if there is one.
    pub(super) fn hash_difference(
        &self,
        result: &DrawResult,
        confirmed: &Confirmed,
    ) -> Result<Option<String>, OpenError> {
        let hash = hash::of(self.bets.as_ref(), confirmed.base.bytes, &confirmed.rows, self.stop);
        let hash = at(&self.paths.bets, hash)?.ok_or(OpenError::Interrupted)?;
        let differs = hash != result.bets_sha256;
        Ok(differs.then(|| "was held over other bets: their SHA-256 differs".into()))
    }

    /// Counts all that is confirmed. Also returns the extent that was read from `bets.csv`.
    pub(super) fn count(&self, confirmed: &Confirmed) -> Result<(Extent, Count), OpenError> {
        self.read(confirmed, || Count::new(self.agencies))
    }

    /// Returns whether `bets.csv`, as far as it goes, has the rows of the journal's log in their place.
    pub(super) fn has_logged_rows(&self, confirmed: &Confirmed) -> Result<bool, OpenError> {
        let (rows, base) = (&confirmed.rows, confirmed.base.bytes);
        let Some(bets) = &self.bets else { return Ok(true) };
        let there = usize::try_from(self.bets_bytes()?.saturating_sub(base));
        let there = there.map_or(rows.len(), |bytes| bytes.min(rows.len()));
        Ok(at(&self.paths.bets, disk::read(bets, base, there))? == rows[..there])
    }

    /// Returns the length of `bets.csv`, 0 if it is missing.
    pub(super) fn bets_bytes(&self) -> Result<u64, OpenError> {
        at(&self.paths.bets, self.bets.as_ref().map_or(Ok(0), DiskFile::length))
    }

    /// Reads all that is confirmed, in `bets.csv` and then in the journal. Returns the extent that was read from
    /// `bets.csv`, and the computation over all lines.
    fn read<L: Lines>(
        &self,
        confirmed: &Confirmed,
        make: impl Fn() -> L + Sync,
    ) -> Result<(Extent, L), OpenError> {
        let (extent, mut lines) = match &self.bets {
            None => (Extent::default(), make()),
            Some(bets) => {
                let read = pass::over(bets, confirmed.base.bytes, self.stop, make);
                at(&self.paths.bets, read)?.ok_or(OpenError::Interrupted)?
            }
        };
        lines.add(&confirmed.rows);
        Ok((extent, lines))
    }

    /// Returns the error of a `bets.csv` or a journal that differs from what was confirmed.
    fn not_confirmed(&self, path: &Path, what: String) -> OpenError {
        OpenError::NotConfirmed { path: path.to_owned(), what, way_out: self.paths.way_out() }
    }
}

fn lock<D: Disk>(disk: &D, path: &Path, mode: Mode) -> Result<Option<D::File>, OpenError> {
    let Some(file) = at(path, disk.open(path, mode))? else { return Ok(None) };
    at(path, file.length())?;
    if at(path, file.try_lock(mode))? && at(path, file.is_at(path))? {
        Ok(Some(file))
    } else {
        Err(OpenError::Locked(path.to_owned()))
    }
}
