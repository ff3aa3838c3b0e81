//! At stake: that a stop ends every connection in every state, tells each peer, and loses nothing
//! that was confirmed.

use crate::support::peer::{Agency, Lottery, Office, PATIENCE};
use crate::support::transcript::plays;
use crate::{bet, bet_on, is_attended};
use loteria::protocol::ErrorCode;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_server_without_connections_stops() {
    Office::start(Lottery::of(5)).stop();
}

#[test]
fn a_peer_that_is_silent_or_idle_or_within_a_message_or_within_a_batch_hears_that_it_stops() {
    plays(
        r"
        1 connects
        2> ECO|idle
        2< ECO|idle
        3>> ECO|never comple
        4> [1 30904461];ECO|open
        4< ECO|open
        5> ECO|all are accepted
        5< ECO|all are accepted
        the server stops
        1< ERROR|stopping|…
        1 ends
        2< ERROR|stopping|…
        2 ends
        3< ERROR|stopping|…
        3 ends
        4< ERROR|stopping|…
        4 ends
        5< ERROR|stopping|…
        5 ends
        stored: 0
        ",
    );
}

#[test]
fn who_drips_does_not_hold_the_stop_up() {
    let mut office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    is_attended(&mut agency);
    let mut drip = agency.stream_again();
    std::thread::scope(|scope| {
        scope.spawn(move || while drip.write_all(b"x").is_ok() {});
        office.stop();
        // The end of the flood is up to the system: it may lose what the server said last.
        let _rest = agency.rest();
        agency.hangs_up();
    });
}

#[test]
fn a_peer_whose_many_commands_have_arrived_hears_that_it_stops_before_they_are_executed() {
    let mut office = Office::start(Lottery::of(4000));
    let mut agency = office.agency();
    let message = vec!["ESTADO"; 1000].join(";");
    const MESSAGES: usize = 2;
    let (answered, has_answered) = std::sync::mpsc::channel();
    // So few that the server reads all of them at once: what it has not read at the end would reset the connection, and
    // the peer might not hear the last line.
    agency.sends(format!("{message}\n").repeat(MESSAGES).as_bytes());
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut answers = 0;
            loop {
                let line = agency.hears_a_line();
                if !line.starts_with("ESTADO|") {
                    return (answers, line);
                }
                answers += 1;
                let _listens = answered.send(());
            }
        });
        has_answered.recv().expect("an answer");
        office.stop();
        let (answers, last) = reader.join().expect("the reader");
        assert_eq!(last, "ERROR|stopping|the server is stopping");
        assert!(answers < 1000 * MESSAGES, "all commands were executed");
    });
}

#[test]
fn agencies_that_wait_for_the_draw_hear_that_there_is_none() {
    plays(
        r"
        lottery: 3 agencies, winning number 7574
        1> GANADORES|1
        2> GANADORES|2
        agency 1 waits
        agency 2 waits
        the server stops
        1< ERROR|stopping|…
        1 ends
        2< ERROR|stopping|…
        2 ends
        the draw is not held
        ",
    );
}

#[test]
fn a_lottery_of_ten_thousand_agencies_stops_while_one_waits_for_the_others() {
    plays(
        r"
        lottery: 10000 agencies, winning number 7574
        1> GANADORES|10000
        agency 10000 waits
        the server stops
        1< ERROR|stopping|…
        1 ends
        ",
    );
}

#[test]
fn who_does_not_read_its_answers_does_not_hold_the_stop_up() {
    // Far more than a stop waits for any peer, and far less than a peer may take.
    const SOON: Duration = Duration::from_secs(3);
    // A machine may be too busy for a stop once, but not each time.
    assert!((0..4).any(|_| stop_with_a_deaf_peer() < SOON), "no stop is over within {SOON:?}");
}

/// Stops a server with a peer that does not read. Returns how long that took.
fn stop_with_a_deaf_peer() -> Duration {
    // So many winners that the system takes no more than a part of the replies. A stop wakes a thread that writes, and a
    // short rest of a reply may then find room.
    let bets = "1,Ana,Paz,30904465,1999-03-17,7574\n".repeat(250_000);
    let mut office = Office::start_over_bets(&bets, Lottery::of(1));
    let mut deaf = office.agency();
    deaf.says(&["GANADORES|1"; 4].join(";"));
    // In a debug build the draw takes most of a second, and on a busy machine far more.
    deaf.stream().set_read_timeout(Some(8 * PATIENCE)).expect("a bound for reads");
    deaf.stream().peek(&mut [0]).expect("a reply");
    thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    office.stop();
    start.elapsed()
}

#[test]
fn a_server_with_peers_that_are_being_drained_stops_and_tells_the_others() {
    plays(
        r"
        lottery: 5 agencies, winning number 7574, at most 1 connection
        1> \xFF
        1< ERROR|invalid_utf8|…
        1 ends
        2> REANUDAR|1
        2< REANUDAR|0
        3 connects
        3< ERROR|too_many_connections|…
        3 ends
        the server stops
        2< ERROR|stopping|…
        2 ends
        ",
    );
}

