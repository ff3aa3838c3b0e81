//! The result of a draw before: no panic, and what is accepted is printed so that it is read the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loteria::ledger::DrawResult;

fuzz_target!(|data: &[u8]| {
    let Ok(result) = DrawResult::parse(data) else { return };
    assert_eq!(DrawResult::parse(result.to_toml().as_bytes()), Ok(result));
});
