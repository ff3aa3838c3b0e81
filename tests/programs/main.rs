//! At stake: that the two programs keep the promises of `docs/protocol.md` and of the README as processes,
//! started, stopped and killed from outside as their users do it.
//!
//! Each test has a scratch directory that is also the working directory of its programs, and writes
//! nothing outside it. A server takes port 0 unless it has to come back at the same address.

mod cable;
mod client;
mod fake_server;
#[cfg(feature = "tls")]
mod flood;
mod hostile;
mod kills;
mod load;
mod lottery;
mod restore;
mod sample;
mod settings;
mod signals;
mod stderr;
mod storms;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
#[cfg(feature = "tls")]
mod tls;
mod two_draws;
