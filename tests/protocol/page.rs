//! At stake: that `docs/protocol.md`, which others implement, is what this server does. Every transcript of the page
//! is played: as it stands, with each byte sent by itself, and, where there is one connection, all at
//! once and in two pieces cut at every place. Its tables are compared with the code's.

use crate::support::peer::{Agency, Lottery, Office};
use loteria::bet::{AGENCIES_MAX, NAME_CHARS_MAX, NUMBER_MAX};
use loteria::connection::{DRAIN_BYTES_MAX, DRAIN_TIME_MAX};
use loteria::protocol::{Effect, ErrorCode, MESSAGE_BYTES_MAX};
use loteria::server::REFUSALS_MAX;
use loteria::session::BATCH_BYTES_MAX;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;
use std::time::Duration;

const PAGE: &str = include_str!("../../docs/protocol.md");

/// Streams up to this long are cut at every place, longer ones at this many.
const CUTS_MAX: usize = 1500;

#[derive(Debug)]
struct Transcript {
    /// The line of the page that it begins at.
    line: usize,
    lottery: Lottery,
    steps: Vec<(usize, Step)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Sends { connection: u32, bytes: Vec<u8> },
    Hears { connection: u32, line: String },
    Connects(u32),
    SaysNoMore(u32),
    Ends(u32),
    Leaves(u32),
    Stored(usize),
    Stops,
    Restarts,
}

fn transcripts() -> Vec<Transcript> {
    let mut lines = PAGE.lines().zip(1..);
    let mut transcripts = vec![];
    while let Some((line, number)) = lines.next() {
        if line == "```transcript" {
            let block: Vec<_> = lines.by_ref().take_while(|(line, _)| *line != "```").collect();
            let (first, steps) = block.split_first().expect("a transcript has lines");
            transcripts.push(Transcript {
                line: number,
                lottery: lottery(first.0),
                steps: steps.iter().map(|(line, number)| (*number, step(line))).collect(),
            });
        }
    }
    transcripts
}

/// `lottery: 2 agencies, winning number 7574, message timeout 300 ms, at most 9 connections`.
fn lottery(line: &str) -> Lottery {
    let description = line.strip_prefix("lottery: ").expect("a transcript begins with its lottery");
    let mut lottery = Lottery::of(1);
    for part in description.split(", ") {
        let number = part.split(' ').find_map(|word| word.parse::<u16>().ok());
        let number = number.unwrap_or_else(|| panic!("no number in {part:?}"));
        match part.split(' ').next() {
            Some("winning") => lottery.winning_number = number,
            Some("message") => lottery.message_timeout = Duration::from_millis(number.into()),
            Some("at") => lottery.max_connections = number.into(),
            _ if part.contains("agenc") => lottery.agencies = number,
            _ => panic!("{part:?} is not in the notation"),
        }
    }
    lottery
}

fn step(line: &str) -> Step {
    match line {
        "the server stops" => return Step::Stops,
        "the server restarts" => return Step::Restarts,
        _ => {}
    }
    if let Some(count) = line.strip_prefix("stored: ") {
        return Step::Stored(count.parse().expect("a count"));
    }
    let digits = line.find(|c: char| !c.is_ascii_digit()).expect("a connection and what it does");
    let connection = line[..digits].parse().unwrap_or_else(|_| panic!("{line:?}: no connection"));
    let (what, text) = line[digits..].split_once(' ').unwrap_or((&line[digits..], ""));
    match (what, text) {
        (">", text) => {
            let mut bytes = expand(text, true);
            bytes.push(b'\n');
            Step::Sends { connection, bytes }
        }
        (">>", text) => Step::Sends { connection, bytes: expand(text, true) },
        ("<", text) => {
            let line = String::from_utf8(expand(text, false)).expect("replies are UTF-8");
            Step::Hears { connection, line }
        }
        ("", "connects") => Step::Connects(connection),
        ("", "says no more") => Step::SaysNoMore(connection),
        ("", "ends") => Step::Ends(connection),
        ("", "leaves") => Step::Leaves(connection),
        _ => panic!("{line:?} is not in the notation"),
    }
}

/// Makes bytes of `\r`, `\xFF`, where these are meant, and `(x*5)`.
fn expand(text: &str, escapes: bool) -> Vec<u8> {
    let mut bytes = vec![];
    let mut rest = text.chars().peekable();
    let mut encoded = [0; 4];
    while let Some(c) = rest.next() {
        match c {
            '\\' if escapes => bytes.push(escape(&mut rest)),
            '(' => {
                let repeated = rest.next().expect("what is repeated");
                assert_eq!(rest.next(), Some('*'), "in {text:?}");
                let count: String = rest.by_ref().take_while(|c| *c != ')').collect();
                let count = count.parse().expect("how often it is repeated");
                bytes.extend(repeated.encode_utf8(&mut encoded).repeat(count).bytes());
            }
            c => bytes.extend(c.encode_utf8(&mut encoded).bytes()),
        }
    }
    bytes
}

