//! A national lottery: its central office (`server`) and its agencies (`client`).
//!
//! Read the modules in this order, from the ground up; a module uses only floors below its own.
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 0 | [`stop`] | when to stop |
//! | 0 | [`lines`] | bounded lines of any reader |
//! | 0 | [`summary`] | how a lottery stands |
//! | 0 | [`text`] | text from elsewhere, made fit for a field |
//! | 1 | [`bet`] | what a valid bet and a valid agency are |
//! | 1 | [`connection`] | sockets in bounded time, and which are open |
//! | 2 | [`protocol`] | commands and replies: text to values and back |
//! | 2 | [`ledger`] | the thread that owns `bets.csv` |
//! | 2 | [`draw`] | where the agencies meet |
//! | 2 | [`places`] | who may have a connection |
//! | 3 | [`session`] | the server's side of one conversation |
//! | 3 | [`client`] | an agency: file, batches, confirmations, winners |
//! | 4 | [`server`] | accept, register, stop, join |
//! | 5 | [`config`] | file, variables and flags become settings |
//!
//! `docs/protocol.md` says what travels between the two programs, `docs/architecture.md` how the
//! parts fit together and which thread does what.

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
