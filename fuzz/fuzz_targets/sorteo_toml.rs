//! The result of a draw before: no panic, and what is accepted is printed so that it is read the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loteria::ledger::DrawResult;
use std::path::PathBuf;
use std::sync::LazyLock;

static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { memory } else { std::env::temp_dir() };
    directory.join(format!("loteria-fuzz-{}-sorteo.toml", std::process::id()))
});

fuzz_target!(|data: &[u8]| {
    std::fs::write(&*PATH, data).expect("the file can be written");
    let Ok(found) = DrawResult::load(&PATH) else { return };
    let result = found.expect("the file is there");
    std::fs::write(&*PATH, result.to_toml()).expect("the file can be written");
    assert_eq!(DrawResult::load(&PATH), Ok(Some(result)));
});
