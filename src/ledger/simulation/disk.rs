//! A file system in memory that fails, loses power and lies about what it synced.
//!
//! A power cut keeps of every file any subset of the 512-byte sectors that were written since its last sync, and
//! any length that it had since; and of the names any beginning of the operations since the directory was synced.
//! A sync that fails may have lost what it should have made durable, though reading still shows it, as on Linux.

use crate::ledger::disk::{Disk, DiskFile, Mode, NamesVersion, directory_of};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::ThreadId;
use std::time::Duration;

const SECTOR: usize = 512;

/// A generator of random numbers, so that a run follows from its seed (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The file system. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct SimulatedDisk(Arc<Mutex<World>>);

#[derive(Debug)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, Name>,
    durable_names: BTreeMap<PathBuf, Name>,
    name_changes: Vec<NameChange>,
    /// The number of changes to the names of each directory.
    names_versions: BTreeMap<PathBuf, u64>,
    seed: u64,
    random: Random,
    /// The average number of calls to one that fails. 0 means that none fails.
    one_fails_in: u64,
    /// The number of calls until the program dies. `None` means that it does not.
    calls_left: Option<u64>,
    /// Files that were opened in an earlier life of the program are closed.
    life: u64,
    /// Other threads only read, in no certain order. They are not counted and do not fail.
    owner: ThreadId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    File(usize),
    Link(PathBuf),
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(PathBuf, Name),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    /// A path in its directory.
    fn path(&self) -> &Path {
        match self {
            NameChange::Set(path, _) | NameChange::Remove(path) | NameChange::Rename(path, _) => {
                path
            }
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Name>) {
        match self {
            NameChange::Set(path, name) => {
                names.insert(path.clone(), name.clone());
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
            NameChange::Rename(from, to) => {
                if let Some(name) = names.remove(from) {
                    names.insert(to.clone(), name);
                }
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// The bytes that a read returns.
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// The changes since the last sync.
    changes: Vec<Change>,
    /// The number of open files with a lock.
    locks: usize,
    /// The number of bytes that were read.
    read_bytes: usize,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(offset, written) => {
                if bytes.len() < *offset {
                    bytes.resize(*offset, 0);
                }
                let there = (bytes.len() - offset).min(written.len());
                let (over, behind) = written.split_at(there);
                bytes[*offset..offset + there].copy_from_slice(over);
                bytes.extend_from_slice(behind);
            }
            Change::Length(length) => bytes.resize(*length, 0),
        }
    }
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.changes.push(change);
    }

    /// Makes durable what a power cut keeps of the changes.
    fn keep_some(&mut self, random: &mut Random) {
        // All of them, none of them, or any: every kind is worth trying often.
        let (kept, of) = [(0, 1), (1, 1), (1, 2), (1, 10), (9, 10)][random.below(5) as usize];
        let mut length = self.durable.len();
        let mut lengths = (length, length);
        let changes = std::mem::take(&mut self.changes);
        for change in changes {
            match change {
                Change::Length(cut) => length = cut,
                Change::Write(offset, bytes) => {
                    let end = offset + bytes.len();
                    length = length.max(end);
                    let mut at = offset;
                    while at < end {
                        let next = end.min((at / SECTOR + 1) * SECTOR);
                        if random.below(of) < kept {
                            let sector = bytes[at - offset..next - offset].to_vec();
                            Change::Write(at, sector).apply(&mut self.durable);
                        }
                        at = next;
                    }
                }
            }
            lengths = (lengths.0.min(length), lengths.1.max(length));
        }
        let between = lengths.0 + random.below((lengths.1 - lengths.0 + 1) as u64) as usize;
        let length = [length, between, lengths.0, lengths.1][random.below(4) as usize];
        self.durable.resize(length, 0);
    }
}

impl SimulatedDisk {
    pub(super) fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(World {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            names_versions: BTreeMap::new(),
            seed,
            random: Random(seed),
            one_fails_in: 0,
            calls_left: None,
            life: 0,
            owner: std::thread::current().id(),
        })))
    }

    pub(super) fn seed(&self) -> u64 {
        self.world().seed
    }

    /// Makes a file durable, in place of what had its name.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        let inode = Inode { cached: bytes.to_vec(), durable: bytes.to_vec(), ..Inode::default() };
        world.inodes.push(inode);
        world.note_change_beside(Path::new(name));
        let name_of = Name::File(world.inodes.len() - 1);
        world.names.insert(name.into(), name_of.clone());
        world.durable_names.insert(name.into(), name_of);
    }

    /// Makes a symbolic link.
    pub(super) fn link(&self, name: &str, target: &str) {
        let mut world = self.world();
        world.note_change_beside(Path::new(name));
        world.names.insert(name.into(), Name::Link(target.into()));
    }

    /// Removes a name, if it is there.
    pub(super) fn take(&self, name: &str) -> Option<Vec<u8>> {
        let mut world = self.world();
        world.note_change_beside(Path::new(name));
        world.durable_names.remove(Path::new(name));
        match world.names.remove(Path::new(name))? {
            Name::File(inode) => Some(std::mem::take(&mut world.inodes[inode].cached)),
            Name::Link(_) => None,
        }
    }

    /// Returns the content of a file. Returns `None` if it is missing.
    pub(super) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        match world.names.get(Path::new(name))? {
            Name::File(inode) => Some(world.inodes[*inode].cached.clone()),
            Name::Link(_) => None,
        }
    }

    /// Returns the number of bytes that were read of the file with this name.
    pub(super) fn read_bytes(&self, name: &str) -> usize {
        let world = self.world();
        let inode = world.find(Path::new(name)).expect("it is there");
        world.inodes[inode].read_bytes
    }

    /// Changes the content of a file durably, as an editor beside the server does.
    pub(super) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let Some(Name::File(inode)) = world.names.get(Path::new(name)) else {
            panic!("{name} is no file")
        };
        let inode = *inode;
        edit(&mut world.inodes[inode].cached);
        world.inodes[inode].durable = world.inodes[inode].cached.clone();
        world.inodes[inode].changes.clear();
    }

    /// Adds to the end of a file, as another program does that does not sync it.
    pub(super) fn append(&self, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        let inode = world.find(Path::new(name)).expect("it is there");
        let end = world.inodes[inode].cached.len();
        world.inodes[inode].change(Change::Write(end, bytes.to_vec()));
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.world().names.keys().map(|path| path.display().to_string()).collect()
    }

    /// Lets one call in `one_fails_in` fail from here on, and the program die after `calls_left` calls.
    pub(super) fn misbehave(&self, one_fails_in: u64, calls_left: Option<u64>) {
        let mut world = self.world();
        (world.one_fails_in, world.calls_left) = (one_fails_in, calls_left);
    }

    pub(super) fn has_died(&self) -> bool {
        self.world().calls_left == Some(0)
    }

    /// The program ends and its files are closed, but the system goes on.
    pub(super) fn kill(&self) {
        let mut world = self.world();
        world.life += 1;
        world.inodes.iter_mut().for_each(|inode| inode.locks = 0);
        (world.one_fails_in, world.calls_left) = (0, None);
    }

    /// The power fails.
    pub(super) fn cut_power(&self) {
        self.kill();
        let world = &mut *self.world();
        let kept = world.random.below(world.name_changes.len() as u64 + 1) as usize;
        for change in world.name_changes.drain(..).take(kept) {
            change.apply(&mut world.durable_names);
        }
        world.names = world.durable_names.clone();
        for inode in &mut world.inodes {
            inode.keep_some(&mut world.random);
            inode.cached = inode.durable.clone();
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("nothing panics while it is held")
    }

    fn call(&self) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.world();
        world.call()?;
        Ok(world)
    }

    fn file(&self, inode: usize, life: u64) -> SimulatedFile {
        let (is_direct, is_locked) = (AtomicBool::new(false), AtomicBool::new(false));
        SimulatedFile { disk: self.clone(), inode, life, is_direct, is_locked }
    }
}

