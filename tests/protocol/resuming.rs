//! At stake: that an agency learns what is stored of it, and that an older connection of it stores
//! nothing any more.

use crate::support::peer::{Lottery, Office};
use crate::{bet, bet_on, is_attended, row, store};
use loteria::protocol::ErrorCode;

#[test]
fn resuming_tells_how_many_bets_are_stored_and_which_was_the_last() {
    let mut office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    agency.says("REANUDAR|1");
    agency.hears("REANUDAR|0");
    agency.says(&format!("{};{};FINAPUESTA", bet(1, 30_904_461), bet_on(1, 3_090_446, "0075")));
    agency.hears("CONFIRMARAPUESTA|2");
    store(&mut office.agency(), 2, 30_904_462);
    agency.says("REANUDAR|1");
    agency.hears("REANUDAR|2|3090446|0075");
    office.restart();
    let mut agency = office.agency();
    agency.says("REANUDAR|1");
    agency.hears("REANUDAR|2|3090446|0075");
    let mut other = office.agency();
    other.says("REANUDAR|2");
    other.hears("REANUDAR|1|30904462|1234");
}

#[test]
fn what_an_older_connection_has_open_is_never_stored_after_a_takeover() {
    let office = Office::start(Lottery::of(5));
    let mut older = office.agency();
    store(&mut older, 1, 30_904_461);
    older.says(&format!("{};ECO|open", bet(1, 30_904_462)));
    older.hears("ECO|open");
    let mut newer = office.agency();
    newer.says("REANUDAR|1");
    newer.hears("REANUDAR|1|30904461|1234");

    older.says("FINAPUESTA");
    let detail = older.hears_error(ErrorCode::TakenOver);
    assert_eq!(detail, "a newer connection took the agency over");
    // In whatever way it tries, and it keeps its connection.
    older.says(&format!("{};FINAPUESTA", bet(1, 30_904_463)));
    older.hears_error(ErrorCode::TakenOver);
    older.says(&format!("{};FINAPUESTA\r", bet(1, 30_904_463)));
    older.hears_error(ErrorCode::TakenOver);
    older.says("GANADORES|1");
    older.hears_error(ErrorCode::TakenOver);
    is_attended(&mut older);

    store(&mut newer, 1, 30_904_464);
    newer.says("REANUDAR|1");
    newer.hears("REANUDAR|2|30904464|1234");
    office.has_stored(&(row(1, 30_904_461) + &row(1, 30_904_464)));
}

#[test]
fn older_is_who_was_accepted_before_the_takeover_whoever_spoke_first() {
    let office = Office::start(Lottery::of(5));
    let (mut first, mut silent, mut last) = (office.agency(), office.agency(), office.agency());
    // Connections are accepted in their order, so all three are when the last is attended.
    is_attended(&mut last);
    first.says("REANUDAR|1");
    first.hears("REANUDAR|0");
    for older in [&mut silent, &mut last] {
        older.says(&format!("{};FINAPUESTA", bet(1, 30_904_461)));
        older.hears_error(ErrorCode::TakenOver);
    }
    store(&mut first, 1, 30_904_462);
    // Who comes later needs not take it over.
    store(&mut office.agency(), 1, 30_904_463);
    store(&mut first, 1, 30_904_464);
    // It can take it over itself, and then the others are the older ones.
    silent.says("REANUDAR|1");
    silent.hears("REANUDAR|3|30904464|1234");
    store(&mut silent, 1, 30_904_465);
    first.says(&format!("{};FINAPUESTA", bet(1, 30_904_466)));
    first.hears_error(ErrorCode::TakenOver);
    office.has_stored_count(4);
}

#[test]
fn a_takeover_concerns_one_agency() {
    let office = Office::start(Lottery::of(5));
    let mut other = office.agency();
    other.says(&format!("{};ECO|open", bet(2, 30_904_461)));
    other.hears("ECO|open");
    let mut agency = office.agency();
    agency.says("REANUDAR|1");
    agency.hears("REANUDAR|0");
    other.says("FINAPUESTA");
    other.hears("CONFIRMARAPUESTA|1");
}

#[test]
fn what_resuming_answers_stays_true_while_an_older_connection_goes_on_sending() {
    let office = Office::start(Lottery::of(1));
    for round in 0..20_u32 {
        let mut older = office.agency();
        let batches: String = (0..200)
            .map(|place| bet(1, 30_000_000 + 1000 * round + place) + ";FINAPUESTA\n")
            .collect();
        older.sends(batches.as_bytes());
        older.hears("CONFIRMARAPUESTA|1");
        let mut newer = office.agency();
        newer.says("REANUDAR|1");
        let answer = newer.hears_a_line();
        let stored = answer.split('|').nth(1).and_then(|count| count.parse().ok());
        let stored: usize = stored.expect("a count");
        older.says_no_more();
        let answers = String::from_utf8(older.rest()).expect("text");
        let confirmed = answers.matches("CONFIRMARAPUESTA|1\n").count();
        let refused = answers.matches("ERROR|taken_over|").count();
        assert_eq!(confirmed + refused, 199);
        office.has_stored_count(stored);
        newer.leaves();
    }
}
