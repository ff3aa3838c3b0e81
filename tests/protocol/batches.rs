//! At stake: that a batch is stored whole or not at all, that replies come in order, and that what
//! cannot be stored says so.

use crate::support::peer::{Lottery, Office};
use crate::{bet, bet_on, is_attended, row, store};
use loteria::protocol::ErrorCode;
use loteria::session::BATCH_BYTES_MAX;
use std::io::Write;

#[test]
fn a_batch_may_span_messages_and_is_stored_in_its_order() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    agency.says(&format!("{};{}", bet(1, 30_904_461), bet(1, 30_904_462)));
    agency.says(&bet(1, 30_904_463));
    agency.says(&format!("{};FINAPUESTA", bet(1, 30_904_464)));
    agency.hears("CONFIRMARAPUESTA|4");
    agency.says(&bet(1, 30_904_465));
    agency.says("FINAPUESTA");
    agency.hears("CONFIRMARAPUESTA|1");
    office.has_stored(&(30_904_461..=30_904_465).map(|bet| row(1, bet)).collect::<String>());
}

#[test]
fn a_message_may_hold_several_batches_and_more() {
    let office = Office::start(Lottery::of(1));
    let mut agency = office.agency();
    agency.says(&format!(
        "ECO|a;{};FINAPUESTA;{};{};FINAPUESTA;ECO|b;REANUDAR|1;FINAPUESTA;{};FINAPUESTA;GANADORES|1;ECO|c",
        bet(1, 30_904_461), bet(1, 30_904_462), bet(1, 30_904_463), bet_on(1, 30_904_464, "7574"),
    ));
    agency.hears("ECO|a");
    agency.hears("CONFIRMARAPUESTA|1");
    agency.hears("CONFIRMARAPUESTA|2");
    agency.hears("ECO|b");
    agency.hears("REANUDAR|3|30904463|1234");
    agency.hears("CONFIRMARAPUESTA|0");
    agency.hears("CONFIRMARAPUESTA|1");
    agency.hears("GANADORES|30904464");
    agency.hears("ECO|c");
    office.has_stored_count(4);
}

#[test]
fn closing_a_batch_of_nothing_confirms_nothing_at_any_time() {
    let mut office = Office::start(Lottery::of(1));
    let mut agency = office.agency();
    agency.says("FINAPUESTA");
    agency.hears("CONFIRMARAPUESTA|0");
    store(&mut agency, 1, 30_904_465);
    agency.says("FINAPUESTA;FINAPUESTA");
    agency.hears("CONFIRMARAPUESTA|0");
    agency.hears("CONFIRMARAPUESTA|0");
    agency.says("GANADORES|1;FINAPUESTA");
    agency.hears("GANADORES|");
    agency.hears("CONFIRMARAPUESTA|0");
    office.has_stored(&row(1, 30_904_465));
    office.stop();
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
fn a_batch_with_one_bad_bet_stores_none_of_it_and_says_which() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    let bad = bet_on(1, 30_904_463, "10000");
    agency.says(&format!(
        "{};{};{bad};{};FINAPUESTA",
        bet(1, 30_904_461),
        bet(1, 30_904_462),
        bet(1, 30_904_464)
    ));
    // One error for all of it: the rest of the message is not executed.
    let detail = agency.hears_error(ErrorCode::InvalidBet);
    assert!(detail.starts_with("bet 3: number: "), "{detail}");
    agency.says("FINAPUESTA");
    agency.hears("CONFIRMARAPUESTA|0");
    store(&mut agency, 1, 30_904_465);
    office.has_stored(&row(1, 30_904_465));
}

#[test]
fn a_bets_place_is_counted_over_the_messages_of_its_batch() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    agency.says(&format!("{};{}", bet(1, 30_904_461), bet(1, 30_904_462)));
    agency.says(&format!("{};{}", bet(1, 30_904_463), bet_on(1, 30_904_464, "x")));
    assert!(agency.hears_error(ErrorCode::InvalidBet).starts_with("bet 4: number: "));
    agency.says(&bet_on(1, 30_904_465, "x"));
    assert!(agency.hears_error(ErrorCode::InvalidBet).starts_with("bet 1: number: "));
    office.has_stored("");
}

