//! The SHA-256 of `bets.csv`, computed by a thread that follows the writer, so that it is ready at the draw.

use super::disk::DiskFile;
use crate::stop::{Stop, Stopper};
use crossbeam_channel::{Sender, bounded};
use sha2::{Digest, Sha256};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// The size of one read, in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// The number of new bytes that wakes the thread.
const AHEAD_BYTES_MAX: u64 = 1 << 20;

/// The thread, and what it follows. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Follower<F> {
    file: Arc<F>,
    /// The number of bytes up to which the thread was last told to hash.
    told: u64,
    /// Sends the numbers of bytes to hash from the beginning of the file, interrupts the hashing, and joins. `None` after
    /// the thread has ended.
    thread: Option<(Sender<u64>, Stopper, JoinHandle<Hash>)>,
}

impl<F: DiskFile> Follower<F> {
    /// Starts the thread over `file`, of which the first `bytes` bytes do not change any more.
    pub(super) fn start(file: Arc<F>, bytes: u64) -> io::Result<Follower<F>> {
        let (tasks, queue) = bounded(1);
        let (stopper, stop) = Stopper::new();
        let followed = Arc::clone(&file);
        let thread = std::thread::Builder::new().name("hash".into()).spawn(move || {
            let mut hash = Hash::new();
            for bytes in queue {
                // An error comes again when the digest is asked for.
                let _outcome = hash.go_on(&*followed, bytes, &stop);
            }
            hash
        })?;
        let mut follower = Follower { file, told: 0, thread: Some((tasks, stopper, thread)) };
        follower.follow(bytes);
        Ok(follower)
    }

    /// Tells the thread to continue up to `bytes` bytes, if there are enough new ones to wake it. Never blocks.
    pub(super) fn follow(&mut self, bytes: u64) {
        let Some((tasks, ..)) = &self.thread else { return };
        // While the thread has a task it needs no other one to go on.
        if bytes - self.told >= AHEAD_BYTES_MAX && tasks.try_send(bytes).is_ok() {
            self.told = bytes;
        }
    }

    /// Ends the thread and goes on where it was. Returns the hash of the first `bytes` bytes, in hexadecimal. Returns
    /// `None` if `stop` comes first.
    pub(super) fn digest(&mut self, bytes: u64, stop: &Stop) -> io::Result<Option<String>> {
        let mut hash = self.end().unwrap_or_else(Hash::new);
        Ok(hash.go_on(&*self.file, bytes, stop)?.then(|| hash.digest()))
    }
}

impl<F> Follower<F> {
    /// Ends the thread. Returns the hash as far as it has come, unless the thread has panicked.
    fn end(&mut self) -> Option<Hash> {
        let (tasks, stopper, thread) = self.thread.take()?;
        stopper.stop();
        drop(tasks);
        thread.join().ok()
    }
}

impl<F> Drop for Follower<F> {
    fn drop(&mut self) {
        let _not_needed = self.end();
    }
}

/// The hash of the beginning of a file.
#[derive(Debug)]
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

#[cfg(test)]
mod tests {
    use super::{AHEAD_BYTES_MAX, Follower, of};
    use crate::stop::{Stop, Stopper};
    use std::io::Write;
    use std::sync::Arc;

    #[test]
    fn a_digest_goes_on_wherever_the_thread_was() {
        let mut file = tempfile::tempfile().expect("a scratch file");
        let bytes = 3 * AHEAD_BYTES_MAX + 7;
        for number in 0..bytes.div_ceil(8) {
            file.write_all(&number.to_le_bytes()).expect("it can be written");
        }
        let hash = of(Some(&file), bytes, &[], &Stop::never()).expect("it can be read");
        let file = Arc::new(file);
        for yields in [0, 10, 1_000] {
            let mut follower =
                Follower::start(Arc::clone(&file), AHEAD_BYTES_MAX).expect("a thread");
            follower.follow(2 * AHEAD_BYTES_MAX);
            (0..yields).for_each(|_| std::thread::yield_now());
            for _ in 0..2 {
                let digest = follower.digest(bytes, &Stop::never()).expect("it can be read");
                assert_eq!(digest, hash, "after {yields} yields");
            }
            let (stopper, stop) = Stopper::new();
            stopper.stop();
            assert_eq!(follower.digest(bytes, &stop).expect("it is stopped"), None);
        }
    }
}
