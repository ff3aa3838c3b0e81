//! Every change that an editor, a backup or an accident makes to the files is found, and the start changes nothing then.

use super::disk::SimulatedDisk;
use super::{
    agency, ask_to_store, good, good_with_seed, hold, is_open, request, rows_of, settings, start,
    start_with, store, stored_of,
};
use crate::bet::Agencies;
use crate::ledger::aside::set_aside_on;
use crate::ledger::disk::{Disk, Mode};
use crate::ledger::journal::{Confirmed, GROUP_BYTES_MAX, REMAINS_BYTES_MAX};
use crate::ledger::open::open;
use crate::ledger::verify::{Verified, verify_on};
use crate::ledger::writer::{Writer, WriterFailed};
use crate::ledger::{Ledger, OpenError, Settings};
use crate::stop::{Stop, Stopper};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

type Edit<'e> = &'e dyn Fn(&mut Vec<u8>);
type EditDisk<'e> = &'e dyn Fn(&SimulatedDisk);

const FILES: [&str; 3] = ["bets.csv", "bets.journal", "sorteo.toml"];

/// The disk of a server with bets of two agencies, some of them in the log of its journal.
fn stored() -> (SimulatedDisk, Writer<SimulatedDisk>) {
    let (disk, mut writer) = good();
    for (number, bets) in [(1, 0..12), (2, 0..3), (1, 12..14)] {
        assert_eq!(store(&mut writer, number, &rows_of(agency(number))[bets]), Some(Ok(())));
    }
    (disk, writer)
}

/// Stores the first `bets` bets of agency 1, each in a record of its own.
fn store_one_by_one(writer: &mut Writer<SimulatedDisk>, bets: usize) {
    for row in rows_of(agency(1))[..bets].chunks(1) {
        assert_eq!(store(writer, 1, row), Some(Ok(())));
    }
}

/// A line of another program ends the server as it is about to store the first of `rows`.
fn fail_over_a_foreign_line(
    disk: &SimulatedDisk,
    mut writer: Writer<SimulatedDisk>,
    rows: &[String],
) {
    disk.edit("bets.csv", |bytes| bytes.extend(b"1,x\n"));
    let answer = ask_to_store(&mut writer, 1, &rows[..1]);
    assert!(writer.commit().is_err() && is_open(&answer));
    drop(writer);
    disk.kill();
}

/// The disk of a server that has stopped in order.
fn stopped() -> SimulatedDisk {
    let (disk, mut writer) = stored();
    writer.close().expect("a good disk");
    disk.kill();
    disk
}

/// The same after the draw.
fn finished() -> SimulatedDisk {
    let (disk, mut writer) = stored();
    hold(&mut writer).0.expect("a good disk");
    writer.close().expect("a good disk");
    disk.kill();
    disk
}

fn parse(journal: &[u8]) -> Result<Confirmed, String> {
    let disk = SimulatedDisk::new(0);
    disk.put("bets.journal", journal);
    let file = disk.open(Path::new("bets.journal"), Mode::Read).expect("a good disk");
    Confirmed::read(&file.expect("it is there")).expect("a good disk")
}

fn contents(disk: &SimulatedDisk) -> Vec<(String, Option<Vec<u8>>)> {
    disk.names().into_iter().map(|name| (name.clone(), disk.bytes(&name))).collect()
}

/// A start is refused, the error says `what` and a way out, and no file changes.
fn refuses(disk: &SimulatedDisk, what: &str) {
    let before = contents(disk);
    let error = open(disk.clone(), &settings(), &Stop::never()).err().expect(what).to_string();
    assert!(error.contains(what), "{what:?}: {error}");
    let way_out = match error.split_once(": ") {
        Some(("bets.journal", _)) => "move bets.journal away: the next start continues",
        _ => "restore the file, or move ",
    };
    assert!(error.contains(&format!("nothing was changed: {way_out}")), "{error}");
    assert_eq!(contents(disk), before, "{what}");
    disk.kill();
}

/// Returns the differences that a check finds. It has a line for each file.
fn verified(disk: &SimulatedDisk) -> Vec<String> {
    let verified = verify_on(disk, &settings(), &Stop::never()).expect("the files can be read");
    let Verified { contents, differences } = verified;
    for file in FILES {
        let begin = format!("{file}: ");
        let is_told = contents.iter().chain(&differences).any(|line| line.starts_with(&begin));
        assert!(is_told, "{file}: {contents:?} {differences:?}");
    }
    differences
}

