//! The ledger over a disk that fails, and a program and a machine that die, on purpose.
//!
//! At stake are the first four promises: what was confirmed is there; what is there was sent, once, in order and in
//! whole batches; the server starts; there is one draw. Every run follows from its seed.

#![allow(
    clippy::cast_possible_truncation,
    reason = "all the numbers of a simulation are small, and a wrong one would fail it"
)]

mod disk;
mod edits;

use self::disk::{Random, SimulatedDisk};
use super::aside::set_aside_on;
use super::open::open;
use super::request::{Request, RequestError, StoreAnswer, StoreRequest};
use super::verify::verify_on;
use super::writer::Writer;
use super::{DrawResult, OpenError, Settings, WriterFailed};
use crate::bet::{Agencies, AgencyId};
use crate::stop::Stop;
use std::collections::VecDeque;
use std::io;
use std::iter::StepBy;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;

const AGENCIES: u16 = 3;
const BETS_EACH: usize = 40;
const WINNING_NUMBER: u16 = 7;

fn settings() -> Settings {
    Settings {
        bets: "bets.csv".into(),
        result: "sorteo.toml".into(),
        agencies: Agencies::new(AGENCIES).expect("3 is a number of agencies"),
        winning_number: WINNING_NUMBER,
    }
}

fn agency(number: u16) -> AgencyId {
    AgencyId::new(number).expect("it is a number of an agency")
}

/// The rows that an agency has to get stored, in order.
fn rows_of(agency: AgencyId) -> Vec<String> {
    let row = |bet| format!("{agency},Ana,Paz,{:08},2000-01-01,{bet}\n", bet * 10 + agency.get());
    (0..BETS_EACH as u16).map(row).collect()
}

/// The rows of an agency that are stored.
fn stored_of(disk: &SimulatedDisk, agency: AgencyId) -> Vec<String> {
    let text =
        String::from_utf8(disk.bytes("bets.csv").unwrap_or_default()).expect("rows are text");
    let own = format!("{agency},");
    text.split_inclusive('\n').filter(|row| row.starts_with(&own)).map(str::to_owned).collect()
}

/// Opens the ledger. `None` if the disk keeps it from that; anything else that does is a defect.
fn start(disk: &SimulatedDisk) -> Option<(Writer<SimulatedDisk>, Option<DrawResult>)> {
    start_with(disk, &settings())
}

fn start_with(
    disk: &SimulatedDisk,
    settings: &Settings,
) -> Option<(Writer<SimulatedDisk>, Option<DrawResult>)> {
    let (opened, found) = match open(disk.clone(), settings, &Stop::never()) {
        Ok(opened) => opened,
        Err(OpenError::Io { .. }) => return None,
        Err(error) => panic!("seed {}: the server does not start: {error}", disk.seed()),
    };
    // Connections have tickets 0 and 1.
    let tickets = Arc::new(AtomicU64::new(2));
    let writer = Writer::new(opened, WINNING_NUMBER, tickets, Stop::never());
    Some((writer.expect("a thread"), found.result))
}

/// A request to store one batch, and its answer.
fn request(agency: AgencyId, rows: &[String]) -> (Request, Receiver<StoreAnswer>) {
    let (reply, answer) = sync_channel(1);
    let (bets, rows) = (rows.len() as u64, rows.concat().into_bytes());
    (Request::Store(StoreRequest { ticket: 1, agency, bets, rows, reply }), answer)
}

/// An agency and its knowledge, over all lives of the server.
struct Sender {
    agency: AgencyId,
    confirmed: usize,
    /// Whether a batch was refused in this life.
    refused: bool,
    /// Batches in flight: how many bets there are with each.
    waiting: VecDeque<(usize, Receiver<StoreAnswer>)>,
}

impl Sender {
    /// The next batch of at most nine bets, if there is one to send.
    fn next_batch(&mut self, random: &mut Random) -> Option<Request> {
        let sent = self.waiting.back().map_or(self.confirmed, |(end, _)| *end);
        if self.refused || sent == BETS_EACH {
            return None;
        }
        let end = (sent + 1 + random.below(9) as usize).min(BETS_EACH);
        let (batch, answer) = request(self.agency, &rows_of(self.agency)[sent..end]);
        self.waiting.push_back((end, answer));
        Some(batch)
    }

    fn hear(&mut self) {
        while let Some((end, answer)) = self.waiting.front()
            && let Ok((_, outcome)) = answer.try_recv()
        {
            match outcome {
                Ok(()) => self.confirmed = *end,
                Err(_) => self.refused = true,
            }
            self.waiting.pop_front();
        }
    }

