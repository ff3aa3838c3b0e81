//! `bets.journal`: what makes a group of batches durable at once and as a whole.
//!
//! # Format
//!
//! The file lies beside `bets.csv` and has its name, with the extension `journal`. It is written once with
//! zeros and never changes its length, so a write to it changes no metadata and its sync is cheap. It
//! consists of pages of 4096 bytes. All numbers are little-endian, and every CRC is the CRC-32 of zlib.
//!
//! ```text
//! page 0 to 1023        the log
//! page 1024, 1025       the slot of even epochs, twice
//! page 1026, 1027       the slot of odd epochs, twice
//! ```
//!
//! A **slot** records which bytes of `bets.csv` are durable. The rest of its page is zeros.
//!
//! | bytes | content |
//! |---|---|
//! | 0 to 7 | `loteria` and the version of the format, 1 |
//! | 8 to 15 | the epoch: 1 for the first slot that was written, and one more for each further one |
//! | 16 to 23 | the number of durable bytes of `bets.csv` |
//! | 24 to 27 | their CRC |
//! | 28 to 29 | the number of agencies of the lottery |
//! | 30 to 31 | bit 0: the server has stopped, bit 1: the draw was held |
//! | 32 to 35 | the winning number of the draw |
//! | 36 to 39 | the CRC of `sorteo.toml` |
//! | 40 to 43 | the number under which the files are being set aside, or 0 |
//! | 44 to 47 | the CRC of the 44 bytes before |
//!
//! A **record** of the log holds the rows of one group. It begins at a page and is filled up with zeros to
//! the end of one, so that no page of a confirmed record is ever written again before the log begins anew.
//!
//! | bytes | content |
//! |---|---|
//! | 0 to 7 | `\xFFrecord\n` |
//! | 8 to 15 | the epoch of the slot that it follows |
//! | 16 to 23 | the offset of its rows in `bets.csv` |
//! | 24 to 27 | their length in bytes; 0 seals the log: nothing follows in `bets.csv` |
//! | 28 to 31 | the CRC of all bytes of `bets.csv` before them |
//! | 32 to 35 | the CRC of all other bytes of the record |
//! | 36 to | the rows, then zeros |
//!
//! # The confirmed bytes
//!
//! The bytes of the newest valid slot, and then the rows of the records with its epoch. Records of older epochs
//! are remains. A group is in flight alone, so a crash can damage one record, the last; and it can damage
//! both copies of a slot only while that slot is being written, when the one before is still true. If a record
//! before the last is damaged all the same, the next one says how many bytes of `bets.csv` come before it, and their
//! CRC, so nothing is lost unless these bytes are lost too.
//!
//! The slots lie behind the log because a file is copied from its beginning to its end. If the newest slot of
//! a copy was written after the copying began, it covers all that was confirmed before; otherwise no record
//! that was in the log was overwritten meanwhile.
//!
//! The weak point: damage to the last record looks like a crash within it.

use super::disk::{self, Disk, DiskFile};
use super::error::{OpenError, at};
use crate::bet::Agencies;
use std::io;
use std::path::Path;

/// The size at which a group is written, in bytes. Its last request may exceed it.
pub(super) const GROUP_BYTES_MAX: usize = 4 << 20;
/// The most bytes that a crash can leave behind those that are confirmed: a group is in flight alone, and its last request,
/// which a buffer of 1 MiB held, may exceed its size.
pub(super) const REMAINS_BYTES_MAX: u64 = 2 * GROUP_BYTES_MAX as u64;

const PAGE: usize = 4096;
/// Tests fill small logs sooner, and simulate their disks faster.
const LOG_BYTES: usize = if cfg!(test) { 8 * PAGE } else { 4 << 20 };
const SLOT_COPIES: usize = 2;
const SLOT_BYTES: usize = SLOT_COPIES * PAGE;
const JOURNAL_BYTES: usize = LOG_BYTES + 2 * SLOT_BYTES;
/// The size of one read of the log. The log of a test has several of them too.
const PIECE_BYTES: usize = if cfg!(test) { 3 * PAGE } else { 16 * PAGE };

