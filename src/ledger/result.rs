//! The result of the draw, as a value and as `sorteo.toml`.

use super::count::Account;
use super::journal::{Confirmed, Extent, Held};
use super::winners::Documents;
use crate::bet::{AgencyId, NUMBER_MAX, PerAgency};
use crate::text::excerpt;
use serde::{Deserialize, Serialize};
use toml::value::Datetime;

/// A draw that was held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawResult {
    /// The number that won.
    pub winning_number: u16,
    /// When it was held, in UTC.
    pub held_at: Datetime,
    /// The size of `bets.csv` in bytes.
    pub bets_bytes: u64,
    /// The SHA-256 of these bytes, as `sha256sum` writes it.
    pub bets_sha256: String,
    /// Every agency that took part, in their order.
    #[serde(default, rename = "agency")]
    pub agencies: Vec<AgencyResult>,
}

/// The result for one agency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgencyResult {
    /// Its number.
    pub id: u16,
    /// The number of its bets.
    pub bets: u64,
    /// The documents of its winners, in the order in which their bets were stored.
    pub winners: Vec<String>,
}

impl DrawResult {
    /// Returns the result of a draw held now over `extent`, which has the bets of `accounts`.
    pub(super) fn new(
        winning_number: u16,
        extent: Extent,
        bets_sha256: String,
        accounts: &PerAgency<Account>,
        winners: Documents,
    ) -> DrawResult {
        let agencies = accounts.iter().zip(winners).map(|((agency, account), winners)| {
            AgencyResult { id: agency.get(), bets: account.bets, winners }
        });
        DrawResult {
            winning_number,
            held_at: now(),
            bets_bytes: extent.bytes,
            bets_sha256,
            agencies: agencies.collect(),
        }
    }

    /// Returns the documents of the winners of `agency`. Returns none if it took no part.
    pub fn winners(&self, agency: AgencyId) -> &[String] {
        let result = self.agencies.iter().find(|result| result.id == agency.get());
        result.map_or(&[], |result| &result.winners)
    }

    /// Returns the number of winning bets of all agencies.
    pub fn winners_of_all(&self) -> u64 {
        self.agencies.iter().map(|agency| agency.winners.len() as u64).sum()
    }

    /// Returns the text of `sorteo.toml`.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("numbers, dates and digits can be written as TOML")
    }

    /// Parses the text of `sorteo.toml`, which may have another form than that of [`DrawResult::to_toml`], and may be of
    /// other bets.
    ///
    /// # Errors
    ///
    /// The first error, in words.
    pub fn parse(text: &[u8]) -> Result<DrawResult, String> {
        let text = std::str::from_utf8(text).map_err(|_| "is not UTF-8")?;
        let result: DrawResult =
            toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())?;
        if result.winning_number > NUMBER_MAX {
            return Err(format!("winning_number: must be 0 to {NUMBER_MAX}"));
        }
        Ok(result)
    }

    /// Returns the first difference between `text`, from which it was parsed, and what is confirmed. Does not compare the
    /// hash.
    pub(super) fn difference(
        &self,
        text: &[u8],
        confirmed: &Confirmed,
        accounts: &PerAgency<Account>,
        winners: Documents,
    ) -> Option<String> {
        let (number, sha256) = (self.winning_number, self.bets_sha256.clone());
        let given = DrawResult::new(number, confirmed.extent(), sha256, accounts, winners);
        let given = DrawResult { held_at: self.held_at, ..given }.to_toml();
        let there = String::from_utf8_lossy(text);
        if let Some(held) = confirmed.slot.held.filter(|held| held.winning_number != number) {
            let held_on = held.winning_number;
            return Some(format!("winning_number is {number}, and the draw was held on {held_on}"));
        }
        let mut lines = (1..).zip(there.split('\n').zip(given.split('\n')));
        if let Some((place, (line, given))) = lines.find(|(_, (line, given))| line != given) {
            let [line, given] = excerpts(line, given);
            Some(format!("line {place} is \"{line}\", and the bets give \"{given}\""))
        } else if there != given {
            Some("has more or fewer lines than the bets give".into())
        } else if confirmed.slot.held.is_some_and(|held| held != Held::on(number, text)) {
            Some("was changed after the draw".into())
        } else {
            None
        }
    }
}

/// Returns excerpts of two texts, from shortly before their first difference: lists of winners are long.
fn excerpts(one: &str, other: &str) -> [String; 2] {
    const CHARS_BEFORE: usize = 20;
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let from = same.saturating_sub(CHARS_BEFORE);
    let cut = if from > 0 { "…" } else { "" };
    [one, other]
        .map(|text| excerpt(&cut.chars().chain(text.chars().skip(from)).collect::<String>()))
}

/// Returns the time in UTC, to the second.
fn now() -> Datetime {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    now.parse().expect("TOML takes its dates from the same standard")
}

#[cfg(test)]
mod tests {
    use super::excerpts;

    #[test]
    fn two_long_lists_show_where_they_differ() {
        let list = |last| format!("winners = [{}{last}]", "\"12345678\", ".repeat(10));
        let shown = ["… \"12345678\", 30904465]", "… \"12345678\", 30904466]"];
        assert_eq!(excerpts(&list(30_904_465), &list(30_904_466)), shown);
        assert_eq!(excerpts("bets = 15", "bets = 14"), ["bets = 15", "bets = 14"]);
    }
}
