//! At stake: that nothing of a batch with an error is stored, over however many messages it comes, that it
//! is answered once, and that no other batch is taken for a part of it.

use crate::support::transcript::plays;

#[test]
fn the_rest_of_a_batch_with_an_error_is_dropped_up_to_its_end_which_is_not_answered() {
    plays(
        r"
        1> [1 30904461]
        1> [1 30904462 x]
        1> [1 30904463];[1 30904464 x];ECO|open
        1> [1 30904465];FINAPUESTA
        1> [1 30904466];FINAPUESTA
        1> [1 30904467 x]
        1> FINAPUESTA|x
        1> FINAPUESTA
        1< ERROR|invalid_bet|bet 2: …
        1< ECO|open
        1< CONFIRMARAPUESTA|1
        1< ERROR|invalid_bet|bet 1: …
        1< CONFIRMARAPUESTA|0
        stored documents: 30904466
        ",
    );
}

#[test]
fn whatever_the_error_is_the_batch_is_refused_and_only_its_end_ends_it() {
    for wrong in [
        "",
        "HOLA",
        "ECO",
        "ECO|\u{7f}",
        "GANADORES|1",
        "REANUDAR|1",
        "GANADORES|9",
        "[2 30904469]",
    ] {
        plays(&format!(
            "1> [1 30904461]
            1> {wrong}
            1< ERROR|…
            1> [1 30904462];ESTADO|1;[1 30904463]
            1< ERROR|field_count|…
            1> REANUDAR|1
            1< ERROR|open_batch|the refused batch needs its FINAPUESTA first
            1> FINAPUESTA;FINAPUESTA
            1< CONFIRMARAPUESTA|0
            stored: 0"
        ));
    }
}

#[test]
fn what_is_not_executed_of_a_message_is_no_beginning_of_a_batch() {
    plays(
        r"
        1> HOLA;[1 30904461]
        1< ERROR|unknown_command|…
        1> [1 30904462];FINAPUESTA\r
        1> [1 30904463 x];FINAPUESTA;[1 30904464]
        1< ERROR|invalid_bet|…
        1> [1 30904465];FINAPUESTA;[1 30904466]
        1> FINAPUESTA
        1< CONFIRMARAPUESTA|1
        1> [1 30904467];FINAPUESTA|1
        1< ERROR|field_count|…
        1> [1 30904468];FINAPUESTA
        1< CONFIRMARAPUESTA|1
        stored documents: 30904466 30904468
        ",
    );
}
