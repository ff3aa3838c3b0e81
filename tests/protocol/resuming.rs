//! At stake: that an agency learns what is stored of it, and that an older connection of it stores
//! nothing any more.

use crate::bet;
use crate::support::peer::{Lottery, Office};
use crate::support::transcript::plays;

#[test]
fn resuming_tells_how_many_bets_are_stored_and_which_was_the_last() {
    plays(
        r"
        1> REANUDAR|1
        1< REANUDAR|0
        1> [1 30904461];[1 3090446 0075];FINAPUESTA
        1< CONFIRMARAPUESTA|2
        2> [2 30904462];FINAPUESTA
        2< CONFIRMARAPUESTA|1
        1> REANUDAR|1
        1< REANUDAR|2|3090446|0075
        the server restarts
        3> REANUDAR|1
        3< REANUDAR|2|3090446|0075
        4> REANUDAR|2
        4< REANUDAR|1|30904462|1234
        ",
    );
}

#[test]
fn what_an_older_connection_has_open_is_never_stored_after_a_takeover() {
    plays(
        r"
        1> [1 30904461];FINAPUESTA;[1 30904462];ECO|open
        1< CONFIRMARAPUESTA|1
        1< ECO|open
        2> REANUDAR|1
        2< REANUDAR|1|30904461|1234
        1> FINAPUESTA
        1< ERROR|taken_over|a newer connection took the agency over
        1> [1 30904463];FINAPUESTA
        1< ERROR|taken_over|…
        1> [1 30904463];FINAPUESTA\r
        1< ERROR|taken_over|…
        1> GANADORES|1
        1< ERROR|taken_over|…
        2> [1 30904464];FINAPUESTA;REANUDAR|1
        2< CONFIRMARAPUESTA|1
        2< REANUDAR|2|30904464|1234
        stored documents: 30904461 30904464
        ",
    );
}

#[test]
fn a_takeover_concerns_one_agency() {
    plays(
        r"
        1> [2 30904461];ECO|open
        1< ECO|open
        2> REANUDAR|1
        2< REANUDAR|0
        1> FINAPUESTA
        1< CONFIRMARAPUESTA|1
        ",
    );
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
