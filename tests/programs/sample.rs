//! At stake: that what the programs are tried with is as varied as what agencies write, and that what
//! should come of it is worked out without the code under test.

use crate::support::program::Scratch;
use std::collections::BTreeMap;

/// The number that wins unless somebody says otherwise.
pub(crate) const WINNING_NUMBER: &str = "7574";

/// First name, last name, document, birthdate, number.
pub(crate) type Bet = [String; 5];

/// How an agency writes its file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Lf,
    Crlf,
    /// The last line has none.
    LfBetween,
}

/// `count` bets of an agency, all different; every seventh wins.
pub(crate) fn bets(agency: usize, count: usize) -> Vec<Bet> {
    (0..count).map(|place| bet(agency, place)).collect()
}

fn bet(agency: usize, place: usize) -> Bet {
    let (first_name, last_name) = match place % 9 {
        0 => ("Santiago Lionel", "Lorca"),
        1 => ("José María", "Ñáñez"),
        2 => ("Ana", "Pérez, hija"),
        3 => ("María \"la\" Única", "O'Higgins"),
        4 => ("Łukasz", "Žižek"),
        5 => ("李", "小龍"),
        6 => ("Ünal-Ödön", "d'Été y Gómez"),
        7 => (" Blanca", "de la Torre "),
        _ => ("X", "Y"),
    };
    let document =
        if place.is_multiple_of(5) { 1_000_000 } else { 30_000_000 } + agency * 10_000 + place;
    let birthdate = format!("{}-{:02}-{:02}", 1930 + place % 90, 1 + place % 12, 1 + place % 28);
    let number = match place {
        place if place % 7 == 3 => WINNING_NUMBER.to_owned(),
        place if place % 7 == 4 => format!("{:04}", place % 10),
        place => (place * 31 % 7000).to_string(),
    };
    [first_name.into(), last_name.into(), document.to_string(), birthdate, number]
}

pub(crate) fn csv(bets: &[Bet], ends: Ends) -> String {
    let terminator =
        if ends == Ends::Crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
    let mut writer = csv::WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
    for bet in bets {
        writer.write_record(bet).expect("a vector takes all");
    }
    let bytes = writer.into_inner().expect("a vector takes all");
    let mut text = String::from_utf8(bytes).expect("it was made of text");
    if ends == Ends::LfBetween {
        text.pop();
    }
    text
}

/// Five agencies' files in `agencies`, each written in its own way; the fourth is empty.
pub(crate) fn five_agencies(scratch: &Scratch) -> Vec<Vec<Bet>> {
    let kinds = [
        (60, Ends::Lf),
        (41, Ends::Crlf),
        (53, Ends::LfBetween),
        (0, Ends::Lf),
        (1, Ends::LfBetween),
    ];
    let mut agencies = Vec::new();
    for (agency, (count, ends)) in (1..).zip(kinds) {
        let bets = bets(agency, count);
        scratch.write(&format!("agencies/agency-{agency}.csv"), csv(&bets, ends));
        agencies.push(bets);
    }
    agencies
}

/// The bets in `bets.csv`, agency by agency, each in their order.
pub(crate) fn stored(scratch: &Scratch) -> BTreeMap<usize, Vec<Bet>> {
    stored_in(&scratch.read("bets.csv"))
}

pub(crate) fn stored_in(text: &str) -> BTreeMap<usize, Vec<Bet>> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let mut stored: BTreeMap<usize, Vec<Bet>> = BTreeMap::new();
    for record in reader.records() {
        let record = record.expect("any CSV reader reads it");
        assert_eq!(record.len(), 6, "{record:?}");
        let agency = record[0].parse().expect("an agency is a number");
        let bet = std::array::from_fn(|field| record[field + 1].to_owned());
        stored.entry(agency).or_default().push(bet);
    }
    stored
}

/// `bets.csv` holds every line of every file once, in order.
#[track_caller]
pub(crate) fn assert_all_stored(scratch: &Scratch, agencies: &[Vec<Bet>]) {
    assert_all_stored_in(scratch, "bets.csv", agencies);
}

/// As [`assert_all_stored`], of a file of another name.
#[track_caller]
pub(crate) fn assert_all_stored_in(scratch: &Scratch, name: &str, agencies: &[Vec<Bet>]) {
    let stored = stored_in(&scratch.read(name));
    for (agency, bets) in (1..).zip(agencies) {
        let of_agency = stored.get(&agency).map_or(&[][..], Vec::as_slice);
        assert!(of_agency == bets, "agency {agency}: {} of {}", of_agency.len(), bets.len());
    }
    let all: usize = stored.values().map(Vec::len).sum();
    assert_eq!(all, agencies.iter().map(Vec::len).sum::<usize>());
}

/// What the client of `agency` should print.
pub(crate) fn winners(agency: usize, bets: &[Bet]) -> Vec<String> {
    let winning: u16 = WINNING_NUMBER.parse().expect("a number");
    let won = bets.iter().filter(|bet| bet[4].parse() == Ok(winning));
    won.map(|bet| format!("{agency},{}\n", bet[2])).collect()
}

/// What the clients of all agencies should print, sorted.
pub(crate) fn all_winners(agencies: &[Vec<Bet>]) -> Vec<String> {
    let each = (1..).zip(agencies).flat_map(|(agency, bets)| winners(agency, bets));
    let mut winners: Vec<String> = each.collect();
    winners.sort();
    winners
}
