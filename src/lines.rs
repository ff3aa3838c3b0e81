//! A buffer that reads bytes and returns them in lines of a bounded length.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use thiserror::Error;

/// The initial size of a growing buffer, in bytes: twice the longest line.
const CAPACITY_MIN: usize = 16 << 10;
/// The room of a growing buffer that has shrunk, in bytes: enough for most messages of one command.
const SHRUNK_ROOM: usize = 512;
/// The largest size of a growing buffer, in bytes.
const CAPACITY_MAX: usize = 1 << 20;
/// The size of a buffer that does not grow, in bytes.
const FIXED_CAPACITY: usize = 80 << 10;

/// The memory that many buffers share to grow beyond their initial size, in bytes.
#[derive(Debug)]
pub struct GrowthBudget(AtomicUsize);

impl GrowthBudget {
    /// Returns a budget of `bytes`.
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

/// Bytes that were read and not taken yet, in lines.
#[derive(Debug)]
pub struct LineBuffer<'b> {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    line_bytes_max: usize,
    /// `None` if it keeps its size.
    budget: Option<&'b GrowthBudget>,
}

impl LineBuffer<'static> {
    /// Returns an empty buffer of 80 KiB, for lines of at most `line_bytes_max` bytes, their ends
    /// included.
    pub fn fixed(line_bytes_max: usize) -> LineBuffer<'static> {
        LineBuffer::with(FIXED_CAPACITY, line_bytes_max, None)
    }
}

impl<'b> LineBuffer<'b> {
    /// Returns an empty buffer of 16 KiB, for lines of at most `line_bytes_max` bytes, their ends
    /// included. It grows up to 1 MiB, out of `budget`.
    pub fn growing(line_bytes_max: usize, budget: &'b GrowthBudget) -> LineBuffer<'b> {
        LineBuffer::with(CAPACITY_MIN, line_bytes_max, Some(budget))
    }

    fn with(
        capacity: usize,
        line_bytes_max: usize,
        budget: Option<&'b GrowthBudget>,
    ) -> LineBuffer<'b> {
        assert!(line_bytes_max < capacity, "a line has to fit into the buffer");
        let bytes = vec![0; capacity];
        LineBuffer { bytes, start: 0, end: 0, line_bytes_max, budget }
    }

    /// Reads once from `reader`. Returns the number of bytes that were read, 0 at its end. Complete lines must have been
    /// taken before, because a buffer without room would look like the end.
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

    /// Restores the initial size of a buffer that has shrunk, and doubles any other, because its peer sends faster than
    /// it is read.
    fn grow(&mut self) {
        let Some(budget) = self.budget else { return };
        let capacity = self.bytes.len();
        if capacity < CAPACITY_MIN {
            self.bytes.resize(CAPACITY_MIN, 0);
        } else if capacity < CAPACITY_MAX && budget.take(capacity) {
            self.bytes.resize(2 * capacity, 0);
        }
    }

    /// Returns whether it holds some of the budget.
    pub(crate) fn has_grown(&self) -> bool {
        self.budget.is_some() && self.bytes.len() > CAPACITY_MIN
    }

    /// Shrinks a growing buffer to less than its initial size before a long wait. Unread bytes are kept; does nothing
    /// if they would not fit.
    pub(crate) fn shrink(&mut self) {
        let capacity = self.end - self.start + SHRUNK_ROOM;
        if self.budget.is_some() && capacity <= CAPACITY_MIN {
            self.give_back();
            let mut bytes = Vec::with_capacity(capacity);
            bytes.extend_from_slice(self.rest());
            (self.start, self.end) = (0, bytes.len());
            bytes.resize(capacity, 0);
            self.bytes = bytes;
        }
    }

    /// Gives back what was taken from the budget.
    fn give_back(&self) {
        if let Some(budget) = self.budget {
            budget.give_back(self.bytes.len().saturating_sub(CAPACITY_MIN));
        }
    }

    /// Takes the next complete line and returns it with its end. Returns `None` if more has to be read first.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`] if no line end is within the limit.
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

    /// Returns the bytes that were read and not taken, from the beginning of a line.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Takes the first `bytes` bytes of [`LineBuffer::rest`], which must be whole lines.
    pub fn take(&mut self, bytes: usize) {
        debug_assert!(bytes == 0 || self.rest()[bytes - 1] == b'\n', "only lines are taken");
        self.start += bytes;
    }

    /// Drops the rest of a line, its end included. Returns `false` if its end has not been read yet.
    pub(crate) fn skip_line(&mut self) -> bool {
        let end = memchr::memchr(b'\n', self.rest());
        self.start = end.map_or(self.end, |at| self.start + at + 1);
        end.is_some()
    }
}

impl Drop for LineBuffer<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Returns `line` without its end, which may be a line feed alone or after a carriage return.
pub(crate) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The error of a line without an end within the limit, which it holds in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no line end within {0} bytes")]
pub struct LineTooLong(usize);

#[cfg(test)]
mod tests {
    use super::{CAPACITY_MIN, GrowthBudget, LineBuffer, SHRUNK_ROOM};

    /// Returns the rest of `budget`, in units of the initial size.
    fn left(budget: &GrowthBudget) -> usize {
        budget.0.load(std::sync::atomic::Ordering::Relaxed) / CAPACITY_MIN
    }

    #[test]
    fn a_buffer_that_shrinks_keeps_what_was_not_taken_and_gives_the_rest_back() {
        let budget = GrowthBudget::new(8 * CAPACITY_MIN);
        let mut lines = LineBuffer::growing(100, &budget);
        let text = b"one line\n".repeat(2 * CAPACITY_MIN / 9);
        let mut reader = text.as_slice();
        while lines.fill(&mut reader).expect("a slice can be read") > 0 {}
        assert_eq!(left(&budget), 7, "it has doubled once");

        lines.shrink();
        assert_eq!(left(&budget), 7, "more is unread than the initial size holds");
        let taken = text.len() - 9 * 100 - 4;
        lines.take(taken - taken % 9);
        let rest = lines.rest().to_vec();
        lines.shrink();
        assert_eq!(left(&budget), 8);
        assert_eq!(lines.rest(), rest);
        assert_eq!(lines.next_line(), Ok(Some(&b"one line\n"[..])));

        lines.take(lines.rest().len() / 9 * 9);
        let torn = lines.rest().len();
        lines.shrink();
        assert_eq!(lines.bytes.len(), torn + SHRUNK_ROOM, "a wait costs little memory");
        let mut more = &text[torn..];
        assert_eq!(lines.fill(&mut more).expect("a slice can be read"), SHRUNK_ROOM);
        assert_eq!(lines.bytes.len(), CAPACITY_MIN, "the first bytes restore the initial size");
        assert_eq!(lines.rest(), &text[..torn + SHRUNK_ROOM]);
        drop(lines);
        assert_eq!(left(&budget), 8, "the initial size is not out of the budget");
    }
}
