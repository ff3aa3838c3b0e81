//! At stake: that no peer keeps an agency out, however many connections it opens. The one that is closed for
//! another is the one that is needed least, and hears why.

use crate::support::peer::{Agency, Lottery, Office, PATIENCE};
use crate::support::transcript::plays;
use crate::{asks_for_winners, bet, is_attended, row, store};
use loteria::bet::AgencyId;
use loteria::places::{CONNECTIONS_PER_AGENCY_MAX, NEWCOMERS_MIN, Place, Places};
use loteria::protocol::ErrorCode;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

#[track_caller]
fn is_one_too_many(agency: &mut Agency, why: &str) {
    assert_eq!(agency.hears_error(ErrorCode::TooManyConnections), why);
    agency.hears_the_end();
}

/// A connection of the agency `id`, with nothing stored.
#[track_caller]
fn connection_of(office: &Office, id: u16) -> Agency {
    let mut agency = office.agency();
    agency.says(&format!("REANUDAR|{id}"));
    assert!(agency.hears_a_line().starts_with("REANUDAR|"));
    agency
}

#[test]
fn where_each_connection_is_an_agencys_only_one_the_next_hears_so_at_once_until_one_leaves() {
    let office = Office::start(Lottery::of(5).connections(2));
    let [one, mut two] = [1, 2].map(|id| connection_of(&office, id));
    // It need not say anything to hear it.
    is_one_too_many(&mut office.agency(), "limit of 2 connections reached");
    // And it hears it whatever it has said.
    let mut four = office.agency();
    four.says(&format!("{};FINAPUESTA", bet(1, 30_904_461)));
    is_one_too_many(&mut four, "limit of 2 connections reached");
    one.leaves();
    is_attended(&mut two);
    is_attended(&mut office.agency());
    office.has_stored("");
}

#[test]
fn of_too_many_newcomers_the_one_that_was_silent_longest_is_closed() {
    for (connections, newcomers_max) in [(50, NEWCOMERS_MIN), (83, 20)] {
        too_many_newcomers(connections, newcomers_max);
    }
}

#[test]
fn a_connection_that_is_closed_for_another_executes_no_further_command() {
    const COMMANDS: usize = 1000;
    let office = Office::start(Lottery::of(4000).connections(50));
    // It does not read, so that the server is within its answers.
    let mut greedy = office.agency();
    greedy.says(&vec!["ESTADO"; COMMANDS].join(";"));
    assert!(greedy.hears_a_line().starts_with("ESTADO|"));
    let mut others: Vec<Agency> = (0..NEWCOMERS_MIN).map(|_| office.agency()).collect();
    others.iter_mut().for_each(is_attended);
    let last =
        (1..COMMANDS).map(|_| greedy.hears_a_line()).find(|line| !line.starts_with("ESTADO|"));
    let last = last.expect("an error before the last answer");
    assert!(last.starts_with("ERROR|too_many_connections|"), "{last}");
    greedy.hears_the_end();
}

#[test]
fn a_batch_that_is_being_stored_when_its_connection_has_to_leave_is_confirmed() {
    const BATCHES: usize = 700;
    let office = Office::start(Lottery::of(1));
    let of_the_agency = || {
        let mut agency = office.agency();
        agency.says(&format!("{};ECO|open", bet(1, 30_904_462)));
        agency.hears("ECO|open");
        agency
    };
    let mut others: Vec<Agency> =
        (1..CONNECTIONS_PER_AGENCY_MAX).map(|_| of_the_agency()).collect();
    let mut busy = office.agency();
    // Nothing is on its way behind them, so that no reset destroys their replies.
    let message = vec![bet(1, 30_904_461) + ";FINAPUESTA"; BATCHES / 7].join(";") + "\n";
    busy.sends(message.repeat(7).as_bytes());
    let confirmed = thread::scope(|scope| {
        let listening = scope.spawn(move || {
            let mut confirmed = 0;
            loop {
                let answer = busy.hears_a_line();
                if answer != "CONFIRMARAPUESTA|1" {
                    assert!(answer.starts_with("ERROR|superseded|"), "{answer}");
                    return confirmed;
                }
                confirmed += 1;
            }
        });
        // The others are idle for less long than the busy one while the server is within what it has read of it.
        while !listening.is_finished() {
            others.retain_mut(|agency| {
                agency.tries(b"ECO|a\n") && agency.rest_of_a_line() == b"ECO|a\n"
            });
            others.push(of_the_agency());
        }
        listening.join().expect("no panic")
    });
    office.has_stored_count(confirmed);
}

