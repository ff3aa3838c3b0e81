//! What the test programs share: a server within the test and its peers, the two programs as processes,
//! certificates, a model of the protocol, and random numbers that can be drawn again.

#![allow(dead_code, reason = "each test program uses its own part of this")]

pub(crate) mod certificates;
pub(crate) mod conversations;
pub(crate) mod peer;
pub(crate) mod program;
pub(crate) mod random;
pub(crate) mod transcript;
