//! The notation of `docs/protocol.md` as a language for tests. A transcript is played as it stands, with each byte
//! sent by itself, and, if it has one connection, all at once and in two pieces. These are cut beside every delimiter and
//! at some places between, and with `LOTERIA_EVERY_CUT=1` at every place.
//!
//! Tests have a little more than the page, which [`plays`] explains.

use super::peer::{Agency, Lottery, Office};
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;
use std::time::Duration;

/// The bytes beside which a stream is cut in any case.
const DELIMITERS: &[u8] = b"|;\r\n";
/// Of the other places every fifth is cut, and at most this many.
const OTHER_PLACES: usize = 5;
const OTHER_CUTS_MAX: usize = 60;

#[derive(Debug)]
pub(crate) struct Transcript {
    lottery: Lottery,
    /// Each with the line that it stands at, in the words of a failure.
    pub(crate) steps: Vec<(String, Step)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Sends { connection: u32, bytes: Vec<u8> },
    Hears { connection: u32, line: String },
    Connects(u32),
    SaysNoMore(u32),
    Ends(u32),
    Leaves(u32),
    IsLost(u32),
    Waits(usize),
    Stored(usize),
    StoredDocuments(Vec<String>),
    Held(bool),
    Stops,
    Restarts,
}

/// Plays a transcript in every way. Beyond the page's notation
///
/// * the lottery need not be told: then it has five agencies, and 7574 wins;
/// * `[1 30904461]` is a whole `APUESTA` of agency 1 with this document, and with `[1 30904461 75]` it is on this number;
/// * a `…` that ends what is heard stands for anything;
/// * `1 is lost` ends connection 1 both ways;
/// * `stored documents: 30904461 30904462` are the documents in `bets.csv`, in their order;
/// * `the draw is held` and `the draw is not held` look for `sorteo.toml`.
#[track_caller]
pub(crate) fn plays(text: &str) {
    let lines = text.lines().map(str::trim_start).zip(1..).filter(|(line, _)| !line.is_empty());
    let lines = lines.map(|(line, number)| (line, format!("line {number}")));
    let transcript = Transcript::new(lines);
    transcript.plays_as_it_stands();
    transcript.plays_byte_by_byte();
    play_cut(&[transcript]);
}

impl Transcript {
    /// Reads one, of lines and the places that they are from.
    #[track_caller]
    pub(crate) fn new<'l>(lines: impl Iterator<Item = (&'l str, String)>) -> Transcript {
        let mut lines = lines.peekable();
        let lottery = lines.next_if(|(line, _)| line.starts_with("lottery: "));
        Transcript {
            lottery: lottery.map_or(Lottery::of(5), |(line, _)| lottery_of(line)),
            steps: lines.map(|(line, place)| (place, step(line))).collect(),
        }
    }

    pub(crate) fn plays_as_it_stands(&self) {
        self.plays(|agency, bytes| agency.sends(bytes));
    }

    pub(crate) fn plays_byte_by_byte(&self) {
        self.plays(|agency, bytes| {
            bytes.iter().for_each(|byte| agency.sends(std::slice::from_ref(byte)));
        });
    }

    fn plays(&self, send: fn(&mut Agency, &[u8])) {
        Play::new(self, Office::start(self.lottery)).run(send);
    }

    /// Returns all that is sent, if one connection sends it and nothing but what it says decides what
    /// happens.
    pub(crate) fn stream(&self) -> Option<Vec<u8>> {
        let mut stream = vec![];
        for (_, step) in &self.steps {
            match step {
                Step::Sends { connection: 1, bytes } => stream.extend(bytes),
                Step::Hears { connection: 1, line } if line.starts_with("ERROR|timed_out|") => {
                    return None;
                }
                Step::Hears { connection: 1, .. } | Step::SaysNoMore(1) | Step::Ends(1) => {}
                Step::Stored(_) | Step::StoredDocuments(_) | Step::Held(_) => {}
                _ => return None,
            }
        }
        Some(stream)
    }
}

