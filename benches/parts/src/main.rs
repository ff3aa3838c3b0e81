//! The parts that a bet passes through, each by itself: checks, both directions of the protocol, the
//! ledger on a real disk.
//!
//! ```text
//! make bench-parts
//! ```

#![allow(missing_docs, reason = "the macros of criterion make functions of their own")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use loteria::bet::row::{Fields, write_row};
use loteria::bet::{Agencies, AgencyId, Bet, plain_bet};
use loteria::ledger::{Ledger, Settings};
use loteria::protocol::{BatchReader, BatchWriter, Command};
use std::hint::black_box;

const BETS: u32 = 120;
const FIELDS: [&str; 5] = ["Santiago Nicolás", "Lorca", "30904465", "1999-03-17", "2201"];

fn agency() -> AgencyId {
    AgencyId::new(1).expect("1 is an agency")
}

fn agencies() -> Agencies {
    Agencies::new(5).expect("5 is a number of agencies")
}

fn lines() -> Vec<u8> {
    format!("{}\n", FIELDS.join(",")).repeat(BETS as usize).into_bytes()
}

fn message() -> Vec<u8> {
    let mut writer = BatchWriter::new(agency(), BETS);
    let bet = Bet::new(FIELDS).expect("it is valid");
    (0..BETS).for_each(|_| writer.push(agency(), bet));
    writer.close();
    writer.messages().to_vec()
}

fn checks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("check a bet");
    group.throughput(Throughput::Elements(1));
    let lines = lines();
    group.bench_function("in place", |bencher| {
        bencher.iter(|| plain_bet(black_box(&lines), b','));
    });
    group.bench_function("field by field", |bencher| {
        bencher.iter(|| Bet::new(black_box(FIELDS)).is_ok());
    });
    let unquoted = FIELDS.join(",");
    let quoted = format!("\"{}\"", FIELDS.join("\",\""));
    for (name, line) in [("as a line of CSV", unquoted), ("as a line of CSV with quotes", quoted)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| Fields::parse(black_box(line.as_bytes())).is_ok());
        });
    }
    group.finish();
}

fn protocol(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a batch of 120");
    group.throughput(Throughput::Elements(BETS.into()));
    let message = message();
    let mut rows = Vec::new();
    let reader = BatchReader::new(agency(), agencies());
    group.bench_function("read in place", |bencher| {
        bencher.iter(|| {
            rows.clear();
            reader.read(black_box(&message), &mut rows)
        });
    });
    group.bench_function("read command by command", |bencher| {
        let text = std::str::from_utf8(&message).expect("it is text").trim_end();
        bencher.iter(|| {
            rows.clear();
            for command in Command::split(black_box(text)) {
                if let Ok(Command::Bet { agency, bet }) = Command::parse(command, agencies()) {
                    write_row(agency, &bet, &mut rows);
                }
            }
        });
    });
    group.bench_function("printed command by command", |bencher| {
        let bet = Bet::new(FIELDS).expect("it is valid");
        bencher.iter(|| {
            let command = Command::Bet { agency: agency(), bet: black_box(bet) };
            (0..BETS).map(|_| command.to_string().len()).sum::<usize>()
        });
    });
    let lines = lines();
    let mut writer = BatchWriter::new(agency(), BETS);
    group.bench_function("written from lines", |bencher| {
        bencher.iter(|| {
            let mut rest = black_box(lines.as_slice());
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                writer.push_line(rest, end);
                rest = &rest[end + 1..];
            }
            writer.close();
            writer.clear();
        });
    });
    group.finish();
}

fn ledger(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("there is room for a directory");
    let settings = Settings {
        bets: scratch.path().join("bets.csv"),
        result: scratch.path().join("sorteo.toml"),
        agencies: agencies(),
        winning_number: 7574,
    };
    let (ledger, _) =
        Ledger::open(&settings, &loteria::stop::Stop::never()).expect("it can be opened");
    let access = ledger.access();
    let mut batch = Vec::new();
    BatchReader::new(agency(), agencies()).read(&message(), &mut batch).expect("it is plain");
    let mut group = criterion.benchmark_group("store durably");
    for batches in [1, 16, 128] {
        let rows = batch.repeat(batches);
        let bets = u64::from(BETS) * batches as u64;
        group.throughput(Throughput::Elements(bets));
        group.bench_function(format!("{batches} batches"), |bencher| {
            bencher.iter_batched(
                || rows.clone(),
                |mut rows| access.store(agency(), bets, &mut rows).expect("the disk takes it"),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
    ledger.close().expect("the disk is good");
}

criterion_group!(parts, checks, protocol, ledger);
criterion_main!(parts);
