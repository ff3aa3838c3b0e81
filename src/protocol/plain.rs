//! The message that nearly all messages are, a whole batch of plain bets, written and read without
//! a value between: the fields' bytes are copied and their separators exchanged.

use super::{Command, FIELD_SEPARATOR, MESSAGE_BYTES_MAX, word};
use crate::bet::{AgencyId, Bet, plain_bet};

/// Between the fields of a line of CSV.
const COMMA: u8 = b',';
/// Between the fields of a command; ASCII, so one byte.
const BAR: u8 = FIELD_SEPARATOR as u8;
/// What ends a batch in the message of its last bet.
const BATCH_END: &[u8] = b"FINAPUESTA\n";

/// Reads whole batches of one agency straight into lines of `bets.csv`.
#[derive(Debug)]
pub struct BatchReader {
    command: Vec<u8>,
    row: Vec<u8>,
}

impl BatchReader {
    /// A reader of the batches of `agency`.
    pub fn new(agency: AgencyId) -> BatchReader {
        BatchReader {
            command: format!("{}|{agency}|", word::BET).into_bytes(),
            row: format!("{agency},").into_bytes(),
        }
    }

    /// Appends the lines of the batch that `message`, given with its line end, is: plain bets of
    /// this agency and the closing of the batch. How many bets it has, from 1.
    ///
    /// `None`, and `rows` as it was, where the message is anything else: it may still be valid.
    pub fn read(&self, message: &[u8], rows: &mut Vec<u8>) -> Option<u32> {
        let before = rows.len();
        let bets = self.read_bets(message, rows);
        if bets.is_none() {
            rows.truncate(before);
        }
        bets
    }

    fn read_bets(&self, message: &[u8], rows: &mut Vec<u8>) -> Option<u32> {
        let mut rest = message;
        let mut bets = 0;
        while let Some(text) = rest.strip_prefix(self.command.as_slice()) {
            let bet = plain_bet(text, BAR)?;
            rows.extend_from_slice(&self.row);
            bet.copy(text, COMMA, rows);
            rows.push(b'\n');
            bets += 1;
            rest = text[bet.end()..].strip_prefix(b";")?;
        }
        (bets > 0 && rest == BATCH_END).then_some(bets)
    }
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
            command: format!("{}|{agency}|", word::BET).into_bytes(),
            bets_max,
            messages: Vec::new(),
            closed: Vec::new(),
            open_start: 0,
            open_bets: 0,
        }
    }

    /// Adds the bet that `line` of CSV, given without its line end, plainly is; `false` where it is
    /// none, and nothing is added: it may still be a bet that [`BatchWriter::push`] takes.
    pub fn push_line(&mut self, line: &[u8]) -> bool {
        let Some(bet) = plain_bet(line, COMMA).filter(|bet| bet.end() == line.len()) else {
            return false;
        };
        self.make_room(self.command.len() + line.len());
        self.messages.extend_from_slice(&self.command);
        bet.copy(line, BAR, &mut self.messages);
        self.end_bet();
        true
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
        let message = self.messages.len() - self.open_start + bytes + 1 + BATCH_END.len();
        if self.open_bets == self.bets_max || message > MESSAGE_BYTES_MAX {
            self.close();
        }
    }

    fn end_bet(&mut self) {
        self.messages.push(b';');
        self.open_bets += 1;
    }

    /// Closes the open batch, if there is one.
    pub fn close(&mut self) {
        if self.open_bets > 0 {
            self.messages.extend_from_slice(BATCH_END);
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