const SLOT_MAGIC: &[u8; 8] = b"loteria\x01";
const SLOT_USED: usize = 48;
const STOPPED: u16 = 1;
const HELD: u16 = 2;

const RECORD_MAGIC: &[u8; 8] = b"\xFFrecord\n";
const RECORD_HEADER: usize = 36;
const RECORD_CRC: std::ops::Range<usize> = 32..36;

/// The state that is durable without the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) epoch: u64,
    pub(super) extent: Extent,
    pub(super) agencies: u16,
    /// Nothing was in flight when it was written, and nothing was written since.
    pub(super) stopped: bool,
    pub(super) held: Option<Held>,
    /// The number under which the files are being set aside, or 0.
    pub(super) aside: u32,
}

/// A beginning of `bets.csv`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

impl Extent {
    /// Returns this beginning and `rows` behind it.
    pub(super) fn with(self, rows: &[u8]) -> Extent {
        let mut crc = crc32fast::Hasher::new_with_initial_len(self.crc, self.bytes);
        crc.update(rows);
        Extent { bytes: self.bytes + rows.len() as u64, crc: crc.finalize() }
    }
}

/// The draw, as far as it is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) winning_number: u16,
    /// The CRC of `sorteo.toml`.
    pub(super) result_crc: u32,
}

impl Held {
    /// Returns the record of a draw whose `sorteo.toml` is `result`.
    pub(super) fn on(winning_number: u16, result: &[u8]) -> Held {
        Held { winning_number, result_crc: crc32fast::hash(result) }
    }
}

impl Slot {
    fn to_page(self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let flags = if self.stopped { STOPPED } else { 0 } | self.held.map_or(0, |_| HELD);
        let held = self.held.unwrap_or_default();
        page[..8].copy_from_slice(SLOT_MAGIC);
        page[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        page[16..24].copy_from_slice(&self.extent.bytes.to_le_bytes());
        page[24..28].copy_from_slice(&self.extent.crc.to_le_bytes());
        page[28..30].copy_from_slice(&self.agencies.to_le_bytes());
        page[30..32].copy_from_slice(&flags.to_le_bytes());
        page[32..36].copy_from_slice(&u32::from(held.winning_number).to_le_bytes());
        page[36..40].copy_from_slice(&held.result_crc.to_le_bytes());
        page[40..44].copy_from_slice(&self.aside.to_le_bytes());
        let crc = crc32fast::hash(&page[..SLOT_USED - 4]);
        page[SLOT_USED - 4..SLOT_USED].copy_from_slice(&crc.to_le_bytes());
        page
    }

    fn to_copies(self) -> Vec<u8> {
        [self.to_page(); SLOT_COPIES].concat()
    }

    fn of_page(page: &[u8]) -> Option<Slot> {
        let flags = u16::from_le_bytes(bytes_at(page, 30));
        let winning_number = u16::from_le_bytes(bytes_at(page, 32));
        let result_crc = u32_at(page, 36);
        let slot = Slot {
            epoch: u64_at(page, 8),
            extent: Extent { bytes: u64_at(page, 16), crc: u32_at(page, 24) },
            agencies: u16::from_le_bytes(bytes_at(page, 28)),
            stopped: flags & STOPPED != 0,
            held: (flags & HELD != 0).then_some(Held { winning_number, result_crc }),
            aside: u32_at(page, 40),
        };
        // The rest of the page must also be as it was written, the zeros included.
        (slot.to_page() == page).then_some(slot)
    }

    fn offset(epoch: u64) -> usize {
        LOG_BYTES + if epoch.is_multiple_of(2) { 0 } else { SLOT_BYTES }
    }
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

/// A group in the log.
struct Record<'l> {
    epoch: u64,
    before: Extent,
    rows: &'l [u8],
}

impl<'l> Record<'l> {
    /// Returns the record at the beginning of `log`, if there is a valid one that is not older than `epoch`.
    fn parse(log: &'l [u8], epoch: u64) -> Option<Record<'l>> {
        if !log.starts_with(RECORD_MAGIC) || u64_at(log, 8) < epoch {
            return None;
        }
        // A damaged length may be near the largest number of 32 bits.
        let length = (u32_at(log, 24) as usize).min(LOG_BYTES);
        let record = log.get(..record_bytes(length))?;
        let before = Extent { bytes: u64_at(record, 16), crc: u32_at(record, 28) };
        let rows = &record[RECORD_HEADER..RECORD_HEADER + length];
        let intact = record_crc(record).to_le_bytes() == record[RECORD_CRC];
        intact.then_some(Record { epoch: u64_at(log, 8), before, rows })
    }
}

/// Returns the size in the log of a record with `rows` bytes of rows.
fn record_bytes(rows: usize) -> usize {
    (RECORD_HEADER + rows).next_multiple_of(PAGE)
}

fn record_crc(record: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&record[..RECORD_CRC.start]);
    crc.update(&record[RECORD_CRC.end..]);
    crc.finalize()
}

/// The content of a journal.
#[derive(Debug)]
pub(super) struct Confirmed {
    /// The newest slot.
    pub(super) slot: Slot,
    /// The extent that `bets.csv` must begin with.
    pub(super) base: Extent,
    /// The rows after it, whether `bets.csv` has them or not.
    pub(super) rows: Vec<u8>,
    /// `bets.csv` must not hold anything else, not even the trace of a crash.
    pub(super) sealed: bool,
    /// Damaged pages whose content is known from other pages.
    pub(super) damaged_pages: Vec<usize>,
}

impl Confirmed {
    /// Returns `extent` as confirmed, for a `bets.csv` without a journal.
    pub(super) fn adopted(extent: Extent, agencies: Agencies) -> Confirmed {
        let agencies = agencies.count();
        Confirmed::by(Slot { epoch: 0, extent, agencies, stopped: false, held: None, aside: 0 })
    }

