//! At stake: all that `docs/protocol.md` promises about one conversation and about several at once.
//! Who says something wrong hears what and loses that and no more; a batch is stored whole or not at
//! all; answers come in order; an agency is one agency's business; the draw is held once and after
//! everyone; nobody waits on somebody else; and stopping ends all of it.

mod support;

use loteria::protocol::{ErrorCode, MESSAGE_BYTES_MAX};
use loteria::session::BATCH_BYTES_MAX;
use std::io::Write;
use std::time::Duration;
use support::{Agency, Lottery, Office, PATIENCE};

/// A valid bet of `agency`, told from others by its document.
fn bet(agency: u16, document: u32) -> String {
    bet_on(agency, document, "1234")
}

fn bet_on(agency: u16, document: u32, number: &str) -> String {
    format!("APUESTA|{agency}|Ana|Paz|{document}|1999-03-17|{number}")
}

/// The line of `bets.csv` that [`bet`] becomes.
fn row(agency: u16, document: u32) -> String {
    row_on(agency, document, "1234")
}

fn row_on(agency: u16, document: u32, number: &str) -> String {
    format!("{agency},Ana,Paz,{document},1999-03-17,{number}\n")
}

/// Stores one bet and hears that it is.
#[track_caller]
fn store(agency: &mut Agency, id: u16, document: u32) {
    agency.says(&format!("{};FINAPUESTA", bet(id, document)));
    agency.hears("CONFIRMARAPUESTA|1");
}

/// Shows that the conversation goes on.
#[track_caller]
fn is_attended(agency: &mut Agency) {
    agency.says("ECO|still here");
    agency.hears("ECO|still here");
}

/// Says that the agency has no more bets, and comes back when the server has taken note of it.
#[track_caller]
fn asks_for_winners(agency: &mut Agency, id: u16) {
    agency.says(&format!("ECO|no more;GANADORES|{id}"));
    agency.hears("ECO|no more");
}

mod words {
    use super::*;

