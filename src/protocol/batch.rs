//! Reads and writes messages that are a whole batch, as nearly all are, without a value between: copies
//! the bytes of a plain bet's fields and exchanges their separators.

use super::command::Command;
use super::{COMMAND_SEPARATOR, FIELD_SEPARATOR, MESSAGE_BYTES_MAX, MESSAGE_END, word};
use crate::bet::row::write_row;
use crate::bet::{Agencies, AgencyId, Bet, PlainBet, plain_bet};

/// Between the fields of a line of CSV.
const COMMA: u8 = b',';
/// Between the fields of a command; ASCII, so one byte.
const BAR: u8 = FIELD_SEPARATOR as u8;
/// Between commands; ASCII too.
const SEMICOLON: u8 = COMMAND_SEPARATOR as u8;
/// Ends a message, and a line of CSV.
const LINE_END: u8 = MESSAGE_END as u8;
/// The bytes that close a batch at the end of its message.
const BATCH_END_BYTES: usize = word::CLOSE_BATCH.len() + 1;

/// Returns what every bet of `agency` begins with.
fn bet_start(agency: AgencyId) -> Vec<u8> {
    format!("{}{FIELD_SEPARATOR}{agency}{FIELD_SEPARATOR}", word::BET).into_bytes()
}

/// Reads whole batches of one agency straight into lines of `bets.csv`.
///
/// From its agency on a bet has the same bytes in a message and in the file but for what stands
/// between its fields and behind it.
#[derive(Debug)]
pub struct BatchReader {
    agency: AgencyId,
    agencies: Agencies,
    command: Vec<u8>,
    agency_start: usize,
}

impl BatchReader {
    /// A reader of the batches of `agency`, one of `agencies`.
    pub fn new(agency: AgencyId, agencies: Agencies) -> BatchReader {
        let command = bet_start(agency);
        BatchReader { agency, agencies, command, agency_start: word::BET.len() + 1 }
    }

    /// Appends the lines of the batch that the message at the beginning of `text` is: valid bets of this
    /// agency and the closing of the batch.
    ///
    /// `None`, and `rows` as it was, where it is anything else: it may still be valid, or not have
    /// arrived whole.
    #[inline]
    pub fn read(&self, text: &[u8], rows: &mut Vec<u8>) -> Option<BatchRead> {
        let before = rows.len();
        let batch = self.read_bets(text, rows);
        let batch = batch.filter(|batch| batch.message_bytes <= MESSAGE_BYTES_MAX);
        if batch.is_none() {
            rows.truncate(before);
        }
        batch
    }

    fn read_bets(&self, text: &[u8], rows: &mut Vec<u8>) -> Option<BatchRead> {
        let mut rest = text;
        let mut bets = 0;
        while let Some(bet_text) = rest.strip_prefix(self.command.as_slice()) {
            let end = match plain_bet(bet_text, BAR) {
                Some(bet) if bet_text.get(bet.end()) == Some(&SEMICOLON) => {
                    self.copy_row(rest, &bet, rows)
                }
                _ => self.read_slowly(rest, rows)?,
            };
            bets += 1;
            rest = &rest[end + 1..];
        }
        let after = rest.strip_prefix(word::CLOSE_BATCH.as_bytes()).filter(|_| bets > 0)?;
        let after = after.strip_prefix(&[LINE_END])?;
        Some(BatchRead { bets, message_bytes: text.len() - after.len() })
    }

    /// Appends the row of the plain bet of the command at the beginning of `text`; where it ends.
    #[inline]
    fn copy_row(&self, text: &[u8], bet: &PlainBet, rows: &mut Vec<u8>) -> usize {
        let bet_start = self.command.len();
        let end = bet_start + bet.end();
        let row_start = rows.len();
        PlainBet::append(&text[self.agency_start..], end + 1 - self.agency_start, rows);
        let row = &mut rows[row_start..];
        let (agency, copy) = row.split_at_mut(bet_start - self.agency_start);
        agency[agency.len() - 1] = COMMA;
        bet.separate(copy, COMMA);
        copy[bet.end()] = LINE_END;
        end
    }

