//! All that the writer does to the disk, as a seam: tests put a disk that fails behind it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

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
    result: PathBuf,
}

impl FileDisk {
    /// `bets` is open for reading and appending; `result` is the path of `sorteo.toml`.
    pub(super) fn new(bets: File, result: &Path) -> FileDisk {
        FileDisk { bets, result: result.to_owned() }
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
        self.bets.sync_data()
    }

    fn read(&mut self) -> io::Result<impl Read> {
        self.bets.rewind()?;
        Ok(&self.bets)
    }

    fn save_result(&mut self, text: &str) -> io::Result<()> {
        let mut draft = self.result.clone().into_os_string();
        draft.push(".draft");
        let mut file = File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, &self.result)?;
        sync_directory_of(&self.result)
    }
}

/// Makes durable which files there are beside `path`.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