    #[test]
    fn every_malformed_command_is_told_what_is_wrong_and_keeps_its_connection() {
        use ErrorCode::{EmptyCommand, FieldCount, InvalidField, UnknownCommand};
        let cases = [
            ("", EmptyCommand, "must not be empty"),
            (";", EmptyCommand, "must not be empty"),
            (";FINAPUESTA", EmptyCommand, "must not be empty"),
            (" ", UnknownCommand, "\" \""),
            ("|", UnknownCommand, "\"\""),
            ("|1", UnknownCommand, "\"\""),
            ("HOLA", UnknownCommand, "\"HOLA\""),
            ("apuesta|1|Ana|Paz|30904465|1999-03-17|1234", UnknownCommand, "\"apuesta\""),
            ("Apuesta|1|Ana|Paz|30904465|1999-03-17|1234", UnknownCommand, "\"Apuesta\""),
            ("finapuesta", UnknownCommand, "\"finapuesta\""),
            ("ganadores|1", UnknownCommand, "\"ganadores\""),
            ("reanudar|1", UnknownCommand, "\"reanudar\""),
            ("eco|hola", UnknownCommand, "\"eco\""),
            (" FINAPUESTA", UnknownCommand, "\" FINAPUESTA\""),
            ("FINAPUESTA ", UnknownCommand, "\"FINAPUESTA \""),
            ("APUESTAS|1", UnknownCommand, "\"APUESTAS\""),
            // A reply is no command.
            ("CONFIRMARAPUESTA|1", UnknownCommand, "\"CONFIRMARAPUESTA\""),
            ("ERROR|empty_command|x", UnknownCommand, "\"ERROR\""),
            ("FINAPUESTA|", FieldCount, "FINAPUESTA must have 0 fields after its name, not 1"),
            ("FINAPUESTA|1", FieldCount, "not 1"),
            ("GANADORES", FieldCount, "GANADORES must have 1 fields after its name, not 0"),
            ("GANADORES|1|2", FieldCount, "not 2"),
            ("REANUDAR", FieldCount, "not 0"),
            ("REANUDAR|1|", FieldCount, "not 2"),
            ("ECO", FieldCount, "not 0"),
            ("ECO|a|b", FieldCount, "not 2"),
            ("GANADORES|", InvalidField, "agency: must be a number from 1 to 5, not \"\""),
            ("GANADORES|0", InvalidField, "not \"0\""),
            ("GANADORES|6", InvalidField, "not \"6\""),
            ("GANADORES|01", InvalidField, "not \"01\""),
            ("GANADORES|+1", InvalidField, "not \"+1\""),
            ("GANADORES|-1", InvalidField, "not \"-1\""),
            ("GANADORES| 1", InvalidField, "not \" 1\""),
            ("GANADORES|1.0", InvalidField, "not \"1.0\""),
            ("GANADORES|¹", InvalidField, "not \"¹\""),
            ("GANADORES|٣", InvalidField, "not \"٣\""),
            ("GANADORES|65537", InvalidField, "not \"65537\""),
            ("GANADORES|18446744073709551617", InvalidField, "not \"18446744073709551617\""),
            ("REANUDAR|0", InvalidField, "not \"0\""),
            ("REANUDAR|6", InvalidField, "not \"6\""),
            ("ECO|a\tb", InvalidField, "text: must not hold a control character"),
            ("ECO|a\0b", InvalidField, "text:"),
            ("ECO|a\u{7f}b", InvalidField, "text:"),
            ("ECO|a\u{85}b", InvalidField, "text:"),
            ("ECO|a\rb", InvalidField, "text:"),
        ];
        let office = Office::start(Lottery::of(5));
        let mut agency = office.agency();
        for (message, code, words) in cases {
            agency.says(message);
            let detail = agency.hears_error(code);
            if !detail.contains(words) {
                agency.fail(format_args!("{message:?} should be answered with {words:?}"));
            }
            is_attended(&mut agency);
        }
        office.has_stored("");
    }

    #[test]
    fn a_command_after_the_last_semicolon_is_an_empty_one() {
        let office = Office::start(Lottery::of(5));
        let mut agency = office.agency();
        agency.says(&format!("{};FINAPUESTA;", bet(1, 30_904_465)));
        agency.hears("CONFIRMARAPUESTA|1");
        agency.hears("ERROR|empty_command|a command must not be empty");
        agency.says("ECO|a;");
        agency.hears("ECO|a");
        agency.hears_error(ErrorCode::EmptyCommand);
        office.has_stored(&row(1, 30_904_465));
    }

    #[test]
    fn an_echo_says_the_same_line_whatever_is_in_it() {
        let office = Office::start(Lottery::of(5));
        let mut agency = office.agency();
        for text in ["", " ", "hola", "ñandú, \"ü\" 漢字 🦙", "\u{a0}", "APUESTA", "\u{2028}"]
        {
            let line = format!("ECO|{text}");
            agency.says(&line);
            agency.hears(&line);
        }
    }

    #[test]
    fn a_message_of_8192_bytes_is_taken_and_one_byte_more_is_not() {
        let office = Office::start(Lottery::of(5));
        let mut agency = office.agency();
        let longest = "x".repeat(MESSAGE_BYTES_MAX - "ECO|\n".len());
        for message in [&longest, &longest[1..], &longest] {
            agency.says(&format!("ECO|{message}"));
            agency.hears(&format!("ECO|{message}"));
        }
        agency.says(&format!("ECO|{longest}x"));
        let detail = agency.hears_error(ErrorCode::MessageTooLong);
        assert_eq!(detail, "no line end within 8192 bytes");
        agency.hears_the_end();
        // At once, and not when more comes.
        let mut agency = office.agency();
        agency.sends(&[b'x'; MESSAGE_BYTES_MAX]);
        agency.hears_error(ErrorCode::MessageTooLong);
        agency.hears_the_end();
    }