/// Plays those that have one connection all at once and in two pieces.
pub(crate) fn play_cut(transcripts: &[Transcript]) {
    let streams =
        transcripts.iter().filter_map(|transcript| Some((transcript, transcript.stream()?)));
    let cuts: Vec<_> = streams
        .flat_map(|(transcript, stream)| {
            let cuts = cuts_of(&stream);
            cuts.into_iter().map(move |cut| (transcript, stream.clone(), cut))
        })
        .collect();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for share in cuts.chunks(cuts.len().div_ceil(workers).max(1)) {
            scope.spawn(move || {
                for (transcript, stream, cut) in share {
                    let office = Office::start_over_empty_files(transcript.lottery);
                    Play::new(transcript, office).run_cut(stream, *cut);
                }
            });
        }
    });
}

/// Returns the places at which a stream is cut. Its end is one.
fn cuts_of(stream: &[u8]) -> Vec<usize> {
    let places = 1..=stream.len();
    if std::env::var("LOTERIA_EVERY_CUT").is_ok() {
        return places.collect();
    }
    let is_beside = |place: &usize| {
        *place == stream.len()
            || stream[place - 1..=*place].iter().any(|byte| DELIMITERS.contains(byte))
    };
    let (mut cuts, others): (Vec<_>, Vec<_>) = places.partition(is_beside);
    let apart = others.len().div_ceil(OTHER_CUTS_MAX).max(OTHER_PLACES);
    cuts.extend(others.into_iter().step_by(apart));
    cuts
}