fn too_many_newcomers(connections: usize, newcomers_max: usize) {
    let office = Office::start(Lottery::of(5).connections(connections));
    let mut agency = connection_of(&office, 1);
    let mut newcomers: Vec<Agency> = (0..newcomers_max)
        .map(|_| {
            let mut newcomer = office.agency();
            is_attended(&mut newcomer);
            newcomer
        })
        .collect();
    is_attended(&mut newcomers[0]);
    let mut later: Vec<Agency> = Vec::new();
    for number in 1..4 {
        later.push(office.agency());
        is_attended(&mut later[number - 1]);
        let why = format!("limit of {newcomers_max} connections without an agency reached");
        is_one_too_many(&mut newcomers[number], &why);
    }
    is_attended(&mut newcomers[0]);
    is_attended(&mut newcomers[4]);
    // An agency's connection is none of them.
    is_attended(&mut agency);
}

#[test]
fn a_crowd_of_silent_newcomers_disturbs_no_agency_and_each_of_them_hears_why_it_has_to_leave() {
    let office = Office::start(Lottery::of(5).connections(20));
    let mut one = office.agency();
    store(&mut one, 1, 30_904_461);
    let mut crowd = VecDeque::new();
    for _ in 0..300 {
        crowd.push_back(office.agency());
        // The first have left their places to the last. If more than 64 are leaving, one may hear nothing.
        if crowd.len() > 60
            && let Some(mut first) = crowd.pop_front()
        {
            first.hears_error(ErrorCode::TooManyConnections);
            first.hears_the_end();
        }
    }
    store(&mut one, 1, 30_904_462);
    let mut late = office.agency();
    store(&mut late, 2, 30_904_463);
    store(&mut one, 1, 30_904_464);
    store(&mut late, 2, 30_904_465);
}

#[test]
fn of_an_agencys_fifth_connections_the_one_that_was_idle_longest_is_closed_and_never_the_one_that_waits()
 {
    let office = Office::start(Lottery::of(2));
    let mut waiting = office.agency();
    waiting.says("GANADORES|1");
    office.agency_waits(1);
    let mut others: Vec<Agency> =
        (1..CONNECTIONS_PER_AGENCY_MAX).map(|_| connection_of(&office, 1)).collect();
    is_attended(&mut others[0]);
    let mut newer: Vec<Agency> = Vec::new();
    for superseded in &mut others[1..] {
        newer.push(connection_of(&office, 1));
        superseded.hears_error(ErrorCode::Superseded);
        superseded.hears_the_end();
    }
    newer.iter_mut().chain([&mut others[0]]).for_each(is_attended);
    office.agency().says("GANADORES|2");
    waiting.hears("GANADORES|");
}

#[test]
fn a_connection_of_which_a_part_of_a_message_comes_is_not_idle() {
    plays(
        r"
        1> REANUDAR|1
        1< REANUDAR|0
        2> REANUDAR|1
        2< REANUDAR|0
        3> REANUDAR|1
        3< REANUDAR|0
        4> REANUDAR|1
        4< REANUDAR|0
        1>> ECO|a mess
        1>> age in
        5> REANUDAR|1
        5< REANUDAR|0
        2< ERROR|superseded|…
        2 ends
        1>  parts
        1< ECO|a message in parts
        ",
    );
}

#[test]
fn a_connection_that_was_told_why_it_ends_leaves_its_place_to_the_next_of_its_agency() {
    let office = Office::start(Lottery::of(2));
    let mut others = [(); 2].map(|()| connection_of(&office, 1));
    let mut waiting = office.agency();
    waiting.says("GANADORES|1");
    office.agency_waits(1);
    let mut newer = connection_of(&office, 1);
    newer.says("GANADORES|1");
    // It has not closed yet.
    waiting.hears_error(ErrorCode::Superseded);
    let mut next = connection_of(&office, 1);
    others.iter_mut().chain([&mut next]).for_each(is_attended);
    waiting.hears_the_end();
}