    #[test]
    fn a_batch_of_8192_bytes_is_taken_and_one_byte_more_is_not() {
        let office = Office::start(Lottery::of(5));
        for named in [false, true] {
            let mut agency = office.agency();
            if named {
                agency.says("REANUDAR|1");
                agency.hears_a_line();
            }
            let bets = (MESSAGE_BYTES_MAX - 64) / (bet(1, 30_904_461).len() + 1);
            let batch = (bet(1, 30_904_461) + ";").repeat(bets) + "FINAPUESTA\n";
            // Longer names in the first bets make up for what is left.
            let fill = |mut batch: String, bytes: usize| {
                let missing = bytes - batch.len();
                for _ in 0..missing / 10 {
                    batch = batch.replacen("|Ana|", "|Ana Sof\u{ed} Luz|", 1);
                }
                let missing = bytes - batch.len();
                batch.replacen("|Ana|", &format!("|Ana{}|", "x".repeat(missing)), 1)
            };
            let longest = fill(batch.clone(), MESSAGE_BYTES_MAX);
            assert_eq!(longest.len(), MESSAGE_BYTES_MAX);
            agency.sends(longest.as_bytes());
            agency.hears(&format!("CONFIRMARAPUESTA|{bets}"));
            agency.sends(fill(batch, MESSAGE_BYTES_MAX + 1).as_bytes());
            agency.hears_error(ErrorCode::MessageTooLong);
            agency.hears_the_end();
        }
    }

    #[test]
    fn what_came_before_a_message_that_is_too_long_is_answered_first() {
        let office = Office::start(Lottery::of(5));
        let mut agency = office.agency();
        store(&mut agency, 1, 30_904_460);
        let batch = format!("{};FINAPUESTA\n", bet(1, 30_904_461));
        let message = format!("{batch}ECO|a\n{batch}{}\n", "x".repeat(MESSAGE_BYTES_MAX));
        agency.sends(message.as_bytes());
        agency.hears("CONFIRMARAPUESTA|1");
        agency.hears("ECO|a");
        agency.hears("CONFIRMARAPUESTA|1");
        agency.hears_error(ErrorCode::MessageTooLong);
        agency.hears_the_end();
        office.has_stored_count(3);
    }

    #[test]
    fn a_flood_without_a_line_end_hears_its_error_and_then_the_end_and_no_reset() {
        let office = Office::start(Lottery::of(5));
        let mut agency = office.agency();
        // More than all buffers between the two take, so that part of it is drained.
        agency.sends(&vec![b'x'; 8 << 20]);
        agency.hears_error(ErrorCode::MessageTooLong);
        agency.hears_the_end();
    }

    #[test]
    fn a_message_that_is_not_utf_8_hears_where_and_loses_its_connection() {
        let office = Office::start(Lottery::of(5));
        for (bytes, place) in [
            (&b"\xff\n"[..], "byte 1 "),
            (b"ECO|\xc3\x28\n", "byte 5 "),
            // Half a letter at the end of the message, an overlong form, a surrogate.
            (b"ECO|\xc3\n", "byte 5 "),
            (b"ECO|\xc0\xaf\n", "byte 5 "),
            (b"ECO|\xed\xa0\x80\n", "byte 5 "),
            // Nothing of the message is done, not even what comes before.
            (b"ECO|a;ECO|\xff\n", "byte 11 "),
            (b"APUESTA|1|A\xffa|Paz|30904465|1999-03-17|1234;FINAPUESTA\n", "byte 12 "),
        ] {
            let mut agency = office.agency();
            store(&mut agency, 1, 30_904_465);
            agency.sends(bytes);
            let detail = agency.hears_error(ErrorCode::InvalidUtf8);
            assert!(detail.starts_with(place), "{detail:?} should begin with {place:?}");
            agency.hears_the_end();
        }
        office.has_stored_count(7);
    }

