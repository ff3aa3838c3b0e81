//! A fast path for the common case: the rules of [`Bet::new`](super::Bet::new) in one pass over bytes.
//!
//! `None` does not mean invalid; it means that the caller must use [`Bet::new`](super::Bet::new). A property test
//! checks that the fast path never accepts a bet that `Bet::new` rejects.

use super::check_name;
use std::hint::cold_path;

/// The bytes of a birthdate, `YYYY-MM-DD`.
pub(super) const BIRTHDATE_BYTES: usize = 10;
const DOCUMENT_BYTES_MIN: usize = 7;
const DOCUMENT_BYTES_MAX: usize = 8;
const NUMBER_BYTES_MAX: usize = 4;

/// The ends of the fields of a plain bet, in bytes from its beginning. One separator follows each but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainBet {
    separators: [usize; 4],
    end: usize,
}

impl PlainBet {
    /// Returns the length of the bet in bytes.
    pub fn end(&self) -> usize {
        self.end
    }

    /// Replaces the separators of a copy of the bet at the beginning of `text`.
    #[inline]
    pub(crate) fn separate(&self, text: &mut [u8], separator: u8) {
        for place in self.separators {
            text[place] = separator;
        }
    }
}

/// Reads the bet at the beginning of `text`: five fields with `separator` between them. The caller must check the
/// byte after the digits of its number.
///
/// Returns `None` if the bet is not plainly valid: a name has 32 bytes or more, or holds a quote or a delimiter of
/// any kind; a field is invalid; or there is too little text to read the names in blocks.
#[inline]
pub fn plain_bet(text: &[u8], separator: u8) -> Option<PlainBet> {
    let (first_end, last_end) = plain_names(text, separator)?;
    // A processor predicts the usual lengths and reads on behind them, where it would wait for computed ones.
    let document = last_end + 1;
    let document_end = match document_bytes(&text[document..], separator)? {
        DOCUMENT_BYTES_MAX => document + DOCUMENT_BYTES_MAX,
        _ => {
            cold_path();
            document + DOCUMENT_BYTES_MIN
        }
    };

    let birthdate = document_end + 1;
    let tail = &text[birthdate..];
    let birthdate_end = birthdate + BIRTHDATE_BYTES;
    if !is_birthdate(tail.first_chunk()?) || *tail.get(BIRTHDATE_BYTES)? != separator {
        return None;
    }

    let number = birthdate_end + 1;
    let end = match number_bytes(&text[number..])? {
        NUMBER_BYTES_MAX => number + NUMBER_BYTES_MAX,
        bytes => {
            cold_path();
            number + bytes
        }
    };
    Some(PlainBet { separators: [first_end, last_end, document_end, birthdate_end], end })
}

/// Returns the ends of the first and the last name at the beginning of `text`, each at a `separator`.
#[inline]
fn plain_names(text: &[u8], separator: u8) -> Option<(usize, usize)> {
    let block = text.first_chunk()?;
    let special = special_bytes(block);
    let first_end = lowest_bit(special)?;
    let last_start = first_end + 1;
    // One block usually holds both names.
    let (last_end, plain) = match lowest_bit(special & (special - 1)) {
        Some(last_end) => {
            let begins_blank = text[0] == b' ' || text[last_start] == b' ';
            (last_end, !begins_blank && is_latin_1(block))
        }
        None => {
            let next_block = text[last_start..].first_chunk()?;
            (last_start + lowest_bit(special_bytes(next_block))?, false)
        }
    };
    let separated = text[first_end] == separator && text[last_end] == separator;
    let (first, last) = (&text[..first_end], &text[last_start..last_end]);
    let valid = separated
        && if plain { !first.is_empty() && !last.is_empty() } else { are_names(first, last) };
    valid.then_some((first_end, last_end))
}

/// Returns whether both names are valid by the rule of [`Bet::new`](super::Bet::new).
fn are_names(first: &[u8], last: &[u8]) -> bool {
    let is_name = |name| std::str::from_utf8(name).is_ok_and(|name| check_name(name).is_ok());
    is_name(first) && is_name(last)
}

/// The bytes that are compared at once, with one bit each. A name that fills them is not plain.
const BLOCK_BYTES: usize = u32::BITS as usize;

#[inline]
fn lowest_bit(bits: u32) -> Option<usize> {
    (bits != 0).then_some(bits.trailing_zeros() as usize)
}

/// Returns a bit for each byte of `block` that ends a plain name: a separator, quote or control character of the
/// protocol or of the files.
///
/// Has no branch, so that the compiler compares many bytes at a time.
#[inline]
fn special_bytes(block: &[u8; BLOCK_BYTES]) -> u32 {
    const DELETE: u8 = 0x7F;
    let mut special = [0; BLOCK_BYTES];
    for (mark, &byte) in special.iter_mut().zip(block) {
        *mark = u8::from(byte < b' ')
            | u8::from(byte == b'"')
            | u8::from(byte == b',')
            | u8::from(byte == b';')
            | u8::from(byte == b'|')
            | u8::from(byte == DELETE);
    }
    bits(words(&special))
}

