//! The same rules as in [`Bet::new`](super::Bet::new), in one pass over bytes, for the bets that
//! nearly all bets are. What is not plainly valid here is not refused: it goes the slow way, which
//! decides. So this may be narrower than the rules but never wider, which a property test holds.

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

    /// Exchanges the separators between the fields of a copy of it that begins `text`.
    #[inline]
    pub fn separate(&self, text: &mut [u8], separator: u8) {
        for place in self.separators {
            text[place] = separator;
        }
    }
}

/// Reads the bet at the beginning of `text`, its five fields with `separator` between them. What
/// comes after the digits of its number is the caller's to check.
///
/// `None` where it is not plainly valid: a name that has 32 bytes or begins with a blank or with a
/// rare letter, or holds a quote or a delimiter of any kind; a field against the rules; or too little
/// text after the last name to look at it in blocks.
#[inline]
pub fn plain_bet(text: &[u8], separator: u8) -> Option<PlainBet> {
    let first_end = plain_name(text, separator)?;
    let last_start = first_end + 1;
    let last_end = last_start + plain_name(&text[last_start..], separator)?;

    let document = last_end + 1;
    let document_end = document + document_bytes(&text[document..], separator)?;

    let birthdate = document_end + 1;
    let tail = &text[birthdate..];
    let birthdate_end = birthdate + BIRTHDATE_BYTES;
    if !is_birthdate(tail.first_chunk()?) || *tail.get(BIRTHDATE_BYTES)? != separator {
        return None;
    }

    let number = birthdate_end + 1;
    let end = number + number_bytes(&text[number..])?;
    Some(PlainBet { separators: [first_end, last_end, document_end, birthdate_end], end })
}

/// The bytes of the name that `text` begins with, up to `separator`.
#[inline]
fn plain_name(text: &[u8], separator: u8) -> Option<usize> {
    // Not blank: it begins with a printable ASCII character or with one of À to ÿ.
    if !matches!(*text.first()?, b'!'..=b'~' | LATIN_1_LETTERS) {
        return None;
    }
    let block = text.first_chunk()?;
    let [names, more_names] = halves(block);
    // The first byte of the text is the lowest of the number.
    let (end, beyond_ascii) = match halves(&special_bytes(block)) {
        [0, 0] => return None,
        [0, special] => {
            let beyond_ascii = (names | more_names & (special - 1)) & HIGH_BITS;
            (HALF_BLOCK_BYTES + first_byte(special), beyond_ascii)
        }
        [special, _] => (first_byte(special), names & (special - 1) & HIGH_BITS),
    };
    let printable = beyond_ascii == 0 || is_printable(&text[..end]);
    (end > 0 && text[end] == separator && printable).then_some(end)
}

/// Begins each of the letters À to ÿ in UTF-8, which end in 0x80 to 0xBF.
const LATIN_1_LETTERS: u8 = 0xC3;
/// The bytes that are looked at together; a name that fills them is not plain.
const BLOCK_BYTES: usize = 32;
const HALF_BLOCK_BYTES: usize = BLOCK_BYTES / 2;
/// The bits that no ASCII byte has.
const HIGH_BITS: u128 = u128::from_le_bytes([0x80; HALF_BLOCK_BYTES]);

#[inline]
fn halves(block: &[u8; BLOCK_BYTES]) -> [u128; 2] {
    let (halves, _) = block.as_chunks();
    [u128::from_le_bytes(halves[0]), u128::from_le_bytes(halves[1])]
}

/// The place of the lowest byte that is not 0.
#[inline]
fn first_byte(number: u128) -> usize {
    (number.trailing_zeros() / u8::BITS) as usize
}

/// 1 for each byte of `block` that ends a plain name and 0 for the others: all that separate, quote
/// or control anything in the protocol or in the files do.
///
/// Written without a branch, so that the compiler makes comparisons of many bytes at a time of it.
#[inline]
fn special_bytes(block: &[u8; BLOCK_BYTES]) -> [u8; BLOCK_BYTES] {
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
    special
}

const WORD_BYTES: usize = 8;
/// A word of ones: times a byte, that byte in each place.
const ONES: u64 = u64::from_le_bytes([1; WORD_BYTES]);

/// How many bytes of `word`, from the lowest, are digits.
///
/// A digit is 0x30 to 0x39: its upper half is 3, and still is with 6 added.
#[inline]
fn leading_digits(word: u64) -> usize {
    const UPPER_HALVES: u64 = ONES * 0xF0;
    const THREES: u64 = ONES * 0x30;
    let others =
        ((word & UPPER_HALVES) ^ THREES) | ((word.wrapping_add(ONES * 6) & UPPER_HALVES) ^ THREES);
    (others.trailing_zeros() / u8::BITS) as usize
}

/// Whether a name that is not all ASCII is UTF-8 without control characters, which beyond ASCII are
/// U+0080 to U+009F.
#[inline]
fn is_printable(name: &[u8]) -> bool {
    is_ascii_or_latin_1_letters(name)
        || std::str::from_utf8(name).is_ok_and(|name| !name.chars().any(char::is_control))
}

/// Whether `name` has nothing beyond ASCII but À to ÿ, as nearly all names.
#[inline]
fn is_ascii_or_latin_1_letters(name: &[u8]) -> bool {
    let mut after_first = false;
    let mut valid = true;
    for &byte in name {
        valid &= after_first == matches!(byte, 0x80..=0xBF);
        after_first = byte == LATIN_1_LETTERS;
        valid &= byte <= 0xBF || after_first;
    }
    valid && !after_first
}

/// The bytes of the 7 or 8 digits that `text` begins with, up to `separator`.
#[inline]
fn document_bytes(text: &[u8], separator: u8) -> Option<usize> {
    let digits = leading_digits(u64::from_le_bytes(*text.first_chunk()?));
    (digits >= DOCUMENT_BYTES_MAX - 1 && *text.get(digits)? == separator).then_some(digits)
}

/// The bytes of the 1 to 4 digits that `text` begins with.
#[inline]
fn number_bytes(text: &[u8]) -> Option<usize> {
    let mut digits = 0;
    while text.get(digits).is_some_and(u8::is_ascii_digit) {
        digits += 1;
        if digits > NUMBER_BYTES_MAX {
            return None;
        }
    }
    (digits > 0).then_some(digits)
}

/// Whether `text` is a real day of the years 1900 to 2099, written `YYYY-MM-DD`.
#[inline]
pub(super) fn is_birthdate(text: &[u8; BIRTHDATE_BYTES]) -> bool {
    let [c1, c0, y1, y0, b'-', m1, m0, b'-', d1, d0] = *text else { return false };
    let word = u64::from_le_bytes([c1, c0, y1, y0, m1, m0, d1, d0]);
    if leading_digits(word) < WORD_BYTES {
        return false;
    }
    // Every second byte becomes a number of two digits; none is more than 99, so none carries.
    let values = word - ONES * u64::from(b'0');
    let [century, _, year, _, month, _, day, _] = (values * 10 + (values >> 8)).to_le_bytes();
    // Of the two centuries' first years 2000 was a leap year and 1900 was not.
    let leap_day = month == 2 && year % 4 == 0 && !(century == 19 && year == 0);
    const DAYS: [u8; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = DAYS.get(usize::from(month)).map_or(0, |days| days + u8::from(leap_day));
    matches!(century, 19 | 20) && day >= 1 && day <= days
}