    #[test]
    fn a_carriage_return_before_the_line_end_is_accepted_and_none_elsewhere() {
        let office = Office::start(Lottery::of(5));
        let mut agency = office.agency();
        agency.says("ECO|a\r");
        agency.hears("ECO|a");
        agency.says(&format!("{};FINAPUESTA\r", bet(1, 30_904_465)));
        agency.hears("CONFIRMARAPUESTA|1");
        agency.says(&format!("{}\r", bet(1, 30_904_466)));
        agency.says("FINAPUESTA\r");
        agency.hears("CONFIRMARAPUESTA|1");

        agency.says("\r");
        agency.hears_error(ErrorCode::EmptyCommand);
        agency.says("ECO|a\r\r");
        agency.hears_error(ErrorCode::InvalidField);
        agency.says("FINAPUESTA\r\r");
        agency.hears_error(ErrorCode::UnknownCommand);
        agency.says("ECO|a\r;ECO|b");
        agency.hears_error(ErrorCode::InvalidField);
        agency.says(&format!("{}\r;FINAPUESTA", bet(1, 30_904_467)));
        let detail = agency.hears_error(ErrorCode::InvalidBet);
        assert_eq!(
            detail,
            "bet 1: number: must be 0 to 9999 in one to four digits, not \"1234\\u{d}\""
        );
        agency.says("APUESTA|1|A\rna|Paz|30904465|1999-03-17|1234;FINAPUESTA");
        agency.hears_error(ErrorCode::InvalidBet);
        office.has_stored(&(row(1, 30_904_465) + &row(1, 30_904_466)));
    }

    #[test]
    fn a_connection_that_ends_within_a_message_hears_so() {
        let office = Office::start(Lottery::of(5));
        let mut agency = office.agency();
        agency.sends(
            format!("{};FINAPUESTA\n{};FINAPUESTA", bet(1, 30_904_465), bet(1, 30_904_466))
                .as_bytes(),
        );
        agency.says_no_more();
        agency.hears("CONFIRMARAPUESTA|1");
        let detail = agency.hears_error(ErrorCode::MessageTorn);
        assert_eq!(detail, "the connection ended 53 bytes into a message");
        agency.hears_the_end();
        office.has_stored(&row(1, 30_904_465));
    }

    #[test]
    fn who_says_nothing_and_leaves_hears_nothing() {
        let office = Office::start(Lottery::of(5));
        office.agency().leaves();
    }
}

mod bets {
    use super::*;

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
        cases.extend(
            ["0", "00", "000", "0000", "9", "9999", "0075", "75"].map(|number| (5, number)),
        );

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
        agency.hears(
            "GANADORES|30904400|30904401|30904402|30904403|30904404|30904405|30904406|30904407",
        );

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
        agency.says(&with(3, &"7".repeat(100)));
        let detail = agency.hears_error(ErrorCode::InvalidBet);
        assert!(detail.ends_with(&format!("not \"{}…\"", "7".repeat(40))), "{detail}");
        agency.says(&"\u{7f}".repeat(4000));
        assert!(agency.hears_error(ErrorCode::UnknownCommand).len() < 400);
    }
}

mod batches {
    use super::*;

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
                answers
                    .push(format!("ERROR|unknown_command|no command is called \"HOLA {number}\""));
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
            format!("{}\n{bad}\n{};FINAPUESTA\n", bet(1, 30_904_461), bet(1, 30_904_463))
                .as_bytes(),
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
            messages +=
                &format!("{};{};FINAPUESTA\n", bet(1, document), bet_on(1, document, number));
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
            format!(
                "bet {}: a batch must have at most {BATCH_BYTES_MAX} bytes as CSV",
                fitting + 1
            )
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
}

mod speaking_for_an_agency {
    use super::*;

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
}

mod resuming {
    use super::*;

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
}

mod the_draw {
    use super::*;

