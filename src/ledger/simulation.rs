//! The writer over a disk that fails and crashes on purpose.
//!
//! At stake are the first three promises: what was confirmed is there, what is there was sent, once
//! and in order, and what was refused is not there. Every run follows from its seed.

#![allow(
    clippy::cast_possible_truncation,
    reason = "all the numbers of a simulation are small, and a wrong one would fail it"
)]

use super::disk::Disk;
use super::recovery::{self, Recovered};
use super::writer::Writer;
use super::{HoldFailed, Refused, Request, StoreAnswer, StoreRequest, WriterFailed};
use crate::bet::{Agencies, AgencyId};
use crate::stop::Stop;
use crossbeam_channel::{Receiver, bounded};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;

/// What was done to the file since it was synced last.
#[derive(Clone, Debug)]
enum Change {
    Append(Vec<u8>),
    Truncate(u64),
}

/// A disk in memory. It says what it holds to whoever listens when it is dropped.
#[derive(Debug)]
struct SimulatedDisk {
    durable: Vec<u8>,
    changes: Vec<Change>,
    result: Option<String>,
    random: Random,
    /// One call in so many fails; none where it is 0.
    one_fails_in: u64,
    left: mpsc::Sender<Left>,
}

/// What a process leaves behind.
#[derive(Debug)]
struct Left {
    durable: Vec<u8>,
    changes: Vec<Change>,
    result: Option<String>,
}

impl Drop for SimulatedDisk {
    fn drop(&mut self) {
        let _not_listening = self.left.send(Left {
            durable: std::mem::take(&mut self.durable),
            changes: std::mem::take(&mut self.changes),
            result: self.result.take(),
        });
    }
}

impl SimulatedDisk {
    fn fails(&mut self) -> bool {
        self.one_fails_in > 0 && self.random.below(self.one_fails_in) == 0
    }

