//! At stake: that a peer that is silent, slow or does not read loses its connection after the time
//! limit, and nobody else does.

use crate::support::peer::{Agency, Lottery, Office};
use crate::{asks_for_winners, bet, is_attended, store};
use loteria::protocol::ErrorCode;
use std::io::Write;
use std::time::{Duration, Instant};

const SHORT_MS: u64 = 500;

fn short() -> Lottery {
    Lottery::of(2).timeout_ms(SHORT_MS)
}

#[track_caller]
fn hears_that_time_is_up(agency: &mut Agency) {
    let detail = agency.hears_error(ErrorCode::TimedOut);
    assert_eq!(detail, format!("no complete message within {SHORT_MS} ms"));
    agency.hears_the_end();
}

#[test]
fn who_is_silent_hears_that_its_time_is_up_and_no_sooner_at_any_place_between_messages() {
    let office = Office::start(short());
    let start = Instant::now();
    let [mut silent, mut idle, mut within] = [1, 2, 3].map(|_| office.agency());
    idle.says(&format!("{};ECO|a", bet(1, 30_904_461)));
    idle.hears("ECO|a");
    within.sends(b"ECO|never comple");
    std::thread::scope(|scope| {
        for agency in [&mut silent, &mut idle, &mut within] {
            scope.spawn(move || {
                hears_that_time_is_up(agency);
                let took = start.elapsed();
                assert!(took >= Duration::from_millis(SHORT_MS), "its time was up after {took:?}");
            });
        }
    });
    office.has_stored("");
}

#[test]
fn who_drips_hears_that_its_time_is_up_however_steadily_it_does() {
    let office = Office::start(short());
    let mut agency = office.agency();
    let mut drip = agency.stream_again();
    let (over, listening) = crossbeam_channel::bounded::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let pause = Duration::from_millis(5);
            while listening.recv_timeout(pause) == Err(crossbeam_channel::RecvTimeoutError::Timeout)
            {
                if drip.write_all(b"x").is_err() {
                    return;
                }
            }
        });
        hears_that_time_is_up(&mut agency);
        drop(over);
    });
}

#[test]
fn a_message_in_time_begins_the_time_anew() {
    let office = Office::start(Lottery::of(1).timeout_ms(2_000));
    let mut agency = office.agency();
    // Together longer than one message may take; each far shorter.
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(200));
        is_attended(&mut agency);
    }
}

#[test]
fn who_does_not_read_its_answers_loses_its_connection_and_nobody_else_does() {
    let office = Office::start(short());
    let mut deaf = office.agency();
    // A newcomer has another limit.
    store(&mut deaf, 1, 30_904_460);
    let echo = format!("ECO|{}\n", "x".repeat(8000)).into_bytes();
    let mut stream = deaf.stream();
    // Both directions fill up, and then the server gives up before this side does.
    let error = std::iter::repeat_with(|| stream.write_all(&echo))
        .find_map(Result::err)
        .expect("it goes on until it fails");
    assert!(
        !loteria::connection::is_timeout(&error),
        "the server should have ended the connection: {error}"
    );
    let heard = String::from_utf8(deaf.rest()).expect("text");
    assert!(heard.starts_with("ECO|x") && !heard.contains("ERROR"), "it ends without an error");
    store(&mut office.agency(), 1, 30_904_461);
}

#[test]
fn who_reads_its_answers_late_but_within_the_time_gets_all_of_them() {
    let office = Office::start(Lottery::of(1));
    let mut late = office.agency();
    // A newcomer has another limit.
    store(&mut late, 1, 30_904_460);
    let echo = format!("ECO|{}", "x".repeat(8000));
    let line = format!("{echo}\n").into_bytes();
    let mut stream = late.stream_again();
    stream.set_write_timeout(Some(Duration::from_millis(1_200))).expect("a bound for writes");
    let mut sent = 0;
    // Both directions fill up, and the server waits for this side.
    while let Ok(bytes) = stream.write(&line[sent % line.len()..]) {
        sent += bytes;
    }
    for _ in 0..sent / line.len() {
        late.hears(&echo);
    }
}

#[test]
fn the_time_that_the_draw_is_waited_for_does_not_count() {
    let office = Office::start(short());
    let mut waiting = office.agency();
    asks_for_winners(&mut waiting, 1);
    std::thread::sleep(Duration::from_millis(3 * SHORT_MS));
    let mut other = office.agency();
    other.says("GANADORES|2");
    other.hears("GANADORES|");
    waiting.hears("GANADORES|");
    is_attended(&mut waiting);
}