    #[test]
    fn who_waits_for_it_is_told_from_who_has_more() {
        let office = Office::start(Lottery::of(2));
        let (mut waiting, mut asking) = (office.agency(), office.agency());
        store(&mut waiting, 1, 30_000_001);
        waiting.says("GANADORES|1");
        // Until it has taken its seat it is done, and does not wait.
        let (done, waits) = (
            "ESTADO|PENDIENTE|1,1,TERMINADA|2,0,ABIERTA",
            "ESTADO|PENDIENTE|1,1,ESPERA|2,0,ABIERTA",
        );
        let start = std::time::Instant::now();
        let last = loop {
            asking.says("ESTADO");
            let status = asking.hears_a_line();
            if status == waits || start.elapsed() > PATIENCE {
                break status;
            }
            assert!(status == done || status == done.replace("TERMINADA", "ABIERTA"), "{status}");
        };
        assert_eq!(last, waits);
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
        let mut asked: Vec<Agency> = (0..2).map(|_| office.agency()).collect();
        for agency in &mut asked {
            asks_for_winners(agency, 1);
        }
        let mut two = office.agency();
        asks_for_winners(&mut two, 2);
        // Were the second a place of its own, three would have met, and this would be refused.
        let mut three = office.agency();
        three.says(&format!("{};FINAPUESTA", bet_on(3, 30_904_461, "7574")));
        three.hears("CONFIRMARAPUESTA|1");
        three.says("GANADORES|3;GANADORES|3");
        three.hears("GANADORES|30904461");
        three.hears("GANADORES|30904461");
        for agency in asked.iter_mut().chain([&mut two]) {
            agency.hears("GANADORES|");
            is_attended(agency);
        }
        let mut late = office.agency();
        late.says("GANADORES|3");
        late.hears("GANADORES|30904461");
    }

    #[test]
    fn of_an_agencys_waiting_connections_two_wait_and_each_other_hears_that_it_is_superseded() {
        const WAITING: usize = 7;
        let office = Office::start(Lottery::of(2));
        let (heard, hears) = crossbeam_channel::unbounded();
        std::thread::scope(|scope| {
            for _ in 0..WAITING {
                let mut agency = office.agency();
                asks_for_winners(&mut agency, 1);
                let heard = heard.clone();
                scope.spawn(move || {
                    let line = agency.hears_a_line();
                    if line.starts_with("ERROR|") {
                        agency.hears_the_end();
                    }
                    heard.send(line).expect("the test listens");
                });
            }
            // Which of them is not said anywhere: they come over different connections.
            for _ in 2..WAITING {
                let line = hears.recv_timeout(PATIENCE).expect("somebody is superseded");
                assert_eq!(line, "ERROR|superseded|agency 1 waits on a newer connection");
            }
            office.agency().says("GANADORES|2");
            for _ in 0..2 {
                let line = hears.recv_timeout(PATIENCE).expect("the draw is held");
                assert_eq!(line, "GANADORES|");
            }
        });
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
                agency
                    .says(&format!("{};FINAPUESTA;GANADORES|{id}", bet_on(id, 30_904_460, "7574")));
            }
            for agency in &mut agencies {
                agency.hears("CONFIRMARAPUESTA|1");
                agency.hears("GANADORES|30904460");
            }
        }
    }
}

mod time {
    use super::*;

    const SHORT_MS: u64 = 500;

    fn short() -> Lottery {
        Lottery::of(2).timeout_ms(SHORT_MS)
    }

    #[track_caller]
    fn hears_that_time_is_up(agency: &mut Agency) {
        let detail = agency.hears_error(ErrorCode::TimedOut);
        assert_eq!(detail, format!("no complete message within {SHORT_MS} ms"));
        agency.hears_the_end();
    }

