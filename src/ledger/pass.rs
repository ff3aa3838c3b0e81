//! A pass over a beginning of `bets.csv`, in large pieces of whole lines and in bounded memory. A large file is
//! read in parts, side by side.

use super::disk::DiskFile;
use super::journal::Extent;
use crate::stop::Stop;
use crate::system::processors;
use std::io;
use std::ops::Range;
use std::thread::Builder;

/// The size of one read, in bytes.
const PIECE_BYTES: usize = if cfg!(test) { 257 } else { 256 << 10 };
/// The least size of a part, below which a thread of its own is not worth it, and the most parts.
const PART_BYTES_MIN: u64 = if cfg!(test) { 1000 } else { 8 << 20 };
const PARTS_MAX: u64 = 4;

/// A computation over lines.
pub(super) trait Lines: Send {
    /// Takes the next lines, with their ends. They are complete unless another program wrote the file.
    fn add(&mut self, lines: &[u8]);
    /// Takes what was computed over the lines after these.
    fn join(&mut self, later: Self);
}

/// Reads the first `bytes` bytes of `file`. Returns their extent, which is shorter if the file is, and the computation
/// over their lines. Returns `None` if `stop` comes first.
pub(super) fn over<F: DiskFile, L: Lines>(
    file: &F,
    bytes: u64,
    stop: &Stop,
    make: impl Fn() -> L + Sync,
) -> io::Result<Option<(Extent, L)>> {
    let parts = split(file, bytes)?;
    let read = &|part: &Range<u64>| read_part(file, part.clone(), stop, make());
    let (first, others) = parts.split_first().expect("a file has a first part");
    let read: Vec<_> = std::thread::scope(|scope| {
        let start = |part| Builder::new().spawn_scoped(scope, move || read(part));
        let threads: Vec<_> = others.iter().map(start).collect();
        let first = read(first);
        // A part that the system starts no thread for is read here.
        let others = threads.into_iter().zip(others).map(|(thread, part)| match thread {
            Ok(thread) => thread.join().expect("no pass panics"),
            Err(_) => read(part),
        });
        std::iter::once(first).chain(others).collect()
    });
    let mut crc = crc32fast::Hasher::new();
    let mut extent = Extent::default();
    let mut lines = make();
    for part in read {
        let Some((part_crc, part_bytes, part_lines)) = part? else { return Ok(None) };
        crc.combine(&part_crc);
        extent.bytes += part_bytes;
        lines.join(part_lines);
    }
    extent.crc = crc.finalize();
    Ok(Some((extent, lines)))
}

/// Returns a buffer for the pieces of `bytes` bytes. It is no larger than needed, because glibc keeps more memory for the
/// buffers of sessions once a large buffer has been freed.
fn piece_of(bytes: u64) -> Vec<u8> {
    vec![0; usize::try_from(bytes).map_or(PIECE_BYTES, |bytes| bytes.min(PIECE_BYTES))]
}

/// Splits the first `bytes` bytes of `file` at the beginnings of lines.
fn split(file: &impl DiskFile, bytes: u64) -> io::Result<Vec<Range<u64>>> {
    let count = (bytes / PART_BYTES_MIN).clamp(1, PARTS_MAX.min(processors() as u64));
    let mut starts = vec![0];
    let mut piece = piece_of(bytes);
    for part in 1..count {
        let middle = bytes / count * part;
        let read = file.read_at(&mut piece, middle)?;
        let line_start = memchr::memchr(b'\n', &piece[..read]).map_or(0, |at| at as u64 + 1);
        starts.push(middle + line_start);
    }
    let ends = starts[1..].iter().copied().chain([bytes]);
    // A line that is longer than a part makes the part empty.
    Ok(starts.iter().zip(ends).map(|(start, end)| *start..end.max(*start)).collect())
}

fn read_part<L: Lines>(
    file: &impl DiskFile,
    part: Range<u64>,
    stop: &Stop,
    mut lines: L,
) -> io::Result<Option<(crc32fast::Hasher, u64, L)>> {
    let mut crc = crc32fast::Hasher::new();
    let mut piece = piece_of(part.end - part.start);
    let (mut at, mut kept) = (part.start, 0);
    while at < part.end {
        if stop.has_come() {
            return Ok(None);
        }
        let left = usize::try_from(part.end - at).unwrap_or(usize::MAX);
        let room = left.min(piece.len() - kept);
        let count = file.read_at(&mut piece[kept..kept + room], at)?;
        if count == 0 {
            break;
        }
        crc.update(&piece[kept..kept + count]);
        at += count as u64;
        let arrived = kept + count;
        // No ledger wrote a piece without a line end; the checksum will show that.
        let whole = memchr::memrchr(b'\n', &piece[..arrived]).map(|last| last + 1);
        let whole = whole.unwrap_or(if arrived == piece.len() { arrived } else { 0 });
        lines.add(&piece[..whole]);
        piece.copy_within(whole..arrived, 0);
        kept = arrived - whole;
    }
    lines.add(&piece[..kept]);
    Ok(Some((crc, at - part.start, lines)))
}
