//! At stake: that `docs/protocol.md`, which others implement, is what this server does. Every transcript of the page
//! is played: as it stands, with each byte sent by itself, and, where there is one connection, all at
//! once and in two pieces. Its tables are compared with the code's.

use crate::support::peer::{Lottery, Office};
use crate::support::transcript::{Step, Transcript, play_cut};
use loteria::bet::{AGENCIES_MAX, NAME_CHARS_MAX, NUMBER_MAX};
use loteria::config::{Fallback, SETTINGS};
use loteria::connection::{DRAIN_BYTES_MAX, DRAIN_TIME_MAX};
use loteria::places::{CONNECTIONS_PER_AGENCY_MAX, NEWCOMERS_MIN};
use loteria::protocol::{Effect, ErrorCode, MESSAGE_BYTES_MAX, Reply};
use loteria::session::BATCH_BYTES_MAX;
use loteria::summary::{AgencyState, AgencySummary, Summary};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) const PAGE: &str = include_str!("../../docs/protocol.md");
/// The most bytes of an agency in a status.
const STATUS_AGENCY_BYTES_MAX: usize = 40;

pub(crate) fn transcripts() -> Vec<Transcript> {
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
        ("reply with the winners", "11 bytes, and 9 bytes a winner".into()),
        (
            "reply with the status",
            format!("{MESSAGE_BYTES_MAX} bytes, and {STATUS_AGENCY_BYTES_MAX} bytes an agency"),
        ),
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
fn the_longest_replies_are_within_their_bounds() {
    let length = |reply: Reply<'_>| {
        let mut line = Vec::new();
        reply.write(&mut line);
        line.len()
    };
    for winners in [0, 1, 2, 10_000] {
        let documents = vec!["30904465"; winners];
        assert!(length(Reply::Winners { documents }) <= 11 + 9 * winners, "{winners} winners");
    }
    for (agencies, state) in
        [(1, AgencyState::Waiting), (usize::from(AGENCIES_MAX), AgencyState::Finished)]
    {
        let winners = Some(u64::MAX);
        let summary =
            Summary { winners, agencies: vec![AgencySummary { bets: u64::MAX, state }; agencies] };
        let bytes = length(Reply::Status(summary));
        assert!(bytes <= MESSAGE_BYTES_MAX + STATUS_AGENCY_BYTES_MAX * agencies, "{bytes} bytes");
    }
}

#[test]
fn no_error_is_longer_than_a_message_whatever_it_repeats() {
    let office = Office::start(Lottery::of(1));
    let mut agency = office.agency();
    let commands =
        ["?", "ECO|?", "ECO|a|?", "ESTADO|?", "FINAPUESTA|?", "GANADORES|?", "REANUDAR|?"];
    let bet = ["1", "Ana", "Paz", "30904465", "1999-03-17", "7574"];
    let bets = (0..=bet.len()).map(|field| {
        let mut fields = bet.to_vec();
        match fields.get_mut(field) {
            Some(field) => *field = "?",
            None => fields.push("?"),
        }
        format!("APUESTA|{};FINAPUESTA", fields.join("|"))
    });
    for command in commands.map(str::to_owned).into_iter().chain(bets) {
        // Of one to four bytes each, most of which an error escapes.
        for repeated in ['x', '"', '\\', '|', '\t', '\u{7f}', '\u{85}', '\u{2028}', '\u{10ffff}'] {
            let room = MESSAGE_BYTES_MAX - command.len();
            let text = repeated.to_string().repeat(room / repeated.len_utf8());
            agency.says(&command.replace('?', &text));
            let reply = agency.hears_a_line();
            let bytes = reply.len() + 1;
            assert!(bytes <= MESSAGE_BYTES_MAX, "{command} of {repeated:?}: {bytes} bytes");
            assert!(reply.starts_with("ERROR|") || command == "ECO|?", "{command}: {reply}");
        }
    }
}

#[test]
fn the_page_names_the_defaults_of_the_settings() {
    for (variable, before, unit, after) in [
        ("SERVER_MESSAGE_TIMEOUT_MS", "a *message timeout*, ", 1_000, " seconds unless it is"),
        ("SERVER_NEWCOMER_TIMEOUT_MS", "the *newcomer timeout*, ", 1_000, " seconds unless it is"),
        ("SERVER_MAX_CONNECTIONS", "a connection limit, ", 1, " unless it is"),
    ] {
        let setting = SETTINGS.iter().find(|setting| setting.variable == variable);
        let Some(Fallback::Value(default)) = setting.map(|setting| setting.default) else {
            panic!("{variable} has a default");
        };
        let default: u32 = default.parse().expect("a number");
        let sentence = format!("{before}{}{after}", default / unit);
        assert!(PAGE.contains(&sentence), "{variable}: {sentence:?} is not on the page");
    }
}

