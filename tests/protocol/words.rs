//! At stake: that a message is a line with bounds, and that each thing that is wrong with one has
//! its error and its effect on the connection.

use crate::support::peer::{Lottery, Office, PATIENCE};
use crate::support::transcript::plays;
use crate::{bet, is_attended};
use loteria::connection::DRAIN_BYTES_MAX;
use loteria::protocol::{ErrorCode, MESSAGE_BYTES_MAX};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

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
fn an_echo_says_the_same_line_whatever_is_in_it() {
    for text in ["", " ", "hola", "ñandú, \"ü\" 漢字 🦙", "\u{a0}", "APUESTA", "\u{2028}"] {
        plays(&format!("1> ECO|{text}\n1< ECO|{text}"));
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
    plays(
        r"
        1> [1 30904461];FINAPUESTA
        1> ECO|a
        1> [1 30904462];FINAPUESTA
        1> (x*8192)
        1< CONFIRMARAPUESTA|1
        1< ECO|a
        1< CONFIRMARAPUESTA|1
        1< ERROR|message_too_long|…
        1 ends
        stored: 2
        ",
    );
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

/// A connection that heard an error and its end, and is being drained.
fn drained(office: &Office) -> TcpStream {
    let mut agency = office.agency();
    agency.sends(b"\xFF\n");
    agency.hears_error(ErrorCode::InvalidUtf8);
    agency.hears_the_end();
    agency.stream_again()
}

#[test]
fn who_goes_on_sending_after_its_end_is_read_up_to_a_bound() {
    let office = Office::start(Lottery::of(5));
    let mut flood = drained(&office);
    let piece = [b'x'; 1 << 16];
    // Sent bytes that are not read stay in the system's buffers.
    let pieces_max = 4 * DRAIN_BYTES_MAX / piece.len();
    let failed = (0..pieces_max).find(|_| flood.write_all(&piece).is_err());
    assert!(failed.is_some(), "more than {pieces_max} pieces were read");
}

#[test]
fn who_goes_on_dripping_after_its_end_is_read_for_a_time() {
    let office = Office::start(Lottery::of(5));
    let (mut drip, start) = (drained(&office), Instant::now());
    while drip.write_all(b"x").is_ok() {
        assert!(start.elapsed() < PATIENCE, "it is read for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_message_that_is_not_utf_8_hears_where_and_loses_its_connection() {
    for (bytes, place) in [
        (r"\xff", 1),
        (r"ECO|\xc3\x28", 5),
        // Half a letter at the end of the message, an overlong form, a surrogate.
        (r"ECO|\xc3", 5),
        (r"ECO|\xc0\xaf", 5),
        (r"ECO|\xed\xa0\x80", 5),
        // Nothing of the message is done, not even what comes before.
        (r"ECO|a;ECO|\xff", 11),
        (r"APUESTA|1|A\xffa|Paz|30904465|1999-03-17|1234;FINAPUESTA", 12),
    ] {
        plays(&format!(
            "1> [1 30904461];FINAPUESTA
            1< CONFIRMARAPUESTA|1
            1> {bytes}
            1< ERROR|invalid_utf8|byte {place} of the message is not UTF-8
            1 ends
            stored: 1"
        ));
    }
}

#[test]
fn a_carriage_return_before_the_line_end_is_accepted_and_none_elsewhere() {
    plays(
        r#"
        1> [1 30904461];FINAPUESTA\r
        1< CONFIRMARAPUESTA|1
        1> [1 30904462]\r
        1> FINAPUESTA\r
        1< CONFIRMARAPUESTA|1
        1> \r
        1< ERROR|empty_command|…
        1> ECO|a\r\r
        1< ERROR|invalid_field|…
        1> FINAPUESTA\r\r
        1< ERROR|unknown_command|…
        1> ECO|a\r;ECO|b
        1< ERROR|invalid_field|…
        1> [1 30904463]\r;FINAPUESTA
        1< ERROR|invalid_bet|bet 1: number: must be 0 to 9999 in one to four digits, not "1234\u{d}"
        1> APUESTA|1|A\rna|Paz|30904465|1999-03-17|1234;FINAPUESTA
        1< ERROR|invalid_bet|bet 1: first_name: …
        stored documents: 30904461 30904462
        "#,
    );
}

#[test]
fn who_says_nothing_and_leaves_hears_nothing() {
    plays("1 connects\n1 leaves");
}
