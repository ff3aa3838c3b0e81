//! At stake: that `docs/protocol.md`, which others implement, is what this server does. Every transcript of the page
//! is played: as it stands, with each byte sent by itself, and, where there is one connection, all at
//! once and in two pieces cut at every place. Its tables are compared with the code's.

use crate::support::transcript::{Step, Transcript, play_cut};
use loteria::bet::{AGENCIES_MAX, NAME_CHARS_MAX, NUMBER_MAX};
use loteria::connection::{DRAIN_BYTES_MAX, DRAIN_TIME_MAX};
use loteria::places::{CONNECTIONS_PER_AGENCY_MAX, NEWCOMERS_MIN};
use loteria::protocol::{Effect, ErrorCode, MESSAGE_BYTES_MAX};
use loteria::session::BATCH_BYTES_MAX;
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../docs/protocol.md");

fn transcripts() -> Vec<Transcript> {
    let mut lines = PAGE.lines().zip(1..);
    let mut transcripts = vec![];
    while let Some((line, _)) = lines.next() {
        if line == "```transcript" {
            let block = lines.by_ref().take_while(|(line, _)| *line != "```");
            let block = block.map(|(line, number)| (line, format!("docs/protocol.md:{number}")));
            transcripts.push(Transcript::new(block));
        }
    }
    transcripts
}

#[test]
fn every_transcript_is_what_happens() {
    let transcripts = transcripts();
    assert!(transcripts.len() >= 20, "only {} transcripts are found", transcripts.len());
    transcripts.iter().for_each(Transcript::plays_as_it_stands);
}

#[test]
fn every_transcript_is_what_happens_where_each_byte_is_sent_by_itself() {
    transcripts().iter().for_each(Transcript::plays_byte_by_byte);
}

#[test]
fn every_transcript_of_one_connection_is_what_happens_where_it_is_sent_in_two_pieces() {
    let transcripts = transcripts();
    let streams = transcripts.iter().filter_map(Transcript::stream).count();
    assert!(streams >= 12, "only {streams} transcripts have one connection");
    play_cut(&transcripts);
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
        ("connections of an agency", CONNECTIONS_PER_AGENCY_MAX.to_string()),
        (
            "connections that have named no agency",
            format!("a quarter of all, but at least {NEWCOMERS_MIN}"),
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
        ErrorCode::CertificateRejected,
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
