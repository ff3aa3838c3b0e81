//! A national lottery: its central office (`server`) and its agencies (`client`).
//!
//! Read the modules in this order, from the ground up; a module uses only floors below its own.
//!
//! | floor | module | contents |
//! |---|---|---|
//! | 0 | [`stop`] | a stop: sent by dropping a value, polled or waited for; a thread that ends with it; work that it interrupts |
//! | 0 | [`lines`] | lines of limited length from any reader, in bounded memory |
//! | 0 | [`summary`] | the state of a lottery and of its agencies, without any winners |
//! | 0 | [`system`] | the operating system: error numbers, interrupted calls, pipes in the place of files, the user that a file is denied to, the log line of a thread that ends, the processors, the address space |
//! | 0 | [`text`] | sanitizing of untrusted text for error replies and log lines |
//! | 1 | [`bet`] | the rules of a valid bet and of a valid agency |
//! | 1 | [`connection`] | connections with deadlines, the list of open sockets |
//! | 2 | [`protocol`] | commands and replies, text to values and back; all wire words |
//! | 2 | [`ledger`] | the thread that owns `bets.csv`, and the requests to it |
//! | 2 | [`draw`] | the meeting of the agencies, the barrier, one fate |
//! | 2 | [`places`] | connection limits, and which connection is closed for another |
//! | 3 | [`session`] | the server's side of one conversation |
//! | 3 | [`client`] | file → batches → confirmations → winners |
//! | 4 | [`server`] | when to stop, which agencies have been told, the order of stopping |
//! | 5 | [`config`] | settings, from flags, variables and file |
//!
//! `docs/protocol.md` describes the messages between the two programs, and `docs/architecture.md` the parts, the
//! threads and the glossary of the protocol's Spanish words.

pub mod lines;
pub mod stop;
pub mod summary;
pub mod system;
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
