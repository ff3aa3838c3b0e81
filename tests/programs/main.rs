//! At stake: that the two programs keep the promises of `docs/protocol.md` and of the README as processes,
//! started, stopped and killed from outside as their users do it.
//!
//! Each test has a scratch directory that is also the working directory of its programs, and writes
//! nothing outside it. A server takes port 0 unless it has to come back at the same address.

/// Tests start in the order of their names. These wait for ten and for seven seconds, so they start before all others.
#[path = "."]
mod at_first {
    mod storms;
    mod terminal;
}
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
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "tls")]
mod tls;
mod two_draws;
