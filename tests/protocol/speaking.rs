//! At stake: that a connection speaks for one agency.

use crate::support::transcript::plays;

#[test]
fn a_connection_speaks_for_the_first_agency_that_it_names() {
    for first in ["[2 30904461];FINAPUESTA\n1< CONFIRMARAPUESTA|1", "REANUDAR|2\n1< REANUDAR|0"] {
        plays(&format!(
            "1> {first}
            1> [2 30904462];[3 30904463];FINAPUESTA
            1< ERROR|wrong_agency|bet 2: agency: this connection speaks for agency 2, not 3
            1> GANADORES|3
            1< ERROR|wrong_agency|agency: this connection speaks for agency 2, not 3
            1> REANUDAR|3
            1< ERROR|wrong_agency|agency: this connection speaks for agency 2, not 3
            1> [2 30904464];FINAPUESTA
            1< CONFIRMARAPUESTA|1"
        ));
    }
}

#[test]
fn an_agency_that_another_one_names_is_neither_finished_nor_taken_over() {
    plays(
        r"
        1 connects
        2> ECO|both are accepted;REANUDAR|2
        2< ECO|both are accepted
        2< REANUDAR|0
        2> GANADORES|3
        2< ERROR|wrong_agency|…
        2> REANUDAR|3
        2< ERROR|wrong_agency|…
        1> [3 30904461];FINAPUESTA
        1< CONFIRMARAPUESTA|1
        ",
    );
}

#[test]
fn a_command_that_is_refused_as_such_names_nobody() {
    plays(
        r"
        1> [1 30904461 x];FINAPUESTA
        1< ERROR|invalid_bet|…
        1> GANADORES|1|1
        1< ERROR|field_count|…
        1> [1 30904463 x];REANUDAR|1
        1< ERROR|invalid_bet|…
        1> REANUDAR|1;GANADORES|1
        1< ERROR|open_batch|…
        1> FINAPUESTA
        1> [2 30904462];FINAPUESTA
        1< CONFIRMARAPUESTA|1
        stored documents: 30904462
        ",
    );
}
