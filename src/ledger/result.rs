//! The result of the draw, as a value and as `sorteo.toml`.

use super::count::Stored;
use super::journal::{Confirmed, Extent, Held};
use super::winners::Documents;
use crate::bet::{AgencyId, NUMBER_MAX, PerAgency, is_document};
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
    /// Returns the result of a draw held now over `extent`, with the number of bets of each agency.
    pub(super) fn new(
        winning_number: u16,
        extent: Extent,
        bets_sha256: String,
        bets: impl Fn(AgencyId) -> u64,
        winners: Documents,
    ) -> DrawResult {
        let result = |agency: AgencyId, winners| AgencyResult {
            id: agency.get(),
            bets: bets(agency),
            winners,
        };
        DrawResult {
            winning_number,
            held_at: now(),
            bets_bytes: extent.bytes,
            bets_sha256,
            agencies: winners.map(result).into_iter().collect(),
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

    /// Parses the text of `sorteo.toml`, which may have another form than that of [`DrawResult::to_toml`].
    ///
    /// # Errors
    ///
    /// The first error, in words.
    pub fn parse(text: &[u8]) -> Result<DrawResult, String> {
        let text = std::str::from_utf8(text).map_err(|_| "is not UTF-8")?;
        let result: DrawResult =
            toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())?;
        result.check()?;
        Ok(result)
    }

    fn check(&self) -> Result<(), String> {
        if self.winning_number > NUMBER_MAX {
            return Err(format!("winning_number: must be 0 to {NUMBER_MAX}"));
        }
        for (place, agency) in (1..).zip(&self.agencies) {
            if agency.id != place {
                return Err(format!("agency: number {} is in place {place}", agency.id));
            }
            if let Some(other) = agency.winners.iter().find(|winner| !is_document(winner)) {
                return Err(format!("agency {place}: winners: \"{other}\" is not a document"));
            }
        }
        Ok(())
    }

    /// Returns the differences between it, or the text that it was parsed from, and what is confirmed. Does not compare the
    /// hash.
    pub(super) fn differences(
        &self,
        text: &[u8],
        confirmed: &Confirmed,
        stored: &PerAgency<Stored>,
        winners: &Documents,
    ) -> Vec<String> {
        let mut differences = Vec::new();
        let (held, stored_bytes) = (self.bets_bytes, confirmed.extent().bytes);
        if held != stored_bytes {
            differences
                .push(format!("was held over {held} bytes of bets, and {stored_bytes} are stored"));
        }
        let (told, agencies) = (self.agencies.len(), stored.agencies().count());
        if told != usize::from(agencies) {
            differences.push(format!("has {told} agencies, and the lottery has {agencies}"));
        }
        for ((told, stored), winners) in
            self.agencies.iter().zip(stored.values()).zip(winners.values())
        {
            let id = told.id;
            if told.bets != stored.bets {
                let (told, bets) = (told.bets, stored.bets);
                differences
                    .push(format!("counts {told} bets of agency {id}, and {bets} are stored"));
            }
            if told.winners != *winners {
                let (told, winners) = (list(&told.winners), list(winners));
                differences.push(format!(
                    "lists {told} as winners of agency {id}, but the bets yield {winners}"
                ));
            }
        }
        if self.to_toml().as_bytes() != text {
            differences.push("is not in the form in which this program writes it".into());
        }
        if confirmed.slot.held.is_some_and(|held| held != Held::on(self.winning_number, text)) {
            differences.push("was changed after the draw".into());
        }
        differences
    }
}

fn list(documents: &[String]) -> String {
    if documents.is_empty() { "none".into() } else { documents.join(" ") }
}

/// Returns the time in UTC, to the second.
fn now() -> Datetime {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    now.parse().expect("TOML takes its dates from the same standard")
}

#[cfg(test)]
mod tests {
    use super::DrawResult;

    #[test]
    fn a_result_that_no_draw_gives_is_refused() {
        let text = "winning_number = 9999\nheld_at = 2026-11-30T17:00:00Z\nbets_bytes = 70\nbets_sha256 = \"\"\n\
            [[agency]]\nid = 1\nbets = 1\nwinners = [\"30904465\"]\n[[agency]]\nid = 2\nbets = 1\nwinners = []\n";
        assert!(DrawResult::parse(text.as_bytes()).is_ok());
        for (from, to, why) in [
            ("9999", "10000", "winning_number: must be 0 to 9999"),
            ("id = 1", "id = 2", "agency: number 2 is in place 1"),
            ("id = 2", "id = 1", "agency: number 1 is in place 2"),
            ("30904465", "3090446x", "agency 1: winners: \"3090446x\" is not a document"),
        ] {
            let parsed = DrawResult::parse(text.replace(from, to).as_bytes());
            assert_eq!(parsed, Err(why.to_owned()));
        }
    }
}