    fn has_nothing_left(&self) -> bool {
        self.refused || self.confirmed == BETS_EACH
    }
}

/// A lottery on a disk, and what is known of it from outside.
struct Storm {
    seed: u64,
    settings: Settings,
    random: Random,
    disk: SimulatedDisk,
    senders: Vec<Sender>,
    /// The result that a peer may have received.
    told: Option<DrawResult>,
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let sender =
            |agency| Sender { agency, confirmed: 0, refused: false, waiting: VecDeque::new() };
        // Half of the results are in another directory than the bets.
        let result = ["sorteo.toml", "draws/sorteo.toml"][(seed % 2) as usize].into();
        Storm {
            seed,
            settings: Settings { result, ..settings() },
            random: Random(seed),
            disk: SimulatedDisk::new(seed),
            senders: settings().agencies.iter().map(sender).collect(),
            told: None,
        }
    }

    /// One life of the server. Returns whether the draw was held and it stopped in order.
    fn live(&mut self) -> bool {
        let Some((mut writer, result)) = start_with(&self.disk, &self.settings) else {
            return false;
        };
        self.check_stored();
        self.hear_result(result);
        if self.serve(&mut writer).is_err() {
            return false;
        }
        let held = self.told.is_some();
        // Half of the servers are stopped in order.
        self.random.below(2) == 0 && writer.close().is_ok() && held
    }

    fn serve(&mut self, writer: &mut Writer<SimulatedDisk>) -> Result<(), WriterFailed> {
        while self.told.is_none() {
            let mut sent = false;
            for sender in &mut self.senders {
                for _ in 0..self.random.below(4) {
                    if let Some(batch) = sender.next_batch(&mut self.random) {
                        sent = true;
                        writer.take(batch)?;
                    }
                }
            }
            let committed = writer.commit();
            self.senders.iter_mut().for_each(Sender::hear);
            committed?;
            if !sent && self.senders.iter().all(Sender::has_nothing_left) {
                break;
            }
            // Some servers die with little done.
            if self.random.below(30) == 0 {
                return Ok(());
            }
        }
        if self.told.is_none() && self.senders.iter().all(|sender| !sender.refused) {
            let (reply, answer) = sync_channel(1);
            let held = writer.take(Request::Hold { reply });
            match answer.try_recv() {
                Ok(Some(result)) => self.hear_result(Some(result)),
                Err(TryRecvError::Disconnected) => {}
                other => panic!("seed {}: {other:?}", self.seed),
            }
            held?;
        }
        Ok(())
    }

    fn hear_result(&mut self, result: Option<DrawResult>) {
        let seed = self.seed;
        if self.told.is_some() {
            assert_eq!(result, self.told, "seed {seed}: one draw");
        }
        if let Some(result) = &result {
            for (sender, result) in self.senders.iter().zip(&result.agencies) {
                assert_eq!(result.bets, BETS_EACH as u64, "seed {seed}: over all bets");
                let winner = format!("{:08}", WINNING_NUMBER * 10 + sender.agency.get());
                assert_eq!(result.winners, [winner], "seed {seed}");
            }
        }
        self.told = result;
    }

    /// After a start the promises hold for what is stored, and each agency goes on from there.
    fn check_stored(&mut self) {
        let seed = self.seed;
        for sender in &mut self.senders {
            let agency = sender.agency;
            let stored = stored_of(&self.disk, agency);
            assert!(
                rows_of(agency).starts_with(&stored),
                "seed {seed}: agency {agency} has {stored:?}, which is no beginning of what it sent"
            );
            let in_flight = sender.waiting.iter().any(|(end, _)| *end == stored.len());
            assert!(
                stored.len() == sender.confirmed || (in_flight && !sender.refused),
                "seed {seed}: agency {agency} had {} bets confirmed, its batches in flight end at {:?}, and \
                 {} bets are stored (refused: {})",
                sender.confirmed,
                sender.waiting.iter().map(|(end, _)| end).collect::<Vec<_>>(),
                stored.len(),
                sender.refused
            );
            (sender.confirmed, sender.refused) = (stored.len(), false);
            sender.waiting.clear();
        }
    }

    /// Lives and dies until the draw was held. Returns how many lives it took.
    fn run(mut self) -> u32 {
        for life in 1..=60 {
            // After a while the disk is good, so that it ends.
            if life <= 30 {
                let one_fails_in = [0, 5 + self.random.below(100)][self.random.below(2) as usize];
                let calls_left = [None, Some(1 + self.random.below(120))];
                self.disk.misbehave(one_fails_in, calls_left[self.random.below(2) as usize]);
            }
            let done = self.live();
            if self.random.below(3) == 0 {
                self.disk.kill();
            } else {
                self.disk.cut_power();
            }
            if done {
                let verified = verify_on(&self.disk, &self.settings, &Stop::never());
                let verified = verified.expect("the files can be read");
                assert_eq!(verified.differences, [""; 0], "seed {}", self.seed);
                let result = self.settings.result.to_str().and_then(|name| self.disk.bytes(name));
                let result = result.map(|text| DrawResult::parse(&text));
                assert_eq!(result, self.told.take().map(Ok), "seed {}", self.seed);
                return life;
            }
        }
        panic!("seed {}: a good disk stores everything", self.seed);
    }
}

