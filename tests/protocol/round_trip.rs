//! At stake: that text and value are the same thing. What is printed is read as what it was, what is
//! read prints as it was written, no text makes the reader panic, and the quick way that the server has for plain
//! batches decides and stores as the careful one.

use crate::support::peer::{Lottery, Office};
use loteria::bet::{Agencies, AgencyId, Bet};
use loteria::protocol::{Command, ErrorCode, Reply};
use loteria::summary::{AgencyState, AgencySummary, Standing, Summary};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::string::string_regex;

fn cases(cases: u32) -> ProptestConfig {
    // What fails is printed; a file for it would be written outside of the scratch directory.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn agencies() -> Agencies {
    Agencies::new(5).expect("five agencies")
}

fn agency() -> impl Strategy<Value = u16> {
    1..=5_u16
}

/// Text that matches the expression, which is parsed once here. A string that is a strategy by itself is parsed for
/// each value.
fn matching(expression: &str) -> BoxedStrategy<String> {
    string_regex(expression).expect("a regular expression").boxed()
}

fn name() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        8 => matching("[A-Za-z ]"),
        2 => matching("[À-ÿ]"),
        2 => matching("[,\"'.]"),
        1 => matching(r"[^\p{Cc}|;]"),
    ];
    vec(character, 1..=64)
        .prop_map(|characters| characters.concat())
        .prop_filter("not blank", |name| !name.trim().is_empty())
}

fn birthdate() -> impl Strategy<Value = String> {
    (1900..=2099, 1..=12, 1..=28).prop_map(|(y, m, d)| format!("{y}-{m:02}-{d:02}"))
}

prop_compose! {
    fn bet_fields()(
        first in name(),
        last in name(),
        document in matching("[0-9]{7,8}"),
        birthdate in birthdate(),
        number in matching("[0-9]{1,4}"),
    ) -> [String; 5] {
        [first, last, document, birthdate, number]
    }
}

/// Text that is nearly a command: pieces of the protocol, in any order.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => select(vec!["APUESTA", "FINAPUESTA", "GANADORES", "REANUDAR", "ECO", "CONFIRMARAPUESTA", "ERROR"])
            .prop_map(str::to_owned),
        12 => Just("|".to_owned()),
        2 => select(vec!["", " ", "0", "1", "5", "6", "01", "+1", "x", "\u{85}", "\r", "\u{7f}"])
            .prop_map(str::to_owned),
        3 => name(),
        2 => matching("[0-9]{1,9}"),
        2 => birthdate(),
        1 => any::<String>(),
    ];
    vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn a_command_that_is_printed_is_read_as_what_it_was(
        fields in bet_fields(),
        id in agency(),
        text in matching(r"[^\p{Cc}|;]*"),
    ) {
        let agency = AgencyId::new(id).expect("a valid agency");
        let bet = Bet::new(fields.each_ref().map(String::as_str)).expect("a valid bet");
        for command in [
            Command::Bet { agency, bet },
            Command::CloseBatch,
            Command::Winners { agency },
            Command::Resume { agency },
            Command::Echo(&text),
            Command::Status,
        ] {
            let printed = command.to_string();
            prop_assert_eq!(Command::parse(&printed, agencies()), Ok(command));
            prop_assert_eq!(Command::split(&printed).collect::<Vec<_>>(), vec![printed.as_str()]);
        }
    }

    #[test]
    fn a_reply_that_is_printed_is_read_as_what_it_was(
        bets in any::<u64>(),
        documents in vec(matching("[0-9]{7,8}"), 0..50),
        number in matching("[0-9]{1,4}"),
        text in matching(r"[^\p{Cc}|;]*"),
        code in select(ErrorCode::ALL.to_vec()),
        winners in of(any::<u64>()),
        states in vec((any::<u64>(), 0..3_usize), 0..9),
    ) {
        let known = [AgencyState::Open, AgencyState::Finished, AgencyState::Waiting];
        let agency = |(bets, state): (u64, usize)| AgencySummary { bets, state: known[state] };
        let agencies = states.into_iter().map(agency).collect();
        let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
        let last = documents.first().map(|document| ((*document).to_owned(), number.clone()));
        let standing = Standing { bets: if last.is_some() { bets.max(1) } else { 0 }, last };
        for reply in [
            Reply::Stored { bets },
            Reply::Resume(standing),
            Reply::Winners { documents },
            Reply::Echo(&text),
            Reply::Status(Summary { winners, agencies }),
            Reply::Error { code: code.word(), detail: &text },
        ] {
            let printed = reply.to_string();
            prop_assert_eq!(Reply::parse(&printed), Some(reply));
        }
    }

    #[test]
    fn what_is_read_as_a_command_prints_as_it_was_written(text in nearly()) {
        match Command::parse(&text, agencies()) {
            Ok(command) => prop_assert_eq!(command.to_string(), text),
            // And what refuses it can be sent.
            Err(refusal) => {
                let printed = refusal.reply().to_string();
                prop_assert_eq!(Reply::parse(&printed), Some(refusal.reply()));
            }
        }
    }

    #[test]
    fn what_is_read_as_a_reply_prints_as_it_was_written(text in nearly()) {
        if let Some(reply) = Reply::parse(&text) {
            prop_assert_eq!(reply.to_string(), text);
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in any::<String>()) {
        let _command = Command::parse(&text, agencies());
        let _reply = Reply::parse(&text);
    }

    #[test]
    fn every_code_is_found_by_its_word(text in matching("[a-z_0-9]{0,24}")) {
        for code in ErrorCode::ALL {
            prop_assert_eq!(ErrorCode::from_word(code.word()), Some(*code));
        }
        let known = ErrorCode::ALL.iter().any(|code| code.word() == text);
        prop_assert_eq!(ErrorCode::from_word(&text).is_some(), known);
    }
}