#[test]
fn every_bit_that_changes_in_the_files_of_a_finished_lottery_is_found() {
    let disk = finished();
    assert_eq!(verified(&disk), [""; 0]);
    let mut journal = disk.bytes("bets.journal").expect("it is there");
    let slot = parse(&journal).expect("it is intact").slot;
    // In a debug build some bits of the zeros behind what a page holds stand for all.
    let is_tried =
        |at: &usize| !cfg!(debug_assertions) || at / 8 % 4096 < 64 || at.is_multiple_of(11);
    for at in (0..8 * journal.len()).filter(is_tried) {
        journal[at / 8] ^= 1 << (at % 8);
        let parsed = parse(&journal).expect("the slot is there twice");
        assert_eq!(parsed.damaged_pages, [at / 8 / 4096], "bets.journal: bit {at}");
        assert_eq!((parsed.slot, parsed.rows.len()), (slot, 0));
        journal[at / 8] ^= 1 << (at % 8);
    }
    for page in 0..journal.len() / 4096 {
        let flip = |bytes: &mut Vec<u8>| bytes[4096 * page + 99] ^= 1;
        disk.edit("bets.journal", flip);
        let what = format!("bets.journal: page {page} is damaged: the next start repairs it");
        assert_eq!(verified(&disk), [what]);
        disk.edit("bets.journal", flip);
    }
    for name in ["bets.csv", "sorteo.toml"] {
        is_found_in_each_bit(&disk, name);
    }
}

/// Changes the bits of a file, one at a time. Each change is found.
fn is_found_in_each_bit(disk: &SimulatedDisk, name: &str) {
    for at in 0..8 * disk.bytes(name).expect("it is there").len() {
        let flip = |bytes: &mut Vec<u8>| bytes[at / 8] ^= 1 << (at % 8);
        disk.edit(name, flip);
        assert!(!verified(disk).is_empty(), "{name}: bit {at}");
        disk.edit(name, flip);
    }
}

#[test]
fn every_byte_that_changes_in_the_slots_of_a_new_journal_is_found() {
    let (disk, writer) = good();
    drop(writer);
    let mut journal = disk.bytes("bets.journal").expect("it is there");
    assert_eq!(parse(&journal).expect("it is intact").damaged_pages, [0; 0]);
    for at in journal.len() - 4 * 4096..journal.len() {
        journal[at] ^= 1;
        let parsed = parse(&journal).expect("the slot is there twice");
        assert_eq!(parsed.damaged_pages, [at / 4096], "byte {at}");
        journal[at] ^= 1;
    }
}

#[test]
fn slots_of_another_time_than_the_newest_are_found() {
    let (disk, mut writer) = stored();
    let before = disk.bytes("bets.journal").expect("it is there");
    assert_eq!(parse(&before).expect("it is intact").slot.epoch, 1);
    hold(&mut writer).0.expect("a good disk");
    writer.close().expect("a good disk");
    let mut journal = disk.bytes("bets.journal").expect("it is there");
    let parsed = parse(&journal).expect("it is intact");
    assert_eq!((parsed.slot.epoch, parsed.damaged_pages), (4, vec![]));
    let odd = journal.len() - 2 * 4096..;
    journal[odd.clone()].copy_from_slice(&before[odd]);
    let parsed = parse(&journal).expect("the newest slot is there twice");
    assert_eq!((parsed.slot.epoch, parsed.damaged_pages), (4, vec![10, 11]));
}

#[test]
fn every_bit_that_changes_in_bets_that_only_the_log_confirms_is_found() {
    let (disk, writer) = stored();
    drop(writer);
    disk.kill();
    assert_eq!(verified(&disk), [""; 0]);
    is_found_in_each_bit(&disk, "bets.csv");
}

#[test]
fn a_check_tells_the_remains_of_a_crash_by_their_length_whatever_they_are() {
    for remains in ["x\n", "1,"] {
        let (disk, writer) = stored();
        drop(writer);
        disk.kill();
        disk.append("bets.csv", remains.as_bytes());
        let cut = "has 2 bytes behind its last confirmed byte: the next start cuts them off";
        assert_eq!(verified(&disk), [format!("bets.csv: {cut}")], "{remains:?}");
    }
}

