//! At stake: that nothing of a batch with an error is stored, over however many messages it comes, that it
//! is answered once, and that no other batch is taken for a part of it. Conversations that follow from a
//! seed are compared with a model of the rule on the page, *Refused up to its end*.

use crate::support::peer::{Lottery, Office};
use crate::support::random::Random;
use crate::support::transcript::plays;
use std::fmt::Write;

#[test]
fn the_rest_of_a_batch_with_an_error_is_dropped_up_to_its_end_which_is_not_answered() {
    plays(
        r"
        1> [1 30904461]
        1> [1 30904462 x]
        1> [1 30904463];[1 30904464 x];ECO|open
        1> [1 30904465];FINAPUESTA
        1> [1 30904466];FINAPUESTA
        1< ERROR|invalid_bet|bet 2: …
        1< ECO|open
        1< CONFIRMARAPUESTA|1
        stored documents: 30904466
        ",
    );
}

#[test]
fn whatever_the_error_is_the_batch_is_refused_and_only_its_end_ends_it() {
    for wrong in [
        "",
        "HOLA",
        "ECO",
        "ECO|\u{7f}",
        "GANADORES|1",
        "REANUDAR|1",
        "GANADORES|9",
        "[2 30904469]",
    ] {
        plays(&format!(
            "1> [1 30904461]
            1> {wrong}
            1< ERROR|…
            1> [1 30904462];ESTADO|1;[1 30904463]
            1< ERROR|field_count|…
            1> REANUDAR|1
            1< ERROR|open_batch|a batch that was refused is open up to its end
            1> FINAPUESTA;FINAPUESTA
            1< CONFIRMARAPUESTA|0
            stored: 0"
        ));
    }
}

#[test]
fn what_is_not_executed_of_a_message_is_no_beginning_of_a_batch() {
    plays(
        r"
        1> HOLA;[1 30904461]
        1< ERROR|unknown_command|…
        1> [1 30904462];FINAPUESTA\r
        1> [1 30904463 x];FINAPUESTA;[1 30904464]
        1< ERROR|invalid_bet|…
        1> [1 30904465];FINAPUESTA;[1 30904466]
        1> FINAPUESTA
        1< CONFIRMARAPUESTA|1
        1> [1 30904467];FINAPUESTA|1
        1< ERROR|field_count|…
        1> [1 30904468];FINAPUESTA
        1< CONFIRMARAPUESTA|1
        stored documents: 30904466 30904468
        ",
    );
}

/// What the page says, of agency 1 alone.
#[derive(Default)]
struct Model {
    stored: Vec<String>,
    open: Vec<String>,
    refused: bool,
    heard: String,
}

impl Model {
    /// Hears a message; each command is a word or a bet, which is its document.
    fn hears(&mut self, commands: &[String]) {
        for (place, command) in commands.iter().enumerate() {
            if let Err(code) = self.executes(command) {
                writeln!(self.heard, "ERROR|{code}").expect("a string");
                self.refused |= !self.open.is_empty();
                self.open.clear();
                for command in &commands[place..] {
                    match command.split('|').next() {
                        Some("APUESTA") => self.refused = true,
                        Some("FINAPUESTA") => self.refused = false,
                        _ => {}
                    }
                }
                return;
            }
        }
    }

    fn executes(&mut self, command: &str) -> Result<(), &'static str> {
        let fields: Vec<&str> = command.split('|').collect();
        match fields[..] {
            ["APUESTA", ..] if self.refused => {}
            ["FINAPUESTA", ..] if self.refused => self.refused = false,
            ["APUESTA", "1", _, _, document, "1999-03-17", "7"] => {
                self.open.push(document.to_owned())
            }
            ["APUESTA", "2", ..] => return Err("wrong_agency"),
            ["APUESTA", _, _] | ["FINAPUESTA", _] => return Err("field_count"),
            ["APUESTA", ..] => return Err("invalid_bet"),
            ["FINAPUESTA"] => {
                writeln!(self.heard, "CONFIRMARAPUESTA|{}", self.open.len()).expect("a string");
                self.stored.append(&mut self.open);
            }
            ["REANUDAR", _] if self.refused || !self.open.is_empty() => return Err("open_batch"),
            ["REANUDAR", _] => {
                let (count, last) = (self.stored.len(), self.stored.last());
                let last = last.map(|document| format!("|{document}|7")).unwrap_or_default();
                writeln!(self.heard, "REANUDAR|{count}{last}").expect("a string");
            }
            ["ECO", _] => writeln!(self.heard, "{command}").expect("a string"),
            [""] => return Err("empty_command"),
            _ => return Err("unknown_command"),
        }
        Ok(())
    }
}

fn command(random: &mut Random, document: &mut u32) -> String {
    *document += 1;
    match random.below(16) {
        0..=6 => format!("APUESTA|1|Ana|Paz|{document}|1999-03-17|7"),
        7 => format!("APUESTA|1|Ana|Paz|{document}|1999-02-29|7"),
        8 => format!("APUESTA|2|Ana|Paz|{document}|1999-03-17|7"),
        9 => "APUESTA|1|Ana".to_owned(),
        10 => random.one_of(&["HOLA", "", "FINAPUESTA|1"]).to_owned(),
        11 => "REANUDAR|1".to_owned(),
        12 => format!("ECO|{document}"),
        _ => "FINAPUESTA".to_owned(),
    }
}

#[test]
fn a_thousand_conversations_with_errors_go_as_the_model_of_the_page_says() {
    let office = Office::start(Lottery::of(5));
    let (mut model, mut document) = (Model::default(), 30_000_000);
    for seed in 0..1_000 {
        let mut random = Random::new(seed);
        let mut messages = vec![vec!["REANUDAR|1".to_owned()]];
        for _ in 0..random.below(12) {
            let count = 1 + random.below(5);
            messages.push((0..count).map(|_| command(&mut random, &mut document)).collect());
        }
        let mut sent = String::new();
        for commands in &messages {
            model.hears(commands);
            let end = random.one_of(&["\n", "\n", "\r\n"]);
            write!(sent, "{}{end}", commands.join(";")).expect("a string");
        }
        let expected = std::mem::take(&mut model.heard);
        (model.open, model.refused) = (Vec::new(), false);
        let mut agency = office.agency();
        // In two pieces, cut anywhere.
        let (first, second) = sent.as_bytes().split_at(random.below(sent.len()));
        agency.sends(first);
        agency.sends(second);
        agency.says_no_more();
        let heard = String::from_utf8(agency.rest()).expect("text");
        let heard = heard.lines().map(|line| match line.strip_prefix("ERROR|") {
            Some(error) => format!("ERROR|{}\n", error.split('|').next().unwrap_or_default()),
            None => format!("{line}\n"),
        });
        assert_eq!(heard.collect::<String>(), expected, "seed {seed}, sent:\n{sent}");
    }
    let stored = office.bets();
    let stored: Vec<&str> = stored.lines().filter_map(|line| line.split(',').nth(3)).collect();
    assert!(stored.len() > 1_000, "{} bets stored", stored.len());
    assert_eq!(stored, model.stored);
}
