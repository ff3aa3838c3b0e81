//! At stake: that the grammar of `docs/protocol.md`, from which others write clients and servers, is the language that
//! the code reads and writes. Lines of the page's transcripts, and what becomes of them if some characters are changed,
//! are matched with the grammar and parsed by the code.

use crate::page::{PAGE, transcripts};
use crate::support::random::Random;
use crate::support::transcript::Step;
use loteria::bet::Agencies;
use loteria::protocol::{Command, Reply};
use std::collections::BTreeMap;

/// The characters that are written over others.
const OTHERS: [char; 16] =
    ['|', ';', ',', '\r', ' ', '-', '0', '1', '9', 'A', 'a', '_', 'ñ', '\u{7f}', '\u{85}', '\t'];
/// The prose of the grammar.
const CHARACTER: &str = "any Unicode scalar value but \"|\", \";\" and the control characters";

/// A rule of ABNF.
#[derive(Debug)]
enum Rule {
    Text(String),
    Range(char, char),
    Character,
    Named(String),
    Choice(Vec<Rule>),
    Sequence(Vec<Rule>),
    Times(usize, usize, Box<Rule>),
}

struct Grammar(BTreeMap<String, Rule>);

impl Grammar {
    fn of_the_page() -> Grammar {
        let (_, block) = PAGE.split_once("```abnf\n").expect("the page has a grammar");
        let (block, _) = block.split_once("```").expect("it ends");
        let mut rules: BTreeMap<String, Rule> = block
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, rule)| (name.trim().to_owned(), Reader::read(rule)))
            .collect();
        rules.insert("DIGIT".into(), Rule::Range('0', '9'));
        rules.insert("CR".into(), Rule::Text("\r".into()));
        rules.insert("LF".into(), Rule::Text("\n".into()));
        Grammar(rules)
    }

    fn matches(&self, name: &str, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        self.ends(&Rule::Named(name.into()), &text, vec![0]).contains(&text.len())
    }

    /// Returns where a match of `rule` that begins at one of these places can end, each place once.
    fn ends(&self, rule: &Rule, text: &[char], mut from: Vec<usize>) -> Vec<usize> {
        match rule {
            Rule::Text(literal) => {
                let length = literal.chars().count();
                from.retain(|at| text[*at..].iter().copied().take(length).eq(literal.chars()));
                from.iter_mut().for_each(|at| *at += length);
                from
            }
            Rule::Range(first, last) => one(text, from, |c| (*first..=*last).contains(&c)),
            Rule::Character => one(text, from, |c| !matches!(c, '|' | ';') && !c.is_control()),
            Rule::Named(name) => {
                let rule = self.0.get(name).unwrap_or_else(|| panic!("no rule for {name}"));
                self.ends(rule, text, from)
            }
            Rule::Choice(rules) => {
                let ends = rules.iter().flat_map(|rule| self.ends(rule, text, from.clone()));
                each_once(ends.collect())
            }
            Rule::Sequence(rules) => {
                rules.iter().fold(from, |from, rule| self.ends(rule, text, from))
            }
            Rule::Times(least, most, rule) => {
                let mut ends = Vec::new();
                for time in 0..=*most {
                    if time >= *least {
                        ends.extend(&from);
                    }
                    from = self.ends(rule, text, from);
                    if from.is_empty() {
                        break;
                    }
                }
                each_once(ends)
            }
        }
    }
}

/// Returns the places behind one character of this kind.
fn one(text: &[char], mut from: Vec<usize>, is_one: impl Fn(char) -> bool) -> Vec<usize> {
    from.retain(|at| text.get(*at).is_some_and(|c| is_one(*c)));
    from.iter_mut().for_each(|at| *at += 1);
    from
}

fn each_once(mut places: Vec<usize>) -> Vec<usize> {
    places.sort_unstable();
    places.dedup();
    places
}

/// Reads a rule from the left.
struct Reader<'r>(&'r str);

