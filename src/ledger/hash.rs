//! The SHA-256 of `bets.csv`, computed by a thread that follows the writer, so that it is ready at the draw.

use super::disk::DiskFile;
use crate::stop::{Stop, Stopper};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// The size of one read, in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// The number of new bytes that wakes the thread.
const AHEAD_BYTES_MAX: u64 = 1 << 20;

/// The number of bytes to hash from the beginning of the file, and the reply channel of a caller that waits.
type Task = (u64, Option<Sender<io::Result<Option<String>>>>);

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    tasks: Sender<Task>,
    /// The number of bytes to which the thread was last let go on.
    told: u64,
    stopper: Option<Stopper>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts the thread over `file`, of which the first `bytes` bytes do not change any more.
    pub(super) fn start(file: Arc<impl DiskFile>, bytes: u64) -> io::Result<Follower> {
        let (tasks, queue) = bounded(1);
        let (stopper, stop) = Stopper::new();
        let work = move || run(&*file, &queue, &stop);
        let thread = std::thread::Builder::new().name("hash".into()).spawn(work)?;
        let mut follower =
            Follower { tasks, told: 0, stopper: Some(stopper), thread: Some(thread) };
        follower.follow(bytes);
        Ok(follower)
    }

    /// Lets the thread continue to `bytes` bytes, if that is worth waking it. Never blocks.
    pub(super) fn follow(&mut self, bytes: u64) {
        // While the thread has a task it needs no other one to go on.
        if bytes - self.told >= AHEAD_BYTES_MAX && self.tasks.try_send((bytes, None)).is_ok() {
            self.told = bytes;
        }
    }

    /// Returns the hash of the first `bytes` bytes, in hexadecimal. Returns `None` if `stop` comes first.
    pub(super) fn digest(&self, bytes: u64, stop: &Stop) -> io::Result<Option<String>> {
        let (reply, answer) = bounded(1);
        let ended = || io::Error::other("the hashing thread has ended");
        select! {
            send(self.tasks, (bytes, Some(reply))) -> sent => sent.map_err(|_| ended())?,
            recv(stop.channel()) -> _ => return Ok(None),
        }
        select! {
            recv(answer) -> digest => digest.map_err(|_| ended())?,
            recv(stop.channel()) -> _ => Ok(None),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stopper = None;
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

/// Performs tasks until the stop.
fn run(file: &impl DiskFile, queue: &Receiver<Task>, stop: &Stop) {
    let mut hash = Hash::new();
    loop {
        let task = select! {
            recv(queue) -> task => task,
            recv(stop.channel()) -> _ => return,
        };
        let Ok((bytes, reply)) = task else { return };
        let outcome = hash.go_on(file, bytes, stop);
        let Some(reply) = reply else { continue };
        let _gone = reply.send(outcome.map(|done| done.then(|| hash.digest())));
    }
}

/// The hash of the beginning of a file.
struct Hash {
    sha256: Sha256,
    bytes: u64,
    piece: Vec<u8>,
}

impl Hash {
    fn new() -> Hash {
        Hash { sha256: Sha256::new(), bytes: 0, piece: vec![0; PIECE_BYTES] }
    }

    /// Goes on to the first `bytes` bytes of the file. Returns `false` if `stop` comes first. After an error the next
    /// call continues at the same place.
    fn go_on(&mut self, file: &impl DiskFile, bytes: u64, stop: &Stop) -> io::Result<bool> {
        while self.bytes < bytes {
            if stop.has_come() {
                return Ok(false);
            }
            let left = usize::try_from(bytes - self.bytes).unwrap_or(usize::MAX);
            let count = file.read_at(&mut self.piece[..left.min(PIECE_BYTES)], self.bytes)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.sha256.update(&self.piece[..count]);
            self.bytes += count as u64;
        }
        Ok(true)
    }

    /// Returns the hash as `sha256sum` writes it.
    fn digest(&self) -> String {
        let bytes = self.sha256.clone().finalize();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns the hash of the first `bytes` bytes of `file`, and of `rows` after them. Returns `None` if `stop` comes
/// first.
pub(super) fn of(
    file: Option<&impl DiskFile>,
    bytes: u64,
    rows: &[u8],
    stop: &Stop,
) -> io::Result<Option<String>> {
    let mut hash = Hash::new();
    if let Some(file) = file
        && !hash.go_on(file, bytes, stop)?
    {
        return Ok(None);
    }
    hash.sha256.update(rows);
    Ok(Some(hash.digest()))
}
