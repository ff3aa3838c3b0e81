//! The same rules as in [`Bet::new`](super::Bet::new), in one pass over bytes, for the bets that
//! nearly all bets are. What is not plainly valid here is not refused: it goes the slow way, which
//! decides. So this may be narrower than the rules but never wider, which a property test holds.

use super::NAME_CHARS_MAX;

/// The bytes of a birthdate, `YYYY-MM-DD`.
pub(super) const BIRTHDATE_BYTES: usize = 10;
const DOCUMENT_BYTES_MAX: usize = 8;
const NUMBER_BYTES_MAX: usize = 4;

/// Where the fields of a plain bet end, in bytes from where it begins; each but the last is followed
/// by one separator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainBet {
    separators: [usize; 4],
    end: usize,
}

impl PlainBet {
    /// The bytes that the bet takes.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Where its document is.
    pub fn document(&self) -> std::ops::Range<usize> {
        self.separators[1] + 1..self.separators[2]
    }

    /// Where its number is.
    pub fn number(&self) -> std::ops::Range<usize> {
        self.separators[3] + 1..self.end
    }

    /// Appends the bet that begins `text` to `out`, with `separator` between its fields.
    pub fn copy(&self, text: &[u8], separator: u8, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&text[..self.end]);
        let copy = &mut out[start..];
        for place in self.separators {
            copy[place] = separator;
        }
    }
}

/// Reads the bet at the beginning of `text`, its five fields with `separator` between them. What
/// comes after the digits of its number is the caller's to check.
///
/// `None` where it is not plainly valid: a name that is long, begins with a blank or with a rare
/// letter, or holds a quote or a delimiter of any kind, or a field against the rules.
#[inline]
pub fn plain_bet(text: &[u8], separator: u8) -> Option<PlainBet> {
    let first_end = plain_name(text, separator)?;
    let last_start = first_end + 1;
    let last_end = last_start + plain_name(text.get(last_start..)?, separator)?;

    let document = last_end + 1;
    let document_end = document + document_bytes(text.get(document..)?, separator)?;

    let birthdate = document_end + 1;
    let tail = text.get(birthdate..)?;
    let birthdate_end = birthdate + BIRTHDATE_BYTES;
    if !is_birthdate(tail.first_chunk()?) || *tail.get(BIRTHDATE_BYTES)? != separator {
        return None;
    }

    let number = birthdate_end + 1;
    let digits = text[number..].iter().take(NUMBER_BYTES_MAX + 1);
    let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
    (1..=NUMBER_BYTES_MAX).contains(&digits).then_some(PlainBet {
        separators: [first_end, last_end, document_end, birthdate_end],
        end: number + digits,
    })
}

/// The bytes of the name that `text` begins with, up to `separator`.
fn plain_name(text: &[u8], separator: u8) -> Option<usize> {
    // Not blank: it begins with a printable ASCII character or with one of À to ÿ.
    const LATIN_1_LETTERS: u8 = 0xC3;
    if !matches!(*text.first()?, b'!'..=b'~' | LATIN_1_LETTERS) {
        return None;
    }
    let mut ascii = true;
    for (at, &byte) in text.iter().take(NAME_CHARS_MAX + 1).enumerate() {
        match CLASSES[usize::from(byte)] {
            Class::Letter => {}
            Class::Beyond => ascii = false,
            Class::Special => {
                let plain = byte == separator && at > 0 && (ascii || is_printable(&text[..at]));
                return plain.then_some(at);
            }
        }
    }
    None
}

/// Whether a name that is not all ASCII is UTF-8 without control characters, which beyond ASCII are
/// U+0080 to U+009F.
fn is_printable(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| !name.chars().any(char::is_control))
}

#[derive(Clone, Copy)]
enum Class {
    Letter,
    Special,
    Beyond,
}

/// What each byte means within a name. Every byte that separates, quotes or controls anything in
/// the protocol or in the files is special.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Beyond; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        let special = byte.is_ascii_control() || matches!(byte, b',' | b'"' | b'|' | b';');
        classes[byte as usize] = if special { Class::Special } else { Class::Letter };
        byte += 1;
    }
    classes
};

/// The bytes of the 7 or 8 digits that `text` begins with, up to `separator`.
fn document_bytes(text: &[u8], separator: u8) -> Option<usize> {
    let digits = text.iter().take(DOCUMENT_BYTES_MAX);
    let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
    (digits >= DOCUMENT_BYTES_MAX - 1 && *text.get(digits)? == separator).then_some(digits)
}

/// Whether `text` is a real day of the years 1900 to 2099, written `YYYY-MM-DD`.
pub(super) fn is_birthdate(text: &[u8; BIRTHDATE_BYTES]) -> bool {
    let [century_1, century_0, year_1, year_0, b'-', month_1, month_0, b'-', day_1, day_0] = *text
    else {
        return false;
    };
    let digits = [century_1, century_0, year_1, year_0, month_1, month_0, day_1, day_0];
    if !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let pair = |tens: u8, ones: u8| (tens - b'0') * 10 + (ones - b'0');
    let (century, year) = (pair(century_1, century_0), pair(year_1, year_0));
    let (month, day) = (pair(month_1, month_0), pair(day_1, day_0));
    // Of the two centuries' first years 2000 was a leap year and 1900 was not.
    let leap = year.is_multiple_of(4) && !(century == 19 && year == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    matches!(century, 19 | 20) && (1..=days).contains(&day)
}