impl<'r> Reader<'r> {
    fn read(text: &'r str) -> Rule {
        let mut reader = Reader(text);
        let rule = reader.choice();
        assert!(reader.0.is_empty() || reader.0.starts_with(';'), "{:?} is not read", reader.0);
        rule
    }

    fn choice(&mut self) -> Rule {
        let mut choices = vec![self.sequence()];
        while self.takes("/") {
            choices.push(self.sequence());
        }
        Rule::Choice(choices)
    }

    fn sequence(&mut self) -> Rule {
        let mut parts = Vec::new();
        while !self.0.is_empty() && !self.0.starts_with(['/', ')', ']', ';']) {
            parts.push(self.repetition());
        }
        Rule::Sequence(parts)
    }

    fn repetition(&mut self) -> Rule {
        let least = self.word(|c| c.is_ascii_digit());
        let is_range = self.0.starts_with('*');
        self.takes("*");
        let most = self.word(|c| c.is_ascii_digit());
        let number = |text: &str, otherwise| text.parse().unwrap_or(otherwise);
        let (least, most) = match (least, is_range) {
            ("", false) => (1, 1),
            (exactly, false) => (number(exactly, 1), number(exactly, 1)),
            (least, true) => (number(least, 0), number(most, usize::MAX - 1)),
        };
        Rule::Times(least, most, Box::new(self.element()))
    }

    fn element(&mut self) -> Rule {
        if self.takes("(") {
            let rule = self.choice();
            assert!(self.takes(")"), "{:?}", self.0);
            rule
        } else if self.takes("[") {
            let rule = self.choice();
            assert!(self.takes("]"), "{:?}", self.0);
            Rule::Times(0, 1, Box::new(rule))
        } else if self.takes("\"") {
            Rule::Text(self.up_to("\"").into())
        } else if self.takes("<") {
            assert_eq!(self.up_to(">"), CHARACTER);
            Rule::Character
        } else if self.takes("%x") {
            let code = |digits| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
            let next = |reader: &mut Self| {
                code(reader.word(|c| c.is_ascii_hexdigit())).expect("a character")
            };
            let first = next(self);
            let last = if self.takes("-") { next(self) } else { first };
            self.takes(" ");
            Rule::Range(first, last)
        } else {
            let name = self.word(|c| c.is_ascii_alphabetic());
            assert!(!name.is_empty(), "{:?} is not read", self.0);
            self.skip_blanks();
            Rule::Named(name.into())
        }
    }

    fn takes(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let rest = self.0.strip_prefix(token);
        self.0 = rest.unwrap_or(self.0);
        if rest.is_some() && !matches!(token, "\"" | "<") {
            self.skip_blanks();
        }
        rest.is_some()
    }

    fn up_to(&mut self, end: &str) -> &'r str {
        let (text, rest) = self.0.split_once(end).expect("it ends");
        self.0 = rest;
        self.skip_blanks();
        text
    }

    fn word(&mut self, is_part: fn(&char) -> bool) -> &'r str {
        self.skip_blanks();
        let bytes = self.0.chars().take_while(is_part).map(char::len_utf8).sum();
        let (word, rest) = self.0.split_at(bytes);
        self.0 = rest;
        word
    }

    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start();
    }
}

/// Messages and replies of the page's transcripts, with their ends, that are not too long to change them often.
fn lines() -> (Vec<String>, Vec<String>) {
    let (mut messages, mut replies) = (Vec::new(), Vec::new());
    for (_, step) in transcripts().into_iter().flat_map(|transcript| transcript.steps) {
        match step {
            Step::Sends { bytes, .. } => messages.extend(String::from_utf8(bytes).ok()),
            Step::Hears { line, .. } => replies.push(line + "\n"),
            _ => {}
        }
    }
    messages.retain(|message| message.len() < 300 && message.ends_with('\n'));
    replies.retain(|reply| reply.len() < 300);
    (messages, replies)
}

