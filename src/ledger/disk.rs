//! All that the writer does to the disk, as a seam: tests put a disk that fails behind it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often, and after which pause, a file is opened again for want of a descriptor.
const OPEN_TRIES_MAX: u32 = 50;
const OPEN_PAUSE: Duration = Duration::from_millis(10);
/// The system, and this process, have no file descriptor left; the numbers of all Unix systems.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// A disk with `bets.csv` and, at the end, `sorteo.toml` on it.
pub(super) trait Disk: Send {
    /// Writes at the end of `bets.csv`. After an error any part of it may be there.
    fn append(&mut self, rows: &[u8]) -> io::Result<()>;
    /// Cuts `bets.csv` to its first `bytes` bytes.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
    /// Comes back when the bytes and the length of `bets.csv` are durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Reads `bets.csv` from its beginning.
    fn read(&mut self) -> io::Result<impl Read>;
    /// Makes `sorteo.toml` of `text`: durably, and all of it or nothing.
    fn save_result(&mut self, text: &str) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(super) struct FileDisk {
    bets: File,
    bets_path: PathBuf,
    result: PathBuf,
}

impl FileDisk {
    /// `bets` is open for reading and appending, and stands at `bets_path`; `result` is the path of
    /// `sorteo.toml`.
    pub(super) fn new(bets: File, bets_path: &Path, result: &Path) -> FileDisk {
        FileDisk { bets, bets_path: bets_path.to_owned(), result: result.to_owned() }
    }

    /// Fails where the file is not the one that the next start will find: what is synced to a file
    /// that somebody removed is stored nowhere.
    fn check_place(&self) -> io::Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let (own, found) = (self.bets.metadata()?, std::fs::metadata(&self.bets_path));
            let is_same =
                |found: std::fs::Metadata| (found.dev(), found.ino()) == (own.dev(), own.ino());
            if !found.is_ok_and(is_same) {
                let path = self.bets_path.display();
                return Err(io::Error::other(format!("{path} was removed or replaced")));
            }
        }
        Ok(())
    }
}

impl Disk for FileDisk {
    fn append(&mut self, rows: &[u8]) -> io::Result<()> {
        self.bets.write_all(rows)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.bets.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.bets.sync_data()?;
        self.check_place()
    }

    fn read(&mut self) -> io::Result<impl Read> {
        self.check_place()?;
        self.bets.rewind()?;
        Ok(&self.bets)
    }

    fn save_result(&mut self, text: &str) -> io::Result<()> {
        let mut draft = self.result.clone().into_os_string();
        draft.push(".draft");
        let mut file = patiently(|| File::create(&draft))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, &self.result)?;
        sync_directory_of(&self.result)
    }
}

/// Makes durable which files there are beside `path`.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    patiently(|| File::open(directory.unwrap_or(Path::new("."))))?.sync_all()
}

/// Opens a file, again and again for a moment where there is no file descriptor for it: the server
/// keeps some from its peers, but for the instant in which it looks whether there are any.
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
