//! `--verify`: prints whether the files of a server that is not running agree.

use crate::process::Failure;
use crate::process::stderr::Stderr;
use loteria::ledger::{self, Verified};
use loteria::stop::Stop;
use loteria::text::noun_for;

/// Prints to stdout whether the files agree. Fails if a stop comes before that is known and printed, because a script
/// goes on after success.
pub(crate) fn verify(
    settings: &ledger::Settings,
    stderr: &Stderr,
    stop: &Stop,
) -> Result<(), Failure> {
    let Verified { contents, differences } =
        ledger::verify(settings, stop).map_err(Failure::failed)?;
    let lines = contents.iter().chain(&differences);
    let report: String = lines.map(|line| format!("{line}\n")).collect();
    let printed = stderr.print(&report, stop);
    printed.map_err(|error| Failure::Failed(format!("stdout could not be written: {error}")))?;
    match differences.len() as u64 {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} {}", noun_for(count, "difference")))),
    }
}
