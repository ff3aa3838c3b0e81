//! At stake: that a connection beyond the limit is told so, and that a place is free again when its
//! connection ends.

use crate::support::peer::{Agency, Lottery, Office};
use crate::{bet, is_attended, store};
use loteria::protocol::ErrorCode;

#[track_caller]
fn is_one_too_many(agency: &mut Agency, max: usize) {
    let detail = agency.hears_error(ErrorCode::TooManyConnections);
    assert_eq!(detail, format!("{max} connections are open, which is all there may be"));
    agency.hears_the_end();
}

#[test]
fn one_connection_too_many_hears_so_at_once_and_a_place_is_free_when_one_leaves() {
    let office = Office::start(Lottery::of(5).connections(2));
    let [mut one, mut two] = [1, 2].map(|_| office.agency());
    is_attended(&mut one);
    is_attended(&mut two);
    // It need not say anything to hear it.
    let mut three = office.agency();
    is_one_too_many(&mut three, 2);
    // And it hears it whatever it has said.
    let mut four = office.agency();
    four.says(&format!("{};FINAPUESTA", bet(1, 30_904_461)));
    is_one_too_many(&mut four, 2);
    drop((three, four));
    one.leaves();
    is_attended(&mut two);
    // The two that were refused may be leaving still.
    let attended = std::iter::repeat_with(|| {
        let mut agency = office.agency();
        agency.says("ECO|a");
        agency.hears_a_line()
    })
    .take(1000)
    .any(|line| line == "ECO|a");
    assert!(attended, "the place of one that left is not given again");
    office.has_stored("");
}

#[test]
fn who_was_refused_takes_no_place_however_long_it_stays() {
    let office = Office::start(Lottery::of(5).connections(1));
    let mut one = office.agency();
    is_attended(&mut one);
    let mut refused: Vec<Agency> = (0..5).map(|_| office.agency()).collect();
    for agency in &mut refused {
        is_one_too_many(agency, 1);
    }
    one.leaves();
    // The only one now: the others were told to go.
    let mut next = office.agency();
    is_attended(&mut next);
}

#[test]
fn a_crowd_beyond_all_bounds_does_not_disturb_who_is_attended() {
    let office = Office::start(Lottery::of(5).connections(1));
    let mut one = office.agency();
    is_attended(&mut one);
    let crowd: Vec<Agency> = (0..300).map(|_| office.agency()).collect();
    store(&mut one, 1, 30_904_461);
    for mut agency in crowd {
        // Some hear it and some just the end; nobody is attended.
        let heard = String::from_utf8(agency.rest()).expect("text");
        assert!(heard.is_empty() || heard.starts_with("ERROR|too_many_connections|"), "{heard}");
    }
    store(&mut one, 1, 30_904_462);
}