#[test]
fn an_agency_that_has_no_connection_gets_in_where_others_hold_all_places() {
    let office = Office::start(Lottery::of(4).connections(7));
    let mut waiting = office.agency();
    asks_for_winners(&mut waiting, 1);
    office.agency_waits(1);
    let mut only = connection_of(&office, 3);
    let mut newcomer = office.agency();
    is_attended(&mut newcomer);
    let [mut busy, mut idle] = [(); 2].map(|()| connection_of(&office, 1));
    let mut others = [(); 2].map(|()| connection_of(&office, 2));
    is_attended(&mut busy);
    // Of the agencies that have several, the one that was idle longest and does not wait.
    let mut four = office.agency();
    is_one_too_many(&mut idle, "limit of 7 connections reached");
    store(&mut four, 4, 30_904_461);
    for agency in [&mut only, &mut newcomer, &mut busy, &mut four] {
        is_attended(agency);
    }
    others.iter_mut().for_each(is_attended);
    office.has_stored(&row(4, 30_904_461));
}

#[test]
fn of_all_connections_that_no_agency_needs_the_one_that_was_idle_longest_is_closed() {
    plays(
        r"
        lottery: 4 agencies, winning number 7574, at most 6 connections
        1> REANUDAR|1
        1< REANUDAR|0
        2> REANUDAR|2
        2< REANUDAR|0
        3> REANUDAR|2
        3< REANUDAR|0
        4> REANUDAR|1
        4< REANUDAR|0
        5> REANUDAR|3
        5< REANUDAR|0
        6> REANUDAR|3
        6< REANUDAR|0
        1> ECO|a
        1< ECO|a
        7> REANUDAR|4
        2< ERROR|too_many_connections|limit of 6 connections reached
        2 ends
        7< REANUDAR|0
        ",
    );
}

#[test]
fn an_agency_that_waits_needs_no_other_connection() {
    plays(
        r"
        lottery: 3 agencies, winning number 7574, at most 4 connections
        1> GANADORES|1
        agency 1 waits
        2> GANADORES|2
        agency 2 waits
        3> REANUDAR|1
        3< REANUDAR|0
        4> REANUDAR|2
        4< REANUDAR|0
        5> GANADORES|3
        3< ERROR|too_many_connections|limit of 4 connections reached
        3 ends
        5< GANADORES|
        1< GANADORES|
        2< GANADORES|
        ",
    );
}

#[test]
fn a_batch_that_is_open_when_its_connection_has_to_leave_is_not_stored() {
    plays(
        r"
        lottery: 2 agencies, winning number 7574, at most 2 connections
        1> [1 30904461];ECO|open
        1< ECO|open
        2> [1 30904462];ECO|open
        2< ECO|open
        3> [2 30904463];FINAPUESTA
        1< ERROR|too_many_connections|limit of 2 connections reached
        1 ends
        3< CONFIRMARAPUESTA|1
        stored documents: 30904463
        ",
    );
    plays(
        r"
        1> [1 30904461];ECO|open
        1< ECO|open
        2> [1 30904462];FINAPUESTA
        2< CONFIRMARAPUESTA|1
        3> [1 30904463];FINAPUESTA
        3< CONFIRMARAPUESTA|1
        4> [1 30904464];FINAPUESTA
        4< CONFIRMARAPUESTA|1
        5> [1 30904465];FINAPUESTA
        1< ERROR|superseded|…
        1 ends
        5< CONFIRMARAPUESTA|1
        stored documents: 30904462 30904463 30904464 30904465
        ",
    );
}

/// One more connects: its own side, and its place.
fn next<'p>(listener: &TcpListener, places: &'p Places) -> (TcpStream, Option<Place<'p>>) {
    let peer = TcpStream::connect(listener.local_addr().expect("its address")).expect("it listens");
    peer.set_read_timeout(Some(PATIENCE)).expect("a bound for reads");
    (peer, places.enter(listener.accept().expect("a peer comes").0))
}

#[test]
fn where_64_connections_are_leaving_and_do_not_end_the_next_gets_no_place() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let places = Places::new(1);
    // Each takes the place of the one before, and no thread ends those.
    let mut taken: VecDeque<_> = (0..65).map(|_| next(&listener, &places)).collect();
    assert!(taken.iter().all(|(_, place)| place.is_some()));
    assert!(next(&listener, &places).1.is_none());
    // A thread that waits for its peer would wake up now.
    let (mut oldest, place) = taken.pop_front().expect("the first");
    assert_eq!(oldest.read(&mut [0]).expect("its end"), 0);
    drop(place);
    assert!(next(&listener, &places).1.is_some());
}

