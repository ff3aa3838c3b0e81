//! What a client sends, in whatever pieces: no panic; a command that is accepted is printed as it was
//! written; the quick reader of batches takes nothing that the commands, one by one, would not make
//! the same rows of.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loteria::bet::row::write_row;
use loteria::bet::{Agencies, AgencyId};
use loteria::lines::{GrowthBudget, LineBuffer};
use loteria::protocol::{BatchReader, Command, MESSAGE_BYTES_MAX};
use std::io::Read;

static BUDGET: GrowthBudget = GrowthBudget::new(12 << 20);

/// Gives so many bytes at a time.
struct Pieces<'b>(&'b [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

/// The rows of a message that is a whole batch of `agency`, by the commands alone.
fn rows_by_commands(
    message: &[u8],
    agency: AgencyId,
    agencies: Agencies,
) -> Option<(u32, Vec<u8>)> {
    let text = std::str::from_utf8(message).ok()?.strip_suffix('\n')?;
    let (mut bets, mut rows, mut closed) = (0, Vec::new(), false);
    for command in Command::split(text) {
        if closed {
            return None;
        }
        match Command::parse(command, agencies).ok()? {
            Command::Bet { agency: own, bet } if own == agency => {
                write_row(agency, &bet, &mut rows);
                bets += 1;
            }
            Command::CloseBatch => closed = true,
            _ => return None,
        }
    }
    (closed && bets > 0).then_some((bets, rows))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, data) = input;
    let agencies = Agencies::new(12).expect("12 is a number of agencies");
    let agency = AgencyId::new(1).expect("1 is an agency");
    let reader = BatchReader::new(agency, agencies);
    let mut lines = LineBuffer::growing(MESSAGE_BYTES_MAX, &BUDGET);
    let mut pieces = Pieces(data, 1 + usize::from(piece) * 16);
    let mut seen = Vec::new();
    'conversation: while lines.fill(&mut pieces).expect("a slice can be read") > 0 {
        loop {
            let mut rows = b"before\n".to_vec();
            let quick = reader.read(lines.rest(), &mut rows);
            let message = match lines.next_line() {
                Ok(Some(message)) => message,
                Ok(None) => {
                    assert!(quick.is_none(), "a message that has not arrived was read");
                    break;
                }
                Err(_) => {
                    assert!(quick.is_none(), "a message that is too long was read");
                    break 'conversation;
                }
            };
            seen.extend_from_slice(message);
            let slow = rows_by_commands(message, agency, agencies);
            match (&quick, &slow) {
                (Some(quick), Some((bets, own))) => {
                    assert_eq!((quick.bets, quick.message_bytes), (*bets, message.len()));
                    assert_eq!(&rows[b"before\n".len()..], own);
                }
                (None, None) => assert_eq!(rows, b"before\n"),
                _ => panic!("{quick:?} and {slow:?}"),
            }
            let Ok(text) = std::str::from_utf8(message) else { continue };
            for command in Command::split(text.trim_end_matches('\n')) {
                match Command::parse(command, agencies) {
                    Ok(parsed) => assert_eq!(parsed.to_string(), command),
                    // What a peer is told is one line of bounded length, in three fields.
                    Err(refusal) => {
                        let reply = refusal.reply().to_string();
                        assert!(reply.len() < MESSAGE_BYTES_MAX && reply.split('|').count() == 3);
                        assert!(!reply.chars().any(|c| c.is_control() || c == ';'), "{reply:?}");
                    }
                }
            }
        }
    }
    assert!(data.starts_with(&seen));
});