/// A bet of agency 1 in which one field may be wrong, or nearly.
fn bet_or_not() -> impl Strategy<Value = String> {
    let wrong = prop_oneof![
        select(vec![
            "",
            " ",
            "0",
            "|",
            "\"",
            ",",
            "\u{85}",
            "\u{7f}",
            "\t",
            "ñ",
            "é\"",
            "10000",
            "2000-02-30"
        ])
        .prop_map(str::to_owned),
        matching("[0-9]{5,10}"),
        matching("[À-ÿ]{60,70}"),
        matching("[A-Za-z]{28,36}"),
        matching("[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    ];
    (bet_fields(), 0..10_usize, wrong).prop_map(|(mut fields, place, wrong)| {
        if let Some(field) = fields.get_mut(place) {
            *field = wrong;
        }
        format!("APUESTA|1|{}", fields.join("|"))
    })
}

#[test]
fn the_quick_way_for_plain_batches_answers_and_stores_as_the_careful_one() {
    let office = Office::start(Lottery::of(5));
    // A line end with a carriage return keeps a message from the quick way.
    let (quick, careful) = (std::cell::RefCell::new(office.agency()), office.agency());
    let careful = std::cell::RefCell::new(careful);
    quick.borrow_mut().says("REANUDAR|1");
    quick.borrow_mut().hears("REANUDAR|0");
    let end = prop_oneof![
        9 => Just("FINAPUESTA"),
        1 => select(vec!["FINAPUESTA;", "FINAPUESTA|", "finapuesta", "", "FINAPUESTA;ECO|a"]),
    ];
    let mut runner = proptest::test_runner::TestRunner::new(cases(600));
    let outcome = runner.run(&(vec(bet_or_not(), 1..6), end), |(bets, end)| {
        let message = format!("{};{end}", bets.join(";"));
        let mut heard = vec![];
        for (agency, line_end) in [(&quick, "\n"), (&careful, "\r\n")] {
            let mut agency = agency.borrow_mut();
            let before = office.bets().len();
            // The careful one has to be the agency's newest connection to be allowed to store.
            agency.says("REANUDAR|1");
            agency.hears_a_line();
            agency.sends(format!("{message}{line_end}FINAPUESTA;ECO|end\n").as_bytes());
            let answers: Vec<String> = std::iter::repeat_with(|| agency.hears_a_line())
                .take_while(|answer| answer != "ECO|end")
                .collect();
            heard.push((answers, office.bets()[before..].to_owned()));
        }
        prop_assert_eq!(&heard[0], &heard[1]);
        Ok(())
    });
    outcome.expect("no difference");
}