/// Reads `lottery: 2 agencies, winning number 7574, message timeout 300 ms, at most 9 connections`.
fn lottery_of(line: &str) -> Lottery {
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

#[track_caller]
fn step(line: &str) -> Step {
    match line {
        "the server stops" => return Step::Stops,
        "the server restarts" => return Step::Restarts,
        "the draw is held" => return Step::Held(true),
        "the draw is not held" => return Step::Held(false),
        _ => {}
    }
    if let Some(count) = line.strip_prefix("stored: ") {
        return Step::Stored(count.parse().expect("a count"));
    }
    if let Some(documents) = line.strip_prefix("stored documents:") {
        return Step::StoredDocuments(documents.split_whitespace().map(str::to_owned).collect());
    }
    if let Some(agency) = line.strip_prefix("agency ").and_then(|rest| rest.strip_suffix(" waits"))
    {
        return Step::Waits(agency.parse().expect("an agency"));
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
        ("", "is lost") => Step::IsLost(connection),
        _ => panic!("{line:?} is not in the notation"),
    }
}

/// Makes bytes of `\r`, `\xFF` and `[1 30904461]`, where these are meant, and of `(x*5)`.
fn expand(text: &str, is_sent: bool) -> Vec<u8> {
    let mut bytes = vec![];
    let mut rest = text.chars().peekable();
    let mut encoded = [0; 4];
    while let Some(c) = rest.next() {
        match c {
            '\\' if is_sent => bytes.push(escape(&mut rest)),
            '[' if is_sent => {
                let bet: String = rest.by_ref().take_while(|c| *c != ']').collect();
                bytes.extend(bet_of(&bet).bytes());
            }
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

/// Makes a bet of an agency, a document and maybe a number.
fn bet_of(text: &str) -> String {
    let mut parts = text.split(' ');
    let (agency, document) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("APUESTA|{agency}|Ana|Paz|{document}|1999-03-17|{}", parts.next().unwrap_or("1234"))
}

/// The connections of a transcript as they are made.
struct Play<'t> {
    transcript: &'t Transcript,
    office: Office,
    connections: BTreeMap<u32, Agency>,
}

impl<'t> Play<'t> {
    fn new(transcript: &'t Transcript, office: Office) -> Play<'t> {
        Play { transcript, office, connections: BTreeMap::new() }
    }

    fn connection(&mut self, number: u32) -> &mut Agency {
        self.connections.entry(number).or_insert_with(|| self.office.agency())
    }

    fn has(&self, step: &Step) -> bool {
        self.transcript.steps.iter().any(|(_, other)| other == step)
    }

    /// Plays it as it stands; `send` says how bytes are sent.
    fn run(mut self, send: fn(&mut Agency, &[u8])) {
        for (place, step) in &self.transcript.steps {
            self.office.note(format!("{place}:"));
            match step {
                Step::Sends { connection, bytes } => {
                    let connection = self.connection(*connection);
                    send(connection, bytes);
                    if !bytes.ends_with(b"\n") {
                        connection.sees_all_read();
                    }
                }
                Step::Hears { connection, line } => hears(self.connection(*connection), line),
                Step::Connects(connection) => drop(self.connection(*connection).stream()),
                Step::SaysNoMore(connection) => self.connection(*connection).says_no_more(),
                Step::Ends(connection) => self.connection(*connection).hears_the_end(),
                Step::Leaves(connection) => {
                    let agency = self.connections.remove(connection).expect("it has connected");
                    agency.leaves();
                }
                Step::IsLost(connection) => {
                    self.connections.remove(connection).expect("it has connected").hangs_up();
                }
                Step::Waits(agency) => self.office.agency_waits(*agency),
                Step::Stops => self.office.stop(),
                Step::Restarts => self.office.restart(),
                Step::Stored(_) | Step::StoredDocuments(_) | Step::Held(_) => self.look(step),
            }
        }
        self.nothing_is_left_unsaid();
    }

    /// Plays what its one connection says at once, cut in two, and then hears all answers.
    fn run_cut(mut self, stream: &[u8], cut: usize) {
        let steps = &self.transcript.steps;
        let (first, says_no_more) = (&steps[0].0, self.has(&Step::SaysNoMore(1)));
        self.office.note(format!("{first}: cut after {cut} bytes"));
        let agency = self.connection(1);
        agency.sends(&stream[..cut]);
        if cut < stream.len() {
            // So that the two mostly arrive apart. It makes no difference to what is right.
            std::thread::sleep(Duration::from_micros(100));
            agency.sends(&stream[cut..]);
        }
        if says_no_more {
            agency.says_no_more();
        }
        for (_, step) in steps {
            match step {
                Step::Hears { line, .. } => hears(agency, line),
                Step::Ends(_) => agency.hears_the_end(),
                _ => {}
            }
        }
        // What is looked at last is as it is in the end.
        let looks = steps.iter().rev().map(|(_, step)| step);
        let looks = looks.take_while(|step| !matches!(step, Step::Sends { .. }));
        looks.for_each(|step| self.look(step));
        self.nothing_is_left_unsaid();
    }

    fn look(&self, step: &Step) {
        match step {
            Step::Stored(bets) => self.office.has_stored_count(*bets),
            Step::StoredDocuments(documents) => self.office.has_stored_documents(documents),
            Step::Held(held) => self.office.draw_is_on_disk_or_not(*held),
            _ => {}
        }
    }

    /// Ends every connection and hears that all answers were told.
    fn nothing_is_left_unsaid(mut self) {
        let steps: Vec<&Step> = self.transcript.steps.iter().map(|(_, step)| step).collect();
        let restart = steps.iter().rposition(|step| **step == Step::Restarts);
        for (number, mut agency) in std::mem::take(&mut self.connections) {
            let first = steps.iter().position(|step| match step {
                Step::Sends { connection, .. } => *connection == number,
                _ => false,
            });
            let before_a_restart = restart.is_some_and(|at| first.is_none_or(|first| first < at));
            if before_a_restart || self.has(&Step::Ends(number)) {
            } else if self.has(&Step::SaysNoMore(number)) {
                agency.hears_the_end();
            } else {
                agency.leaves();
            }
        }
    }
}

/// Hears the line, or the beginning of one if it ends with `…`.
fn hears(agency: &mut Agency, line: &str) {
    match line.strip_suffix('…') {
        Some(beginning) => agency.hears_a_line_of(beginning),
        None => agency.hears(line),
    }
}