#[test]
fn if_many_more_are_leaving_and_do_not_end_the_next_connection_shuts_all_but_the_last_63() {
    const NEWCOMERS: usize = 100;
    const LEAVING: usize = NEWCOMERS - CONNECTIONS_PER_AGENCY_MAX;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let places = Places::new(4 * NEWCOMERS);
    let mut taken: VecDeque<_> = (0..NEWCOMERS).map(|_| next(&listener, &places)).collect();
    // All name one agency, and no thread ends those that have to leave.
    let agency = AgencyId::new(1).expect("an agency");
    for (_, place) in &mut taken {
        place.as_mut().expect("a place").belongs_to(vec![agency]).expect("it may stay");
    }
    assert!(next(&listener, &places).1.is_none());
    // Threads that wait for their peers would wake up now.
    for (mut oldest, _place) in taken.drain(..LEAVING - 63) {
        assert_eq!(oldest.read(&mut [0]).expect("its end"), 0);
    }
    let (spared, _) = &taken[0];
    spared.set_nonblocking(true).expect("it is open");
    spared.peek(&mut [0]).expect_err("it is not shut");
    assert!(next(&listener, &places).1.is_some());
}

#[test]
fn if_the_system_has_no_room_a_newcomer_that_was_told_to_leave_and_does_not_is_shut_for_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let places = Places::new(10);
    let [(mut first, _first), (mut second, _second)] = [(); 2].map(|()| next(&listener, &places));
    // No thread ends them.
    places.make_room();
    first.set_nonblocking(true).expect("it is open");
    first.read(&mut [0]).expect_err("its thread has time to tell it");
    first.set_nonblocking(false).expect("it is open");
    places.make_room();
    assert_eq!(first.read(&mut [0]).expect("its end"), 0);
    second.set_nonblocking(true).expect("it is open");
    second.read(&mut [0]).expect_err("its thread has time to tell it");
}

#[test]
fn a_newcomer_that_does_not_read_loses_its_connection_after_its_time_and_not_that_of_a_message() {
    let time = Duration::from_secs(1);
    let office = Office::start(Lottery { newcomer_timeout: time, ..Lottery::of(10_000) });
    let mut deaf = office.agency();
    let start = Instant::now();
    // The replies are far more than the system buffers.
    deaf.says(&["ESTADO"; 1_000].join(";"));
    let failed = std::iter::repeat_with(|| deaf.stream().write_all(&[b'x'; 65_536]));
    let error = failed.take(1_000).find_map(Result::err).expect("the server does not read either");
    assert!(!loteria::connection::is_timeout(&error), "{error}");
    assert!(start.elapsed() < office.message_timeout(), "{:?}", start.elapsed());
}

#[test]
fn a_newcomer_that_reads_slowly_loses_its_connection_a_second_after_its_time() {
    const COMMANDS: usize = 1_000;
    let time = Duration::from_secs(1);
    let office = Office::start(Lottery { newcomer_timeout: time, ..Lottery::of(10_000) });
    let mut slow = office.agency();
    // The replies are far more than the system buffers.
    slow.says(&["ESTADO"; COMMANDS].join(";"));
    // Its time has begun by the first reply, or is over on a busy machine. It takes some of each within a second.
    let mut heard = slow.rest_of_a_line();
    let end = Instant::now() + time + Duration::from_secs(1);
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
        heard.extend(slow.rest_of_a_line());
    }
    heard.extend(slow.rest());
    let replies = heard.iter().filter(|&&byte| byte == b'\n').count();
    assert!(replies < COMMANDS / 2, "it was sent {replies} replies");
}

#[test]
fn a_newcomer_has_its_time_to_name_an_agency_whatever_else_it_says() {
    const TIME: Duration = Duration::from_millis(400);
    let office = Office::start(Lottery { newcomer_timeout: TIME, ..Lottery::of(5) });
    let start = Instant::now();
    let mut agency = connection_of(&office, 1);
    let (mut silent, mut echoes) = (office.agency(), office.agency());
    loop {
        echoes.says("ECO|a;ESTADO");
        let heard = echoes.hears_a_line();
        if heard != "ECO|a" {
            assert_eq!(heard, "ERROR|timed_out|no agency named within 400 ms");
            break;
        }
        assert!(echoes.hears_a_line().starts_with("ESTADO|PENDIENTE|"));
        assert!(start.elapsed() < PATIENCE, "it goes on for ever");
    }
    assert!(start.elapsed() >= TIME);
    assert_eq!(silent.hears_error(ErrorCode::TimedOut), "no agency named within 400 ms");
    silent.hears_the_end();
    is_attended(&mut agency);
}
