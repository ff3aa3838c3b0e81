//! At stake: that the draw is held once, after every agency has asked, and that an agency hears its
//! own winners only.

use crate::support::peer::{Agency, Lottery, Office};
use crate::{asks_for_winners, bet, bet_on, is_attended, row, row_on, store, waits_for_the_draw};
use loteria::protocol::{ErrorCode, MESSAGE_BYTES_MAX};

#[test]
fn the_status_tells_an_agency_that_waits_from_one_that_may_store_more() {
    let office = Office::start(Lottery::of(2));
    let mut waiting = office.agency();
    store(&mut waiting, 1, 30_000_001);
    waits_for_the_draw(&office, &mut waiting, 1);
    let mut asking = office.agency();
    asking.says("ESTADO");
    asking.hears("ESTADO|PENDIENTE|1,1,ESPERA|2,0,ABIERTA");
}

#[test]
fn the_draw_waits_for_all_and_is_on_disk_before_anyone_hears() {
    let office = Office::start(Lottery::of(3));
    let [mut one, mut two, mut three] = [1, 2, 3].map(|_| office.agency());
    asks_for_winners(&mut one, 1);
    asks_for_winners(&mut three, 3);
    // What the second stores now is in the draw, so it has not been held.
    two.says(&format!("{};FINAPUESTA", bet_on(2, 30_904_461, "7574")));
    two.hears("CONFIRMARAPUESTA|1");
    assert!(!office.draw_is_on_disk());
    two.says("GANADORES|2");
    two.hears("GANADORES|30904461");
    assert!(office.draw_is_on_disk());
    one.hears("GANADORES|");
    three.hears("GANADORES|");
}

#[test]
fn everyone_hears_their_own_winners_in_the_order_of_the_file_and_each_winning_bet_counts() {
    let office = Office::start(Lottery::of(3));
    let [mut one, mut two, mut three] = [1, 2, 3].map(|_| office.agency());
    for (document, number) in
        [(39_999_999, "7574"), (30_000_001, "7573"), (3_000_000, "7574"), (39_999_999, "7574")]
    {
        one.says(&format!("{};FINAPUESTA", bet_on(1, document, number)));
        one.hears("CONFIRMARAPUESTA|1");
        three.says(&format!("{};FINAPUESTA", bet_on(3, document - 1, number)));
        three.hears("CONFIRMARAPUESTA|1");
    }
    two.says(&format!("{};FINAPUESTA", bet_on(2, 30_000_002, "4757")));
    two.hears("CONFIRMARAPUESTA|1");
    one.says("GANADORES|1");
    two.says("GANADORES|2");
    three.says("GANADORES|3");
    one.hears("GANADORES|39999999|3000000|39999999");
    two.hears("GANADORES|");
    three.hears("GANADORES|39999998|2999999|39999998");
}

#[test]
fn a_number_wins_by_its_value_however_it_is_written() {
    for (winning_number, winning, losing) in [
        (75, &["75", "075", "0075"][..], &["750", "7500", "175", "1075", "5", "7"][..]),
        (0, &["0", "00", "000", "0000"], &["10", "100", "1000", "1"]),
        (9999, &["9999"], &["999", "99", "9", "0999"]),
        (7, &["7", "07", "007", "0007"], &["77", "17", "70", "0070"]),
    ] {
        let office = Office::start(Lottery::of(1).won_by(winning_number));
        let mut agency = office.agency();
        let mut expected = "GANADORES".to_owned();
        for (number, document) in winning.iter().chain(losing).zip(3_000_000_u32..) {
            agency.says(&format!("{};FINAPUESTA", bet_on(1, document, number)));
            agency.hears("CONFIRMARAPUESTA|1");
            if winning.contains(number) {
                expected += &format!("|{document}");
            }
        }
        agency.says("GANADORES|1");
        agency.hears(&expected);
    }
}

