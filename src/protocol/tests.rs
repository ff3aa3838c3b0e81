//! Whole batches read quickly are what the commands, one by one, say; and what the client writes
//! is within its bounds and loses nothing.

use super::{BatchReader, BatchWriter, Command, ErrorCode, MESSAGE_BYTES_MAX, Reply};
use crate::bet::row::write_row;
use crate::bet::tests::matching;
use crate::bet::{Agencies, AgencyId, Bet};
use proptest::prelude::*;

fn agencies() -> Agencies {
    Agencies::new(5).expect("5 is a number of agencies")
}

fn agency(number: u16) -> AgencyId {
    AgencyId::new(number).expect("it is in range")
}

/// The rows of a message that is one whole batch of `agency`, read command by command.
fn slow(message: &[u8], agency: AgencyId) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(message.strip_suffix(b"\n")?).ok()?;
    let mut commands: Vec<&str> = Command::split(text).collect();
    let last = commands.pop()?;
    let mut rows = Vec::new();
    for command in commands {
        let Command::Bet { agency: of, bet } = Command::parse(command, agencies()).ok()? else {
            return None;
        };
        if of != agency {
            return None;
        }
        write_row(of, &bet, &mut rows);
    }
    (Command::parse(last, agencies()) == Ok(Command::CloseBatch)).then_some(rows)
}

fn bet() -> impl Strategy<Value = [String; 5]> {
    let name = prop_oneof![
        6 => matching("[A-Z][a-z]{1,9}( [A-Z][a-z]{1,9})?"),
        3 => matching("[A-ZÀ-Ý][a-zà-ÿ]{0,12}"),
        1 => matching("[A-Za-zñ,\"' 中]{1,64}"),
    ];
    let date = matching("(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])");
    (name.clone(), name, matching("[0-9]{7,8}"), date, matching("[0-9]{1,4}"))
        .prop_map(|(first, last, document, date, number)| [first, last, document, date, number])
}

fn message() -> impl Strategy<Value = String> {
    prop::collection::vec((1..=2_u16, bet()), 1..6).prop_map(|bets| {
        let commands = bets.iter().map(|(of, bet)| format!("APUESTA|{of}|{};", bet.join("|")));
        format!("{}FINAPUESTA\n", commands.collect::<String>())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_batch_read_quickly_is_the_batch_read_slowly(
        message in message(),
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..3),
        delimiters in prop::collection::vec(
            (any::<usize>(), prop::sample::select(&b"|;,\"\n\r \x7f\x85\xc2\xff0"[..])),
            0..3
        ),
    ) {
        let mut bytes = message.into_bytes();
        for (place, byte) in changes.into_iter().chain(delimiters) {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        let mut rows = b"before\n".to_vec();
        match BatchReader::new(agency(1), agencies()).read(&bytes, &mut rows) {
            None => {
                prop_assert_eq!(rows, b"before\n");
                // Whatever is one valid batch and nothing else is read, however it is written.
                prop_assert_eq!(slow(&bytes, agency(1)), None);
            }
            Some(batch) => {
                let expected = slow(&bytes[..batch.message_bytes], agency(1));
                prop_assert_eq!(Some(&rows[7..]), expected.as_deref());
                let count = rows[7..].iter().filter(|byte| **byte == b'\n').count();
                prop_assert_eq!(count, batch.bets as usize);
            }
        }
    }

    #[test]
    fn what_the_client_writes_is_read_back_whole(
        bets in prop::collection::vec(bet(), 1..30),
        bets_max in 1..25_u32,
    ) {
        let mut writer = BatchWriter::new(agency(3), bets_max);
        let mut expected = Vec::new();
        for fields in &bets {
            let fields = fields.each_ref().map(String::as_str);
            let Ok(bet) = Bet::new(fields) else { continue };
            write_row(agency(3), &bet, &mut expected);
            let line = format!("{}\nand the text goes on for as long as it does", fields.join(","));
            if fields.iter().any(|field| field.contains([',', '"'])) {
                writer.push(agency(3), bet);
            } else {
                let bytes = fields.join(",").len();
                // In the middle of a file, and where it ends.
                let text = &line.as_bytes()[..if bet.number().len() < 4 { line.len() } else { bytes }];
                writer.push_line(text, bytes);
            }
        }
        writer.close();
        let mut rows = Vec::new();
        let messages = writer.messages().split_inclusive(|byte| *byte == b'\n');
        for (message, closed) in messages.zip(writer.closed()) {
            prop_assert!(message.len() <= MESSAGE_BYTES_MAX);
            prop_assert!(*closed <= bets_max);
            let read = slow(message, agency(3)).expect("the client writes whole batches");
            let count = read.iter().filter(|byte| **byte == b'\n').count();
            prop_assert_eq!(count, *closed as usize);
            rows.extend(read);
        }
        prop_assert_eq!(rows, expected);
    }
}

#[test]
fn a_plain_batch_of_the_agency_is_read_quickly() {
    let bet = "APUESTA|1|Santiago Lionel|Álvarez|30904465|1999-03-17|2201;";
    let message = format!("{bet}{bet}FINAPUESTA\n");
    let mut rows = Vec::new();
    let batch = BatchReader::new(agency(1), agencies()).read(message.as_bytes(), &mut rows);
    let batch = batch.expect("it is plain");
    assert_eq!((batch.bets, batch.message_bytes), (2, message.len()));
    let row = "1,Santiago Lionel,Álvarez,30904465,1999-03-17,2201\n";
    assert_eq!(String::from_utf8(rows).expect("it is text"), format!("{row}{row}"));
    assert_eq!(
        BatchReader::new(agency(2), agencies()).read(message.as_bytes(), &mut Vec::new()),
        None
    );
}

#[test]
fn a_batch_longer_than_a_message_is_not_read_quickly() {
    let bet = "APUESTA|1|Santiago Lionel|Lorca|30904465|1999-03-17|2201;";
    let fit = (MESSAGE_BYTES_MAX - "FINAPUESTA\n".len()) / bet.len();
    for (bets, read) in [(fit, true), (fit + 1, false)] {
        let message = format!("{}FINAPUESTA\n", bet.repeat(bets));
        let mut rows = Vec::new();
        let batch = BatchReader::new(agency(1), agencies()).read(message.as_bytes(), &mut rows);
        assert_eq!(batch.is_some(), read, "{bets} bets in {} bytes", message.len());
        assert_eq!(rows.is_empty(), !read);
    }
}

#[test]
fn an_error_is_a_reply_of_three_fields_whatever_its_detail_holds() {
    let refusal = ErrorCode::StorageFailed.with("a|b;\n\u{85}ñ");
    let detail = "a\\u{7c}b\\u{3b}\\u{a}\\u{85}ñ";
    assert_eq!(refusal.reply(), Reply::Error { code: "storage_failed", detail });
    let line = refusal.reply().to_string();
    assert_eq!(Reply::parse(&line), Some(refusal.reply()));
}
