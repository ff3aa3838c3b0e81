//! The interface between the ledger and the file system. The ledger uses files only through these two traits, so
//! that tests can replace the disk by one that fails, loses power and lies.

use crate::system::{EMFILE, ENFILE, check_regular, uninterrupted};
#[cfg(target_os = "linux")]
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// The number of attempts to open a file if file descriptors run out, and the pause between them.
const OPEN_TRIES_MAX: u32 = 50;
const OPEN_PAUSE: Duration = Duration::from_millis(10);
/// The age from which a directory's time of change is different after another change. Kernels count time in steps of up
/// to 10 ms.
const CHANGE_AGE_MIN: Duration = Duration::from_millis(100);
/// The most symbolic links that are followed, as on Linux.
const LINKS_MAX: u32 = 40;

/// A file system.
pub(super) trait Disk: Clone + Send + 'static {
    /// A file that is open.
    type File: DiskFile;

    /// Opens a regular file. Returns `None` if there is none.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Option<Self::File>>;
    /// Opens a file for reading and writing. Creates an empty one if there is none.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Returns whether there is a file of any kind at `path`.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Returns the target of a symbolic link. Returns `None` if there is no symbolic link at `path`.
    fn link_target(&self, path: &Path) -> io::Result<Option<PathBuf>>;
    /// Renames a file, and replaces the file that has the name `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns the version of the names in the directory of `path`: another one as soon as any of them is another
    /// file's. Returns `None` if the next change may have the same version.
    fn names_version(&self, path: &Path) -> io::Result<Option<NamesVersion>>;
    /// Blocks until the names in the directory of `path` are durable.
    fn sync_directory_of(&self, path: &Path) -> io::Result<()>;
}

/// The device and the number of a directory, and the time of its last change.
pub(super) type NamesVersion = (u64, u64, Duration);

/// The mode in which a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    /// Reading and writing.
    Write,
}

/// A file that is open. Dropping it closes it and releases its lock.
pub(super) trait DiskFile: Send + Sync + 'static {
    /// Locks the file. Returns whether no other process holds a lock: several may hold one for reading.
    fn try_lock(&self, mode: Mode) -> io::Result<bool>;
    /// Returns its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Returns whether it is the file that `path` names.
    fn is_at(&self, path: &Path) -> io::Result<bool>;
    /// Reads into `buffer` from `offset` on. Returns the number of bytes, 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` from `offset` on. After an error any part of them may be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Blocks until the bytes and the length are durable.
    fn sync(&self) -> io::Result<()>;
    /// Lets reads and writes bypass the page cache (direct I/O), or use it again. Direct ones must be of whole pages, at the
    /// offset of a page, and with memory that begins with a page. Returns whether they bypass it, which not every file
    /// system supports.
    fn set_direct(&self, is_direct: bool) -> bool;
}

/// The real file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileSystem;

