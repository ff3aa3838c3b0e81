//! What a server finds at its start: no panic, and of a file that is accepted every line is read the same
//! by any reader of CSV.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loteria::bet::{Agencies, Bet};
use loteria::bet::row::document_and_number;
use loteria::ledger::{Settings, verify};
use loteria::stop::Stop;
use std::path::PathBuf;
use std::sync::LazyLock;

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let path = |name| directory.join(format!("loteria-fuzz-{}-{name}", std::process::id()));
    Settings {
        bets: path("bets.csv"),
        result: path("sorteo.toml"),
        agencies: Agencies::new(3).expect("3 is a number of agencies"),
        winning_number: 7574,
    }
});

fuzz_target!(|data: &[u8]| {
    let settings = &*SETTINGS;
    std::fs::write(&settings.bets, data).expect("the file can be written");
    let verified = verify(settings, &Stop::never()).expect("the file can be read");
    let complete = data.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    // By their beginnings, because the rest of a message repeats what stands in the file. That there is no journal
    // may be a difference too.
    let says = |what: &str| {
        let begin = format!("{}: {what}", settings.bets.display());
        verified.differences.iter().any(|found| found.starts_with(&begin))
    };
    if says("line ") {
        return;
    }
    assert_eq!(says("has "), complete != data.len());
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&data[..complete]);
    let rows = data[..complete].split_inclusive(|&byte| byte == b'\n');
    let mut bets = 0;
    for (record, row) in reader.records().zip(rows) {
        let record = record.expect("any reader of CSV reads it");
        assert_eq!(record.len(), 6);
        assert!(matches!(&record[0], "1" | "2" | "3"));
        let fields = std::array::from_fn(|place| &record[place + 1]);
        assert!(Bet::new(fields).is_ok(), "{record:?}");
        let last = (record[3].to_owned(), record[5].to_owned());
        assert_eq!(document_and_number(row), Some(last));
        bets += 1;
    }
    let count = format!("{}: {bets} ", settings.bets.display());
    assert!(says("has ") || verified.contents.iter().any(|line| line.starts_with(&count)));
    assert_eq!(bets, data[..complete].iter().filter(|&&byte| byte == b'\n').count() as u64);
});
