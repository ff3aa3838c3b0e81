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
type Task = (u64, Option<Sender<io::Result<String>>>);

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    tasks: Sender<Task>,
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
            recv(answer) -> digest => digest.map_err(|_| ended())?.map(Some),
            recv(stop.channel()) -> _ => Ok(None),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stopper = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Performs tasks until the stop.
fn run(file: &impl DiskFile, queue: &Receiver<Task>, stop: &Stop) {
    let (mut hash, mut position) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let (bytes, reply) = select! {
            recv(queue) -> task => match task {
                Ok(task) => task,
                Err(_) => return,
            },
            recv(stop.channel()) -> _ => return,
        };
        let outcome = hash_to(file, bytes, &mut position, &mut hash, &mut piece, stop);
        let Some(reply) = reply else { continue };
        let _gone = reply.send(outcome.map(|()| hexadecimal(&hash.clone().finalize())));
    }
}

/// Hashes the file from `position` to `bytes`. After an error the next call continues at the same position.
fn hash_to(
    file: &impl DiskFile,
    bytes: u64,
    position: &mut u64,
    hash: &mut Sha256,
    piece: &mut [u8],
    stop: &Stop,
) -> io::Result<()> {
    while *position < bytes {
        if stop.has_come() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let room = piece.len().min(usize::try_from(bytes - *position).unwrap_or(usize::MAX));
        let count = file.read_at(&mut piece[..room], *position)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hash.update(&piece[..count]);
        *position += count as u64;
    }
    Ok(())
}

/// Returns the hash of the first `bytes` bytes of `file`, and of `rows` after them. Returns `None` if `stop` comes
/// first.
pub(super) fn of(
    file: Option<&impl DiskFile>,
    bytes: u64,
    rows: &[u8],
    stop: &Stop,
) -> io::Result<Option<String>> {
    let mut hash = Sha256::new();
    if let Some(file) = file {
        let mut piece = vec![0; PIECE_BYTES];
        match hash_to(file, bytes, &mut 0, &mut hash, &mut piece, stop) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            outcome => outcome?,
        }
    }
    hash.update(rows);
    Ok(Some(hexadecimal(&hash.finalize())))
}

/// Returns bytes as `sha256sum` writes them.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
