//! The SHA-256 of `bets.csv`, computed by a thread that follows the writer, so that it is ready at the draw.

use super::disk::DiskFile;
use super::journal::Extent;
use crate::stop::{Stop, Stopper};
use crossbeam_channel::{Sender, unbounded};
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
        // One number for each MiB. A bounded queue would leave the thread without the newest one when the draw begins.
        let (tasks, queue) = unbounded();
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
        // A closed queue means that the thread has panicked. The digest does not need it.
        if bytes - self.told >= AHEAD_BYTES_MAX && tasks.send(bytes).is_ok() {
            self.told = bytes;
        }
    }

    /// Ends the thread and goes on where it was. Returns the hash of `extent`, in hexadecimal. Returns `None` if `stop`
    /// comes first. Fails if the file does not begin with `extent`.
    pub(super) fn digest(&mut self, extent: Extent, stop: &Stop) -> io::Result<Option<String>> {
        let followed = self.end().unwrap_or_else(Hash::new);
        // The thread may have read bytes that another program changed and changed back.
        for mut hash in [followed, Hash::new()] {
            if !hash.go_on(&*self.file, extent.bytes, stop)? {
                return Ok(None);
            }
            if hash.extent == extent {
                return Ok(Some(hash.digest()));
            }
        }
        Err(io::Error::other("they were changed while they were read"))
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
    extent: Extent,
    piece: Vec<u8>,
}

impl Hash {
    fn new() -> Hash {
        Hash { sha256: Sha256::new(), extent: Extent::default(), piece: vec![0; PIECE_BYTES] }
    }

    /// Goes on to the first `bytes` bytes of the file. Returns `false` if `stop` comes first. After an error the next
    /// call continues at the same place.
    fn go_on(&mut self, file: &impl DiskFile, bytes: u64, stop: &Stop) -> io::Result<bool> {
        while self.extent.bytes < bytes {
            if stop.has_come() {
                return Ok(false);
            }
            let left = usize::try_from(bytes - self.extent.bytes).unwrap_or(usize::MAX);
            let room = &mut self.piece[..left.min(PIECE_BYTES)];
            let count = file.read_at(room, self.extent.bytes)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.sha256.update(&self.piece[..count]);
            self.extent = self.extent.with(&self.piece[..count]);
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
    use super::{AHEAD_BYTES_MAX, Extent, Follower, Hash, of};
    use crate::stop::{Stop, Stopper};
    use crossbeam_channel::unbounded;
    use std::io::Write;
    use std::sync::Arc;

    #[test]
    fn a_digest_goes_on_wherever_the_thread_was() {
        let mut file = tempfile::tempfile().expect("a scratch file");
        let bytes = 3 * AHEAD_BYTES_MAX + 7;
        let content: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(u64::to_le_bytes).collect();
        file.write_all(&content).expect("it can be written");
        let extent =
            Extent::default().with(&content[..usize::try_from(bytes).expect("it is little")]);
        let hash = of(Some(&file), bytes, &[], &Stop::never()).expect("it can be read");
        let file = Arc::new(file);
        for yields in [0, 10, 1_000] {
            let mut follower =
                Follower::start(Arc::clone(&file), AHEAD_BYTES_MAX).expect("a thread");
            follower.follow(2 * AHEAD_BYTES_MAX);
            (0..yields).for_each(|_| std::thread::yield_now());
            for _ in 0..2 {
                let digest = follower.digest(extent, &Stop::never()).expect("it can be read");
                assert_eq!(digest, hash, "after {yields} yields");
            }
            let (stopper, stop) = Stopper::new();
            stopper.stop();
            assert_eq!(follower.digest(extent, &stop).expect("it is stopped"), None);
        }
    }

    #[test]
    fn a_digest_is_that_of_the_extent_whatever_the_thread_has_read() {
        let (confirmed, edited) = (b"1,Ana\n2,Eva\n", b"1,Ona\n2,Eva\n");
        let file = |content: &[u8]| {
            let mut file = tempfile::tempfile().expect("a scratch file");
            file.write_all(content).expect("it can be written");
            file
        };
        let extent = Extent::default().with(confirmed);
        let never = Stop::never();
        let digest = |content: &[u8]| {
            // An edit was there when the thread read the file.
            let mut hash = Hash::new();
            hash.go_on(&file(edited), 6, &never).expect("it can be read");
            let (tasks, _) = unbounded();
            let thread = Some((tasks, Stopper::new().0, std::thread::spawn(|| hash)));
            Follower { file: Arc::new(file(content)), told: 6, thread }.digest(extent, &never)
        };
        let hash = of(Some(&file(confirmed)), extent.bytes, &[], &never).expect("it can be read");
        assert_eq!(digest(confirmed).expect("the edit was undone"), hash);
        let error = digest(edited).expect_err("the edit is there").to_string();
        assert_eq!(error, "they were changed while they were read");
    }
}
