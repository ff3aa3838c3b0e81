//! The quick way to read a bet and the slow one agree on whatever text there is.

use super::row::{Fields, write_row};
use super::{Agencies, AgencyId, Bet, plain_bet};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::string::string_regex;

/// Text that follows a bet in a message or in a file, longer than the blocks that are read.
const AFTER: &str = "\r\nand then more bets, as there nearly always are";

/// The bet that `text` is, read slowly: five fields and nothing else.
fn slow(text: &str, separator: char) -> Option<Bet<'_>> {
    let fields: Vec<&str> = text.split(separator).collect();
    Bet::new(fields.try_into().ok()?).ok()
}

/// Reads `text` quickly, and holds what is found against the slow way. Whether it was plain.
fn agrees(text: &[u8], separator: char) -> bool {
    let byte = u8::try_from(separator).expect("separators are ASCII");
    let Some(bet) = plain_bet(text, byte) else { return false };
    let found = std::str::from_utf8(&text[..bet.end()]).expect("what is plain is UTF-8");
    let slow = slow(found, separator).expect("what is plain is valid");
    let mut copy = text.to_vec();
    bet.separate(&mut copy, b'/');
    assert_eq!(copy[..bet.end()], *slow.fields().join("/").as_bytes());
    true
}

/// Text that matches the expression, which is parsed once here. A string that is a strategy by itself is parsed for
/// each value.
pub(crate) fn matching(expression: &str) -> BoxedStrategy<String> {
    string_regex(expression).expect("a regular expression").boxed()
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => matching("[A-Z][a-z]{1,9}( [A-Z][a-z]{1,9})?"),
        4 => matching("[A-ZÀ-Ý][a-zà-ÿ]{0,12}"),
        1 => matching("[ a-zA-Zñ,\"|;'.\u{80}-\u{a5}\u{2028}\u{3000}中]{0,70}"),
    ]
}

fn bet_text(separator: char) -> impl Strategy<Value = String> {
    let number = prop_oneof![matching("[0-9]{1,4}"), matching("[0-9]{0,6}")];
    let date = prop_oneof![
        matching("(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"),
        matching("[0-9-]{8,11}")
    ];
    (name(), name(), prop_oneof![matching("[0-9]{7,8}"), matching("[0-9]{5,10}")], date, number)
        .prop_map(move |(first, last, document, birthdate, number)| {
            [first, last, document, birthdate, number].join(&separator.to_string())
        })
}

/// Replaces, removes or inserts a byte here and there.
fn mutate(text: &[u8], changes: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for &(place, kind, byte) in changes {
        let place = place % bytes.len().max(1);
        match kind % 3 {
            0 if !bytes.is_empty() => bytes[place] = byte,
            1 if !bytes.is_empty() => drop(bytes.remove(place)),
            _ => bytes.insert(place, byte),
        }
    }
    bytes
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        prop::sample::select(&b"|;,\"\n\r\t 09-\x7f\x80\x9f\xa0\xc2\xc3\xbf\xc0"[..]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_plain_is_valid_however_it_was_changed(
        text in bet_text('|'),
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), byte()), 0..3),
    ) {
        agrees(&mutate(format!("{text}{AFTER}").as_bytes(), &changes), '|');
        agrees(&mutate(text.replace('|', ",").as_bytes(), &changes), ',');
    }

    #[test]
    fn an_ordinary_valid_bet_is_plain(text in bet_text(',')) {
        let ordinary = text.split(',').take(2).all(|name| {
            name.len() < 32 && name.starts_with(|c: char| c.is_ascii_alphabetic())
        });
        let plain = !text.contains(['"', '|', ';']);
        if ordinary && plain && slow(&text, ',').is_some() {
            prop_assert!(agrees(format!("{text}{AFTER}").as_bytes(), ','), "{text}");
        }
    }

    #[test]
    fn a_row_is_read_as_it_was_written(first in name(), last in name(), agency in 1..=9_u16) {
        let agency = AgencyId::new(agency).expect("it is in range");
        if let Ok(bet) = Bet::new([&first, &last, "1234567", "2000-02-29", "0075"]) {
            let mut row = Vec::new();
            write_row(agency, &bet, &mut row);
            let line = row.strip_suffix(b"\n").expect("a row is a line");
            prop_assert!(!line.contains(&b'\n'));
            let fields = Fields::parse(line).expect("it is UTF-8");
            let written = agency.to_string();
            prop_assert_eq!(fields.agency_and_bet(), Ok((written.as_str(), bet)));

            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(std::iter::once(written.as_str()).chain(bet.fields())).expect("memory");
            prop_assert_eq!(row, writer.into_inner().expect("memory"));
        }
    }

    #[test]
    fn fields_are_read_as_they_were_quoted(fields in vec((matching("[ab,\"ñ\r\u{feff}]{0,6}"), any::<bool>()), 1..7)) {
        let written = fields.iter().map(|(field, quotes)| {
            let needs_quotes = *quotes || field.contains(['"', ',']);
            if needs_quotes { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.clone() }
        });
        let line = written.collect::<Vec<_>>().join(",");
        let read = Fields::parse(line.as_bytes()).expect("it is RFC 4180");
        prop_assert!(read.0.iter().eq(fields.iter().map(|(field, _)| field)), "{line}: {read:?}");
    }

    #[test]
    fn a_line_that_is_read_is_the_same_to_the_csv_crate(line in matching("[ab,\"ñ\r]{1,12}")) {
        if let Ok(read) = Fields::parse(line.as_bytes()) {
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .terminator(csv::Terminator::Any(b'\n'))
                .from_reader(line.as_bytes());
            let expected = reader.records().next().expect("a record").expect("it is UTF-8");
            prop_assert_eq!(read.0, expected);
        }
    }
}

#[test]
fn every_day_of_two_centuries_is_a_birthdate_and_no_other() {
    let mut days = 0;
    for year in 1890..2110 {
        for month in 0..=13 {
            for day in 0..=32 {
                let text = format!("{year:04}-{month:02}-{day:02}");
                let valid = Bet::new(["Ana", "Paz", "1234567", &text, "1"]).is_ok();
                days += u32::from(valid);
                assert!(!valid || (1900..2100).contains(&year), "{text}");
            }
        }
    }
    // 200 years, of which every fourth is a leap year but 1900.
    assert_eq!(days, 200 * 365 + 49);
}

#[test]
fn an_agency_is_a_plain_number_up_to_their_count() {
    let agencies = Agencies::new(12).expect("12 is a number of agencies");
    for (text, valid) in [
        ("1", true),
        ("12", true),
        ("0", false),
        ("13", false),
        ("01", false),
        ("+1", false),
        ("-1", false),
        ("", false),
        (" 1", false),
        ("1.0", false),
        ("65537", false),
        ("٣", false),
    ] {
        assert_eq!(agencies.parse(text).is_ok(), valid, "{text:?}");
    }
}

#[test]
fn an_error_is_one_line_and_shows_what_was_refused() {
    let invalid = Bet::new(["A|B;\u{7}\u{85}", "Paz", "1234567", "2000-01-01", "1"]);
    let text = invalid.expect_err("it holds delimiters").to_string();
    assert!(text.starts_with("first_name: "), "{text}");
    assert!(text.ends_with("not \"A|B;\\u{7}\\u{85}\""), "{text}");
}