#[test]
fn every_word_of_a_reply_and_every_code_that_can_be_shown_is_shown() {
    // Where a disk has to fail, a batch be long or TLS be spoken, a transcript cannot show it.
    let elsewhere = [
        ErrorCode::StorageFailed,
        ErrorCode::BatchTooLong,
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

/// The tests behind what each section says beyond its transcripts, in the order of its sentences.
const SECTIONS: &[(&str, &[&str])] = &[
    (
        "Terms",
        &[
            "a_value_out_of_range_is_refused_from_everywhere_by_the_name_that_it_was_given_under",
            "what_was_confirmed_is_there_in_whole_batches_and_there_is_one_draw_after_any_crash_of_any_disk",
        ],
    ),
    (
        "Transport",
        &[
            "who_says_nothing_and_leaves_hears_nothing",
            "who_says_no_more_still_hears_every_answer",
            "an_agency_that_says_no_more_and_waits_still_hears_the_winners",
        ],
    ),
    (
        "Messages and replies",
        &[
            "every_transcript_is_what_happens_where_each_byte_is_sent_by_itself",
            "a_carriage_return_before_the_line_end_is_accepted_and_none_elsewhere",
            "every_malformed_command_is_told_what_is_wrong_and_keeps_its_connection",
            "the_grammar_of_messages_is_that_of_the_code_but_for_what_it_leaves_to_the_text",
            "the_grammar_of_replies_is_that_of_the_code",
            "a_line_that_only_resembles_a_reply_is_none",
        ],
    ),
    (
        "Bounds",
        &[
            "the_table_of_bounds_has_the_bounds_of_the_code",
            "the_longest_replies_are_within_their_bounds",
            "no_error_is_longer_than_a_message_whatever_it_repeats",
            "winners_may_be_more_than_fit_into_a_message",
            "the_longest_status_is_read_and_its_bets_are_shown_up_to_the_largest_number",
            "a_message_of_8192_bytes_is_taken_and_one_byte_more_is_not",
            "every_value_at_a_bound_is_a_valid_bet_and_is_stored_as_it_was_written",
            "an_open_batch_has_a_bound_and_going_over_it_costs_the_connection",
        ],
    ),
    (
        "Errors",
        &[
            "the_table_of_errors_has_every_code_and_its_effect_in_order",
            "an_error_is_a_reply_of_three_fields_whatever_its_detail_holds",
            "a_bets_place_is_counted_over_the_messages_of_its_batch",
            "an_error_between_pipelined_batches_costs_its_own_batch_and_no_other",
            "a_file_that_must_not_grow_any_more_is_answered_as_a_full_disk",
            "two_clients_of_one_agency_at_once_store_each_line_once",
            "after_the_errors_that_the_page_names_a_client_retries_and_after_no_other",
            "errors_that_another_connection_may_not_hear_are_tried_again",
            "where_bets_csv_is_removed_or_replaced_nothing_more_is_confirmed",
        ],
    ),
    (
        "Refused up to its end",
        &[
            "the_rest_of_a_batch_with_an_error_is_dropped_up_to_its_end_which_is_not_answered",
            "whatever_the_error_is_the_batch_is_refused_and_only_its_end_ends_it",
            "what_is_not_executed_of_a_message_is_no_beginning_of_a_batch",
            "hundreds_of_conversations_of_several_connections_go_as_the_model_of_the_page_says",
            "what_came_before_a_message_that_is_too_long_is_answered_first",
            "a_message_that_is_not_utf_8_hears_where_and_loses_its_connection",
            "a_flood_without_a_line_end_hears_its_error_and_then_the_end_and_no_reset",
            "who_goes_on_sending_after_its_end_is_read_up_to_a_bound",
            "who_goes_on_dripping_after_its_end_is_read_for_a_time",
            "a_connection_that_is_drained_is_half_closed_first",
            "a_client_whose_write_fails_still_reads_the_error_that_has_arrived",
            "who_sends_more_than_the_server_takes_finds_out_that_it_has_stopped",
        ],
    ),
    ("Commands", &[]),
    (
        "APUESTA",
        &[
            "every_malformed_bet_is_told_its_field_and_stores_nothing",
            "every_value_at_a_bound_is_a_valid_bet_and_is_stored_as_it_was_written",
            "every_day_of_two_centuries_is_a_birthdate_and_no_other",
            "the_same_bet_placed_again_is_another_bet",
        ],
    ),
    (
        "FINAPUESTA",
        &[
            "batches_of_many_connections_are_each_stored_in_one_piece",
            "a_batch_may_span_messages_and_is_stored_in_its_order",
            "a_message_may_hold_several_batches_and_more",
            "closing_a_batch_of_nothing_confirms_nothing_at_any_time",
            "an_open_batch_has_a_bound_and_going_over_it_costs_the_connection",
            "a_batch_that_is_open_when_its_connection_has_to_leave_is_not_stored",
            "a_batch_that_is_open_when_its_connection_is_reset_is_not_stored",
        ],
    ),
    (
        "GANADORES",
        &[
            "bets_are_refused_once_their_agency_has_asked_on_whatever_connection",
            "bets_are_refused_before_the_replies_to_what_the_agency_said_before_it_asked_are_sent",
            "the_draw_waits_for_all_and_is_on_disk_before_anyone_hears",
            "everyone_hears_their_own_winners_in_the_order_of_the_file_and_each_winning_bet_counts",
            "a_number_wins_by_its_value_however_it_is_written",
            "the_time_that_the_draw_is_waited_for_does_not_count",
            "asking_for_winners_or_resuming_over_an_open_batch_is_refused_and_does_neither",
            "an_agency_whose_connection_is_lost_while_it_waits_still_counts_and_can_ask_again",
            "an_agency_whose_connection_is_lost_before_it_waits_has_no_more_bets_and_has_to_ask_again",
            "of_an_agencys_waiting_connections_the_newest_waits_and_the_one_before_hears_that_it_is_superseded",
            "once_every_agency_has_come_no_visit_is_superseded",
            "an_agency_that_waits_for_long_asks_again_on_a_new_connection_and_leaves_the_old_one",
        ],
    ),
    (
        "REANUDAR",
        &[
            "resuming_tells_how_many_bets_are_stored_and_which_was_the_last",
            "what_an_older_connection_has_open_is_never_stored_after_a_takeover",
            "what_resuming_answers_stays_true_while_an_older_connection_goes_on_sending",
            "a_takeover_concerns_one_agency",
            "asking_for_winners_or_resuming_over_an_open_batch_is_refused_and_does_neither",
        ],
    ),
    ("ECO", &["an_echo_says_the_same_line_whatever_is_in_it"]),
    (
        "ESTADO",
        &[
            "the_status_tells_an_agency_that_waits_from_one_that_may_store_more",
            "an_agency_whose_connection_is_lost_before_it_waits_has_no_more_bets_and_has_to_ask_again",
            "an_agency_whose_connection_is_lost_while_it_waits_still_counts_and_can_ask_again",
        ],
    ),
    (
        "One connection, one agency",
        &[
            "a_connection_speaks_for_the_first_agency_that_it_names",
            "a_command_that_is_refused_as_such_names_nobody",
            "an_agency_that_another_one_names_is_neither_finished_nor_taken_over",
        ],
    ),
    (
        "Order",
        &[
            "hundreds_of_batches_on_their_way_are_answered_in_their_order",
            "each_of_the_batches_that_are_refused_together_is_answered",
            "batches_of_many_connections_are_each_stored_in_one_piece",
        ],
    ),
    (
        "Time",
        &[
            "the_page_names_the_defaults_of_the_settings",
            "who_is_silent_hears_that_its_time_is_up_and_no_sooner_at_any_place_between_messages",
            "who_drips_hears_that_its_time_is_up_however_steadily_it_does",
            "a_message_in_time_begins_the_time_anew",
            "the_time_of_the_first_message_begins_at_the_end_of_the_handshake",
            "a_newcomer_has_its_time_to_name_an_agency_whatever_else_it_says",
            "the_time_that_the_draw_is_waited_for_does_not_count",
            "who_does_not_read_its_answers_loses_its_connection_and_nobody_else_does",
            "a_newcomer_that_does_not_read_loses_its_connection_after_its_time_and_not_that_of_a_message",
        ],
    ),
    (
        "Places",
        &[
            "the_page_names_the_defaults_of_the_settings",
            "a_crowd_of_silent_newcomers_disturbs_no_agency_and_each_of_them_hears_why_it_has_to_leave",
            "a_connection_that_is_closed_for_another_executes_no_further_command",
            "a_batch_that_is_being_stored_when_its_connection_has_to_leave_is_confirmed",
            "a_newcomer_within_its_handshake_is_not_silent_while_bytes_of_it_come",
            "of_too_many_newcomers_the_one_that_was_silent_longest_is_closed",
            "of_an_agencys_fifth_connections_the_one_that_was_idle_longest_is_closed_and_never_the_one_that_waits",
            "a_connection_of_which_a_part_of_a_message_comes_is_not_idle",
            "a_connection_that_was_told_why_it_ends_leaves_its_place_to_the_next_of_its_agency",
            "who_was_told_that_this_is_tls_leaves_its_place_to_the_next_newcomer",
            "an_agency_that_has_no_connection_gets_in_where_others_hold_all_places",
            "of_all_connections_that_no_agency_needs_the_one_that_was_idle_longest_is_closed",
            "an_agency_that_waits_needs_no_other_connection",
            "where_each_connection_is_an_agencys_only_one_the_next_hears_so_at_once_until_one_leaves",
            "connections_count_for_the_agencies_of_their_certificates_as_soon_as_they_have_shown_them",
            "a_connection_that_gets_no_thread_is_closed_without_an_error",
            "peers_that_take_all_file_descriptors_do_not_keep_the_draw_from_being_held",
            "where_64_connections_are_leaving_and_do_not_end_the_next_gets_no_place",
        ],
    ),
    (
        "The end of the server",
        &[
            "what_was_confirmed_is_stored_and_batches_are_whole_however_a_stop_cuts_in",
            "a_batch_that_is_being_stored_when_the_stop_comes_is_confirmed",
            "a_peer_that_is_silent_or_idle_or_within_a_message_or_within_a_batch_hears_that_it_stops",
            "agencies_that_wait_for_the_draw_hear_that_there_is_none",
            "a_stop_beside_the_draw_either_holds_it_or_does_not",
        ],
    ),
    (
        "TLS",
        &[
            "who_speaks_an_older_tls_is_refused",
            "who_is_of_another_authority_is_refused_on_either_side",
            "a_client_believes_a_server_only_for_the_host_it_asked_for_and_no_agency_in_its_place",
            "no_name_but_its_own_is_an_agency_s",
            "whoever_is_one_agency_does_not_speak_for_another",
            "one_certificate_may_name_several_agencies_and_one_that_names_none_may_ask",
            "who_shows_no_certificate_is_refused",
            "a_certificate_out_of_date_or_of_another_kind_is_refused",
            "who_does_not_speak_tls_hears_so",
            "a_server_that_does_not_speak_tls_answers_who_does_with_an_error",
            "a_handshake_has_the_time_of_a_newcomer_however_slowly_it_drips",
            "an_end_that_is_said_is_told_from_one_that_is_not",
            "nobody_comes_back_without_showing_its_certificate_again",
            "openssl_is_such_a_client_as_the_page_says",
            "no_connection_outlives_its_certificate",
            "who_waits_with_a_certificate_that_is_revoked_hears_no_winners",
            "no_connection_outlives_the_time_of_its_certificate_by_more_than_a_second",
            "a_revoked_certificate_is_refused_and_another_of_the_same_agency_is_not",
            "a_server_shows_its_renewed_certificate_after_sighup_and_keeps_the_one_before_if_it_cannot",
            "a_list_that_is_out_of_date_counts_all_the_same",
            "a_list_that_no_trusted_authority_signed_revokes_none_and_is_warned_of_at_the_start_and_at_sighup",
            "a_list_says_nothing_of_certificates_of_another_authority_of_the_same_name",
            "of_an_authority_without_a_list_no_certificate_is_revoked",
            "while_an_authority_is_replaced_both_are_believed",
        ],
    ),
    (
        "Versions, and the dialect of four words",
        &[
            "a_client_that_was_told_so_never_asks_a_server_of_the_older_dialect_how_far_it_got",
            "a_client_that_was_told_so_asks_a_server_of_the_older_dialect_for_no_state_when_it_fails",
            "a_lost_connection_with_batches_on_their_way_is_final_where_the_server_is_not_to_be_asked",
        ],
    ),
    ("How to read a transcript", &["every_transcript_is_what_happens"]),
];

/// All source files below a directory, as one text.
fn sources(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).expect("a directory of sources");
    let mut text = String::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &std::fs::read_to_string(&path).expect("a source file");
        }
    }
    text
}

#[test]
fn every_section_of_the_page_has_its_tests() {
    let headings = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("### ").or_else(|| line.strip_prefix("## ")));
    let headings: Vec<&str> = headings.collect();
    let named: Vec<&str> = SECTIONS.iter().map(|(heading, _)| *heading).collect();
    assert_eq!(headings, named);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "tests"].map(|directory| sources(&root.join(directory))).concat();
    for (heading, tests) in SECTIONS {
        for test in *tests {
            let is_there = sources.contains(&format!("fn {test}()"));
            assert!(is_there, "{heading}: there is no test {test}");
        }
    }
}
