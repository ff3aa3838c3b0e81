//! The replies of a server.

use super::{
    COMMAND_SEPARATOR, FIELD_SEPARATOR, MESSAGE_END, parse_count, status, word, write_fields,
};
use crate::bet::{is_document, is_number};
use crate::summary::{Standing, Summary};
use std::fmt;

/// A reply: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The batch is on disk.
    Stored {
        /// The number of its bets.
        bets: u64,
    },
    /// The draw was held.
    Winners {
        /// The documents of the agency's winning bets, in the order in which these were stored.
        documents: Vec<&'a str>,
    },
    /// The agency's stored bets.
    Resume(Standing),
    /// The text of an echo.
    Echo(&'a str),
    /// The state of the lottery.
    Status(Summary),
    /// An error.
    Error {
        /// A word of [`ErrorCode`](super::ErrorCode), or of a later version of it.
        code: &'a str,
        /// The detail, for people.
        detail: &'a str,
    },
}

impl<'a> Reply<'a> {
    /// Parses `line`, given without its line end. Returns `None` if it is no reply of the protocol.
    pub fn parse(line: &'a str) -> Option<Reply<'a>> {
        let (word, rest) = line.split_once(FIELD_SEPARATOR)?;
        if line.chars().any(char::is_control) || line.contains(COMMAND_SEPARATOR) {
            return None;
        }
        match word {
            word::STORED => Some(Reply::Stored { bets: parse_count(rest)? }),
            word::WINNERS if rest.is_empty() => Some(Reply::Winners { documents: Vec::new() }),
            word::WINNERS => {
                let documents: Vec<&str> = rest.split(FIELD_SEPARATOR).collect();
                let valid = documents.iter().all(|document| is_document(document));
                valid.then_some(Reply::Winners { documents })
            }
            word::RESUME => {
                let Some((bets, last)) = rest.split_once(FIELD_SEPARATOR) else {
                    let nothing = Standing { bets: 0, last: None };
                    return (rest == "0").then_some(Reply::Resume(nothing));
                };
                let bets = parse_count(bets).filter(|bets| *bets > 0)?;
                let (document, number) = last.split_once(FIELD_SEPARATOR)?;
                let valid = is_document(document) && is_number(number);
                let last = Some((document.into(), number.into()));
                valid.then_some(Reply::Resume(Standing { bets, last }))
            }
            word::ECHO => (!rest.contains(FIELD_SEPARATOR)).then_some(Reply::Echo(rest)),
            word::STATUS => status::parse(rest.split(FIELD_SEPARATOR)).map(Reply::Status),
            word::ERROR => {
                let (code, detail) = rest.split_once(FIELD_SEPARATOR)?;
                (!detail.contains(FIELD_SEPARATOR)).then_some(Reply::Error { code, detail })
            }
            _ => None,
        }
    }

    /// Appends the reply and its line end to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        write!(out, "{self}{MESSAGE_END}").expect("a vector takes all that is written to it");
    }
}

impl fmt::Display for Reply<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Stored { bets } => write_fields(formatter, &[&word::STORED, bets]),
            Reply::Winners { documents } => {
                let documents = documents.join(FIELD_SEPARATOR.encode_utf8(&mut [0; 4]));
                write_fields(formatter, &[&word::WINNERS, &documents])
            }
            Reply::Resume(Standing { bets, last: None }) => {
                write_fields(formatter, &[&word::RESUME, bets])
            }
            Reply::Resume(Standing { bets, last: Some((document, number)) }) => {
                write_fields(formatter, &[&word::RESUME, bets, document, number])
            }
            Reply::Echo(text) => write_fields(formatter, &[&word::ECHO, text]),
            Reply::Status(summary) => status::write(summary, formatter),
            Reply::Error { code, detail } => write_fields(formatter, &[&word::ERROR, code, detail]),
        }
    }
}