#[test]
fn more_winners_than_fit_into_a_message_are_told_in_one_line() {
    let office = Office::start(Lottery::of(1));
    let mut agency = office.agency();
    let documents: Vec<u32> = (30_000_000..30_003_000).collect();
    for batch in documents.chunks(100) {
        let bets: String =
            batch.iter().map(|document| bet_on(1, *document, "7574") + ";").collect();
        agency.says(&format!("{bets}FINAPUESTA"));
        agency.hears("CONFIRMARAPUESTA|100");
    }
    agency.says("GANADORES|1");
    let winners = agency.hears_a_line();
    assert_eq!(winners.len(), "GANADORES".len() + 9 * documents.len());
    assert!(winners.len() > MESSAGE_BYTES_MAX);
    assert!(winners.ends_with("|30002999"));
}

#[test]
fn bets_are_refused_once_their_agency_has_asked_on_whatever_connection() {
    let office = Office::start(Lottery::of(2));
    let mut other = office.agency();
    other.says(&format!("{};ECO|open", bet(1, 30_904_461)));
    other.hears("ECO|open");
    let mut asking = office.agency();
    asks_for_winners(&mut asking, 1);
    other.says("FINAPUESTA");
    let detail = other.hears_error(ErrorCode::AgencyFinished);
    assert_eq!(detail, "the agency has said that it has no more bets");
    let mut newer = office.agency();
    newer.says("REANUDAR|1");
    newer.hears("REANUDAR|0");
    newer.says(&format!("{};FINAPUESTA", bet(1, 30_904_462)));
    newer.hears_error(ErrorCode::AgencyFinished);
    is_attended(&mut newer);
    // The other agency goes on.
    store(&mut office.agency(), 2, 30_904_463);
    office.has_stored(&row(2, 30_904_463));
}

#[test]
fn after_the_draw_no_bet_is_taken_and_everything_else_is() {
    let office = Office::start(Lottery::of(1));
    let mut agency = office.agency();
    agency.says(&format!("{};FINAPUESTA;GANADORES|1", bet_on(1, 30_904_461, "7574")));
    agency.hears("CONFIRMARAPUESTA|1");
    agency.hears("GANADORES|30904461");
    for mut connection in [agency, office.agency()] {
        connection.says(&format!("{};FINAPUESTA", bet(1, 30_904_462)));
        let detail = connection.hears_error(ErrorCode::DrawHeld);
        assert_eq!(detail, "the draw was held");
        connection.says("REANUDAR|1;ECO|a;FINAPUESTA;GANADORES|1");
        connection.hears("REANUDAR|1|30904461|7574");
        connection.hears("ECO|a");
        connection.hears("CONFIRMARAPUESTA|0");
        connection.hears("GANADORES|30904461");
    }
    office.has_stored(&row_on(1, 30_904_461, "7574"));
}

#[test]
fn who_asks_again_takes_no_second_place_and_hears_the_same() {
    let office = Office::start(Lottery::of(3));
    let [mut one, mut again] = [1, 1].map(|_| office.agency());
    waits_for_the_draw(&office, &mut one, 1);
    asks_for_winners(&mut again, 1);
    one.hears_error(ErrorCode::Superseded);
    let mut two = office.agency();
    asks_for_winners(&mut two, 2);
    // Were the second a place of its own, three would have met, and this would be refused.
    let mut three = office.agency();
    three.says(&format!("{};FINAPUESTA", bet_on(3, 30_904_461, "7574")));
    three.hears("CONFIRMARAPUESTA|1");
    three.says("GANADORES|3;GANADORES|3");
    three.hears("GANADORES|30904461");
    three.hears("GANADORES|30904461");
    for agency in [&mut again, &mut two] {
        agency.hears("GANADORES|");
        is_attended(agency);
    }
    let mut late = office.agency();
    late.says("GANADORES|3");
    late.hears("GANADORES|30904461");
}