impl World {
    /// Counts a call, which may fail.
    fn call(&mut self) -> io::Result<()> {
        if std::thread::current().id() != self.owner {
            return Ok(());
        }
        if self.calls_left == Some(0) {
            return Err(io::Error::other("the program has died"));
        }
        self.calls_left = self.calls_left.map(|left| left - 1);
        if self.one_fails_in > 0 && self.random.below(self.one_fails_in) == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn find(&self, path: &Path) -> Option<usize> {
        match self.names.get(path)? {
            Name::File(inode) => Some(*inode),
            Name::Link(target) => self.find(target),
        }
    }

    /// Counts a change to a name beside `path`.
    fn note_change_beside(&mut self, path: &Path) {
        *self.names_versions.entry(directory_of(path).to_owned()).or_default() += 1;
    }

    fn change_names(&mut self, change: NameChange) {
        self.note_change_beside(change.path());
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn open(&self, path: &Path, _: Mode) -> io::Result<Option<SimulatedFile>> {
        let world = self.call()?;
        Ok(world.find(path).map(|inode| self.file(inode, world.life)))
    }

    fn create(&self, path: &Path) -> io::Result<SimulatedFile> {
        let mut world = self.call()?;
        let inode = world.find(path).unwrap_or_else(|| {
            world.inodes.push(Inode::default());
            let inode = world.inodes.len() - 1;
            world.change_names(NameChange::Set(path.to_owned(), Name::File(inode)));
            inode
        });
        Ok(self.file(inode, world.life))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.call()?.names.contains_key(path))
    }

    fn link_target(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        match self.call()?.names.get(path) {
            Some(Name::Link(target)) => Ok(Some(target.clone())),
            _ => Ok(None),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.call()?;
        if !world.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change_names(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.call()?;
        let inode = world.find(path).ok_or(io::ErrorKind::NotFound)?;
        let is_locked = world.inodes[inode].locks > 0;
        assert!(is_locked, "{}: another server could use it by now", path.display());
        world.change_names(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn names_version(&self, path: &Path) -> io::Result<Option<NamesVersion>> {
        let mut world = self.call()?;
        let changes = world.names_versions.get(directory_of(path)).copied().unwrap_or_default();
        let version = (0, changes, Duration::ZERO);
        Ok((world.random.below(2) == 0).then_some(version))
    }

    fn sync_directory_of(&self, path: &Path) -> io::Result<()> {
        let world = &mut *self.call()?;
        let synced = |change: &mut NameChange| change.path().parent() == path.parent();
        for change in world.name_changes.extract_if(.., synced) {
            change.apply(&mut world.durable_names);
        }
        Ok(())
    }
}

/// An open file.
#[derive(Debug)]
pub(super) struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
    life: u64,
    is_direct: AtomicBool,
    is_locked: AtomicBool,
}

impl SimulatedFile {
    /// Does something to the file that may fail.
    fn call<T>(
        &self,
        work: impl FnOnce(&mut Inode, &mut Random) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut world = self.disk.world();
        if world.life != self.life {
            return Err(io::Error::other("the program has ended"));
        }
        world.call()?;
        let World { inodes, random, .. } = &mut *world;
        work(&mut inodes[self.inode], random)
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        // A panic while it was held is already reported.
        let Ok(mut world) = self.disk.0.lock() else { return };
        if self.is_locked.load(Ordering::Relaxed) && self.life == world.life {
            world.inodes[self.inode].locks -= 1;
        }
    }
}

impl DiskFile for SimulatedFile {
    /// There is one server at a time.
    fn try_lock(&self, _: Mode) -> io::Result<bool> {
        self.call(|inode, _| {
            inode.locks += 1;
            self.is_locked.store(true, Ordering::Relaxed);
            Ok(true)
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.call(|inode, _| Ok(inode.cached.len() as u64))
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.call(|_, _| Ok(()))?;
        Ok(self.disk.world().find(path) == Some(self.inode))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call(|inode, random| {
            let rest = inode.cached.get(offset as usize..).unwrap_or(&[]);
            let mut count = buffer.len().min(rest.len());
            if random.0 % 7 == 0 && count > 1 {
                // A short read.
                count /= 2;
            }
            buffer[..count].copy_from_slice(&rest[..count]);
            inode.read_bytes += count;
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.is_direct.load(Ordering::Relaxed) {
            let numbers = [bytes.as_ptr().addr() as u64, bytes.len() as u64, offset];
            assert!(numbers.iter().all(|number| number.is_multiple_of(4096)), "{numbers:?}");
            match self.disk.seed() % 8 {
                1 => return Err(io::ErrorKind::InvalidInput.into()),
                5 => return Err(io::ErrorKind::PermissionDenied.into()),
                _ => {}
            }
        }
        let done = self.call(|inode, _| {
            inode.change(Change::Write(offset as usize, bytes.to_vec()));
            Ok(())
        });
        // Some of what was to be written may be there.
        if let Err(error) = done {
            let mut world = self.disk.world();
            if world.life == self.life {
                let written = world.random.below(bytes.len() as u64 + 1) as usize;
                let change = Change::Write(offset as usize, bytes[..written].to_vec());
                world.inodes[self.inode].change(change);
            }
            return Err(error);
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.call(|inode, _| {
            inode.change(Change::Length(length as usize));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let done = self.call(|inode, _| {
            let changes = std::mem::take(&mut inode.changes);
            changes.iter().for_each(|change| change.apply(&mut inode.durable));
            Ok(())
        });
        if done.is_err() {
            let world = &mut *self.disk.world();
            if world.life == self.life && world.random.below(2) == 0 {
                world.inodes[self.inode].keep_some(&mut world.random);
            }
        }
        done
    }

    /// Some disks have no direct I/O, and some fail only when they are asked for a write.
    fn set_direct(&self, is_direct: bool) -> bool {
        let is_set = is_direct && !self.disk.seed().is_multiple_of(4);
        self.is_direct.store(is_set, Ordering::Relaxed);
        is_set
    }
}
