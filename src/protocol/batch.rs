//! A fast path for messages that are a whole batch, as nearly all are: copies the bytes of a plain bet and replaces
//! its separators, without making a [`Command`].

use super::command::Command;
use super::{COMMAND_SEPARATOR, FIELD_SEPARATOR, MESSAGE_BYTES_MAX, MESSAGE_END, word};
use crate::bet::row::write_row;
use crate::bet::{Agencies, AgencyId, Bet, PlainBet, plain_bet};

/// Separates the fields of a line of CSV.
const COMMA: u8 = b',';
/// Separates the fields of a command. It is ASCII, so one byte.
const BAR: u8 = FIELD_SEPARATOR as u8;
/// Separates commands. It is ASCII too.
const SEMICOLON: u8 = COMMAND_SEPARATOR as u8;
/// Ends a message, and a line of CSV.
const LINE_END: u8 = MESSAGE_END as u8;
/// The bytes that close a batch at the end of its message.
const BATCH_END_BYTES: usize = word::CLOSE_BATCH.len() + 1;

/// The place of the agency in the command of a bet.
const AGENCY_START: usize = word::BET.len() + 1;

/// Returns the beginning of every bet of `agency`.
fn bet_start(agency: AgencyId) -> Vec<u8> {
    format!("{}{FIELD_SEPARATOR}{agency}{FIELD_SEPARATOR}", word::BET).into_bytes()
}

/// Reads whole batches of one agency straight into lines of `bets.csv`.
///
/// From the agency on, a bet has the same bytes in a message and in the file, except for the separators and the byte
/// after it.
#[derive(Debug)]
pub struct BatchReader {
    agency: AgencyId,
    agencies: Agencies,
    command: Vec<u8>,
}

impl BatchReader {
    /// Returns a reader of the batches of `agency`, which is one of `agencies`.
    pub fn new(agency: AgencyId, agencies: Agencies) -> BatchReader {
        BatchReader { agency, agencies, command: bet_start(agency) }
    }

    /// Appends the rows of the batch at the beginning of `text` to `rows`. The batch is a whole message: valid bets of
    /// this agency and the command that closes them.
    ///
    /// Returns `None` and leaves `rows` unchanged if the text begins otherwise. The message may still be valid, or may
    /// not have arrived completely.
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

    /// Appends the row of a plain bet, whose command is at the beginning of `text`. Returns the end of the command.
    #[inline]
    fn copy_row(&self, text: &[u8], bet: &PlainBet, rows: &mut Vec<u8>) -> usize {
        let bet_start = self.command.len();
        let end = bet_start + bet.end();
        let row_start = rows.len();
        append(&text[AGENCY_START..], end + 1 - AGENCY_START, rows, |_copy| {});
        let row = &mut rows[row_start..];
        let (agency, copy) = row.split_at_mut(bet_start - AGENCY_START);
        agency[agency.len() - 1] = COMMA;
        bet.separate(copy, COMMA);
        copy[bet.end()] = LINE_END;
        end
    }

    /// Appends the row of any bet, whose command is at the beginning of `text`, by way of a [`Command`]. Returns the end
    /// of the command. Returns `None` if it is no bet of this agency, or if no other command follows.
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
    /// The number of its bets, from 1.
    pub bets: u32,
    /// The length of its message in bytes, the line end included.
    pub message_bytes: usize,
}

/// Writes an agency's bets as messages of one batch each. No message is longer than [`MESSAGE_BYTES_MAX`], whatever
/// the limit of bets in a batch is.
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
    /// Returns a writer of batches of `agency` of at most `bets_max` bets, from 1.
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
        append(text, bytes, &mut self.messages, exchange_commas);
        self.end_bet();
    }

    /// Adds a bet.
    pub fn push(&mut self, agency: AgencyId, bet: Bet<'_>) {
        let command = Command::Bet { agency, bet }.to_string();
        self.make_room(command.len());
        self.messages.extend_from_slice(command.as_bytes());
        self.end_bet();
    }

    /// Closes the open batch if a command of `bytes` bytes does not fit into it.
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

    /// Returns the messages of the closed batches, one after the other.
    pub fn messages(&self) -> &[u8] {
        &self.messages[..self.open_start]
    }

    /// Returns the number of bets of each closed batch.
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

/// Appends a copy of the first `bytes` bytes of `text` that `change` has changed.
#[inline]
fn append(text: &[u8], bytes: usize, out: &mut Vec<u8>, change: impl Fn(&mut [u8])) {
    // The compiler turns a copy and a loop of a fixed length into operations on many bytes at a time. Nearly all bets
    // fit.
    const COPIED_BYTES: usize = 64;
    let end = out.len() + bytes;
    match text.first_chunk::<COPIED_BYTES>() {
        Some(more) if bytes <= COPIED_BYTES => {
            let mut more = *more;
            change(&mut more);
            out.extend_from_slice(&more);
            out.truncate(end);
        }
        _ => {
            out.extend_from_slice(&text[..bytes]);
            change(&mut out[end - bytes..]);
        }
    }
}

/// Puts a bar in the place of each comma.
#[inline]
fn exchange_commas(text: &mut [u8]) {
    for byte in text {
        *byte = if *byte == COMMA { BAR } else { *byte };
    }
}