#[test]
fn what_was_confirmed_is_there_in_whole_batches_and_there_is_one_draw_after_any_crash_of_any_disk()
{
    let count = std::env::var("LOTERIA_SIMULATIONS").ok();
    let count: u64 = count.map_or(700, |count| count.parse().expect("a number of schedules"));
    let first = std::env::var("LOTERIA_SIMULATION_SEED").ok();
    let first: u64 = first.map_or(0, |seed| seed.parse().expect("a seed"));
    let run = |seeds: StepBy<Range<u64>>| -> u64 {
        seeds.map(|seed| u64::from(Storm::new(seed).run())).sum()
    };
    // A start waits for a thread to begin, and a stop for its end. Meanwhile another lottery goes on.
    let lives: u64 = thread::scope(|scope| {
        let threads = [0, 1, 2].map(|n| (first + n..first + count).step_by(3));
        let threads = threads.map(|seeds| scope.spawn(move || run(seeds)));
        threads.map(|lives| lives.join().expect("it has said which seed failed")).iter().sum()
    });
    assert!(
        count < 100 || lives > 2 * count,
        "a storm is more than one life, not {lives} in {count}"
    );
}

/// Stores one batch of one agency.
fn store(
    writer: &mut Writer<SimulatedDisk>,
    number: u16,
    rows: &[String],
) -> Option<Result<(), RequestError>> {
    let answer = ask_to_store(writer, number, rows);
    // Of a ledger that has failed there is no answer.
    let _failed = writer.commit();
    answer.try_recv().ok().map(|(_, outcome)| outcome)
}

fn ask_to_store(
    writer: &mut Writer<SimulatedDisk>,
    number: u16,
    rows: &[String],
) -> Receiver<StoreAnswer> {
    let (batch, answer) = request(agency(number), rows);
    writer.take(batch).expect("a batch is only taken");
    answer
}

fn hold(writer: &mut Writer<SimulatedDisk>) -> (Result<(), WriterFailed>, Option<DrawResult>) {
    let (reply, answer) = sync_channel(1);
    let outcome = writer.take(Request::Hold { reply });
    (outcome, answer.try_recv().ok().flatten())
}

/// Returns whether there is no answer yet.
fn is_open<T>(answer: &Receiver<T>) -> bool {
    matches!(answer.try_recv(), Err(TryRecvError::Empty))
}

/// A ledger on a disk that does not fail.
fn good() -> (SimulatedDisk, Writer<SimulatedDisk>) {
    good_with_seed(7)
}

fn good_with_seed(seed: u64) -> (SimulatedDisk, Writer<SimulatedDisk>) {
    let disk = SimulatedDisk::new(seed);
    let (writer, _) = start(&disk).expect("a good disk");
    (disk, writer)
}

#[test]
fn a_question_or_a_refusal_does_not_end_a_group_and_is_answered_after_it() {
    let (_disk, mut writer) = good();
    let rows = rows_of(agency(1));
    let (count, counted) = sync_channel(1);
    let (resume, resumed) = sync_channel(1);
    let first = ask_to_store(&mut writer, 1, &rows[..1]);
    writer.take(Request::Count { reply: count }).expect("the disk is good");
    let second = ask_to_store(&mut writer, 1, &rows[1..3]);
    let asked = Request::Resume { agency: agency(1), reply: resume };
    writer.take(asked).expect("the disk is good");
    let third = ask_to_store(&mut writer, 1, &rows[3..4]);
    assert!(is_open(&first) && is_open(&counted) && is_open(&second) && is_open(&resumed));
    // Otherwise its session would send the next batch into the same group, and so on.
    assert!(is_open(&third), "it is refused at once");
    writer.commit().expect("the disk is good");
    for stored in [first, second] {
        assert_eq!(stored.try_recv().expect("it is answered").1, Ok(()));
    }
    assert_eq!(counted.try_recv().expect("it is answered")[0].bets, 3);
    assert_eq!(resumed.try_recv().expect("it is answered").1.bets, 3);
    assert_eq!(third.try_recv().expect("it is answered").1, Err(RequestError::TakenOver));
}