/// The lines, and each of them with one to three characters changed, so many times.
fn changed(lines: &[String], times: usize) -> Vec<String> {
    let mut random = Random::new(7);
    let mut all = lines.to_vec();
    for line in lines {
        for _ in 0..times {
            let mut text: Vec<char> = line.trim_end_matches('\n').chars().collect();
            for _ in 0..=random.below(3) {
                let place = random.below(text.len() + 1);
                match random.below(3) {
                    0 => text.insert(place, random.one_of(&OTHERS)),
                    1 if place < text.len() => drop(text.remove(place)),
                    _ if place < text.len() => text[place] = random.one_of(&OTHERS),
                    _ => {}
                }
            }
            all.push(text.into_iter().chain(['\n']).collect());
        }
    }
    all
}

#[test]
fn the_grammar_of_messages_is_that_of_the_code_but_for_what_it_leaves_to_the_text() {
    let (grammar, agencies) = (Grammar::of_the_page(), Agencies::new(10_000).expect("a number"));
    // Days, numbers of agencies and blank names are rules of the text.
    let of_the_text = ["birthdate: ", "agency: ", "must not be blank"];
    let (mut valid, mut invalid) = (0, 0);
    for message in changed(&lines().0, 60) {
        let line = message.trim_end_matches('\n');
        let line = line.strip_suffix('\r').unwrap_or(line);
        let errors = Command::split(line).filter_map(|text| Command::parse(text, agencies).err());
        let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
        if grammar.matches("message", &message) {
            valid += 1;
            let by_text = |error: &String| of_the_text.iter().any(|rule| error.contains(rule));
            assert!(errors.iter().all(by_text), "{message:?}: {errors:?}");
        } else {
            invalid += 1;
            assert!(!errors.is_empty(), "{message:?} is none of the grammar");
        }
    }
    assert!(valid > 500 && invalid > 500, "{valid} valid, {invalid} invalid");
}

#[test]
fn the_grammar_of_replies_is_that_of_the_code() {
    let grammar = Grammar::of_the_page();
    let replies = lines().1;
    for reply in &replies {
        assert!(grammar.matches("reply", reply), "{reply:?} is none of the grammar");
    }
    let (mut valid, mut invalid) = (0, 0);
    for reply in changed(&replies, 20) {
        let parsed = Reply::parse(reply.trim_end_matches('\n'));
        if grammar.matches("reply", &reply) {
            valid += 1;
            // That the agencies of a status are in their order is a rule of the text.
            assert!(parsed.is_some() || reply.starts_with("ESTADO|"), "{reply:?}");
        } else {
            invalid += 1;
            // A client takes any code.
            let is_read = parsed.is_some_and(|reply| !matches!(reply, Reply::Error { .. }));
            assert!(!is_read, "{reply:?} is none of the grammar");
        }
    }
    assert!(valid > 500 && invalid > 500, "{valid} valid, {invalid} invalid");
}

#[test]
fn a_line_that_only_resembles_a_reply_is_none() {
    let grammar = Grammar::of_the_page();
    for line in [
        "CONFIRMARAPUESTA|+1",
        "CONFIRMARAPUESTA|01",
        "REANUDAR|+1|30904465|1",
        "ESTADO|REALIZADO,+1|1,0,TERMINADA",
        "ESTADO|PENDIENTE|1,+1,ABIERTA",
        "ESTADO|PENDIENTE|1,0,ABIERTA,1",
        "ESTADO|PENDIENTE|1,0",
    ] {
        assert!(!grammar.matches("reply", &format!("{line}\n")), "{line} is of the grammar");
        assert_eq!(Reply::parse(line), None, "{line}");
    }
    for agencies in ["2,0,ABIERTA", "1,0,ABIERTA|1,0,ABIERTA", "2,0,ABIERTA|1,0,ABIERTA"] {
        let line = format!("ESTADO|PENDIENTE|{agencies}");
        assert_eq!(Reply::parse(&line), None, "{line}: the agencies are in their order");
    }
}