    #[test]
    fn who_is_silent_hears_that_its_time_is_up_at_any_place_between_messages() {
        let office = Office::start(short());
        let [mut silent, mut idle, mut within] = [1, 2, 3].map(|_| office.agency());
        idle.says(&format!("{};ECO|a", bet(1, 30_904_461)));
        idle.hears("ECO|a");
        within.sends(b"ECO|never comple");
        for agency in [&mut silent, &mut idle, &mut within] {
            hears_that_time_is_up(agency);
        }
        office.has_stored("");
    }

    #[test]
    fn who_drips_hears_that_its_time_is_up_however_steadily_it_does() {
        let office = Office::start(short());
        let mut agency = office.agency();
        let mut drip = agency.stream_again();
        let (over, listening) = crossbeam_channel::bounded::<()>(0);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let pause = Duration::from_millis(5);
                while listening.recv_timeout(pause)
                    == Err(crossbeam_channel::RecvTimeoutError::Timeout)
                {
                    if drip.write_all(b"x").is_err() {
                        return;
                    }
                }
            });
            hears_that_time_is_up(&mut agency);
            drop(over);
        });
    }

    #[test]
    fn a_message_in_time_begins_the_time_anew() {
        let office = Office::start(Lottery::of(1).timeout_ms(2_000));
        let mut agency = office.agency();
        // Together longer than one message may take; each far shorter.
        for _ in 0..12 {
            std::thread::sleep(Duration::from_millis(200));
            is_attended(&mut agency);
        }
    }

    #[test]
    fn who_does_not_read_its_answers_loses_its_connection_and_nobody_else_does() {
        let office = Office::start(short());
        let deaf = office.agency();
        let echo = format!("ECO|{}\n", "x".repeat(8000)).into_bytes();
        let mut stream = deaf.stream();
        // Both directions fill up, and then the server gives up before this side does.
        let error = std::iter::repeat_with(|| stream.write_all(&echo))
            .find_map(Result::err)
            .expect("it goes on until it fails");
        assert!(
            !loteria::connection::is_timeout(&error),
            "the server should have ended the connection: {error}"
        );
        store(&mut office.agency(), 1, 30_904_461);
    }

    #[test]
    fn the_time_that_the_draw_is_waited_for_does_not_count() {
        let office = Office::start(short());
        let [mut at_barrier, mut beside] = [1, 2].map(|_| office.agency());
        asks_for_winners(&mut at_barrier, 1);
        asks_for_winners(&mut beside, 1);
        std::thread::sleep(Duration::from_millis(3 * SHORT_MS));
        let mut other = office.agency();
        other.says("GANADORES|2");
        other.hears("GANADORES|");
        for agency in [&mut at_barrier, &mut beside] {
            agency.hears("GANADORES|");
            is_attended(agency);
        }
    }
}

mod places {
    use super::*;

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
            assert!(
                heard.is_empty() || heard.starts_with("ERROR|too_many_connections|"),
                "{heard}"
            );
        }
        store(&mut one, 1, 30_904_462);
    }
}

mod stopping {
    use super::*;

    #[track_caller]
    fn hears_that_it_stops(agency: &mut Agency) {
        agency.hears_error(ErrorCode::Stopping);
        agency.hears_the_end();
    }

    #[test]
    fn a_server_without_connections_stops() {
        Office::start(Lottery::of(5)).stop();
    }

    #[test]
    fn who_is_silent_or_idle_or_within_a_message_or_within_a_batch_hears_that_it_stops() {
        let mut office = Office::start(Lottery::of(5));
        let [mut silent, mut idle, mut within, mut batch] = [1, 2, 3, 4].map(|_| office.agency());
        is_attended(&mut idle);
        within.sends(b"ECO|never comple");
        batch.says(&format!("{};ECO|open", bet(1, 30_904_461)));
        batch.hears("ECO|open");
        // All four have been accepted when one after them is attended.
        let mut last = office.agency();
        is_attended(&mut last);
        office.stop();
        for agency in [&mut silent, &mut idle, &mut within, &mut batch, &mut last] {
            hears_that_it_stops(agency);
        }
        office.has_stored("");
    }

