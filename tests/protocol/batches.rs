//! At stake: that a batch is stored whole or not at all, that replies come in order, and that what
//! cannot be stored says so.

use crate::support::peer::{Agency, Lottery, Office, PATIENCE};
use crate::support::transcript::plays;
use crate::{bet, row};
use loteria::protocol::ErrorCode;
use loteria::session::BATCH_BYTES_MAX;
use std::io::Write;
use std::time::Instant;

#[test]
fn a_batch_may_span_messages_and_is_stored_in_its_order() {
    plays(
        r"
        1> [1 30904461];[1 30904462]
        1> [1 30904463]
        1> [1 30904464];FINAPUESTA
        1< CONFIRMARAPUESTA|4
        1> [1 30904465]
        1> FINAPUESTA
        1< CONFIRMARAPUESTA|1
        stored documents: 30904461 30904462 30904463 30904464 30904465
        ",
    );
}

#[test]
fn a_message_may_hold_several_batches_and_more() {
    plays(
        r"
        lottery: 1 agency, winning number 7574
        1> ECO|a;[1 30904461];FINAPUESTA;[1 30904462];[1 30904463];FINAPUESTA;ECO|b;REANUDAR|1;FINAPUESTA;[1 30904464 7574];FINAPUESTA;GANADORES|1;ECO|c
        1< ECO|a
        1< CONFIRMARAPUESTA|1
        1< CONFIRMARAPUESTA|2
        1< ECO|b
        1< REANUDAR|3|30904463|1234
        1< CONFIRMARAPUESTA|0
        1< CONFIRMARAPUESTA|1
        1< GANADORES|30904464
        1< ECO|c
        stored: 4
        ",
    );
}

#[test]
fn closing_a_batch_of_nothing_confirms_nothing_at_any_time() {
    plays(
        r"
        lottery: 1 agency, winning number 7574
        1> FINAPUESTA
        1< CONFIRMARAPUESTA|0
        1> [1 30904461];FINAPUESTA
        1< CONFIRMARAPUESTA|1
        1> FINAPUESTA;FINAPUESTA
        1< CONFIRMARAPUESTA|0
        1< CONFIRMARAPUESTA|0
        1> GANADORES|1;FINAPUESTA
        1< GANADORES|
        1< CONFIRMARAPUESTA|0
        stored documents: 30904461
        ",
    );
}

#[test]
fn hundreds_of_batches_on_their_way_are_answered_in_their_order() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    let mut messages = String::new();
    let mut rows = String::new();
    let mut answers = vec![];
    let mut document = 30_000_000;
    for number in 0..600_u32 {
        // Batches of one to seven bets, and now and then something else between.
        let bets = number % 7 + 1;
        for _ in 0..bets {
            document += 1;
            messages += &format!("{};", bet(1, document));
            rows += &row(1, document);
            // Some of the batches span messages.
            if number % 10 == 9 {
                messages.pop();
                messages.push('\n');
            }
        }
        messages += if number % 13 == 12 { "FINAPUESTA\r\n" } else { "FINAPUESTA\n" };
        answers.push(format!("CONFIRMARAPUESTA|{bets}"));
        if number % 50 == 49 {
            messages += &format!("ECO|{number}\n");
            answers.push(format!("ECO|{number}"));
            messages += &format!("HOLA {number}\n");
            answers.push(format!("ERROR|unknown_command|no command is called \"HOLA {number}\""));
            messages += "REANUDAR|1\n";
            answers.push(format!("REANUDAR|{}|{document}|1234", document - 30_000_000));
        }
    }
    let mut writer = agency.stream_again();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(messages.as_bytes()).expect("the server reads"));
        for answer in &answers {
            agency.hears(answer);
        }
    });
    office.has_stored(&rows);
}

#[test]
fn a_bets_place_is_counted_over_the_messages_of_its_batch() {
    plays(
        r"
        1> [1 30904461];[1 30904462]
        1> [1 30904463];[1 30904464 x]
        1< ERROR|invalid_bet|bet 4: number: …
        1> [1 30904465 x];FINAPUESTA;[1 30904466 x]
        1< ERROR|invalid_bet|bet 1: number: …
        stored: 0
        ",
    );
}

#[test]
fn an_error_between_pipelined_batches_costs_its_own_batch_and_no_other() {
    plays(
        r"
        1> [1 30904461];FINAPUESTA
        1< CONFIRMARAPUESTA|1
        1> [1 30904462];[1 30904463 x];FINAPUESTA
        1> [1 30904464];[1 30904465];FINAPUESTA
        1> [1 30904466];[1 30904467];[1 30904468 x];FINAPUESTA
        1> [1 30904469 x];[1 30904470];FINAPUESTA
        1> [1 30904471];FINAPUESTA
        1< ERROR|invalid_bet|bet 2: …
        1< CONFIRMARAPUESTA|2
        1< ERROR|invalid_bet|bet 3: …
        1< ERROR|invalid_bet|bet 1: …
        1< CONFIRMARAPUESTA|1
        stored documents: 30904461 30904464 30904465 30904471
        ",
    );
}

