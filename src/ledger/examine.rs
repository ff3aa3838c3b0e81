//! The examination of the three files: compares them with what is confirmed, and with each other. A start and `--verify`
//! make the same one. Changes nothing.

use super::Repair;
use super::count::Account;
use super::disk::DiskFile;
use super::error::{OpenError, at};
use super::files::Files;
use super::hash;
use super::journal::{Confirmed, Extent, REMAINS_BYTES_MAX};
use super::pass::{self, Lines};
use super::result::DrawResult;
use super::winners::Winners;
use crate::bet::PerAgency;
use std::path::Path;

/// What the files hold.
pub(super) struct Examined<'f> {
    /// The confirmed bets of each agency.
    pub(super) accounts: PerAgency<Account>,
    /// The draw's result, if it is there and can be parsed.
    pub(super) result: Option<DrawResult>,
    /// The differences that a start refuses, the gravest first: the file, and the difference in words.
    pub(super) differences: Vec<(&'f Path, String)>,
    /// The changes by which a start makes `bets.csv` what is confirmed, if there are no differences.
    pub(super) repair: Repair,
}

impl<'f> Examined<'f> {
    /// Examines `files`. Does not compare the hash in the draw's result.
    pub(super) fn new(
        files: &'f Files<'_, impl DiskFile>,
        confirmed: &Confirmed,
    ) -> Result<Examined<'f>, OpenError> {
        let (base, end) = (confirmed.base, confirmed.extent().bytes);
        let length = files.bets_bytes()?;
        let draw = files.result.as_deref().map(DrawResult::parse);
        let winners_of = |result: &DrawResult| Winners::new(files.agencies, result.winning_number);
        let make = || Survey {
            accounts: PerAgency::new(files.agencies, |_| Account::default()),
            winners: draw.as_ref().and_then(|draw| draw.as_ref().ok()).map(winners_of),
        };
        let (found, mut survey) = match &files.bets {
            None => (Extent::default(), make()),
            Some(bets) => {
                let read = pass::over(bets, base.bytes, files.stop, make);
                at(&files.paths.bets, read)?.ok_or(OpenError::Interrupted)?
            }
        };
        survey.add(&confirmed.rows);
        let Survey { accounts, winners } = survey;
        let repair = Repair {
            adopted: files.journal.is_none() && end > 0,
            cut_bytes: length.saturating_sub(end),
            written_bytes: files.lacked_bytes(confirmed)?,
        };
        let mut examined = Examined { accounts, result: None, differences: Vec::new(), repair };

        let mut differs = |what| examined.differences.push((files.paths.bets.as_path(), what));
        // Without a seal the log can have all of its rows. Then a start writes the file again.
        if files.bets.is_none() && (base.bytes > 0 || confirmed.sealed && end > 0) {
            differs(format!("is missing, and {end} bytes of bets were confirmed"));
        } else if length < base.bytes
            || (confirmed.sealed && length != end)
            || (files.journal.is_some() && repair.cut_bytes > REMAINS_BYTES_MAX)
        {
            differs(format!("has {length} bytes, and {end} bytes of bets were confirmed"));
        } else if found != base {
            let bytes = base.bytes;
            differs(format!("its first {bytes} bytes are not those that were confirmed"));
        }

        let mut differs = |what| examined.differences.push((files.paths.result.as_path(), what));
        match (draw, &files.result, winners) {
            (Some(Ok(result)), Some(text), Some(Winners { documents, .. })) => {
                let accounts = &examined.accounts;
                if let Some(what) = result.difference(text, confirmed, accounts, documents) {
                    differs(what);
                }
                examined.result = Some(result);
            }
            (Some(Err(what)), ..) => differs(what),
            _ => {
                if let Some(held) = confirmed.slot.held {
                    let number = held.winning_number;
                    differs(format!("is missing, and the draw was held on {number}"));
                }
            }
        }
        Ok(examined)
    }

    /// Compares the hash in the draw's result with that of all that is confirmed, if nothing else differs.
    pub(super) fn compare_hash(
        &mut self,
        files: &'f Files<'_, impl DiskFile>,
        confirmed: &Confirmed,
    ) -> Result<(), OpenError> {
        let Some(result) = self.result.as_ref().filter(|_| self.differences.is_empty()) else {
            return Ok(());
        };
        let hash = hash::of(files.bets.as_ref(), confirmed.base.bytes, &confirmed.rows, files.stop);
        let hash = at(&files.paths.bets, hash)?.ok_or(OpenError::Interrupted)?;
        if hash != result.bets_sha256 {
            let what = "was held over other bets: their SHA-256 differs";
            self.differences.push((&files.paths.result, what.into()));
        }
        Ok(())
    }
}

/// Counts the bets, and finds the winners if the draw was held, in one pass over the lines.
struct Survey {
    accounts: PerAgency<Account>,
    winners: Option<Winners>,
}

impl Lines for Survey {
    fn add(&mut self, lines: &[u8]) {
        self.accounts.add(lines);
        self.winners.iter_mut().for_each(|winners| winners.add(lines));
    }

    fn join(&mut self, later: Survey) {
        self.accounts.join(later.accounts);
        let found = self.winners.iter_mut().zip(later.winners);
        found.for_each(|(winners, later)| winners.join(later));
    }
}