#[test]
fn of_an_agencys_waiting_connections_the_newest_waits_and_the_one_before_hears_that_it_is_superseded()
 {
    let office = Office::start(Lottery::of(2));
    let mut waiting = office.agency();
    waits_for_the_draw(&office, &mut waiting, 1);
    for _ in 0..5 {
        let mut newer = office.agency();
        newer.says("GANADORES|1");
        waiting.hears("ERROR|superseded|agency 1 waits on a newer connection");
        waiting.hears_the_end();
        waiting = newer;
    }
    office.agency().says("GANADORES|2");
    waiting.hears("GANADORES|");
}

#[test]
fn who_says_no_more_and_waits_still_hears_the_winners() {
    let office = Office::start(Lottery::of(2));
    let mut agency = office.agency();
    agency.says(&format!("{};FINAPUESTA;GANADORES|1", bet_on(1, 30_904_461, "7574")));
    agency.says_no_more();
    agency.hears("CONFIRMARAPUESTA|1");
    office.agency().says("GANADORES|2");
    agency.hears("GANADORES|30904461");
    agency.hears_the_end();
}

#[test]
fn an_agency_whose_connection_is_lost_while_it_waits_still_counts_and_can_ask_again() {
    let office = Office::start(Lottery::of(2));
    let mut agency = office.agency();
    asks_for_winners(&mut agency, 1);
    drop(agency);
    let mut other = office.agency();
    other.says("GANADORES|2");
    other.hears("GANADORES|");
    let mut agency = office.agency();
    agency.says("GANADORES|1");
    agency.hears("GANADORES|");
}

#[test]
fn a_server_that_starts_after_the_draw_answers_at_once_and_takes_no_bet() {
    let mut office = Office::start(Lottery::of(2));
    let [mut one, mut two] = [1, 2].map(|_| office.agency());
    one.says(&format!("{};FINAPUESTA;GANADORES|1", bet_on(1, 30_904_461, "7574")));
    two.says("GANADORES|2");
    one.hears("CONFIRMARAPUESTA|1");
    one.hears("GANADORES|30904461");
    let result = std::fs::read(office.path_of("sorteo.toml")).expect("a result");
    office.restart();
    let mut one = office.agency();
    one.says("GANADORES|1");
    one.hears("GANADORES|30904461");
    one.says(&format!("{};FINAPUESTA", bet(1, 30_904_462)));
    one.hears_error(ErrorCode::DrawHeld);
    let mut two = office.agency();
    two.says("GANADORES|2");
    two.hears("GANADORES|");
    office.has_stored(&row_on(1, 30_904_461, "7574"));
    assert_eq!(std::fs::read(office.path_of("sorteo.toml")).expect("a result"), result);
}

#[test]
fn a_server_that_starts_before_the_draw_goes_on_where_it_was() {
    let mut office = Office::start(Lottery::of(2));
    let mut one = office.agency();
    one.says(&format!("{};FINAPUESTA", bet_on(1, 30_904_461, "7574")));
    one.hears("CONFIRMARAPUESTA|1");
    asks_for_winners(&mut one, 1);
    office.restart();
    assert!(!office.draw_is_on_disk());
    let [mut one, mut two] = [1, 2].map(|_| office.agency());
    two.says(&format!("{};FINAPUESTA;GANADORES|2", bet_on(2, 30_904_462, "7574")));
    two.hears("CONFIRMARAPUESTA|1");
    one.says("REANUDAR|1;GANADORES|1");
    one.hears("REANUDAR|1|30904461|7574");
    one.hears("GANADORES|30904461");
    two.hears("GANADORES|30904462");
}

#[test]
fn the_last_two_to_come_at_once_hold_one_draw() {
    for _ in 0..50 {
        let office = Office::start(Lottery::of(4));
        let mut agencies: Vec<Agency> = (0..4).map(|_| office.agency()).collect();
        for (agency, id) in agencies.iter_mut().zip(1..) {
            agency.says(&format!("{};FINAPUESTA;GANADORES|{id}", bet_on(id, 30_904_460, "7574")));
        }
        for agency in &mut agencies {
            agency.hears("CONFIRMARAPUESTA|1");
            agency.hears("GANADORES|30904460");
        }
    }
}
