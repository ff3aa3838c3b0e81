//! At stake: that the draw is held once, after every agency has asked, and that an agency hears its
//! own winners only.

use crate::support::peer::{Agency, Lottery, Office};
use crate::support::transcript::plays;
use crate::{asks_for_winners, bet, bet_on};
use loteria::protocol::{ErrorCode, MESSAGE_BYTES_MAX};

#[test]
fn the_status_tells_an_agency_that_waits_from_one_that_may_store_more() {
    plays(
        r"
        lottery: 2 agencies, winning number 7574
        1> [1 30904461];FINAPUESTA;GANADORES|1
        1< CONFIRMARAPUESTA|1
        agency 1 waits
        2> ESTADO
        2< ESTADO|PENDIENTE|1,1,ESPERA|2,0,ABIERTA
        2> GANADORES|2
        2< GANADORES|
        1< GANADORES|
        ",
    );
}

#[test]
fn once_the_draw_is_held_the_status_says_that_no_agency_waits() {
    const AGENCIES: u16 = 200;
    let office = Office::start(Lottery::of(AGENCIES));
    let mut agencies: Vec<Agency> = (1..=AGENCIES).map(|_| office.agency()).collect();
    for (id, agency) in (1..).zip(&mut agencies) {
        agency.says(&format!("GANADORES|{id};ESTADO"));
    }
    let finished: String = (1..=AGENCIES).map(|id| format!("|{id},0,TERMINADA")).collect();
    // The first that hears it asks while other threads have not woken up.
    for agency in &mut agencies {
        agency.hears("GANADORES|");
        agency.hears(&format!("ESTADO|REALIZADO,0{finished}"));
    }
}

#[test]
fn the_draw_waits_for_all_and_is_on_disk_before_anyone_hears() {
    plays(
        r"
        lottery: 3 agencies, winning number 7574
        1> GANADORES|1
        3> GANADORES|3
        agency 1 waits
        agency 3 waits
        2> [2 30904461 7574];FINAPUESTA
        2< CONFIRMARAPUESTA|1
        the draw is not held
        2> GANADORES|2
        2< GANADORES|30904461
        the draw is held
        1< GANADORES|
        3< GANADORES|
        ",
    );
}

#[test]
fn everyone_hears_their_own_winners_in_the_order_of_the_file_and_each_winning_bet_counts() {
    plays(
        r"
        lottery: 3 agencies, winning number 7574
        1> [1 39999999 7574];FINAPUESTA
        1< CONFIRMARAPUESTA|1
        3> [3 39999998 7574];[3 30000000 7573];FINAPUESTA
        3< CONFIRMARAPUESTA|2
        1> [1 30000001 7573];[1 3000000 7574];[1 39999999 7574];FINAPUESTA;GANADORES|1
        1< CONFIRMARAPUESTA|3
        3> [3 2999999 7574];[3 39999998 7574];FINAPUESTA;GANADORES|3
        3< CONFIRMARAPUESTA|2
        2> [2 30000002 4757];FINAPUESTA;GANADORES|2
        2< CONFIRMARAPUESTA|1
        2< GANADORES|
        1< GANADORES|39999999|3000000|39999999
        3< GANADORES|39999998|2999999|39999998
        ",
    );
}

#[test]
fn a_number_wins_by_its_value_however_it_is_written() {
    for (winning_number, winning, losing) in [
        (75, &["75", "075", "0075"][..], &["750", "7500", "175", "1075", "5", "7"][..]),
        (0, &["0", "00", "000", "0000"], &["10", "100", "1000", "1"]),
        (9999, &["9999"], &["999", "99", "9", "0999"]),
        (7, &["7", "07", "007", "0007"], &["77", "17", "70", "0070"]),
    ] {
        let numbers = winning.iter().chain(losing).zip(3_000_000..);
        let bets: String =
            numbers.map(|(number, document)| format!("[1 {document} {number}];")).collect();
        let won: String =
            (3_000_000..).take(winning.len()).map(|document| format!("|{document}")).collect();
        plays(&format!(
            "lottery: 1 agency, winning number {winning_number}
            1> {bets}FINAPUESTA;GANADORES|1
            1< CONFIRMARAPUESTA|{}
            1< GANADORES{won}",
            winning.len() + losing.len()
        ));
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
    plays(
        r"
        lottery: 2 agencies, winning number 7574
        1> [1 30904461];ECO|open
        1< ECO|open
        2> GANADORES|1
        agency 1 waits
        1> FINAPUESTA
        1< ERROR|agency_finished|the agency has said that it has no more bets
        3> REANUDAR|1;[1 30904462];FINAPUESTA
        3< REANUDAR|0
        3< ERROR|agency_finished|…
        4> [2 30904463];FINAPUESTA;GANADORES|2
        4< CONFIRMARAPUESTA|1
        4< GANADORES|
        2< GANADORES|
        stored documents: 30904463
        ",
    );
}

#[test]
fn bets_are_refused_before_the_replies_to_what_the_agency_said_before_it_asked_are_sent() {
    const AGENCIES: u16 = 100;
    let office = Office::start(Lottery::of(AGENCIES + 1));
    for id in 1..=AGENCIES {
        let [mut waiting, mut other] = [(); 2].map(|()| office.agency());
        other.says(&format!("{};ECO|open", bet(id, 30_904_461)));
        other.hears("ECO|open");
        asks_for_winners(&mut waiting, id);
        other.says("FINAPUESTA");
        other.hears_error(ErrorCode::AgencyFinished);
    }
    office.has_stored("");
}

#[test]
fn an_agency_that_asks_again_takes_no_second_place_and_hears_the_same() {
    plays(
        r"
        lottery: 3 agencies, winning number 7574
        1> GANADORES|1
        agency 1 waits
        2> GANADORES|1
        1< ERROR|superseded|agency 1 waits on a newer connection
        1 ends
        3> GANADORES|2
        agency 2 waits
        4> [3 30904461 7574];FINAPUESTA
        4< CONFIRMARAPUESTA|1
        4> GANADORES|3;GANADORES|3
        4< GANADORES|30904461
        4< GANADORES|30904461
        2< GANADORES|
        3< GANADORES|
        5> GANADORES|3
        5< GANADORES|30904461
        ",
    );
}

#[test]
fn of_an_agencys_waiting_connections_the_newest_waits_and_the_one_before_hears_that_it_is_superseded()
 {
    let office = Office::start(Lottery::of(2));
    let mut waiting = office.agency();
    waiting.says("GANADORES|1");
    office.agency_waits(1);
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
fn an_agency_that_says_no_more_and_waits_still_hears_the_winners() {
    plays(
        r"
        lottery: 2 agencies, winning number 7574
        1> [1 30904461 7574];FINAPUESTA;GANADORES|1
        1 says no more
        1< CONFIRMARAPUESTA|1
        agency 1 waits
        2> GANADORES|2
        2< GANADORES|
        1< GANADORES|30904461
        1 ends
        ",
    );
}

#[test]
fn an_agency_whose_connection_is_lost_while_it_waits_still_counts_and_can_ask_again() {
    plays(
        r"
        lottery: 2 agencies, winning number 7574
        1> GANADORES|1
        agency 1 waits
        1 is lost
        2> ESTADO
        2< ESTADO|PENDIENTE|1,0,ESPERA|2,0,ABIERTA
        2> GANADORES|2
        2< GANADORES|
        3> GANADORES|1
        3< GANADORES|
        ",
    );
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
