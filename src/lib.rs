//! A national lottery: its central office (`server`) and its agencies (`client`).
//!
//! Read the modules in this order, from the ground up; a module uses only floors below its own.
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 0 | [`stop`] | a stop that threads can wait for |
//! | 0 | [`lines`] | lines of a bounded length from any reader |
//! | 0 | [`summary`] | the public state of a lottery |
//! | 0 | [`text`] | untrusted text, sanitized for replies and log lines |
//! | 1 | [`bet`] | valid bets and valid agencies |
//! | 1 | [`connection`] | connections with deadlines, plain or in TLS |
//! | 2 | [`protocol`] | commands and replies: text to values and back |
//! | 2 | [`ledger`] | the thread that owns `bets.csv` |
//! | 2 | [`draw`] | the meeting of the agencies |
//! | 2 | [`places`] | the connections that the server keeps |
//! | 3 | [`session`] | the server's side of one conversation |
//! | 3 | [`client`] | an agency: file, batches, confirmations, winners |
//! | 4 | [`server`] | accept, stop, join |
//! | 5 | [`config`] | file, variables and flags become settings |
//!
//! `docs/protocol.md` describes the messages between the two programs, and `docs/architecture.md` the parts, the
//! threads and the glossary of the protocol's Spanish words.

pub mod lines;
pub mod stop;
pub mod summary;
pub mod text;

pub mod bet;
pub mod connection;

pub mod draw;
pub mod ledger;
pub mod places;
pub mod protocol;

pub mod client;
pub mod session;

pub mod server;

pub mod config;