    /// Returns what `slot` alone confirms.
    fn by(slot: Slot) -> Confirmed {
        let (base, rows, sealed) = (slot.extent, Vec::new(), slot.stopped);
        Confirmed { slot, base, rows, sealed, damaged_pages: Vec::new() }
    }

    /// Reads and parses a journal. The inner error is the damage that hides what is confirmed, in words.
    pub(super) fn read(file: &impl DiskFile) -> io::Result<Result<Confirmed, String>> {
        let length = file.length()?;
        if length != JOURNAL_BYTES as u64 {
            return Ok(Err(format!("has {length} bytes, and must have {JOURNAL_BYTES}")));
        }
        let slots = disk::read(file, LOG_BYTES as u64, 2 * SLOT_BYTES)?;
        Ok(Confirmed::parse(&read_log(file)?, &slots))
    }

    /// Parses the pages of the log, without pages of zeros at its end, and of the slots.
    ///
    /// # Errors
    ///
    /// The damage that hides what is confirmed, in words.
    fn parse(log: &[u8], slots: &[u8]) -> Result<Confirmed, String> {
        let (slot, mut damaged_pages) = newest_slot(slots)?;
        let mut confirmed = Confirmed::by(slot);
        let mut end = slot.extent;
        let (mut page, mut end_page) = (0, 0);
        while page * PAGE < log.len() {
            let Some(record) = Record::parse(&log[page * PAGE..], slot.epoch) else {
                page += 1;
                continue;
            };
            if record.epoch > slot.epoch {
                return Err("the slot of the newest records is missing".into());
            }
            if record.before.bytes < end.bytes || confirmed.sealed {
                return Err(format!("the record in page {page} contradicts what comes before it"));
            }
            if record.before != end {
                // Records before this one are damaged. Its extent covers them.
                confirmed.base = record.before;
                confirmed.rows.clear();
            }
            confirmed.damaged_pages.extend(end_page..page);
            confirmed.rows.extend_from_slice(record.rows);
            confirmed.sealed = record.rows.is_empty();
            end = record.before.with(record.rows);
            page += record_bytes(record.rows.len()) / PAGE;
            end_page = page;
        }
        if slot.stopped {
            let used = log.chunks(PAGE).enumerate().filter(|(_, page)| is_used(page));
            confirmed.damaged_pages.extend(used.map(|(page, _)| page));
        }
        confirmed.damaged_pages.append(&mut damaged_pages);
        Ok(confirmed)
    }

