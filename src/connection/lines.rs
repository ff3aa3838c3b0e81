//! A buffer that takes whatever arrives and gives it back in lines of a bounded length.

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a buffer has at first, in bytes: twice the longest line.
const CAPACITY_MIN: usize = 16 << 10;
/// What a buffer grows to, in bytes, for a peer that fills it.
const CAPACITY_MAX: usize = 1 << 20;

/// Memory that many buffers share for growing beyond their first size, in bytes.
#[derive(Debug)]
pub struct GrowthBudget(AtomicUsize);

impl GrowthBudget {
    /// A budget of `bytes`.
    pub const fn new(bytes: usize) -> GrowthBudget {
        GrowthBudget(AtomicUsize::new(bytes))
    }

    fn take(&self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Bytes that arrived, given back in lines.
#[derive(Debug)]
pub struct LineBuffer<'b> {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    line_bytes_max: usize,
    budget: &'b GrowthBudget,
}

impl<'b> LineBuffer<'b> {
    /// An empty buffer for lines of at most `line_bytes_max` bytes, their ends included, which has to
    /// be less than 16 KiB; it grows out of `budget`.
    pub fn new(line_bytes_max: usize, budget: &'b GrowthBudget) -> LineBuffer<'b> {
        assert!(line_bytes_max < CAPACITY_MIN, "a line has to fit into the buffer");
        LineBuffer { bytes: vec![0; CAPACITY_MIN], start: 0, end: 0, line_bytes_max, budget }
    }

    /// Reads once from `reader`: how many bytes came, 0 at its end. The lines before must have been
    /// taken.
    ///
    /// # Errors
    ///
    /// Those of the reader.
    pub fn fill(&mut self, reader: &mut impl Read) -> io::Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.bytes.len() - self.end;
        let count = reader.read(&mut self.bytes[self.end..])?;
        self.end += count;
        if count == room {
            self.grow();
        }
        Ok(count)
    }

    /// Doubles the buffer, for a peer that sends faster than it is read.
    fn grow(&mut self) {
        let capacity = self.bytes.len();
        if capacity < CAPACITY_MAX && self.budget.take(capacity) {
            self.bytes.resize(2 * capacity, 0);
        }
    }

    /// Back to its first size; for a peer that will be silent for long. Only without a line in it
    /// that was not taken; otherwise it stays as it is.
    pub fn shrink(&mut self) {
        if self.end - self.start <= CAPACITY_MIN && self.bytes.len() > CAPACITY_MIN {
            let rest = self.bytes[self.start..self.end].to_vec();
            self.budget.give_back(self.bytes.len() - CAPACITY_MIN);
            self.bytes = vec![0; CAPACITY_MIN];
            self.bytes[..rest.len()].copy_from_slice(&rest);
            (self.start, self.end) = (0, rest.len());
        }
    }

    /// The next complete line, its end included; `None` until more has arrived.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`] where no line end is within the bound.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, LineTooLong> {
        let arrived = &self.bytes[self.start..self.end];
        let within = &arrived[..arrived.len().min(self.line_bytes_max)];
        match memchr::memchr(b'\n', within) {
            Some(at) => {
                self.start += at + 1;
                Ok(Some(&arrived[..=at]))
            }
            None if within.len() == self.line_bytes_max => Err(LineTooLong(self.line_bytes_max)),
            None => Ok(None),
        }
    }

    /// What has arrived and is not taken, from the beginning of a line.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Takes the first `bytes` bytes of what has arrived, which have to be whole lines.
    pub fn take(&mut self, bytes: usize) {
        debug_assert!(bytes == 0 || self.rest()[bytes - 1] == b'\n', "only lines are taken");
        self.start += bytes;
    }

    /// Drops what has arrived of a line, its end included; `false` where its end is still to come.
    pub fn skip_line(&mut self) -> bool {
        let end = memchr::memchr(b'\n', self.rest());
        self.start = end.map_or(self.end, |at| self.start + at + 1);
        end.is_some()
    }
}

impl Drop for LineBuffer<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes.len() - CAPACITY_MIN);
    }
}

/// A line has no end within the bound, which it holds in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineTooLong(usize);

impl fmt::Display for LineTooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no line end within {} bytes", self.0)
    }
}

impl std::error::Error for LineTooLong {}