#[test]
fn a_full_disk_refuses_the_batch_and_keeps_nothing_of_it() {
    let rows = rows_of(agency(1));
    let (mut refused, mut failed) = (0, 0);
    for seed in 0..400 {
        let disk = SimulatedDisk::new(seed);
        let (mut writer, _) = start(&disk).expect("a good disk");
        assert_eq!(store(&mut writer, 1, &rows[..1]), Some(Ok(())));
        disk.misbehave(5, None);
        let outcome = store(&mut writer, 1, &rows[1..2]);
        disk.misbehave(0, None);
        let stored = match outcome {
            Some(Ok(())) => 2,
            Some(Err(RequestError::WriteFailed(reason))) => {
                assert_eq!(reason, io::Error::from(io::ErrorKind::StorageFull).to_string());
                refused += 1;
                1
            }
            Some(other) => panic!("{other:?}"),
            None => {
                failed += 1;
                continue;
            }
        };
        assert_eq!(stored_of(&disk, agency(1)).len(), stored, "seed {seed}");
        assert_eq!(store(&mut writer, 1, &rows[stored..=stored]), Some(Ok(())), "it goes on");
        drop(writer);
        disk.cut_power();
        start(&disk).expect("a good disk");
        assert_eq!(stored_of(&disk, agency(1)), rows[..=stored], "seed {seed}");
    }
    assert!(refused > 10 && failed > 10, "{refused} refused, {failed} failed");
}

/// A failed sync may leave what was written before an undo on the disk, although the system shows the file without it.
#[test]
fn what_a_failed_sync_left_behind_the_bets_does_not_come_back() {
    let rows = rows_of(agency(1));
    let mut tried = 0;
    for seed in 0..500 {
        let (disk, mut writer) = good_with_seed(seed);
        assert_eq!(store(&mut writer, 1, &rows[..1]), Some(Ok(())));
        disk.misbehave(3, None);
        if !matches!(store(&mut writer, 1, &rows[1..9]), Some(Err(RequestError::WriteFailed(_)))) {
            continue;
        }
        tried += u32::from(writer.close().is_err());
        disk.kill();
        let (mut writer, _) = start(&disk).expect("a good disk");
        writer.close().expect("a good disk");
        disk.cut_power();
        start(&disk).expect("a good disk");
        assert_eq!(stored_of(&disk, agency(1)), rows[..1], "seed {seed}");
    }
    assert!(tried > 10, "only {tried} syncs failed after an undo");
}

#[test]
fn the_draw_is_not_held_if_its_result_cannot_be_written() {
    for calls in 0.. {
        let (disk, mut writer) = good();
        assert_eq!(store(&mut writer, 1, &rows_of(agency(1))), Some(Ok(())));
        disk.misbehave(0, Some(calls));
        let (outcome, answer) = hold(&mut writer);
        if outcome.is_ok() {
            assert!(calls > 8, "it takes more than {calls} calls to hold a draw");
            assert_eq!(answer.expect("it is told").agencies[0].winners, ["00000071"]);
            assert_eq!(
                store(&mut writer, 2, &rows_of(agency(2))),
                Some(Err(RequestError::DrawHeld))
            );
            return;
        }
        assert_eq!(answer, None, "nobody is told");
    }
}

/// A result whose directory is another than that of the bets, and was not synced before the program died.
#[test]
fn a_result_that_was_found_at_a_start_survives_the_next_power_cut() {
    let settings = Settings { result: "draws/sorteo.toml".into(), ..settings() };
    let mut found = 0;
    for calls in 0.. {
        for seed in 0..6 {
            let disk = SimulatedDisk::new(seed);
            let (mut writer, _) = start_with(&disk, &settings).expect("a good disk");
            assert_eq!(store(&mut writer, 1, &rows_of(agency(1))), Some(Ok(())));
            disk.misbehave(0, Some(calls));
            let (outcome, _) = hold(&mut writer);
            disk.kill();
            let (_, result) = start_with(&disk, &settings).expect("a good disk");
            disk.cut_power();
            let (_, later) = start_with(&disk, &settings).expect("a good disk");
            assert_eq!(result, later, "seed {seed}, {calls} calls: there is one draw");
            found += u32::from(result.is_some());
            if outcome.is_ok() {
                assert!(found > 10, "only {found} results were found");
                return;
            }
        }
    }
}