    #[test]
    fn who_drips_does_not_hold_the_stop_up() {
        let mut office = Office::start(Lottery::of(5));
        let mut agency = office.agency();
        is_attended(&mut agency);
        let mut drip = agency.stream_again();
        std::thread::scope(|scope| {
            scope.spawn(move || while drip.write_all(b"x").is_ok() {});
            office.stop();
            // The end of the flood is up to the system: it may lose what the server said last.
            let _rest = agency.rest();
            agency.hangs_up();
        });
    }

    #[test]
    fn who_waits_for_the_draw_at_the_barrier_or_beside_it_hears_that_there_is_none() {
        let mut office = Office::start(Lottery::of(3));
        let mut waiting: Vec<Agency> = (0..4).map(|_| office.agency()).collect();
        for (agency, id) in waiting.iter_mut().zip([1, 1, 2, 2]) {
            asks_for_winners(agency, id);
        }
        office.stop();
        for agency in &mut waiting {
            hears_that_it_stops(agency);
        }
        assert!(!office.draw_is_on_disk());
    }

    #[test]
    fn a_lottery_of_ten_thousand_agencies_stops_while_one_waits_for_the_others() {
        let mut office = Office::start(Lottery::of(10_000));
        let mut agency = office.agency();
        asks_for_winners(&mut agency, 10_000);
        office.stop();
        hears_that_it_stops(&mut agency);
    }

    #[test]
    fn who_does_not_read_its_answers_does_not_hold_the_stop_up() {
        let mut office = Office::start(Lottery::of(5));
        let deaf = office.agency();
        let echo = format!("ECO|{}\n", "x".repeat(8000)).into_bytes();
        let mut stream = deaf.stream();
        stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a bound");
        // Until the server can write no more and therefore reads no more, for a good while.
        let (mut sent, mut refused) = (0, 0);
        while refused < 4 {
            match stream.write(&echo[sent % echo.len()..]) {
                Ok(count) => (sent, refused) = (sent + count, 0),
                Err(_) => refused += 1,
            }
        }
        office.stop();
    }

    #[test]
    fn who_is_being_drained_does_not_hold_the_stop_up() {
        let mut office = Office::start(Lottery::of(5).connections(2));
        let [mut bad, mut idle, mut many] = [1, 2, 3].map(|_| office.agency());
        bad.sends(b"\xff\n");
        bad.hears_error(ErrorCode::InvalidUtf8);
        bad.hears_the_end();
        is_attended(&mut idle);
        many.hears_a_line();
        office.stop();
        hears_that_it_stops(&mut idle);
    }

    #[test]
    fn who_sends_more_than_the_server_takes_finds_out_that_it_has_stopped() {
        for _ in 0..6 {
            let mut office = Office::start(Lottery::of(5));
            let mut agency = office.agency();
            let mut stream = agency.stream_again();
            let batches = format!("{};FINAPUESTA\n", bet(1, 30_904_461)).repeat(100);
            std::thread::scope(|scope| {
                let sender = scope.spawn(move || {
                    std::iter::repeat_with(|| stream.write_all(batches.as_bytes()))
                        .find_map(Result::err)
                        .expect("it goes on until it fails")
                });
                agency.hears("CONFIRMARAPUESTA|1");
                // Whether it hears why depends on how far the server was with what it had read.
                let listener = scope.spawn(move || agency.rest());
                std::thread::sleep(Duration::from_millis(50));
                office.stop();
                listener.join().expect("it just listens");
                let error = sender.join().expect("it just sends");
                assert!(
                    !loteria::connection::is_timeout(&error),
                    "the sender waits for a server that is gone: {error}"
                );
            });
        }
    }