#[test]
fn each_of_the_batches_that_are_refused_together_is_answered() {
    plays(
        r"
        lottery: 1 agency, winning number 7574
        1> GANADORES|1
        1< GANADORES|
        1> [1 30904461];FINAPUESTA
        1> [1 30904462];FINAPUESTA
        1> [1 30904463];FINAPUESTA
        1> ECO|a
        1< ERROR|draw_held|the draw was held
        1< ERROR|draw_held|the draw was held
        1< ERROR|draw_held|the draw was held
        1< ECO|a
        stored: 0
        ",
    );
}

#[test]
fn asking_for_winners_or_resuming_over_an_open_batch_is_refused_and_does_neither() {
    plays(
        r"
        lottery: 1 agency, winning number 7574
        1> ECO|accepted first
        1< ECO|accepted first
        2> [1 30904461];[1 30904462];GANADORES|1;ECO|a
        2< ERROR|open_batch|a batch of 2 bets is open, and is refused
        2> FINAPUESTA
        1> [1 30904463];FINAPUESTA
        1< CONFIRMARAPUESTA|1
        2> [1 30904461];REANUDAR|1;ECO|a
        2< ERROR|open_batch|a batch of 1 bets is open, and is refused
        2> FINAPUESTA;FINAPUESTA
        2< CONFIRMARAPUESTA|0
        1> [1 30904464];FINAPUESTA
        1< CONFIRMARAPUESTA|1
        stored documents: 30904463 30904464
        the draw is not held
        ",
    );
}

#[test]
fn an_open_batch_has_a_bound_and_going_over_it_costs_the_connection() {
    let office = Office::start(Lottery::of(5));
    let row_bytes = row(1, 30_000_000).len();
    let (bets, missing) = (BATCH_BYTES_MAX / row_bytes, BATCH_BYTES_MAX % row_bytes);
    let documents = 30_000_000..30_000_000 + u32::try_from(bets).expect("a few thousand");
    let mut agency = office.agency();
    // A longer name in the first bet makes up for what is left.
    let sends = |agency: &mut Agency, longer: usize| {
        let name = format!("|Ana{}|", "x".repeat(longer));
        for bet in documents.clone().map(|document| bet(1, document) + "\n") {
            let is_first = bet.contains("|30000000|");
            let bet = if is_first { bet.replace("|Ana|", &name) } else { bet };
            agency.sends(bet.as_bytes());
        }
    };
    sends(&mut agency, missing);
    agency.says("FINAPUESTA");
    agency.hears(&format!("CONFIRMARAPUESTA|{bets}"));
    assert_eq!(office.bets().len(), BATCH_BYTES_MAX);

    sends(&mut agency, missing + 1);
    let detail = agency.hears_error(ErrorCode::BatchTooLong);
    assert_eq!(
        detail,
        format!("bet {bets}: a batch must have at most {BATCH_BYTES_MAX} bytes as CSV")
    );
    agency.hears_the_end();
    office.has_stored_count(bets);
}

#[test]
fn a_batch_that_is_open_when_its_connection_is_reset_is_not_stored() {
    let office = Office::start(Lottery::of(5).connections(1));
    let mut agency = office.agency();
    agency.says(&format!("{};ECO|open", bet(1, 30_904_461)));
    agency.resets();
    // The next has its place when it has ended.
    let start = Instant::now();
    let is_served =
        |mut next: Agency| next.tries(b"ECO|a\n") && next.rest_of_a_line() == b"ECO|a\n";
    while !is_served(office.agency()) {
        assert!(start.elapsed() < PATIENCE, "the connection does not end");
    }
    office.has_stored("");
}

#[test]
fn who_says_no_more_still_hears_every_answer() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    let batches: String =
        (30_000_000..30_000_300).map(|document| bet(1, document) + ";FINAPUESTA\n").collect();
    agency.sends(batches.as_bytes());
    agency.says_no_more();
    for _ in 0..300 {
        agency.hears("CONFIRMARAPUESTA|1");
    }
    agency.hears_the_end();
    office.has_stored_count(300);
}

#[test]
fn batches_of_many_connections_are_each_stored_in_one_piece() {
    let office = Office::start(Lottery::of(5));
    std::thread::scope(|scope| {
        for id in 1..=5_u16 {
            let mut agency = office.agency();
            scope.spawn(move || {
                for batch in 0..60_u32 {
                    let document = 30_000_000 + batch * 3;
                    let [a, b, c] = [0, 1, 2].map(|place| bet(id, document + place));
                    agency.says(&format!("{a};{b};{c};FINAPUESTA"));
                }
                for _ in 0..60 {
                    agency.hears("CONFIRMARAPUESTA|3");
                }
            });
        }
    });
    let text = office.bets();
    let mut next = [30_000_000_u32; 5];
    for batch in text.lines().collect::<Vec<_>>().chunks(3) {
        let id: u16 = batch[0][..1].parse().expect("an agency");
        for line in batch {
            let document = &mut next[usize::from(id) - 1];
            assert_eq!(
                format!("{line}\n"),
                row(id, *document),
                "a batch in pieces, or out of order"
            );
            *document += 1;
        }
    }
    assert_eq!(next, [30_000_180; 5]);
}
