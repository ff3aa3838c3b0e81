//! At stake: that every rule for a field of a bet is checked, that an error names the field and the
//! rule, and that nothing of its batch is stored.

use crate::is_attended;
use crate::support::peer::{Lottery, Office};
use loteria::protocol::ErrorCode;

const FIELDS: [&str; 6] = ["1", "Ana", "Paz", "30904465", "1999-03-17", "1234"];

/// A bet with one field exchanged.
fn with(field: usize, text: &str) -> String {
    let mut fields = FIELDS;
    fields[field] = text;
    format!("APUESTA|{}", fields.join("|"))
}

#[test]
fn every_malformed_bet_is_told_its_field_and_stores_nothing() {
    let too_long = "ñ".repeat(65);
    let far_too_long = "x".repeat(5000);
    let name_length = "must have at most 64 characters";
    let blank = "must not be blank";
    let character = "must not hold a bar, a semicolon or a control character";
    let agency_range = "agency: must be a number from 1 to 5";
    let mut cases = vec![
        (0, "", agency_range),
        (0, "0", agency_range),
        (0, "6", agency_range),
        (0, "01", agency_range),
        (0, "+1", agency_range),
        (0, "1 ", agency_range),
        (0, "65537", agency_range),
        (0, "x", agency_range),
    ];
    for name in [1, 2] {
        cases.extend([
            (name, "", blank),
            (name, " ", blank),
            (name, "   ", blank),
            (name, "\u{a0}\u{2003}\u{3000}", blank),
            (name, too_long.as_str(), name_length),
            (name, far_too_long.as_str(), name_length),
            (name, "A\tna", character),
            (name, "\u{1}Ana", character),
            (name, "Ana\0", character),
            (name, "A\u{7f}na", character),
            (name, "A\u{80}na", character),
            (name, "A\u{85}na", character),
            (name, "Aña\u{9f}", character),
        ]);
    }
    cases.extend([
        (3, "", "must be 7 or 8 digits"),
        (3, "123456", "must be 7 or 8 digits"),
        (3, "123456789", "must be 7 or 8 digits"),
        (3, "30.904.465", "must be 7 or 8 digits"),
        (3, "3090446a", "must be 7 or 8 digits"),
        (3, "-3090446", "must be 7 or 8 digits"),
        (3, "+3090446", "must be 7 or 8 digits"),
        (3, " 3090446", "must be 7 or 8 digits"),
        (3, "3090446 ", "must be 7 or 8 digits"),
        (3, "１２３４５６７", "must be 7 or 8 digits"),
    ]);
    for day in [
        "",
        "1999-3-17",
        "1999-03-7",
        "99-03-17",
        "19990317",
        "1999/03/17",
        "17-03-1999",
        "1999-03-17 ",
        " 1999-03-17",
        "1999-03-17T00:00",
        "1899-12-31",
        "2100-01-01",
        "0000-01-01",
        "1999-00-10",
        "1999-13-10",
        "1999-03-00",
        "1999-03-32",
        "1999-04-31",
        "1999-06-31",
        "1999-09-31",
        "1999-11-31",
        "1999-02-29",
        "1900-02-29",
        "2000-02-30",
        "2098-02-29",
        "2100-02-29",
        "1999-02-30",
        "-999-03-17",
        "+999-03-17",
        "１999-03-17",
        "1999-03-1x",
        "1999-0x-17",
    ] {
        cases.push((
            4,
            day,
            "birthdate: must be a day of the years 1900 to 2099 written YYYY-MM-DD",
        ));
    }
    for number in ["", "10000", "00000", "99999", "-1", "+1", "1.0", " 1", "1 ", "x", "１"] {
        cases.push((5, number, "number: must be 0 to 9999 in one to four digits"));
    }
    let names = ["agency", "first_name", "last_name", "document", "birthdate", "number"];

    let office = Office::start(Lottery::of(5));
    // To one that has not named its agency yet, and to one that has, whose batches are read faster.
    let (mut stranger, mut known) = (office.agency(), office.agency());
    known.says("REANUDAR|1");
    known.hears("REANUDAR|0");
    for (field, text, reason) in cases {
        for agency in [&mut stranger, &mut known] {
            agency.says(&format!("{};FINAPUESTA", with(field, text)));
            let detail = agency.hears_error(ErrorCode::InvalidBet);
            if !detail.starts_with(&format!("bet 1: {}: ", names[field]))
                || !detail.contains(reason)
            {
                agency.fail(format_args!("{text:?} should be refused as {reason:?}"));
            }
            is_attended(agency);
        }
    }
    office.has_stored("");
}

