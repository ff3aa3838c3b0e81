//! Sanitizes untrusted text for use in error replies and log lines.

use std::fmt;

/// The most characters of a refused value that an error repeats.
const EXCERPT_CHARS_MAX: usize = 40;

/// Returns the beginning of `text` on one line: characters that alter a line become `\u{…}`, and what is too long ends in
/// `…`.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => escape(&text[..end], alters_lines) + "…",
        None => escape(text, alters_lines),
    }
}

/// Returns `text` with an escape for each character that `is_excluded`.
pub(crate) fn escape(text: &str, is_excluded: fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_excluded(c) {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Returns whether `c` is a control character, one that some readers take for the end of a line, or one that changes the
/// direction in which they show the rest of it.
fn alters_lines(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A value in a log line: on one line, and without the bar that ends a value.
#[derive(Clone, Copy, Debug)]
pub struct LogValue<T>(pub T);

impl<T: fmt::Display> fmt::Display for LogValue<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        formatter.write_str(&text.replace('|', "¦").replace(alters_lines, " "))
    }
}

/// Returns `noun` in the number that fits `count`: `1 agency`, `2 agencies`.
pub fn noun_for(count: u64, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if count == 1 => noun.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None => format!("{noun}s"),
    }
}

/// Returns the first items of a list, at most `most`, and the number of the others: `a, b and 3 more`.
pub fn list_of<I: fmt::Display>(items: &[I], most: usize) -> String {
    let named: Vec<String> = items.iter().take(most).map(I::to_string).collect();
    let more = match items.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    named.join(", ") + &more
}

/// Returns a log line for each item, for a single record.
pub fn log_lines<I>(items: &[I], line: impl Fn(&I) -> String) -> String {
    items.iter().map(|item| line(item) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::{LogValue, excerpt, list_of, noun_for};

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt("a|b;\n\u{85}\u{2028}ñ"), "a|b;\\u{a}\\u{85}\\u{2028}ñ");
        assert_eq!(excerpt("\u{202E}4757\u{2066}"), "\\u{202e}4757\\u{2066}");
        assert_eq!(excerpt(&"x".repeat(41)), format!("{}…", "x".repeat(40)));
    }

    #[test]
    fn one_thing_has_a_noun_in_the_singular() {
        assert_eq!([0, 1, 2].map(|count| noun_for(count, "bet")), ["bets", "bet", "bets"]);
        assert_eq!([1, 5].map(|count| noun_for(count, "agency")), ["agency", "agencies"]);
    }

    #[test]
    fn a_list_names_some_and_counts_the_rest() {
        assert_eq!(list_of(&[1, 2, 3], 3), "1, 2, 3");
        assert_eq!(list_of(&[1, 2, 3], 1), "1 and 2 more");
    }

    #[test]
    fn a_log_value_is_one_line_without_a_bar() {
        assert_eq!(LogValue("a|b\nc\u{85}d\u{2029}e\u{202E}f").to_string(), "a¦b c d e f");
    }
}