fn escape(rest: &mut Peekable<Chars<'_>>) -> u8 {
    match rest.next() {
        Some('r') => b'\r',
        Some('x') => {
            let digits: String = rest.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16).expect("two hexadecimal digits")
        }
        other => panic!("\\{other:?} is not in the notation"),
    }
}

/// The connections of a transcript as they are made.
struct Play<'t> {
    transcript: &'t Transcript,
    office: Option<Office>,
    connections: BTreeMap<u32, Agency>,
}

impl<'t> Play<'t> {
    fn new(transcript: &'t Transcript) -> Play<'t> {
        let office = Some(Office::start(transcript.lottery));
        Play { transcript, office, connections: BTreeMap::new() }
    }

    fn office(&mut self) -> &mut Office {
        self.office.as_mut().expect("it is there until the end")
    }

    fn connection(&mut self, number: u32) -> &mut Agency {
        let office = self.office.as_ref().expect("it is there until the end");
        self.connections.entry(number).or_insert_with(|| office.agency())
    }

    /// Plays it as it stands; `send` says how bytes are sent.
    fn run(mut self, send: fn(&mut Agency, &[u8])) {
        for (line, step) in &self.transcript.steps {
            self.office().note(format!("docs/protocol.md:{line}:"));
            match step {
                Step::Sends { connection, bytes } => send(self.connection(*connection), bytes),
                Step::Hears { connection, line } => self.connection(*connection).hears(line),
                Step::Connects(connection) => drop(self.connection(*connection).stream()),
                Step::SaysNoMore(connection) => self.connection(*connection).says_no_more(),
                Step::Ends(connection) => self.connection(*connection).hears_the_end(),
                Step::Leaves(connection) => {
                    let agency = self.connections.remove(connection).expect("it has connected");
                    agency.leaves();
                }
                Step::Stored(bets) => self.office().has_stored_count(*bets),
                Step::Stops => self.office().stop(),
                Step::Restarts => self.office().restart(),
            }
        }
        self.nothing_is_left_unsaid();
    }

    /// Ends every connection and hears that the page has told all answers.
    fn nothing_is_left_unsaid(self) {
        let ended = |connection: &u32| {
            let steps = self.transcript.steps.iter();
            steps.clone().any(|(_, step)| *step == Step::Ends(*connection))
        };
        let before_a_restart = |connection: &u32| {
            let steps: Vec<&Step> = self.transcript.steps.iter().map(|(_, step)| step).collect();
            let last = steps.iter().rposition(|step| **step == Step::Restarts);
            let first = steps.iter().position(|step| match step {
                Step::Sends { connection: sender, .. } => sender == connection,
                _ => false,
            });
            last.is_some_and(|last| first.is_none_or(|first| first < last))
        };
        for (number, agency) in self.connections {
            if !ended(&number) && !before_a_restart(&number) {
                let says_no_more = Step::SaysNoMore(number);
                if !self.transcript.steps.iter().any(|(_, step)| *step == says_no_more) {
                    agency.leaves();
                }
            }
        }
    }

    /// Plays what its one connection says at once, cut in two, and then hears all answers.
    fn run_cut(mut self, stream: &[u8], cut: usize) {
        let steps = &self.transcript.steps;
        let agency = self.connection(1);
        agency.sends(&stream[..cut]);
        if cut < stream.len() {
            // So that the two mostly arrive apart. It makes no difference to what is right.
            std::thread::sleep(Duration::from_micros(100));
            agency.sends(&stream[cut..]);
        }
        if steps.iter().any(|(_, step)| *step == Step::SaysNoMore(1)) {
            agency.says_no_more();
        }
        for (_, step) in steps {
            match step {
                Step::Hears { line, .. } => agency.hears(line),
                Step::Ends(_) => agency.hears_the_end(),
                _ => {}
            }
        }
        let stored = steps.iter().rev().find_map(|(_, step)| match step {
            Step::Stored(bets) => Some(*bets),
            _ => None,
        });
        if let Some(bets) = stored {
            self.office().has_stored_count(bets);
        }
        self.nothing_is_left_unsaid();
    }
}

impl Transcript {
    /// All that is sent, where one connection sends it and nothing but what it says decides what
    /// happens.
    fn stream(&self) -> Option<Vec<u8>> {
        let mut stream = vec![];
        for (_, step) in &self.steps {
            match step {
                Step::Sends { connection: 1, bytes } => stream.extend(bytes),
                Step::Hears { connection: 1, line } if line.starts_with("ERROR|timed_out|") => {
                    return None;
                }
                Step::Hears { connection: 1, .. } | Step::Stored(_) => {}
                Step::SaysNoMore(1) | Step::Ends(1) => {}
                _ => return None,
            }
        }
        Some(stream)
    }
}

#[test]
fn every_transcript_is_what_happens() {
    let transcripts = transcripts();
    assert!(transcripts.len() >= 20, "only {} transcripts are found", transcripts.len());
    for transcript in &transcripts {
        Play::new(transcript).run(|agency, bytes| agency.sends(bytes));
    }
}

#[test]
fn every_transcript_is_what_happens_where_each_byte_is_sent_by_itself() {
    for transcript in &transcripts() {
        Play::new(transcript).run(|agency, bytes| {
            bytes.iter().for_each(|byte| agency.sends(std::slice::from_ref(byte)));
        });
    }
}

#[test]
fn every_transcript_of_one_connection_is_what_happens_where_it_is_sent_in_two_pieces() {
    let transcripts = transcripts();
    let streams: Vec<(&Transcript, Vec<u8>)> = transcripts
        .iter()
        .filter_map(|transcript| Some((transcript, transcript.stream()?)))
        .collect();
    assert!(streams.len() >= 12, "only {} transcripts have one connection", streams.len());
    let cuts: Vec<_> = streams
        .iter()
        .flat_map(|(transcript, stream)| {
            let apart = stream.len().div_ceil(CUTS_MAX);
            let cuts = (1..=stream.len()).rev().step_by(apart);
            cuts.map(move |cut| (*transcript, stream.as_slice(), cut))
        })
        .collect();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for share in cuts.chunks(cuts.len().div_ceil(workers)) {
            scope.spawn(move || {
                for (transcript, stream, cut) in share {
                    let line = transcript.line;
                    let mut play = Play::new(transcript);
                    play.office().note(format!("docs/protocol.md:{line}: cut after {cut} bytes"));
                    play.run_cut(stream, *cut);
                }
            });
        }
    });
}