#[test]
fn a_bet_with_a_field_too_few_or_too_many_is_refused() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    for (bet, found) in [
        ("APUESTA", 0),
        ("APUESTA|", 1),
        ("APUESTA|1", 1),
        ("APUESTA|1|Ana|Paz|30904465|1999-03-17", 5),
        ("APUESTA|1|Ana|Paz|30904465|1999-03-17|1234|", 7),
        ("APUESTA|1|Ana|Paz|30904465|1999-03-17|1234|5", 7),
        ("APUESTA|1|A|na|Paz|30904465|1999-03-17|1234", 7),
    ] {
        agency.says(&format!("{bet};FINAPUESTA"));
        let detail = agency.hears_error(ErrorCode::FieldCount);
        assert_eq!(
            detail,
            format!("bet 1: APUESTA must have 6 fields after its name, not {found}")
        );
        is_attended(&mut agency);
    }
    office.has_stored("");
}

#[test]
fn every_value_at_a_bound_is_a_valid_bet_and_is_stored_as_it_was_written() {
    let (longest, longest_wide) = ("x".repeat(64), "漢".repeat(64));
    let mut cases = vec![];
    for name in [1, 2] {
        cases.extend([
            (name, "A"),
            (name, longest.as_str()),
            (name, longest_wide.as_str()),
            (name, " Ana"),
            (name, "Ana "),
            (name, "ñ"),
            (name, "\u{a0}x"),
            (name, "O'Higgins"),
            (name, "de la Ú"),
            (name, "🦙"),
            (name, "1999"),
            (name, "a\u{2028}"),
            (name, "#"),
        ]);
    }
    cases.extend([(3, "1234567"), (3, "12345678"), (3, "0000000"), (3, "00000000")]);
    for day in [
        "1900-01-01",
        "1900-02-28",
        "1904-02-29",
        "1999-01-31",
        "1999-04-30",
        "1999-12-31",
        "2000-02-29",
        "2001-02-28",
        "2096-02-29",
        "2099-12-31",
    ] {
        cases.push((4, day));
    }
    cases.extend(["0", "00", "000", "0000", "9", "9999", "0075", "75"].map(|number| (5, number)));

    let office = Office::start(Lottery::of(5));
    let (mut stranger, mut known) = (office.agency(), office.agency());
    known.says("REANUDAR|1");
    known.hears("REANUDAR|0");
    let mut rows = String::new();
    for (field, text) in cases {
        // The three ways in which a server may come to read a bet must not differ.
        known.says(&format!("{};FINAPUESTA", with(field, text)));
        known.hears("CONFIRMARAPUESTA|1");
        known.says(&format!("{};FINAPUESTA\r", with(field, text)));
        known.hears("CONFIRMARAPUESTA|1");
        let mut fields = FIELDS;
        fields[field] = text;
        rows += &format!("{}\n", fields.join(",")).repeat(2);
    }
    stranger.says(&format!("{};FINAPUESTA", with(1, "x")));
    stranger.hears_error(ErrorCode::TakenOver);
    office.has_stored(&rows);
}

#[test]
fn a_name_with_a_comma_or_a_quote_is_quoted_in_the_file_and_comes_back_as_it_was() {
    let names = ["Ana, la", "Ana \"la\" Paz", "\"", ",", "\"Ana\"", ",\"", "\"\"\"\"\"\"\"\""];
    let longest = "\"".repeat(64);
    let office = Office::start(Lottery::of(1).won_by(1234));
    let mut agency = office.agency();
    let names: Vec<&str> = names.into_iter().chain([longest.as_str()]).collect();
    for (name, document) in names.iter().zip(30_904_400_u32..) {
        agency.says(&format!("APUESTA|1|{name}|{name}|{document}|1999-03-17|1234;FINAPUESTA"));
        agency.hears("CONFIRMARAPUESTA|1");
    }
    agency.says("REANUDAR|1");
    agency.hears("REANUDAR|8|30904407|1234");
    agency.says("GANADORES|1");
    agency
        .hears("GANADORES|30904400|30904401|30904402|30904403|30904404|30904405|30904406|30904407");

    let text = office.bets();
    assert_eq!(text.lines().next(), Some("1,\"Ana, la\",\"Ana, la\",30904400,1999-03-17,1234"),);
    assert_eq!(
        text.lines().nth(1),
        Some("1,\"Ana \"\"la\"\" Paz\",\"Ana \"\"la\"\" Paz\",30904401,1999-03-17,1234"),
    );
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let read: Vec<String> =
        reader.records().map(|record| record.expect("valid CSV")[1].to_owned()).collect();
    assert_eq!(read, names);
}

#[test]
fn what_is_refused_is_repeated_without_delimiters_and_not_at_length() {
    let office = Office::start(Lottery::of(5));
    let mut agency = office.agency();
    agency.says(&with(1, "A\u{85}\u{7f}na"));
    assert!(agency.hears_error(ErrorCode::InvalidBet).ends_with("not \"A\\u{85}\\u{7f}na\""));
    agency.says("FINAPUESTA");
    agency.says(&with(3, &"7".repeat(100)));
    let detail = agency.hears_error(ErrorCode::InvalidBet);
    assert!(detail.ends_with(&format!("not \"{}…\"", "7".repeat(40))), "{detail}");
    agency.says("FINAPUESTA");
    agency.says(&"\u{7f}".repeat(4000));
    assert!(agency.hears_error(ErrorCode::UnknownCommand).len() < 400);
}