/// Returns whether all characters of `block` beyond ASCII are letters from À to ÿ: in UTF-8 the byte 0xC3, and then
/// one from 0x80 to 0xBF.
#[inline]
fn is_latin_1(block: &[u8; BLOCK_BYTES]) -> bool {
    let beyond_ascii = words(block).map(|word| (word >> 7) & ONES);
    if beyond_ascii == [0; BLOCK_BYTES / WORD_BYTES] {
        return true;
    }
    let mut beyond_ascii = bits(beyond_ascii);
    while let Some(place) = lowest_bit(beyond_ascii) {
        let Some([0xC3, 0x80..=0xBF, ..]) = block.get(place..) else { return false };
        // Its two bits are the lowest.
        beyond_ascii &= beyond_ascii - 1;
        beyond_ascii &= beyond_ascii - 1;
    }
    true
}

#[inline]
fn words(block: &[u8; BLOCK_BYTES]) -> [u64; BLOCK_BYTES / WORD_BYTES] {
    std::array::from_fn(|place| {
        let (words, _) = block.as_chunks();
        u64::from_le_bytes(words[place])
    })
}

/// Returns a bit for each byte of `words`, from the lowest. The bytes must be 0 or 1.
#[inline]
fn bits(words: [u64; BLOCK_BYTES / WORD_BYTES]) -> u32 {
    // The highest byte of the product holds the bytes of the word, each shifted by its place.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let gathered = words.map(|word| (word.wrapping_mul(GATHER) >> 56) as u8);
    u32::from_le_bytes(gathered)
}

const WORD_BYTES: usize = 8;
/// A word of ones. Multiplied by a byte, it has that byte in each place.
const ONES: u64 = u64::from_le_bytes([1; WORD_BYTES]);

/// Returns the number of bytes of `word`, from the lowest, that are digits.
///
/// A digit is 0x30 to 0x39: its upper half is 3, and stays 3 if 6 is added.
#[inline]
fn leading_digits(word: u64) -> usize {
    const UPPER_HALVES: u64 = ONES * 0xF0;
    const THREES: u64 = ONES * 0x30;
    let others =
        ((word & UPPER_HALVES) ^ THREES) | ((word.wrapping_add(ONES * 6) & UPPER_HALVES) ^ THREES);
    (others.trailing_zeros() / u8::BITS) as usize
}

/// Returns the number of digits that `text` begins with, if there are 7 or 8 before `separator`.
#[inline]
fn document_bytes(text: &[u8], separator: u8) -> Option<usize> {
    let digits = leading_digits(u64::from_le_bytes(*text.first_chunk()?));
    (digits >= DOCUMENT_BYTES_MIN && *text.get(digits)? == separator).then_some(digits)
}

/// Returns the number of digits that `text` begins with, if there are 1 to 4.
#[inline]
fn number_bytes(text: &[u8]) -> Option<usize> {
    let digits = match text.first_chunk() {
        Some(word) => leading_digits(u64::from_le_bytes(*word)),
        None => text.iter().take_while(|byte| byte.is_ascii_digit()).count(),
    };
    (1..=NUMBER_BYTES_MAX).contains(&digits).then_some(digits)
}

/// Returns whether `text` is a real day of the years 1900 to 2099, written `YYYY-MM-DD`.
#[inline]
pub(super) fn is_birthdate(text: &[u8; BIRTHDATE_BYTES]) -> bool {
    let [month_1st @ .., day_1, day_0] = text;
    // A digit becomes its value, and a dash zero.
    let values = u64::from_le_bytes(*month_1st) ^ u64::from_le_bytes(*b"0000-00-");
    // This sum sets the highest bit of a byte above 9, or above 0 for a dash.
    const TO_HIGH_BIT: u64 = u64::from_le_bytes([0x76, 0x76, 0x76, 0x76, 0x7F, 0x76, 0x76, 0x7F]);
    let (tens, ones) = (day_1.wrapping_sub(b'0'), day_0.wrapping_sub(b'0'));
    if (values | values.wrapping_add(TO_HIGH_BIT)) & (ONES * 0x80) != 0 || tens > 9 || ones > 9 {
        return false;
    }
    // Each byte and the next make a number of two digits. None is above 99, so none carries.
    let [century, _, year, _, _, month, ..] = (values * 10 + (values >> 8)).to_le_bytes();
    let day = tens * 10 + ones;
    // 2000 was a leap year and 1900 was not.
    let leap_day = month == 2 && year % 4 == 0 && !(century == 19 && year == 0);
    const DAYS: [u8; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = DAYS.get(usize::from(month)).map_or(0, |days| days + u8::from(leap_day));
    matches!(century, 19 | 20) && day >= 1 && day <= days
}