#[test]
fn no_bit_that_changes_makes_a_start_lose_a_bet_or_hold_another_draw() {
    for disk in [stopped(), finished()] {
        let before: Vec<_> = FILES.map(|name| disk.bytes(name)).into();
        let mut mended = 0;
        for (name, bytes) in FILES.iter().zip(&before) {
            let Some(bytes) = bytes else { continue };
            // The rest of a page is like its end.
            for at in (0..bytes.len()).filter(|at| at % 4096 < 60 || at % 512 == 0) {
                disk.edit(name, |bytes| bytes[at] ^= 1 << (at % 8));
                if let Ok((_opened, found)) = open(disk.clone(), &settings(), &Stop::never()) {
                    mended += 1;
                    assert_eq!(disk.bytes("bets.csv"), before[0], "{name}: byte {at}");
                    assert_eq!(found.result.is_some(), before[2].is_some(), "{name}: byte {at}");
                }
                disk.kill();
                for (name, bytes) in FILES.iter().zip(&before) {
                    if let Some(bytes) = bytes {
                        disk.take(name);
                        disk.put(name, bytes);
                    }
                }
            }
        }
        assert!(mended > 500, "most of the journal is not needed for a start, not {mended}");
    }
}

#[test]
fn a_page_that_is_damaged_under_a_server_that_was_killed_loses_nothing_but_at_the_end_of_the_log() {
    let (disk, mut writer) = stored();
    for bet in 3..7 {
        assert_eq!(store(&mut writer, 2, &rows_of(agency(2))[bet..=bet]), Some(Ok(())));
    }
    drop(writer);
    disk.kill();
    let journal = disk.bytes("bets.journal").expect("it is there");
    let mut cut = 0;
    for page in 0..journal.len() / 4096 {
        disk.edit("bets.journal", |bytes| bytes[page * 4096..][..4096].fill(0x55));
        start(&disk).expect("a good disk");
        let bets = stored_of(&disk, agency(2)).len();
        cut += usize::from(bets == 6);
        assert!(bets == 7 || bets == 6, "page {page}: {bets}");
        disk.kill();
        disk.put("bets.journal", &journal);
        let rows = [rows_of(agency(1))[..12].concat(), rows_of(agency(2))[..3].concat()];
        let more = [rows_of(agency(1))[12..14].concat(), rows_of(agency(2))[3..7].concat()];
        disk.put("bets.csv", [rows.concat(), more.concat()].concat().as_bytes());
    }
    assert_eq!(cut, 1, "the last record");
}

#[test]
fn a_length_that_no_memory_can_hold_is_a_damaged_record() {
    let (disk, writer) = stored();
    drop(writer);
    let journal = disk.bytes("bets.journal").expect("it is there");
    for length in [u32::MAX, u32::MAX - 4096, u32::MAX >> 1] {
        let mut damaged = journal.clone();
        damaged[24..28].copy_from_slice(&length.to_le_bytes());
        let parsed = parse(&damaged).expect("the next record is intact");
        assert_eq!(parsed.damaged_pages, [0], "{length}");
    }
}

#[test]
fn a_start_reads_the_bets_once_before_the_draw_and_after_it() {
    for disk in [stopped(), finished()] {
        let before = disk.read_bytes("bets.csv");
        open(disk.clone(), &settings(), &Stop::never()).map(drop).expect("they are whole");
        let bytes = disk.bytes("bets.csv").expect("it is there").len();
        assert_eq!(disk.read_bytes("bets.csv") - before, bytes);
    }
}