    /// Returns whether the log holds only zeros.
    pub(super) fn has_empty_log(&self) -> bool {
        self.slot.stopped && self.damaged_pages.is_empty()
    }

    /// Returns all that is confirmed.
    pub(super) fn extent(&self) -> Extent {
        self.base.with(&self.rows)
    }
}

/// Reads the log up to its last page that is not zeros, so that a start needs no memory for a whole one.
fn read_log(file: &impl DiskFile) -> io::Result<Vec<u8>> {
    let (mut log, mut piece) = (Vec::new(), vec![0; PIECE_BYTES]);
    for start in (0..LOG_BYTES).step_by(PIECE_BYTES) {
        piece.truncate(LOG_BYTES - start);
        disk::read_exact(file, &mut piece, start as u64)?;
        if let Some(last) = piece.chunks(PAGE).rposition(is_used) {
            while log.len() < start {
                log.extend_from_slice(&[0; PAGE]);
            }
            log.extend_from_slice(&piece[..(last + 1) * PAGE]);
        }
    }
    Ok(log)
}

/// Returns whether a page holds anything but zeros.
fn is_used(page: &[u8]) -> bool {
    *page != [0; PAGE]
}

/// Returns the newest valid slot, and the pages that should hold a valid one and do not.
fn newest_slot(slots: &[u8]) -> Result<(Slot, Vec<usize>), String> {
    // A slot counts only in the place of its epoch.
    let is_in_place = |slot: &Slot, place| {
        Slot::offset(slot.epoch) == LOG_BYTES + place / SLOT_COPIES * SLOT_BYTES
    };
    let slot_in = |(place, page)| Slot::of_page(page).filter(|slot| is_in_place(slot, place));
    let found: Vec<Option<Slot>> = slots.chunks(PAGE).enumerate().map(slot_in).collect();
    let newest = found.iter().copied().flatten().max_by_key(|slot| slot.epoch);
    let newest = newest.ok_or("has no valid slot")?;
    let is_as_written = |place: usize| match found[place] {
        Some(slot) => slot == newest || slot.epoch + 1 == newest.epoch,
        // The first slot of all has none before it.
        None => {
            let is_zeros = slots[place * PAGE..][..PAGE] == [0; PAGE];
            newest.epoch == 1 && !is_in_place(&newest, place) && is_zeros
        }
    };
    let damaged = (0..found.len()).filter(|place| !is_as_written(*place));
    Ok((newest, damaged.map(|place| LOG_BYTES / PAGE + place).collect()))
}

/// A journal that is open.
#[derive(Debug)]
pub(super) struct Journal<F> {
    file: F,
    /// Whether writes bypass the page cache.
    is_direct: bool,
    /// The newest slot. A change to it is written with the next checkpoint.
    pub(super) slot: Slot,
    /// The number of bytes of the log with records of this epoch.
    log_end: usize,
    /// The number of bytes of the log that may not be zeros.
    log_used: usize,
}

impl<F: DiskFile> Journal<F> {
    /// Creates a journal at `path` whose first slot is `slot`. A crash leaves none, or a complete one. Calls `confirm`
    /// when the disk has room for the journal, and gives it its name only after that.
    pub(super) fn create<D: Disk<File = F>>(
        disk: &D,
        path: &Path,
        slot: Slot,
        confirm: impl FnOnce() -> Result<(), OpenError>,
    ) -> Result<Journal<F>, OpenError> {
        let slot = Slot { epoch: 1, ..slot };
        let draft = disk::write_draft(disk, path, |file| {
            disk::write_zeros(file, JOURNAL_BYTES)?;
            file.write_at(&slot.to_copies(), Slot::offset(1) as u64)
        });
        let file = at(path, draft)?;
        confirm()?;
        at(path, disk::name_draft(disk, path))?;
        Ok(Journal { is_direct: file.set_direct(true), file, slot, log_end: 0, log_used: 0 })
    }