#[test]
fn a_result_that_an_operator_has_copied_survives_the_next_power_cut() {
    for seed in 0..20 {
        let (disk, mut writer) = good_with_seed(seed);
        let result = hold(&mut writer).1;
        drop(writer);
        let text = disk.bytes("sorteo.toml").expect("the draw was held");
        disk.edit("sorteo.toml", Vec::clear);
        disk.append("sorteo.toml", &text);
        disk.kill();
        assert_eq!(start(&disk).expect("a good disk").1, result);
        disk.cut_power();
        assert_eq!(start(&disk).expect("a good disk").1, result, "seed {seed}");
    }
}

/// Every call at which a whole lottery, from its first start to its set files, can die.
#[test]
fn a_lottery_survives_a_death_at_each_of_its_calls() {
    for calls in 0.. {
        let mut survived = 0;
        for seed in 0..6 {
            let disk = SimulatedDisk::new(seed);
            disk.misbehave(0, Some(calls));
            let confirmed = play(&disk);
            let died = disk.has_died();
            disk.cut_power();
            survived += usize::from(!died);
            let aside = disk.names().iter().filter(|name| name.contains(".1.")).count();
            if aside > 0 || confirmed == Some(Played::Aside) {
                assert!(aside == 3 || confirmed != Some(Played::Aside), "it was said to be done");
                finish_aside(&disk, aside, seed, calls);
                continue;
            }
            let (mut writer, result) = start(&disk).expect("a good disk");
            let stored = stored_of(&disk, agency(1)).len();
            match confirmed {
                None => assert!(stored == 0 || stored == 2),
                Some(Played::Stored(bets)) => assert!(stored == bets || stored == BETS_EACH),
                Some(Played::Held) => assert!(stored == BETS_EACH && result.is_some()),
                Some(Played::Aside) => unreachable!("it was looked at"),
            }
            if result.is_none() {
                let (outcome, answer) = hold(&mut writer);
                outcome.expect("a good disk");
                assert_eq!(answer.expect("a good disk").agencies[0].bets, stored as u64);
            }
            writer.close().expect("a good disk");
        }
        if survived == 6 {
            assert!(calls > 60, "a lottery takes more than {calls} calls");
            return;
        }
    }
}

/// The last step that is known to have succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Played {
    Stored(usize),
    Held,
    Aside,
}

/// Plays a whole lottery until the program dies: a small group, a large one, the draw, a stop, setting aside.
fn play(disk: &SimulatedDisk) -> Option<Played> {
    let rows = rows_of(agency(1));
    let mut played = None;
    let Some((mut writer, _)) = start(disk) else { return played };
    for batch in [&rows[..2], &rows[2..]] {
        if store(&mut writer, 1, batch) != Some(Ok(())) {
            return played;
        }
        played = Some(Played::Stored(played.map_or(2, |_| BETS_EACH)));
    }
    if hold(&mut writer).1.is_none() {
        return played;
    }
    played = Some(Played::Held);
    if writer.close().is_err() {
        return played;
    }
    drop(writer);
    if set_aside_on(disk.clone(), &settings(), &Stop::never()).is_ok() {
        played = Some(Played::Aside);
    }
    played
}

/// After a death while the files were being set aside no other draw begins before they all are.
fn finish_aside(disk: &SimulatedDisk, aside: usize, seed: u64, calls: u64) {
    if aside < 3 {
        let opened = open(disk.clone(), &settings(), &Stop::never());
        let refused = opened.err().expect("it is refused").to_string();
        assert!(
            refused.contains("is half set aside"),
            "seed {seed}, {calls} calls: another draw begins"
        );
        set_aside_on(disk.clone(), &settings(), &Stop::never()).expect("a good disk");
    }
    let mut names = disk.names();
    names.retain(|name| !name.ends_with(".draft"));
    assert_eq!(names, ["bets.1.csv", "bets.1.journal", "sorteo.1.toml"]);
    let settings =
        Settings { bets: "bets.1.csv".into(), result: "sorteo.1.toml".into(), ..settings() };
    let verified = verify_on(disk, &settings, &Stop::never()).expect("a good disk");
    assert_eq!(verified.differences, [""; 0]);
    assert!(verified.contents.contains(&format!("bets.1.csv: {BETS_EACH} bets, all valid")));
    start(disk).expect("a new lottery begins");
}