#[test]
fn bets_that_were_edited_while_the_server_was_stopped_are_refused_and_nothing_is_changed() {
    for disk in [stopped(), finished()] {
        let bytes = disk.bytes("bets.csv").expect("it is there");
        let row = rows_of(agency(1))[0].clone().into_bytes();
        let edits: [(Edit<'_>, &str); 6] = [
            (&|bytes| bytes.truncate(100), "has 100 bytes, and "),
            (&|bytes| bytes.truncate(0), "has 0 bytes, and "),
            (&|bytes| bytes.extend_from_slice(&row), " bytes of bets were confirmed"),
            (&|bytes| bytes.fill(0), "are not those that were confirmed"),
            (&|bytes| bytes[20] ^= 1, "are not those that were confirmed"),
            (&|bytes| bytes.rotate_left(row.len()), "are not those that were confirmed"),
        ];
        for (edit, what) in edits {
            disk.edit("bets.csv", edit);
            assert!(!verified(&disk).is_empty(), "{what}");
            refuses(&disk, what);
            disk.edit("bets.csv", |edited| edited.clone_from(&bytes));
        }
        let bytes = disk.take("bets.csv").expect("it was there");
        refuses(&disk, "bets.csv: is missing, and ");
        disk.put("bets.csv", &bytes);
        assert_eq!(verified(&disk), [""; 0]);
    }
}

#[test]
fn bets_that_are_edited_while_the_server_runs_end_it_before_the_next_confirmation() {
    let row = rows_of(agency(3));
    let edits: [(EditDisk<'_>, &str); 4] = [
        (&|disk| disk.edit("bets.csv", |bytes| bytes.truncate(100)), "has 100 bytes, and "),
        (&|disk| disk.edit("bets.csv", |bytes| bytes.extend(b"1,x\n")), " were confirmed"),
        (&|disk| disk.put("bets.csv", b""), "was removed or replaced"),
        (&|disk| drop(disk.take("bets.csv")), "was removed or replaced"),
    ];
    for (edit, what) in edits {
        let (disk, mut writer) = stored();
        edit(&disk);
        let before = disk.bytes("bets.csv");
        let answer = ask_to_store(&mut writer, 3, &row[..1]);
        let error = writer.commit().expect_err("it was edited").to_string();
        assert!(is_open(&answer) && error.contains(what), "{error}");
        assert_eq!(disk.bytes("bets.csv"), before, "{what}");
        drop(writer);
        disk.cut_power();
        let error = open(disk.clone(), &settings(), &Stop::never()).err().expect(what);
        assert!(matches!(error, OpenError::NotConfirmed { .. }), "{what}: {error}");
        let says_missing = error.to_string().contains("bets.csv: is missing, and ");
        assert_eq!(says_missing, before.is_none(), "{what}: {error}");
        assert_eq!(disk.bytes("bets.csv"), before, "{what}");
    }
}

#[test]
fn a_link_that_leads_elsewhere_ends_the_server_before_the_next_confirmation() {
    let row = rows_of(agency(3));
    for name in ["bets.csv", "bets.journal"] {
        let edits: [EditDisk<'_>; 5] = [
            &|disk| disk.put(name, b""),
            &|disk| drop(disk.take(name)),
            &|disk| disk.put("real/file", b""),
            &|disk| drop(disk.take("real/file")),
            &|disk| {
                disk.put("other/file", &disk.bytes("real/file").expect("it is there"));
                disk.link(name, "other/file");
            },
        ];
        for (edit, seed) in edits.iter().flat_map(|edit| (0..8).map(move |seed| (edit, seed))) {
            let disk = SimulatedDisk::new(seed);
            disk.link(name, "real/file");
            let (mut writer, _) = start(&disk).expect("a good disk");
            assert_eq!(store(&mut writer, 3, &row[..1]), Some(Ok(())));
            edit(&disk);
            let answer = ask_to_store(&mut writer, 3, &row[1..2]);
            let error = writer.commit().expect_err("it was edited").to_string();
            let is_noticed = error.starts_with(&format!("{name}: was removed or replaced"));
            assert!(is_open(&answer) && is_noticed, "seed {seed}: {error}");
        }
    }
}

#[test]
fn a_journal_that_is_changed_while_the_server_runs_ends_it_before_the_next_confirmation() {
    let rows = rows_of(agency(3));
    let edits: [(EditDisk<'_>, &str); 5] = [
        (&|disk| drop(disk.take("bets.journal")), "bets.journal: was removed or replaced"),
        (&|disk| disk.put("bets.journal", b""), "bets.journal: was removed or replaced"),
        (&|disk| disk.edit("bets.journal", Vec::clear), "bets.journal: was cut or extended"),
        (&|disk| disk.edit("bets.journal", |bytes| bytes.push(0)), "was cut or extended"),
        (&|disk| disk.edit("bets.journal", |bytes| bytes.truncate(4096)), "was cut or extended"),
    ];
    for (edit, what) in edits {
        for stops in [false, true] {
            let (disk, mut writer) = stored();
            let confirmed = disk.bytes("bets.csv");
            edit(&disk);
            if !stops {
                assert_eq!(store(&mut writer, 3, &rows[..1]), None, "{what}");
            }
            let error = writer.close().expect_err("it was changed").to_string();
            assert!(error.contains(what), "{error}");
            drop(writer);
            disk.cut_power();
            // The advice is to move it away and to start again.
            disk.take("bets.journal");
            start(&disk).expect("a good disk");
            assert_eq!(disk.bytes("bets.csv"), confirmed, "{what}");
        }
    }
}

#[test]
fn a_request_behind_the_one_that_ends_the_ledger_is_refused() {
    let (disk, writer) = stored();
    let ledger = Ledger::start(writer, Arc::default()).expect("a thread");
    let send = |row| {
        let (batch, answer) = request(agency(3), &[row]);
        ledger.requests.send(batch).expect("the thread runs");
        answer
    };
    let mut answers = Vec::new();
    // The disk replies to nothing until the edit is complete.
    disk.edit("bets.csv", |bytes| {
        bytes.push(b'x');
        // So long that its group has no room for another.
        answers.push(send("x".repeat(GROUP_BYTES_MAX)));
        while !ledger.requests.is_empty() {
            thread::yield_now();
        }
        answers.push(send(rows_of(agency(3))[0].clone()));
    });
    for answer in answers {
        let heard = answer.recv_timeout(Duration::from_secs(60));
        assert_eq!(heard, Err(RecvTimeoutError::Disconnected));
    }
    ledger.close().expect_err("the file was edited");
}

#[test]
fn what_was_confirmed_is_in_the_file_that_is_refused_after_an_edit_and_a_power_cut() {
    let confirmed = rows_of(agency(1))[..12].concat();
    for seed in 0..200 {
        let (disk, mut writer) = good_with_seed(seed);
        assert_eq!(store(&mut writer, 1, &rows_of(agency(1))[..12]), Some(Ok(())));
        disk.append("bets.csv", b"1,x\n");
        assert_eq!(store(&mut writer, 2, &rows_of(agency(2))[..1]), None);
        drop(writer);
        disk.cut_power();
        // The remedy is to move the journal away and to continue with the bets that are there.
        let error = open(disk.clone(), &settings(), &Stop::never()).err().expect("it was edited");
        assert!(matches!(error, OpenError::NotConfirmed { .. }), "seed {seed}: {error}");
        let bytes = disk.bytes("bets.csv").expect("it is there");
        assert!(bytes.starts_with(confirmed.as_bytes()), "seed {seed}: {error}");
    }
}

#[test]
fn a_foreign_line_is_refused_after_a_start_too_however_full_the_log_was() {
    // The log of a test has room for seven records and for the seal.
    for bets in 0..10 {
        let (disk, mut writer) = good();
        store_one_by_one(&mut writer, bets);
        fail_over_a_foreign_line(&disk, writer, &rows_of(agency(1))[bets..]);
        refuses(&disk, " bytes of bets were confirmed");
    }
}

#[test]
fn a_record_in_the_log_that_contradicts_those_before_it_is_refused() {
    let what = "contradicts what comes before it";
    // The first record once more.
    let (disk, writer) = stored();
    drop(writer);
    disk.kill();
    disk.edit("bets.journal", |bytes| bytes.copy_within(..4096, 3 * 4096));
    refuses(&disk, what);
    // One that would fit, behind a seal.
    let (disk, mut writer) = good();
    store_one_by_one(&mut writer, 2);
    let two = disk.bytes("bets.journal").expect("it is there");
    let (disk, mut writer) = good();
    store_one_by_one(&mut writer, 1);
    fail_over_a_foreign_line(&disk, writer, &rows_of(agency(1))[1..]);
    let behind_the_seal = |bytes: &mut Vec<u8>| {
        bytes[2 * 4096..3 * 4096].copy_from_slice(&two[4096..2 * 4096]);
    };
    disk.edit("bets.journal", behind_the_seal);
    refuses(&disk, what);
}

#[test]
fn records_whose_slot_is_damaged_twice_are_refused() {
    let (disk, mut writer) = stored();
    // A large group, which a slot records, and a small one behind it.
    for bets in [0..38, 38..39] {
        assert_eq!(store(&mut writer, 3, &rows_of(agency(3))[bets]), Some(Ok(())));
    }
    drop(writer);
    disk.kill();
    let journal = disk.bytes("bets.journal").expect("it is there");
    assert_eq!(parse(&journal).expect("it is intact").slot.epoch, 2);
    let even = journal.len() - 4 * 4096..journal.len() - 2 * 4096;
    disk.edit("bets.journal", |bytes| bytes[even].fill(0x55));
    refuses(&disk, "the slot of the newest records is missing");
}

#[test]
fn a_start_is_interrupted_while_it_reads_its_bets() {
    let disk = stopped();
    let journal = disk.bytes("bets.journal");
    let (stopper, stop) = Stopper::new();
    stopper.stop();
    let interrupted = |disk: &SimulatedDisk| {
        let error = open(disk.clone(), &settings(), &stop).err().expect("the stop has come");
        assert!(matches!(error, OpenError::Interrupted), "{error}");
        disk.kill();
    };
    interrupted(&disk);
    assert_eq!(disk.bytes("bets.journal"), journal);
    // Without a journal it checks every line.
    disk.take("bets.journal");
    interrupted(&disk);
    assert_eq!(disk.names(), ["bets.csv"]);
}

#[test]
fn the_draw_is_held_over_exactly_the_bytes_that_were_confirmed() {
    let edits: [Edit<'_>; 4] =
        [&|bytes| bytes[20] ^= 1, &|bytes| bytes.fill(0), &|bytes| bytes.truncate(100), &|bytes| {
            bytes.extend(b"1,Ana,Paz,00000071,2000-01-01,7\n")
        }];
    for edit in edits {
        let (disk, mut writer) = stored();
        disk.edit("bets.csv", edit);
        let failed = hold(&mut writer).0.expect_err("it was edited");
        assert!(failed.to_string().starts_with("bets.csv: "), "{failed}");
        assert_eq!(disk.bytes("sorteo.toml"), None);
    }
}

#[test]
fn a_result_that_another_program_wrote_meanwhile_is_not_overwritten() {
    let (disk, mut writer) = stored();
    disk.put("sorteo.toml", b"another draw");
    let failed = hold(&mut writer).0.expect_err("there is another draw");
    assert!(matches!(failed, WriterFailed::SaveResult { .. }), "{failed}");
    assert_eq!(disk.bytes("sorteo.toml").as_deref(), Some(&b"another draw"[..]));
}

#[test]
fn a_result_that_is_not_what_the_bets_give_is_refused_and_so_is_one_that_is_gone() {
    let disk = finished();
    let text = String::from_utf8(disk.bytes("sorteo.toml").expect("it is there"));
    let text = text.expect("it is text");
    let without_agency_3 = text.split_inclusive("\n\n").take(3).collect::<String>();
    let without_agency_3 = format!("{}\n", without_agency_3.trim_end());
    let edits = [
        (without_agency_3, "has more or fewer lines than the bets give"),
        (
            text.replace("bets = 14", "bets = 15"),
            "line 8 is \"bets = 15\", and the bets give \"bets",
        ),
        (text.replace("00000071", "00000072"), "line 9 is \"winners = [\"00000072\"]\", and the "),
        (
            text.replace("winning_number = 7", "winning_number = 8"),
            "winning_number is 8, and the draw was held on 7",
        ),
        (text.replace("id = 1", "id = 2"), "line 7 is \"id = 2\", and the bets give \"id = 1\""),
        (text.replace("held_at = 2", "held_at = 1"), "was changed after the draw"),
        (text.replace("bets_sha256 = \"", "bets_sha256 = \"0"), "was changed after the draw"),
        (text.replace("bets_bytes = ", "bets_bytes = 1"), "line 3 is \"bets_bytes = 1"),
        (
            text.replacen('\n', "\r\n", 1),
            "line 1 is \"winning_number = 7\\u{d}\", and the bets give",
        ),
        (text.replace("number = 7", "number = 10000"), "winning_number: must be 0 to 9999"),
        (text.replace("winning", "vinning"), "unknown field"),
        (String::new(), "missing field"),
    ];
    for (edited, what) in edits {
        assert_ne!(edited, text);
        disk.put("sorteo.toml", edited.as_bytes());
        assert!(!verified(&disk).is_empty(), "{what}");
        refuses(&disk, what);
    }
    disk.take("sorteo.toml");
    assert!(!verified(&disk).is_empty());
    refuses(&disk, "sorteo.toml: is missing, and the draw was held on 7");
    disk.put("sorteo.toml", text.as_bytes());
    assert!(start(&disk).expect("a good disk").1.is_some());
}

#[test]
fn bets_behind_an_older_journal_are_refused_where_they_are_more_than_a_crash_can_leave() {
    let (disk, mut writer) = good();
    let older = disk.bytes("bets.journal").expect("it is there");
    for _ in 0..2 {
        let rows = vec![rows_of(agency(1)).concat(); REMAINS_BYTES_MAX as usize / 2 / 1000];
        assert_eq!(store(&mut writer, 1, &rows), Some(Ok(())));
    }
    drop(writer);
    disk.kill();
    disk.put("bets.journal", &older);
    refuses(&disk, " bytes, and 0 bytes of bets were confirmed");
    assert!(!verified(&disk).is_empty());
    disk.edit("bets.csv", |bytes| bytes.truncate(REMAINS_BYTES_MAX as usize));
    start(&disk).expect("a good disk");
    assert_eq!(disk.bytes("bets.csv"), Some(Vec::new()), "what a crash can leave is cut off");
}

#[test]
fn a_result_of_other_bets_is_refused_even_before_it_is_recorded() {
    let (disk, mut writer) = stored();
    let journal = disk.bytes("bets.journal").expect("it is there");
    hold(&mut writer).0.expect("a good disk");
    drop(writer);
    disk.kill();
    disk.put("bets.journal", &journal);
    let text = String::from_utf8(disk.bytes("sorteo.toml").expect("it is there"));
    let text = text.expect("it is text");
    let hash = text.split("sha256 = \"").nth(1).expect("a hash")[..64].to_owned();
    disk.put("sorteo.toml", text.replace(&hash, &"0".repeat(64)).as_bytes());
    refuses(&disk, "sorteo.toml: was held over other bets");
    assert!(!verified(&disk).is_empty(), "the hash is another");
    disk.put("sorteo.toml", text.as_bytes());
    assert!(start(&disk).expect("a good disk").1.is_some(), "the draw was held");
}

#[test]
fn a_journal_that_says_nothing_is_refused_and_one_that_was_moved_away_goes_on_with_what_is_there() {
    let disk = stopped();
    let journal = disk.bytes("bets.journal").expect("it is there");
    for (bytes, what) in [
        (Vec::new(), "has 0 bytes, and must have "),
        (journal[1..].to_vec(), " bytes, and must have "),
        (vec![0; journal.len()], "has no valid slot"),
    ] {
        disk.put("bets.journal", &bytes);
        refuses(&disk, what);
        assert!(!verified(&disk).is_empty());
    }
    disk.take("bets.journal");
    let rows = stored_of(&disk, agency(1));
    disk.edit("bets.csv", |bytes| bytes.extend(b"1,Ana,Pa"));
    let [missing, torn] = &verified(&disk)[..] else { panic!("{:?}", verified(&disk)) };
    assert!(missing.starts_with("bets.journal: is missing"), "{missing}");
    assert!(torn.starts_with("bets.csv: has 8 bytes behind its last line end"), "{torn}");
    let (_opened, found) = open(disk.clone(), &settings(), &Stop::never()).expect("a good disk");
    assert!(found.repair.adopted && found.repair.cut_bytes == 8, "{:?}", found.repair);
    assert_eq!(stored_of(&disk, agency(1)), rows);
    disk.kill();
    let (_opened, found) = open(disk.clone(), &settings(), &Stop::never()).expect("a good disk");
    assert!(!found.repair.adopted);
}

#[test]
fn another_number_of_agencies_is_refused_once_there_are_bets() {
    let of = |count| Settings {
        agencies: Agencies::new(count).expect("a number of agencies"),
        ..settings()
    };
    let (disk, writer) = good();
    drop(writer);
    drop(open(disk.clone(), &of(5), &Stop::never()).expect("there are no bets"));
    drop(open(disk.clone(), &settings(), &Stop::never()).expect("there are no bets"));
    for disk in [stopped(), finished()] {
        for count in [1, 2, 5] {
            let error = open(disk.clone(), &of(count), &Stop::never()).err().expect("refused");
            let error = error.to_string();
            assert!(error.contains("of a lottery of 3 agencies"), "{error}");
            assert!(error.contains(&format!("this one has {count}")), "{error}");
            assert!(error.contains("--new-draw") && error.contains("docker compose"), "{error}");
            disk.kill();
        }
    }
    let aside = set_aside_on(finished(), &of(5), &Stop::never());
    aside.expect("a finished draw is set aside, whatever comes next");
}

#[test]
fn only_a_finished_draw_is_set_aside_and_links_are_followed() {
    let disk = SimulatedDisk::new(1);
    let aside = |disk: &SimulatedDisk| set_aside_on(disk.clone(), &settings(), &Stop::never());
    let refuses = |disk: &SimulatedDisk, what: &str| {
        let refused = aside(disk).expect_err("there is no finished draw").to_string();
        assert!(refused.contains(what), "{refused}");
    };
    refuses(&disk, "there is no draw to set aside");
    assert_eq!(disk.names(), [""; 0]);
    let disk = stopped();
    let before = contents(&disk);
    refuses(&disk, "the draw is not finished");
    assert_eq!(contents(&disk), before);

    let disk = finished();
    for name in FILES {
        let bytes = disk.take(name).expect("it is there");
        disk.put(&format!("real/{name}"), &bytes);
    }
    disk.link("bets.csv", "real/bets.csv");
    disk.link("sorteo.toml", "real/sorteo.toml");
    disk.put("real/bets.1.journal", b"");
    aside(&disk).expect("a finished draw");
    let names = disk.names();
    let aside = ["real/bets.2.csv", "real/bets.2.journal", "real/sorteo.2.toml"];
    assert!(names.contains(&"bets.csv".into()) && names.contains(&"sorteo.toml".into()));
    assert!(aside.iter().all(|name| names.contains(&(*name).to_owned())), "{names:?}");
    start(&disk).expect("a new lottery begins where the links lead");
    assert_eq!(disk.bytes("real/bets.csv"), Some(Vec::new()));
}

#[test]
fn no_file_of_an_earlier_draw_is_overwritten_by_one_that_is_set_aside() {
    for taken in ["bets.1.csv", "bets.1.journal", "sorteo.1.toml"] {
        let disk = finished();
        disk.put(taken, b"earlier");
        set_aside_on(disk.clone(), &settings(), &Stop::never()).expect("a finished draw");
        assert_eq!(disk.bytes(taken).as_deref(), Some(&b"earlier"[..]), "{taken}");
        let mut names = vec![taken, "bets.2.csv", "bets.2.journal", "sorteo.2.toml"];
        names.sort_unstable();
        assert_eq!(disk.names(), names);
    }
}

#[test]
fn a_draw_in_two_directories_is_set_aside_as_a_whole_after_a_death_at_each_call() {
    const SEEDS: u64 = 6;
    let settings = Settings { result: "draws/sorteo.toml".into(), ..settings() };
    for calls in 0.. {
        let mut survived = 0;
        for seed in 0..SEEDS {
            let disk = SimulatedDisk::new(seed);
            let (mut writer, _) = start_with(&disk, &settings).expect("a good disk");
            assert_eq!(store(&mut writer, 1, &rows_of(agency(1))), Some(Ok(())));
            hold(&mut writer).0.expect("a good disk");
            writer.close().expect("a good disk");
            drop(writer);
            disk.misbehave(0, Some(calls));
            let set_aside = || set_aside_on(disk.clone(), &settings, &Stop::never());
            let is_done = set_aside().is_ok();
            survived += u64::from(is_done);
            disk.cut_power();
            // The journal is renamed last.
            if !is_done && disk.bytes("bets.journal").is_some() {
                let again = set_aside();
                again.unwrap_or_else(|error| panic!("seed {seed}, {calls} calls: {error}"));
            }
            let mut names = disk.names();
            names.retain(|name| !name.ends_with(".draft"));
            let aside = ["bets.1.csv", "bets.1.journal", "draws/sorteo.1.toml"];
            assert_eq!(names, aside, "seed {seed}, {calls} calls");
        }
        if survived == SEEDS {
            return;
        }
    }
}
