//! At stake: that a connection speaks for one agency.

use crate::support::peer::{Lottery, Office};
use crate::{bet, bet_on, row, store};
use loteria::protocol::ErrorCode;

#[test]
fn a_connection_speaks_for_the_first_agency_that_it_names() {
    let office = Office::start(Lottery::of(5));
    for first in [&bet(2, 30_904_461) as &str, "REANUDAR|2"] {
        let mut agency = office.agency();
        agency.says(&format!("{first};ECO|named"));
        agency.hears_a_line();
        if first.starts_with("REANUDAR") {
            agency.hears("ECO|named");
        }
        agency.says("FINAPUESTA");
        agency.hears_a_line();
        let stored = office.bets();
        agency.says(&format!("{};{};FINAPUESTA", bet(2, 30_904_462), bet(3, 30_904_463)));
        let detail = agency.hears_error(ErrorCode::WrongAgency);
        assert_eq!(detail, "bet 2: agency: this connection speaks for agency 2, not 3");
        for question in ["GANADORES|3", "REANUDAR|3"] {
            agency.says(question);
            let detail = agency.hears_error(ErrorCode::WrongAgency);
            assert_eq!(detail, "agency: this connection speaks for agency 2, not 3");
        }
        assert_eq!(office.bets(), stored);
        store(&mut agency, 2, 30_904_464);
    }
    // Agency 3 was neither finished nor taken over by that.
    store(&mut office.agency(), 3, 30_904_465);
}

#[test]
fn a_command_that_is_refused_as_such_names_nobody() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    agency.says(&bet_on(1, 30_904_461, "x"));
    agency.hears_error(ErrorCode::InvalidBet);
    agency.says("GANADORES|1|1");
    agency.hears_error(ErrorCode::FieldCount);
    store(&mut agency, 2, 30_904_462);
    office.has_stored(&row(2, 30_904_462));
}