impl Disk for FileSystem {
    type File = File;

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Option<File>> {
        if_there(open(path, OpenOptions::new().read(true).write(mode == Mode::Write)))
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        open(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(if_there(std::fs::symlink_metadata(path))?.is_some())
    }

    fn link_target(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let found = if_there(std::fs::symlink_metadata(path))?;
        found.filter(Metadata::is_symlink).map(|_| std::fs::read_link(path)).transpose()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn names_version(&self, path: &Path) -> io::Result<Option<NamesVersion>> {
        let Some(found) = if_there(std::fs::metadata(directory_of(path)))? else { return Ok(None) };
        let nanoseconds = u32::try_from(found.ctime_nsec()).unwrap_or(0);
        let changed = Duration::new(found.ctime().unsigned_abs(), nanoseconds);
        let is_old = UNIX_EPOCH.elapsed().is_ok_and(|now| now > changed + CHANGE_AGE_MIN);
        // Without a fraction the file system may count in seconds, or not at all.
        Ok((is_old && nanoseconds > 0).then_some((found.dev(), found.ino(), changed)))
    }

    fn sync_directory_of(&self, path: &Path) -> io::Result<()> {
        let directory = directory_of(path);
        let failed = |error: io::Error, way_out| {
            let directory = directory.display();
            let what = format!("the directory {directory} cannot be synced: {error}{way_out}");
            io::Error::new(error.kind(), what)
        };
        let opened = patiently(|| File::open(directory)).map_err(|error| failed(error, ""))?;
        opened.sync_all().map_err(|error| failed(error, "; put the files on another file system"))
    }
}

impl DiskFile for File {
    fn try_lock(&self, mode: Mode) -> io::Result<bool> {
        let locked = match mode {
            Mode::Read => self.try_lock_shared(),
            Mode::Write => File::try_lock(self),
        };
        match locked {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn length(&self) -> io::Result<u64> {
        // Not from the metadata: a kernel that was asked for a file's times records the next change to a fraction of a
        // tick, which some file systems write with each sync.
        let mut file = self;
        file.seek(SeekFrom::End(0))
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let own = self.metadata()?;
        let found = if_there(std::fs::metadata(path))?;
        Ok(found.is_some_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino())))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        uninterrupted(|| FileExt::read_at(self, buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn set_direct(&self, is_direct: bool) -> bool {
        // A flag of this descriptor, because another one would not have its lock.
        let set = fcntl_getfl(self).and_then(|mut flags| {
            flags.set(OFlags::DIRECT, is_direct);
            fcntl_setfl(self, flags)
        });
        is_direct && set.is_ok()
    }

    #[cfg(not(target_os = "linux"))]
    fn set_direct(&self, _: bool) -> bool {
        false
    }
}

/// Opens a regular file.
fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    if_there(check_regular(path))?;
    patiently(|| options.open(path))
}

/// Returns `None` for the error of a file that does not exist.
fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the path of the file that `path` leads to, with symbolic links followed.
pub(super) fn follow_links(disk: &impl Disk, path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Some(target) = disk.link_target(&path)? else { return Ok(path) };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Reads `length` bytes from `offset` on.
pub(super) fn read(file: &impl DiskFile, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    read_exact(file, &mut bytes, offset)?;
    Ok(bytes)
}

/// Fills `buffer` with the bytes from `offset` on.
pub(super) fn read_exact(file: &impl DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut end = 0;
    while end < buffer.len() {
        match file.read_at(&mut buffer[end..], offset + end as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => end += count,
        }
    }
    Ok(())
}

/// Creates a file at `path` whose content `fill` writes, and makes it durable. A crash leaves the old file or the
/// complete new one.
pub(super) fn replace<D: Disk>(
    disk: &D,
    path: &Path,
    fill: impl FnOnce(&D::File) -> io::Result<()>,
) -> io::Result<D::File> {
    let file = write_draft(disk, path, fill)?;
    name_draft(disk, path)?;
    Ok(file)
}

/// Creates the draft of the file at `path`, and makes its content durable. [`name_draft`] is the other half.
pub(super) fn write_draft<D: Disk>(
    disk: &D,
    path: &Path,
    fill: impl FnOnce(&D::File) -> io::Result<()>,
) -> io::Result<D::File> {
    let draft = draft_of(path);
    let file = create_draft(disk, &draft)?;
    let filled = file.truncate(0).and_then(|()| fill(&file)).and_then(|()| file.sync());
    if let Err(error) = filled {
        // On a full disk the draft would keep what room there is. If it cannot be removed, the next one replaces it.
        let _removed = disk.remove(&draft);
        return Err(error);
    }
    Ok(file)
}

/// Gives the draft of the file at `path` its name, durably.
pub(super) fn name_draft(disk: &impl Disk, path: &Path) -> io::Result<()> {
    disk.rename(&draft_of(path), path)?;
    disk.sync_directory_of(path)
}

/// Writes zeros over the first `bytes` bytes of a file.
pub(super) fn write_zeros(file: &impl DiskFile, bytes: usize) -> io::Result<()> {
    // In small pieces: a large buffer that is freed makes the allocator keep more memory from then on.
    let piece = [0; 16 << 10];
    for start in (0..bytes).step_by(piece.len()) {
        file.write_at(&piece[..piece.len().min(bytes - start)], start as u64)?;
    }
    Ok(())
}

/// Fails if [`replace`] could not create a file at `path`, or make its name durable.
pub(super) fn try_replace(disk: &impl Disk, path: &Path) -> io::Result<()> {
    let draft = draft_of(path);
    // Locked until it is removed, so that it is not another server's by then.
    let _locked = create_draft(disk, &draft)?;
    disk.remove(&draft)?;
    disk.sync_directory_of(path)
}

/// Creates a draft, or opens one that was left, and locks it. Fails if another server has it, or has renamed it meanwhile.
/// The error names the draft if something else is in its place.
fn create_draft<D: Disk>(disk: &D, draft: &Path) -> io::Result<D::File> {
    let locked = disk.link_target(draft).and_then(|target| {
        if target.is_some() {
            return Err(io::Error::other("not a regular file, but a symbolic link"));
        }
        let file = disk.create(draft)?;
        let is_locked = file.try_lock(Mode::Write)? && file.is_at(draft)?;
        if is_locked { Ok(file) } else { Err(io::Error::other("another server is using it")) }
    });
    locked.map_err(|error| match disk.exists(draft) {
        Ok(true) => io::Error::new(error.kind(), format!("{}: {error}", draft.display())),
        _ => error,
    })
}

/// Returns the name that a file has until it is complete.
pub(super) fn draft_of(path: &Path) -> PathBuf {
    let mut draft = path.to_owned().into_os_string();
    draft.push(".draft");
    draft.into()
}

/// Opens a file. Tries again for half a second if file descriptors run out, because the accept thread takes
/// the reserved ones for an instant, to see whether there are any.
fn patiently(open: impl Fn() -> io::Result<File>) -> io::Result<File> {
    for _ in 0..OPEN_TRIES_MAX {
        match open() {
            Err(error) if matches!(error.raw_os_error(), Some(ENFILE | EMFILE)) => {
                std::thread::sleep(OPEN_PAUSE);
            }
            outcome => return outcome,
        }
    }
    open()
}

#[cfg(test)]
mod tests {
    use super::{Disk, FileSystem, NamesVersion};
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, Instant};

    /// Returns the version as soon as there is one.
    fn version(path: &Path) -> NamesVersion {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(version) = FileSystem.names_version(path).expect("a directory") {
                return version;
            }
            assert!(Instant::now() < deadline, "the file system does not tell a version");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_directory_that_cannot_be_synced_is_named_with_the_way_out() {
        // Its file system has no sync, as some over a network.
        let error = FileSystem.sync_directory_of(Path::new("/proc/bets.csv")).expect_err("no sync");
        let told = error.to_string();
        assert!(told.starts_with("the directory /proc cannot be synced: "), "{told}");
        assert!(told.ends_with("put the files on another file system"), "{told}");
    }

    #[test]
    fn names_that_were_just_changed_have_no_version_yet() {
        let scratch = tempfile::tempdir().expect("a directory");
        // The clock of a file system may stand for a while, so that a further change would show no other time. This
        // thread may be held up for longer than that, but not each time.
        let has_none = |number| {
            let bets = scratch.path().join(format!("{number}.csv"));
            fs::write(&bets, "bets").expect("a file");
            FileSystem.names_version(&bets).expect("a directory").is_none()
        };
        assert!((0..100).any(has_none), "each change had a version at once");
    }

    #[test]
    fn names_have_another_version_as_soon_as_one_is_another_files() {
        let scratch = tempfile::tempdir().expect("a directory");
        let directory = scratch.path().join("files");
        fs::create_dir(&directory).expect("a directory");
        let [bets, other, aside, last] =
            ["bets.csv", "other", "aside", "last"].map(|name| directory.join(name));
        fs::write(&bets, "bets").expect("a file");
        fs::write(&last, "").expect("a file");
        let changes: [(&str, &dyn Fn() -> std::io::Result<()>); 6] = [
            ("another is created", &|| fs::write(&other, "other")),
            ("it is replaced", &|| fs::rename(&other, &bets)),
            ("it is renamed", &|| fs::rename(&bets, &aside)),
            ("it is named again", &|| fs::hard_link(&aside, &bets)),
            ("it is removed", &|| fs::remove_file(&bets)),
            ("its directory is renamed", &|| fs::rename(&directory, scratch.path().join("aside"))),
        ];
        for (what, change) in changes {
            let before = version(&bets);
            fs::write(&last, what).expect("a file");
            assert_eq!(version(&bets), before, "only a file was written");
            change().unwrap_or_else(|error| panic!("{what}: {error}"));
            let after = FileSystem.names_version(&bets).expect("no error");
            assert_ne!(after, Some(before), "{what}");
        }
    }
}