#[test]
fn who_sends_more_than_the_server_takes_finds_out_that_it_has_stopped() {
    for _ in 0..6 {
        let mut office = Office::start(Lottery::of(5));
        let mut agency = office.agency();
        let mut stream = agency.stream_again();
        let batches = format!("{};FINAPUESTA\n", bet(1, 30_904_461)).repeat(100);
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                std::iter::repeat_with(|| stream.write_all(batches.as_bytes()))
                    .find_map(Result::err)
                    .expect("it goes on until it fails")
            });
            agency.hears("CONFIRMARAPUESTA|1");
            // Whether it hears why depends on how far the server was with what it had read.
            let listener = scope.spawn(move || agency.rest());
            std::thread::sleep(Duration::from_millis(50));
            office.stop();
            listener.join().expect("it just listens");
            let error = sender.join().expect("it just sends");
            assert!(
                !loteria::connection::is_timeout(&error),
                "the sender waits for a server that is gone: {error}"
            );
        });
    }
}

#[test]
fn what_was_confirmed_is_stored_and_batches_are_whole_however_a_stop_cuts_in() {
    for round in 0..12 {
        let mut office = Office::start(Lottery::of(5));
        let agencies: Vec<Agency> = (0..3).map(|_| office.agency()).collect();
        let confirmed: usize = std::thread::scope(|scope| {
            let sending = agencies.into_iter().zip(1..).map(|(mut agency, id)| {
                scope.spawn(move || {
                    let batch =
                        format!("{};{};FINAPUESTA\n", bet(id, 30_904_461), bet(id, 30_904_462));
                    let mut stream = agency.stream_again();
                    let sender =
                        std::thread::spawn(
                            move || {
                                while stream.write_all(batch.as_bytes()).is_ok() {}
                            },
                        );
                    let heard = String::from_utf8(agency.rest()).expect("text");
                    agency.hangs_up();
                    sender.join().expect("it ends when the server has");
                    heard.matches("CONFIRMARAPUESTA|2\n").count()
                })
            });
            let sending: Vec<_> = sending.collect();
            std::thread::sleep(Duration::from_millis(3 * round));
            office.stop();
            sending.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        let stored = office.bets().lines().count();
        assert!(stored.is_multiple_of(2), "half a batch is stored");
        assert!(stored >= 2 * confirmed, "{stored} bets stored, {confirmed} batches confirmed");
    }
}

#[test]
fn a_batch_that_is_being_stored_when_the_stop_comes_is_confirmed() {
    const BATCHES: usize = 20;
    const ROUNDS: u64 = 10;
    let mut in_time = 0;
    for round in 0.. {
        if round >= ROUNDS && in_time > 0 {
            break;
        }
        assert!(round < 4 * ROUNDS, "no stop was in time");
        let mut office = Office::start(Lottery::of(5));
        let agencies: Vec<Agency> = (0..3).map(|_| office.agency()).collect();
        let mut is_in_time = false;
        let confirmed: usize = std::thread::scope(|scope| {
            let sending = agencies.into_iter().zip(1..).map(|(mut agency, id)| {
                scope.spawn(move || {
                    // A message of one batch, and one of several. Nothing is on its way behind them, so that no
                    // reset destroys their replies.
                    let batch = bet(id, 30_904_461) + ";FINAPUESTA";
                    let messages =
                        format!("{batch}\n{}\n", vec![batch.as_str(); BATCHES].join(";"));
                    let mut confirmed = 0;
                    while agency.tries(messages.as_bytes()) {
                        for _ in 0..=BATCHES {
                            if agency.rest_of_a_line() != b"CONFIRMARAPUESTA|1\n" {
                                return confirmed;
                            }
                            confirmed += 1;
                        }
                    }
                    confirmed
                })
            });
            let sending: Vec<_> = sending.collect();
            std::thread::sleep(Duration::from_millis(2 * (round % ROUNDS)));
            let start = Instant::now();
            office.stop();
            is_in_time = start.elapsed() < Duration::from_millis(500);
            sending.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        // After that time a server closes every connection. A machine may be too busy to reply before.
        if is_in_time {
            in_time += 1;
            office.has_stored_count(confirmed);
        }
    }
}

#[test]
fn a_stop_beside_the_draw_either_holds_it_or_does_not() {
    for round in 0..30 {
        let mut office = Office::start(Lottery::of(3));
        let mut agencies: Vec<Agency> = (0..3).map(|_| office.agency()).collect();
        for (agency, id) in agencies.iter_mut().zip(1..) {
            agency.says(&format!("{};FINAPUESTA", bet_on(id, 30_904_461, "7574")));
            agency.hears("CONFIRMARAPUESTA|1");
        }
        for (agency, id) in agencies.iter_mut().zip(1..) {
            agency.says(&format!("GANADORES|{id}"));
        }
        std::thread::sleep(Duration::from_micros(50 * round));
        office.stop();
        let held = office.draw_is_on_disk();
        for agency in &mut agencies {
            let heard = agency.hears_a_line();
            let told = heard == "GANADORES|30904461";
            assert!(told || heard.starts_with("ERROR|stopping|"), "{heard}");
            assert!(held || !told, "told of a draw that is not on disk");
        }
    }
}

#[test]
fn a_server_whose_listening_socket_is_destroyed_tells_its_peers_and_ends_with_an_error() {
    let mut office = Office::start(Lottery::of(1));
    let mut agency = office.agency();
    agency.says("REANUDAR|1");
    agency.hears("REANUDAR|0");
    office.accepts_no_more();
    agency.hears_error(ErrorCode::Stopping);
    agency.hears_the_end();
    let why = office.fails();
    assert!(why.contains("the listening socket was destroyed"), "{why}");
}

/// A server that is to end after the draw, with two agencies.
fn ends_after_the_draw() -> Office {
    const TIME_MS: u64 = 1_500;
    Office::start(Lottery { exit_after_draw: true, ..Lottery::of(2).timeout_ms(TIME_MS) })
}

#[track_caller]
fn hears_winners(mut agency: Agency, id: u16) -> Agency {
    agency.says(&format!("GANADORES|{id}"));
    agency.hears("GANADORES|");
    agency
}

#[test]
fn a_server_that_is_to_end_after_the_draw_does_when_all_agencies_have_been_told() {
    let ways: [fn(Agency); 5] = [
        drop,
        Agency::leaves,
        |mut agency| {
            // The server may stop before it answers.
            agency.says("ECO|a");
            agency.rest();
        },
        |mut agency| agency.sends(b"E"),
        |mut agency| agency.says_no_more(),
    ];
    for told in ways {
        let mut office = ends_after_the_draw();
        let start = Instant::now();
        office.agency().says("GANADORES|1");
        office.agency_waits(1);
        drop(hears_winners(office.agency(), 2));
        // Whose connection was lost while it waited has not been told, and asks again.
        let again = hears_winners(office.agency(), 1);
        told(again);
        office.ends_by_itself();
        assert!(start.elapsed() < office.message_timeout(), "it waited until its time was up");
        // And when it is started again it tells everyone again, and ends again.
        office.start_again();
        for id in 1..=2 {
            hears_winners(office.agency(), id).leaves();
        }
        office.ends_by_itself();
    }
}

#[test]
fn an_agency_that_spoke_while_it_waited_has_been_told_when_it_leaves() {
    let mut office = ends_after_the_draw();
    let start = Instant::now();
    let mut waiting = office.agency();
    waiting.says("GANADORES|1");
    office.agency_waits(1);
    waiting.says("ECO|a");
    hears_winners(office.agency(), 2).leaves();
    waiting.hears("GANADORES|");
    waiting.hears("ECO|a");
    waiting.leaves();
    office.ends_by_itself();
    assert!(start.elapsed() < office.message_timeout());
}

#[test]
fn a_server_that_is_to_end_after_the_draw_stays_its_time_for_an_agency_that_has_not_been_told() {
    let ways: [fn(Agency, Agency); 5] = [
        // Its connection is lost before the answer: in the first two cases by an end that is not clean.
        |waiting, other| {
            drop(waiting);
            hears_winners(other, 2).leaves();
        },
        |mut waiting, other| {
            waiting.says("ECO|a");
            drop(waiting);
            hears_winners(other, 2).leaves();
        },
        // It takes no more notice of what comes.
        |waiting, other| {
            hears_winners(other, 2).leaves();
            waiting.resets();
        },
        // It says no more before the answer, which is not told from a death.
        |mut waiting, other| {
            waiting.says_no_more();
            hears_winners(other, 2).leaves();
            waiting.hears("GANADORES|");
            waiting.hears_the_end();
        },
        // It vanishes, and the network with it.
        |waiting, other| {
            hears_winners(other, 2).leaves();
            std::mem::forget(waiting);
        },
    ];
    let time = ends_after_the_draw().message_timeout();
    let took = thread::scope(|scope| {
        let waiting = ways.map(|leaves| {
            scope.spawn(move || {
                let mut office = ends_after_the_draw();
                let (mut waiting, other) = (office.agency(), office.agency());
                waiting.says("GANADORES|1");
                office.agency_waits(1);
                let start = Instant::now();
                leaves(waiting, other);
                office.ends_by_itself();
                start.elapsed()
            })
        });
        waiting.map(|thread| thread.join().expect("no panic"))
    });
    assert!(took.iter().all(|took| *took >= time), "it went too early: {took:?}");
    // A machine may be too busy for one of them.
    assert!(took.iter().any(|took| *took < 3 * time), "it stayed too long: {took:?}");
}

#[test]
fn a_server_that_is_to_end_after_the_draw_stops_while_it_waits_for_who_has_not_asked() {
    let mut office = Office::start(Lottery { exit_after_draw: true, ..Lottery::of(1) });
    let mut agency = office.agency();
    agency.says("GANADORES|1");
    agency.hears("GANADORES|");
    agency.leaves();
    office.ends_by_itself();
    office.start_again();
    office.stop();
}