    /// Appends the row of the bet of the command at the beginning of `text`, as any command is read; where
    /// it ends. `None` where it is no bet of this agency with another command behind it.
    #[cold]
    fn read_slowly(&self, text: &[u8], rows: &mut Vec<u8>) -> Option<usize> {
        let end =
            memchr::memchr2(SEMICOLON, LINE_END, text).filter(|&end| text[end] == SEMICOLON)?;
        let command = std::str::from_utf8(&text[..end]).ok()?;
        match Command::parse(command, self.agencies).ok()? {
            Command::Bet { agency, bet } if agency == self.agency => {
                write_row(agency, &bet, rows);
                Some(end)
            }
            _ => None,
        }
    }
}

/// A batch that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRead {
    /// How many bets it has, from 1.
    pub bets: u32,
    /// The bytes of its message, the line end included.
    pub message_bytes: usize,
}

/// Writes an agency's bets as messages of a batch each, none over [`MESSAGE_BYTES_MAX`] whatever
/// the most bets in a batch are.
#[derive(Debug)]
pub struct BatchWriter {
    command: Vec<u8>,
    bets_max: u32,
    messages: Vec<u8>,
    closed: Vec<u32>,
    open_start: usize,
    open_bets: u32,
}

impl BatchWriter {
    /// A writer of batches of `agency` of at most `bets_max` bets, from 1.
    pub fn new(agency: AgencyId, bets_max: u32) -> BatchWriter {
        BatchWriter {
            command: bet_start(agency),
            bets_max,
            messages: Vec::new(),
            closed: Vec::new(),
            open_start: 0,
            open_bets: 0,
        }
    }

    /// Adds a valid bet whose line, the first `bytes` bytes of `text`, has commas between its fields and nowhere else.
    #[inline]
    pub fn push_line(&mut self, text: &[u8], bytes: usize) {
        self.make_room(self.command.len() + bytes);
        self.messages.extend_from_slice(&self.command);
        append_with_bars(text, bytes, &mut self.messages);
        self.end_bet();
    }

    /// Adds a bet.
    pub fn push(&mut self, agency: AgencyId, bet: Bet<'_>) {
        let command = Command::Bet { agency, bet }.to_string();
        self.make_room(command.len());
        self.messages.extend_from_slice(command.as_bytes());
        self.end_bet();
    }

    /// Closes the open batch first where a command of `bytes` bytes does not fit into it.
    fn make_room(&mut self, bytes: usize) {
        let message = self.messages.len() - self.open_start + bytes + 1 + BATCH_END_BYTES;
        if self.open_bets == self.bets_max || message > MESSAGE_BYTES_MAX {
            self.close();
        }
    }

    fn end_bet(&mut self) {
        self.messages.push(SEMICOLON);
        self.open_bets += 1;
    }

    /// Closes the open batch, if there is one.
    pub fn close(&mut self) {
        if self.open_bets > 0 {
            self.messages.extend_from_slice(word::CLOSE_BATCH.as_bytes());
            self.messages.push(LINE_END);
            self.closed.push(self.open_bets);
            self.open_start = self.messages.len();
            self.open_bets = 0;
        }
    }

    /// The closed batches, as messages one behind the other.
    pub fn messages(&self) -> &[u8] {
        &self.messages[..self.open_start]
    }

    /// How many bets each closed batch has.
    pub fn closed(&self) -> &[u32] {
        &self.closed
    }

    /// Forgets the closed batches and keeps the open one.
    pub fn clear(&mut self) {
        self.messages.drain(..self.open_start);
        self.open_start = 0;
        self.closed.clear();
    }
}

/// Appends the first `bytes` bytes of `text` with a bar in the place of each comma.
#[inline]
fn append_with_bars(text: &[u8], bytes: usize, out: &mut Vec<u8>) {
    // The compiler makes comparisons of many bytes at a time of a loop of a fixed length. Nearly all lines fit.
    const COPIED_BYTES: usize = 64;
    let end = out.len() + bytes;
    match text.first_chunk::<COPIED_BYTES>() {
        Some(more) if bytes <= COPIED_BYTES => {
            let mut more = *more;
            exchange_commas(&mut more);
            out.extend_from_slice(&more);
            out.truncate(end);
        }
        _ => {
            out.extend_from_slice(&text[..bytes]);
            exchange_commas(&mut out[end - bytes..]);
        }
    }
}

#[inline]
fn exchange_commas(text: &mut [u8]) {
    for byte in text {
        *byte = if *byte == COMMA { BAR } else { *byte };
    }
}