    /// Continues a journal with `slot`, and with the next epoch.
    pub(super) fn resume(file: F, slot: Slot, log_is_empty: bool) -> io::Result<Journal<F>> {
        let log_used = if log_is_empty { 0 } else { LOG_BYTES };
        let is_direct = file.set_direct(true);
        let mut journal = Journal { file, is_direct, slot, log_end: 0, log_used };
        journal.checkpoint(slot.extent)?;
        Ok(journal)
    }

    /// Returns whether it is the file at `path`.
    pub(super) fn is_at(&self, path: &Path) -> io::Result<bool> {
        self.file.is_at(path)
    }

    /// Returns whether the file has its length.
    pub(super) fn is_whole(&self) -> io::Result<bool> {
        Ok(self.file.length()? == JOURNAL_BYTES as u64)
    }

    /// Makes `rows`, which come after `before` in `bets.csv`, durable. Does nothing and returns false if the log
    /// is full. After an error it is not known whether they are.
    pub(super) fn log(&mut self, before: Extent, rows: &[u8]) -> io::Result<bool> {
        let bytes = record_bytes(rows.len());
        let Ok(length) = u32::try_from(rows.len()) else { return Ok(false) };
        // A seal always finds room.
        let room = if rows.is_empty() { LOG_BYTES } else { LOG_BYTES - PAGE };
        if self.log_end + bytes > room {
            return Ok(false);
        }
        let mut record = Vec::with_capacity(bytes);
        record.extend_from_slice(RECORD_MAGIC);
        record.extend_from_slice(&self.slot.epoch.to_le_bytes());
        record.extend_from_slice(&before.bytes.to_le_bytes());
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&before.crc.to_le_bytes());
        record.extend_from_slice(&[0; RECORD_CRC.end - RECORD_CRC.start]);
        record.extend_from_slice(rows);
        record.resize(bytes, 0);
        let crc = record_crc(&record).to_le_bytes();
        record[RECORD_CRC].copy_from_slice(&crc);
        self.write(&record, self.log_end)?;
        self.log_end += bytes;
        self.log_used = self.log_used.max(self.log_end);
        Ok(true)
    }

    /// Writes a slot with the next epoch and `extent`, and empties the log. The bytes of the extent must be durable
    /// already. After an error it is not known whether the slot is.
    pub(super) fn checkpoint(&mut self, extent: Extent) -> io::Result<()> {
        self.slot = Slot { epoch: self.slot.epoch + 1, extent, ..self.slot };
        self.write(&self.slot.to_copies(), Slot::offset(self.slot.epoch))?;
        self.log_end = 0;
        Ok(())
    }

    /// Makes `pages` durable at `offset`, by direct I/O if possible, because that takes two thirds of the time. After an
    /// error it is not known whether they are.
    fn write(&mut self, pages: &[u8], offset: usize) -> io::Result<()> {
        if self.is_direct {
            // Direct I/O needs memory that begins with a page.
            let mut memory = Vec::<u8>::with_capacity(PAGE + pages.len());
            memory.resize(memory.as_ptr().addr().wrapping_neg() % PAGE, 0);
            let start = memory.len();
            memory.extend_from_slice(pages);
            if self.file.write_at(&memory[start..], offset as u64).is_ok() {
                return self.file.sync();
            }
            // The file system may not support it, or the disk may have larger blocks.
            self.is_direct = self.file.set_direct(false);
        }
        self.file.write_at(pages, offset as u64)?;
        self.file.sync()
    }

    /// Checkpoints for the last time and overwrites the log with zeros, so that any bit that changes later is found.
    pub(super) fn close(&mut self, extent: Extent) -> io::Result<()> {
        if self.log_used > 0 {
            self.checkpoint(extent)?;
            self.is_direct = self.file.set_direct(false);
            disk::write_zeros(&self.file, self.log_used)?;
            self.file.sync()?;
            self.log_used = 0;
        }
        self.slot.stopped = true;
        self.checkpoint(extent)
    }
}