#[test]
fn any_error_ends_the_open_batch_and_the_next_message_begins_another() {
    let office = Office::start(Lottery::of(5));
    for wrong in ["", "HOLA", "ECO", "ECO|\u{7f}", "GANADORES|1", "REANUDAR|1", "GANADORES|9"] {
        let mut agency = office.agency();
        agency.says(&bet(1, 30_904_461));
        agency.says(wrong);
        assert!(agency.hears_a_line().starts_with("ERROR|"));
        agency.says("FINAPUESTA");
        agency.hears("CONFIRMARAPUESTA|0");
    }
    office.has_stored("");

    // What whoever sends on without waiting has to know: the part after the error is stored.
    let mut agency = office.agency();
    let bad = bet_on(1, 30_904_462, "x");
    agency.sends(
        format!("{}\n{bad}\n{};FINAPUESTA\n", bet(1, 30_904_461), bet(1, 30_904_463)).as_bytes(),
    );
    agency.hears_error(ErrorCode::InvalidBet);
    agency.hears("CONFIRMARAPUESTA|1");
    office.has_stored(&row(1, 30_904_463));
}

#[test]
fn an_error_between_pipelined_batches_costs_its_own_batch_and_no_other() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    store(&mut agency, 1, 30_904_460);
    let mut messages = String::new();
    for document in 30_904_461..=30_904_469 {
        let number = if document % 3 == 0 { "x" } else { "1234" };
        messages += &format!("{};{};FINAPUESTA\n", bet(1, document), bet_on(1, document, number));
    }
    agency.sends(messages.as_bytes());
    let mut rows = row(1, 30_904_460);
    for document in 30_904_461..=30_904_469 {
        if document % 3 == 0 {
            assert!(agency.hears_error(ErrorCode::InvalidBet).starts_with("bet 2: "));
        } else {
            agency.hears("CONFIRMARAPUESTA|2");
            rows += &row(1, document).repeat(2);
        }
    }
    office.has_stored(&rows);
}

#[test]
fn what_was_confirmed_before_an_error_in_the_same_message_stays_stored() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    agency.says(&format!("{0};FINAPUESTA;{0};HOLA;{0};FINAPUESTA", bet(1, 30_904_461)));
    agency.hears("CONFIRMARAPUESTA|1");
    agency.hears_error(ErrorCode::UnknownCommand);
    is_attended(&mut agency);
    office.has_stored(&row(1, 30_904_461));
}

#[test]
fn asking_for_winners_or_resuming_over_an_open_batch_is_refused_and_does_neither() {
    let office = Office::start(Lottery::of(1));
    let (mut older, mut agency) = (office.agency(), office.agency());
    is_attended(&mut older);
    for question in ["GANADORES|1", "REANUDAR|1"] {
        agency.says(&format!("{};{};{question};ECO|a", bet(1, 30_904_461), bet(1, 30_904_462)));
        let detail = agency.hears_error(ErrorCode::OpenBatch);
        assert_eq!(detail, "a batch of 2 bets is open, and is gone");
        agency.says("FINAPUESTA");
        agency.hears("CONFIRMARAPUESTA|0");
        // The agency is neither finished nor taken over.
        store(&mut older, 1, 30_904_463);
    }
    office.has_stored(&row(1, 30_904_463).repeat(2));
    assert!(!office.draw_is_on_disk());
}

#[test]
fn an_echo_leaves_the_open_batch_open() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    agency.says(&format!("{};ECO|a;{}", bet(1, 30_904_461), bet(1, 30_904_462)));
    agency.hears("ECO|a");
    agency.says("ECO|b;FINAPUESTA");
    agency.hears("ECO|b");
    agency.hears("CONFIRMARAPUESTA|2");
}

#[test]
fn an_open_batch_has_a_bound_and_going_over_it_costs_the_connection() {
    let office = Office::start(Lottery::of(5));
    let fitting = BATCH_BYTES_MAX / row(1, 30_000_000).len();
    let fitting = u32::try_from(fitting).expect("a few thousand");
    let mut agency = office.agency();
    for document in 0..fitting {
        agency.sends(format!("{}\n", bet(1, 30_000_000 + document)).as_bytes());
    }
    agency.says("FINAPUESTA");
    agency.hears(&format!("CONFIRMARAPUESTA|{fitting}"));

    for document in 0..=fitting {
        agency.sends(format!("{}\n", bet(1, 31_000_000 + document)).as_bytes());
    }
    let detail = agency.hears_error(ErrorCode::BatchTooLong);
    assert_eq!(
        detail,
        format!("bet {}: a batch must have at most {BATCH_BYTES_MAX} bytes as CSV", fitting + 1)
    );
    agency.hears_the_end();
    office.has_stored_count(fitting as usize);
}

#[test]
fn a_batch_that_is_open_when_its_connection_ends_is_not_stored() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    agency.says(&bet(1, 30_904_461));
    agency.leaves();
    let mut agency = office.agency();
    agency.says("REANUDAR|1;FINAPUESTA");
    agency.hears("REANUDAR|0");
    agency.hears("CONFIRMARAPUESTA|0");
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
