//! Whole conversations with a server, on several connections: replies, stored bets and the draw are those of a model of
//! the protocol's page.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the tests of the protocol use the rest")]
#[path = "../../tests/support"]
mod support {
    pub(crate) mod conversations;
    pub(crate) mod peer;
}

fuzz_target!(|bytes: &[u8]| support::conversations::plays(bytes));