    #[test]
    fn what_was_confirmed_is_stored_and_batches_are_whole_however_a_stop_cuts_in() {
        for round in 0..12 {
            let mut office = Office::start(Lottery::of(5));
            let agencies: Vec<Agency> = (0..3).map(|_| office.agency()).collect();
            let confirmed: usize = std::thread::scope(|scope| {
                let sending = agencies.into_iter().zip(1..).map(|(mut agency, id)| {
                    scope.spawn(move || {
                        let batch =
                            format!("{};{};FINAPUESTA\n", bet(id, 30_904_461), bet(id, 30_904_462));
                        let mut stream = agency.stream_again();
                        let sender =
                            std::thread::spawn(
                                move || {
                                    while stream.write_all(batch.as_bytes()).is_ok() {}
                                },
                            );
                        let heard = String::from_utf8(agency.rest()).expect("text");
                        agency.hangs_up();
                        sender.join().expect("it ends when the server has");
                        heard.matches("CONFIRMARAPUESTA|2\n").count()
                    })
                });
                let sending: Vec<_> = sending.collect();
                std::thread::sleep(Duration::from_millis(3 * round));
                office.stop();
                sending.into_iter().map(|thread| thread.join().expect("no panic")).sum()
            });
            let stored = office.bets().lines().count();
            assert!(stored.is_multiple_of(2), "half a batch is stored");
            assert!(stored >= 2 * confirmed, "{stored} bets stored, {confirmed} batches confirmed");
        }
    }

    #[test]
    fn a_stop_beside_the_draw_either_holds_it_or_does_not() {
        for round in 0..30 {
            let mut office = Office::start(Lottery::of(3));
            let mut agencies: Vec<Agency> = (0..3).map(|_| office.agency()).collect();
            for (agency, id) in agencies.iter_mut().zip(1..) {
                agency.says(&format!("{};FINAPUESTA", bet_on(id, 30_904_461, "7574")));
                agency.hears("CONFIRMARAPUESTA|1");
            }
            for (agency, id) in agencies.iter_mut().zip(1..) {
                agency.says(&format!("GANADORES|{id}"));
            }
            std::thread::sleep(Duration::from_micros(50 * round));
            office.stop();
            let held = office.draw_is_on_disk();
            for agency in &mut agencies {
                let heard = agency.hears_a_line();
                let told = heard == "GANADORES|30904461";
                assert!(told || heard.starts_with("ERROR|stopping|"), "{heard}");
                assert!(held || !told, "told of a draw that is not on disk");
            }
        }
    }

    #[test]
    fn a_server_that_is_to_end_after_the_draw_does_when_all_have_heard() {
        let lottery = Lottery { exit_after_draw: true, ..Lottery::of(3) };
        let mut office = Office::start(lottery);
        let mut agencies: Vec<Agency> = (0..3).map(|_| office.agency()).collect();
        for (agency, id) in agencies.iter_mut().zip(1..) {
            agency.says(&format!("GANADORES|{id}"));
        }
        for agency in &mut agencies {
            agency.hears("GANADORES|");
        }
        office.ends_by_itself();
        for agency in &mut agencies {
            hears_that_it_stops(agency);
        }

        // And when it is started again it tells everyone again, and ends again.
        office.start_again();
        for id in 1..=3 {
            let mut agency = office.agency();
            agency.says(&format!("GANADORES|{id}"));
            agency.hears("GANADORES|");
        }
        office.ends_by_itself();
    }

    #[test]
    fn a_server_that_is_to_end_after_the_draw_does_not_wait_for_ever_for_who_does_not_ask() {
        let lottery = Lottery { exit_after_draw: true, ..Lottery::of(2).timeout_ms(2_000) };
        let mut office = Office::start(lottery);
        let [mut one, mut two] = [1, 2].map(|_| office.agency());
        one.says("GANADORES|1");
        two.says("GANADORES|2");
        one.hears("GANADORES|");
        two.hears("GANADORES|");
        office.ends_by_itself();
        office.start_again();
        let mut one = office.agency();
        one.says("GANADORES|1");
        one.hears("GANADORES|");
        office.ends_by_itself();
    }
}