/// The cells of the table's rows in the section with this heading.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE.split_once(&format!("\n## {heading}\n")).expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    section
        .lines()
        .filter(|line| line.starts_with("| ") || line.starts_with("|`"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .skip(1)
        .collect()
}

#[test]
fn the_table_of_errors_has_every_code_and_its_effect_in_order() {
    let effect = |code: &ErrorCode| match code.effect() {
        Effect::Continues => "continues",
        Effect::Closes => "closes",
    };
    let expected: Vec<_> =
        ErrorCode::ALL.iter().map(|code| (format!("`{}`", code.word()), effect(code))).collect();
    let rows = rows("Errors");
    let found: Vec<_> = rows.iter().map(|row| (row[0].to_owned(), row[2])).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_table_of_bounds_has_the_bounds_of_the_code() {
    let found: BTreeMap<&str, &str> =
        rows("Bounds").into_iter().map(|row| (row[0], row[1])).collect();
    let message = format!("{MESSAGE_BYTES_MAX} bytes");
    for (what, bound) in [
        ("message, its `\\n` included", message.clone()),
        ("reply but for the winners and the status, its `\\n` included", message),
        ("open batch, as lines of `bets.csv`", format!("{BATCH_BYTES_MAX} bytes")),
        ("first name, last name", format!("{NAME_CHARS_MAX} characters")),
        ("number", NUMBER_MAX.to_string()),
        ("agencies", AGENCIES_MAX.to_string()),
        (
            "connections that may hear at the same time that they are one too many",
            REFUSALS_MAX.to_string(),
        ),
        ("draining", format!("{} second, {DRAIN_BYTES_MAX} bytes", DRAIN_TIME_MAX.as_secs())),
    ] {
        assert_eq!(found.get(what), Some(&bound.as_str()), "{what}");
    }
}

#[test]
fn every_word_of_a_reply_and_every_code_that_can_be_shown_is_shown() {
    // Where a disk has to fail, a batch be long, a race be won or TLS be spoken, a transcript cannot show it.
    let elsewhere = [
        ErrorCode::StorageFailed,
        ErrorCode::BatchTooLong,
        ErrorCode::Superseded,
        ErrorCode::TlsRequired,
    ];
    let heard: Vec<String> = transcripts()
        .into_iter()
        .flat_map(|transcript| transcript.steps)
        .filter_map(|(_, step)| match step {
            Step::Hears { line, .. } => Some(line),
            _ => None,
        })
        .collect();
    let shown = |prefix: &str| heard.iter().any(|line| line.starts_with(prefix));
    for word in ["CONFIRMARAPUESTA|", "GANADORES|", "REANUDAR|", "ECO|", "ESTADO|"] {
        assert!(shown(word), "no transcript has the reply {word}");
    }
    for code in ErrorCode::ALL.iter().filter(|code| !elsewhere.contains(code)) {
        assert!(shown(&format!("ERROR|{}|", code.word())), "no transcript has {}", code.word());
    }
}
