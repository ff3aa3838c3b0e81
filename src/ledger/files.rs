//! The three files, locked, and what they hold. A start, `--verify` and `--new-draw` begin with them. Changes nothing.

use super::adopt;
use super::disk::{self, Disk, DiskFile, Mode};
use super::error::{OpenError, at, refused};
use super::journal::{Confirmed, Extent};
use super::result::DrawResult;
use super::{Settings, journal_of};
use crate::bet::Agencies;
use crate::stop::Stop;
use crate::text::noun_for;
use std::io;
use std::path::{Path, PathBuf};

/// The most bytes by which a result is longer than `bets.csv`. A winner takes fewer bytes than its bet. All agencies, and
/// twenty million winners if `bets.csv` is set aside already, take less than this.
const RESULT_BYTES_MAX: u64 = 256 << 20;

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
        if bets.file_name().is_none() {
            // Its journal would have the same path.
            return at(&bets, Err(io::Error::other("not a regular file, but a directory")));
        }
        let journal = follow(&journal_of(&bets))?;
        let result = follow(&settings.result)?;
        let drafts = [&journal, &result].map(|path| disk::draft_of(path));
        let names = [&bets, &journal, &result, &drafts[0], &drafts[1]];
        for (place, name) in names.iter().enumerate() {
            if names[..place].iter().any(|other| names_one_file(name, other)) {
                let what = "two files have this path: the bets, their journal with the extension journal, the \
                            result, and the drafts of the last two with .draft behind need five different ones; \
                            change --bets or --draw";
                return Err(refused(name, what));
            }
        }
        Ok(Paths { bets, journal, result })
    }

    /// Returns the ways to start again after the file at `path` was changed. Restoring the journal is not one, because
    /// beside an older copy the bets that were confirmed since look like what a crash left, and are cut off.
    pub(super) fn way_out(&self, path: &Path, draw_was_held: bool) -> String {
        let (journal, result) = (self.journal.display(), self.result.display());
        let without_journal = format!(
            "move {journal} away: the next start continues with the bets that are there, and the agencies send the rest"
        );
        if path == self.journal {
            without_journal
        } else if draw_was_held {
            format!(
                "restore the file, or move {result} and {journal} away, if they are there, to hold another draw: with \
                 the same winning number, over the bets that are there and those that the agencies send again"
            )
        } else {
            format!("restore the file, or {without_journal}")
        }
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
    pub(super) stop: &'s Stop,
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
        let agencies = settings.agencies;
        let mut files = Files { paths, bets, journal, result: None, agencies, stop };
        files.result = result.map(|file| files.read_result(&file)).transpose()?;
        Ok(files)
    }

    /// Reads the draw's result. Refuses one that is too long for these bets, because it may not fit in memory.
    fn read_result(&self, file: &F) -> Result<Vec<u8>, OpenError> {
        let path = &self.paths.result;
        let bytes = at(path, file.length())?;
        let bytes_max = self.bets_bytes()?.saturating_add(RESULT_BYTES_MAX);
        if bytes > bytes_max {
            let what =
                format!("has {bytes} bytes, and a result over these bets has at most {bytes_max}");
            return Err(self.not_confirmed(path, what));
        }
        let length = usize::try_from(bytes).map_err(io::Error::other);
        at(path, length.and_then(|length| disk::read(file, 0, length)))
    }

    /// Returns what the journal confirms. Without a journal, all complete lines of `bets.csv` are confirmed.
    pub(super) fn confirmed(&self) -> Result<Confirmed, OpenError> {
        self.journal_confirms()?.map_or_else(|| self.lines_confirm(), Ok)
    }

    /// Returns what the journal confirms. Returns `None` if there is no journal.
    pub(super) fn journal_confirms(&self) -> Result<Option<Confirmed>, OpenError> {
        let Some(journal) = &self.journal else { return Ok(None) };
        let path = &self.paths.journal;
        let confirmed = at(path, Confirmed::read(journal))?;
        confirmed.map(Some).map_err(|damage| self.not_confirmed(path, damage))
    }

    /// Returns all complete lines of `bets.csv` as confirmed. Checks each of them. Without a journal, they are of the
    /// lottery of the draw's result, if that is there and can be parsed.
    pub(super) fn lines_confirm(&self) -> Result<Confirmed, OpenError> {
        let result = self.result.as_deref().filter(|_| self.journal.is_none());
        let result = result.and_then(|text| DrawResult::parse(text).ok());
        let agencies = result.and_then(|result| u16::try_from(result.agencies.len()).ok());
        let agencies = agencies.and_then(Agencies::new);
        let agencies = agencies.unwrap_or(self.agencies);
        let extent = match &self.bets {
            None => Extent::default(),
            Some(bets) => adopt::check(bets, &self.paths.bets, agencies, self.stop)?,
        };
        Ok(Confirmed::adopted(extent, agencies))
    }

    /// Returns whether setting the files aside was interrupted.
    pub(super) fn are_half_aside(&self, confirmed: &Confirmed) -> bool {
        confirmed.slot.aside != 0 && (self.bets.is_none() || self.result.is_none())
    }

    /// Fails if setting the files aside was interrupted, or if there are bets of a lottery with another number of agencies.
    pub(super) fn check_slot(&self, confirmed: &Confirmed) -> Result<(), OpenError> {
        if self.are_half_aside(confirmed) {
            let what = "a finished draw is half set aside: run --new-draw again";
            return Err(refused(&self.paths.result, what));
        }
        let (stored, asked) = (confirmed.slot.agencies, self.agencies.count());
        let has_draw = confirmed.slot.held.is_some() || self.result.is_some();
        if stored == asked || (confirmed.extent().bytes == 0 && !has_draw) {
            return Ok(());
        }
        let noun = noun_for(stored.into(), "agency");
        let what = format!(
            "the bets are of a lottery of {stored} {noun}, and this one has {asked}: go on with AGENCIES={stored}; \
             or begin another lottery: after the draw run --new-draw; before it move the files away (in Docker: docker \
             compose down -v)"
        );
        let Paths { journal, result, .. } = &self.paths;
        Err(refused(if self.journal.is_some() { journal } else { result }, what))
    }

    /// Returns how many bytes of the rows in the journal's log a start writes: those from the first on that `bets.csv`
    /// lacks or has otherwise.
    pub(super) fn lacked_bytes(&self, confirmed: &Confirmed) -> Result<u64, OpenError> {
        let (rows, base) = (&confirmed.rows, confirmed.base.bytes);
        let Some(bets) = &self.bets else { return Ok(rows.len() as u64) };
        let there = usize::try_from(self.bets_bytes()?.saturating_sub(base));
        let there = there.map_or(rows.len(), |bytes| bytes.min(rows.len()));
        let read = at(&self.paths.bets, disk::read(bets, base, there))?;
        let same = read.iter().zip(rows).take_while(|(read, row)| read == row).count();
        Ok((rows.len() - same) as u64)
    }

    /// Returns the length of `bets.csv`, 0 if it is missing.
    pub(super) fn bets_bytes(&self) -> Result<u64, OpenError> {
        at(&self.paths.bets, self.bets.as_ref().map_or(Ok(0), DiskFile::length))
    }

    /// Returns the error of a file that differs from what was confirmed, with the ways to start again.
    pub(super) fn not_confirmed(&self, path: &Path, what: String) -> OpenError {
        let draw_was_held = path == self.paths.result || self.result.is_some();
        let way_out = self.paths.way_out(path, draw_was_held);
        OpenError::NotConfirmed { path: path.to_owned(), what, way_out }
    }
}

fn lock<D: Disk>(disk: &D, path: &Path, mode: Mode) -> Result<Option<D::File>, OpenError> {
    let Some(file) = at(path, disk.open(path, mode))? else { return Ok(None) };
    if at(path, file.try_lock(mode))? && at(path, file.is_at(path))? {
        Ok(Some(file))
    } else {
        let what =
            "another server is using it: stop it, or name other files with --bets and --draw";
        Err(refused(path, what))
    }
}