    fn check(&mut self) -> io::Result<()> {
        if self.fails() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for SimulatedDisk {
    fn append(&mut self, rows: &[u8]) -> io::Result<()> {
        if self.fails() {
            // A short write: some of it is there.
            let written = self.random.below(rows.len() as u64 + 1) as usize;
            self.changes.push(Change::Append(rows[..written].to_vec()));
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.changes.push(Change::Append(rows.to_vec()));
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.check()?;
        self.changes.push(Change::Truncate(bytes));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.check()?;
        self.durable = after(&self.durable, &self.changes);
        self.changes.clear();
        Ok(())
    }

    fn read(&mut self) -> io::Result<impl Read> {
        self.check()?;
        Ok(io::Cursor::new(after(&self.durable, &self.changes)))
    }

    fn save_result(&mut self, text: &str) -> io::Result<()> {
        self.check()?;
        self.result = Some(text.to_owned());
        Ok(())
    }
}

fn after(durable: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = durable.to_vec();
    for change in changes {
        match change {
            Change::Append(rows) => bytes.extend_from_slice(rows),
            Change::Truncate(length) => bytes.truncate(*length as usize),
        }
    }
    bytes
}

impl Left {
    /// What is found after a crash: what was durable, and any beginning of what was done since.
    fn crash(&self, random: &mut Random) -> Vec<u8> {
        let whole = random.below(self.changes.len() as u64 + 1) as usize;
        let mut bytes = after(&self.durable, &self.changes[..whole]);
        if let Some(Change::Append(rows)) = self.changes.get(whole) {
            let part = random.below(rows.len() as u64 + 1) as usize;
            bytes.extend_from_slice(&rows[..part]);
        }
        bytes
    }
}

/// A small generator, so that a run follows from its seed (SplitMix64).
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

const AGENCIES: u16 = 3;
const BETS_EACH: usize = 40;

fn agencies() -> Agencies {
    Agencies::new(AGENCIES).expect("3 is a number of agencies")
}

/// The rows that an agency has to get stored, in order.
fn rows_of(agency: AgencyId) -> Vec<String> {
    let row = |bet| format!("{agency},Ana,Paz,{:08},2000-01-01,{bet}\n", bet * 10 + agency.get());
    (0..BETS_EACH as u16).map(row).collect()
}

fn stored_of(content: &[u8], agency: AgencyId) -> Vec<String> {
    let text = String::from_utf8(content.to_vec()).expect("rows are text");
    let own = format!("{agency},");
    text.split_inclusive('\n').filter(|row| row.starts_with(&own)).map(str::to_owned).collect()
}

fn recover(content: &[u8]) -> Recovered {
    recovery::check(content, agencies(), &Stop::never()).expect("what is left can be recovered")
}

/// An agency with one batch on its way at a time, as a connection has it.
struct Sender {
    agency: AgencyId,
    confirmed: usize,
    refused: bool,
    waiting: Option<(usize, Receiver<StoreAnswer>)>,
}

impl Sender {
    /// The next batch of at most nine bets, if there is one to send.
    fn next_batch(&mut self, random: &mut Random) -> Option<Request> {
        let end = (self.confirmed + 1 + random.below(9) as usize).min(BETS_EACH);
        if self.refused || self.confirmed == BETS_EACH {
            return None;
        }
        let rows = rows_of(self.agency)[self.confirmed..end].concat().into_bytes();
        let bets = (end - self.confirmed) as u64;
        let (reply, answer) = bounded(1);
        self.waiting = Some((end, answer));
        Some(Request::Store(StoreRequest { ticket: 1, agency: self.agency, bets, rows, reply }))
    }

    fn hear(&mut self) {
        if let Some((end, answer)) = self.waiting.take()
            && let Ok((_, outcome)) = answer.try_recv()
        {
            match outcome {
                Ok(()) => self.confirmed = end,
                Err(_) => self.refused = true,
            }
        }
    }
}

/// One life of the writer, until it fails or nobody has anything to send. What each agency heard, and
/// what is left on the disk.
fn live(content: &[u8], random: &mut Random, one_fails_in: u64) -> (Vec<Sender>, Left) {
    let recovered = recover(content);
    let mut senders: Vec<Sender> = agencies()
        .iter()
        .zip(&recovered.accounts)
        .map(|(agency, account)| Sender {
            agency,
            confirmed: account.bets as usize,
            refused: false,
            waiting: None,
        })
        .collect();
    let (left, was_left) = mpsc::channel();
    let disk = SimulatedDisk {
        durable: content[..recovered.bytes as usize].to_vec(),
        changes: Vec::new(),
        result: None,
        random: Random(random.next()),
        one_fails_in,
        left,
    };
    let tickets = Arc::new(AtomicU64::new(2));
    let mut writer = Writer::new(disk, recovered, 7574, false, tickets, Stop::never());
    loop {
        let mut sent = 0;
        let mut alive = true;
        for sender in &mut senders {
            if random.below(3) > 0
                && let Some(batch) = sender.next_batch(random)
            {
                sent += 1;
                alive &= writer.take(batch).is_ok();
            }
        }
        alive &= writer.commit().is_ok();
        senders.iter_mut().for_each(Sender::hear);
        let nothing_left = |sender: &Sender| sender.refused || sender.confirmed == BETS_EACH;
        if !alive || (sent == 0 && senders.iter().all(nothing_left)) {
            break;
        }
    }
    drop(writer);
    (senders, was_left.recv().expect("the disk was dropped"))
}

/// Lives and crashes until every bet is stored, with the promises checked after each crash. How many
/// lives it took.
fn storm(seed: u64) -> u32 {
    let mut random = Random(seed);
    let mut content = Vec::new();
    for life in 1..=40 {
        // After a while the disk is good, so that it ends.
        let one_fails_in = if life <= 20 { 2 + random.below(20) } else { 0 };
        let (senders, left) = live(&content, &mut random, one_fails_in);
        content = left.crash(&mut random);

        let recovered = recover(&content);
        let complete = &content[..recovered.bytes as usize];
        for Sender { agency, confirmed, refused, .. } in senders {
            let stored = stored_of(complete, agency);
            let sent = rows_of(agency);
            assert!(
                sent.starts_with(&stored),
                "seed {seed}, life {life}: agency {agency} has {stored:?} stored, which is no \
                 beginning of what it sent"
            );
            assert!(
                stored.len() >= confirmed,
                "seed {seed}, life {life}: agency {agency} had {confirmed} bets confirmed, and {} \
                 are there",
                stored.len()
            );
            assert!(
                stored.len() == confirmed || !refused,
                "seed {seed}, life {life}: agency {agency} heard that its batch after {confirmed} \
                 bets was refused, and {} bets are there",
                stored.len()
            );
        }
        if recovered.accounts.iter().all(|account| account.bets == BETS_EACH as u64) {
            return life;
        }
    }
    panic!("seed {seed}: a good disk stores everything");
}

#[test]
fn what_was_confirmed_is_there_once_and_in_order_after_any_crash_of_any_disk() {
    let lives: u32 = (0..2_000).map(storm).sum();
    assert!(lives > 4_000, "a storm is more than one life, not {lives} in 2000");
}

/// A writer over a good disk, and what its disk will leave.
fn writer_with(content: &str, one_fails_in: u64) -> (Writer<SimulatedDisk>, mpsc::Receiver<Left>) {
    let (left, was_left) = mpsc::channel();
    let disk = SimulatedDisk {
        durable: content.as_bytes().to_vec(),
        changes: Vec::new(),
        result: None,
        random: Random(7),
        one_fails_in,
        left,
    };
    let recovered = recover(content.as_bytes());
    let tickets = Arc::new(AtomicU64::new(2));
    (Writer::new(disk, recovered, 7574, false, tickets, Stop::never()), was_left)
}

fn store(writer: &mut Writer<SimulatedDisk>, rows: &str) -> Option<Result<(), Refused>> {
    let (reply, answer) = bounded(1);
    let agency = AgencyId::new(1).expect("1 is an agency");
    let store = StoreRequest { ticket: 1, agency, bets: 1, rows: rows.as_bytes().to_vec(), reply };
    let _failed = writer.take(Request::Store(store)).and_then(|()| writer.commit());
    answer.try_recv().ok().map(|(_, outcome)| outcome)
}

const ROW: &str = "1,Ana,Paz,1234567,2000-01-01,7574\n";

#[test]
fn a_full_disk_refuses_the_batch_and_keeps_nothing_of_it() {
    let (mut writer, was_left) = writer_with(ROW, 0);
    writer.disk_mut().one_fails_in = 1;
    // The undoing fails too on this disk, so it is final, and nobody is told that it is stored.
    assert_eq!(store(&mut writer, ROW), None);
    drop(writer);
    assert_eq!(was_left.recv().expect("it was dropped").durable, ROW.as_bytes());
}

#[test]
fn the_draw_is_not_held_where_its_result_cannot_be_written() {
    let (mut writer, was_left) = writer_with(ROW, 1);
    let (reply, answer) = bounded(1);
    let failed = writer.take(Request::Hold { reply });
    assert!(matches!(failed, Err(WriterFailed::Scan(_))), "{failed:?}");
    assert_eq!(answer.try_recv(), Ok(Err(HoldFailed::Storage)));
    drop(writer);
    assert_eq!(was_left.recv().expect("it was dropped").result, None);
}

#[test]
fn the_result_is_written_before_anyone_is_told() {
    let (mut writer, was_left) = writer_with(ROW, 0);
    let (reply, answer) = bounded(1);
    writer.take(Request::Hold { reply }).expect("the disk is good");
    let result = answer.try_recv().expect("it is told").expect("it is held");
    assert_eq!(result.agencies[0].winners, ["1234567"]);
    assert_eq!(store(&mut writer, ROW), Some(Err(Refused::DrawHeld)));
    drop(writer);
    let text = was_left.recv().expect("it was dropped").result.expect("it was written");
    assert_eq!(toml::from_str::<super::DrawResult>(&text).expect("it is TOML"), result);
}

#[test]
fn a_question_between_batches_does_not_end_their_group_and_is_answered_after_it() {
    let (mut writer, _was_left) = writer_with(ROW, 0);
    let agency = AgencyId::new(1).expect("1 is an agency");
    let store = |writer: &mut Writer<SimulatedDisk>| {
        let (reply, answer) = bounded(1);
        let rows = ROW.as_bytes().to_vec();
        let store = StoreRequest { ticket: 1, agency, bets: 1, rows, reply };
        writer.take(Request::Store(store)).expect("the disk is good");
        answer
    };
    let (count, counted) = bounded(1);
    let (resume, resumed) = bounded(1);
    let first = store(&mut writer);
    writer.take(Request::Count { reply: count }).expect("the disk is good");
    let second = store(&mut writer);
    writer.take(Request::Resume { agency, reply: resume }).expect("the disk is good");
    let third = store(&mut writer);
    assert!(first.is_empty() && counted.is_empty() && second.is_empty() && resumed.is_empty());
    assert_eq!(third.try_recv().expect("it is refused at once").1, Err(Refused::TakenOver));
    writer.commit().expect("the disk is good");
    for stored in [first, second] {
        assert_eq!(stored.try_recv().expect("it is answered").1, Ok(()));
    }
    assert_eq!(counted.try_recv().expect("it is answered")[0].bets, 3);
    assert_eq!(resumed.try_recv().expect("it is answered").1.bets, 3);
}
