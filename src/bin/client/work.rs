//! The client's tasks, and their execution.

use crate::board::Board;
use crate::process::stderr::Stderr;
use crate::process::{self, Failure};
use crate::report;
use log::{info, warn};
use loteria::bet::{AGENCIES_MAX, AgencyId, BET_FIELDS, Bet};
use loteria::client::{self, Error};
use loteria::stop::{self, Stop};
use loteria::text::LogValue;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The period of drawing the bars.
const DRAW_PERIOD: Duration = Duration::from_millis(100);
/// The variables of a single bet, in the order of its fields.
const BET_VARIABLES: [&str; BET_FIELDS] =
    ["NOMBRE", "APELLIDO", "DOCUMENTO", "NACIMIENTO", "NUMERO"];

/// The values of these variables.
type BetFields = [String; BET_FIELDS];

/// The task of sending bets.
pub(crate) enum Work<'v> {
    Agencies(Vec<(AgencyId, PathBuf)>),
    Bet(AgencyId, Bet<'v>),
}

/// Returns the task of sending bets: the bet of the variables, or those of files.
///
/// # Errors
///
/// The bet is invalid, there is a bet and a file, or there is no file.
pub(crate) fn choose<'v>(
    variables: Option<&'v (AgencyId, BetFields)>,
    agency: Option<AgencyId>,
    directory: &Path,
    file: Option<&Path>,
) -> Result<Work<'v>, Failure> {
    if let Some((agency, fields)) = variables {
        let all = BET_VARIABLES.join(", ");
        let bet = Bet::new(fields.each_ref().map(String::as_str))
            .map_err(|invalid| Failure::Usage(format!("the bet of {all}: {invalid}")))?;
        if file.is_some() {
            let reason = format!(
                "--file: {all} are set, which is a single bet: unset them to send the file, or leave --file out"
            );
            return Err(Failure::Usage(reason));
        }
        return Ok(Work::Bet(*agency, bet));
    }
    Ok(Work::Agencies(match (agency, file) {
        (None, None) => agencies_in(directory)?,
        (None, Some(_)) => {
            let reason = "--file: needs the agency of the file: --agency or CLI_ID";
            return Err(Failure::Usage(reason.into()));
        }
        (Some(id), Some(file)) => vec![(id, file.to_owned())],
        (Some(id), None) => vec![(id, directory.join(format!("agency-{id}.csv")))],
    }))
}

/// Returns the variables of a single bet, if they are set, and the agency that it needs.
///
/// # Errors
///
/// Some of them are missing.
pub(crate) fn variables(
    agency: Option<AgencyId>,
) -> Result<Option<(AgencyId, BetFields)>, Failure> {
    let mut fields = BetFields::default();
    let mut missing = Vec::new();
    for (field, name) in fields.iter_mut().zip(BET_VARIABLES) {
        match env::var_os(name).filter(|value| !value.is_empty()) {
            None => missing.push(name),
            Some(value) => {
                let text = value.into_string();
                *field = text.map_err(|_| Failure::Usage(format!("{name}: must be UTF-8")))?;
            }
        }
    }
    if missing.len() == BET_VARIABLES.len() {
        return Ok(None);
    }
    if agency.is_none() {
        missing.push("CLI_ID");
    }
    let (Some(agency), true) = (agency, missing.is_empty()) else {
        let missing = missing.join(", ");
        return Err(Failure::Usage(format!("a single bet needs these too: {missing}")));
    };
    Ok(Some((agency, fields)))
}

/// Returns the agencies of the directory, each with its file.
fn agencies_in(directory: &Path) -> Result<Vec<(AgencyId, PathBuf)>, Failure> {
    let failed = |error| {
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
        Failure::Failed(format!(
            "{}: {error}; name another directory with CLI_AGENCIES_DIR, or a file with --agency N --file CSV",
            directory.display()
        ))
    };
    let mut agencies = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match agency_of(&path) {
            Some(id) => agencies.push((id, path)),
            None if looks_like_an_agency(&path) => warn!(
                "action: config | result: in_progress | file: {} | error: left out, because the file of an \
                 agency is named agency-N.csv, with N from 1 to {AGENCIES_MAX} and without zeros before it",
                LogValue(path.display())
            ),
            None => {}
        }
    }
    if agencies.is_empty() {
        return Err(failed(io::Error::other("no agency-N.csv in it")));
    }
    agencies.sort();
    Ok(agencies)
}

/// Returns whether a file name resembles that of an agency's file: `agency-02.csv`, `Agency-3.CSV`.
fn looks_like_an_agency(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
    name.is_some_and(|name| name.starts_with("agency") && name.ends_with(".csv"))
}

/// Returns N, of `agency-N.csv`.
fn agency_of(path: &Path) -> Option<AgencyId> {
    let name = path.file_name()?.to_str()?;
    AgencyId::parse(name.strip_prefix("agency-")?.strip_suffix(".csv")?)
}

pub(crate) fn run(
    work: Work<'_>,
    settings: &client::Settings,
    board: &Board,
    stop: &Stop,
) -> Result<(), Failure> {
    let done = match work {
        Work::Agencies(agencies) => run_agencies(agencies, settings, board, stop),
        Work::Bet(agency, bet) => client::place(agency, bet, settings, stop),
    };
    match done {
        // To be stopped is no failure.
        Ok(()) | Err(Error::Stopped) => Ok(()),
        Err(error) => Err(Failure::failed(error)),
    }
}

/// Prints the state of the lottery. Fails if a stop comes before that, because a script goes on after success.
pub(crate) fn print_status(
    settings: &client::Settings,
    as_json: bool,
    stderr: &Stderr,
    stop: &Stop,
) -> Result<(), Failure> {
    let printed = client::status(settings, stop).and_then(|summary| {
        let text = if as_json { report::json(&summary) } else { Ok(report::table(&summary)) };
        let printed = text.map_err(io::Error::from).and_then(|text| stderr.print(&text, stop));
        printed.map_err(|error| if stop.has_come() { Error::Stopped } else { Error::Output(error) })
    });
    printed.map_err(|error| match error {
        Error::Stopped => {
            Failure::Failed("interrupted before the state of the lottery was printed".into())
        }
        error => Failure::failed(error),
    })
}

/// Runs agencies, with bars if they are shown.
fn run_agencies(
    agencies: Vec<(AgencyId, PathBuf)>,
    settings: &client::Settings,
    board: &Board,
    stop: &Stop,
) -> Result<(), Error> {
    let run = || client::run(agencies, settings, board, stop);
    let done = if board.shows_bars() { with_bars(board, run) } else { run() };
    match &done {
        Ok(()) if process::is_log_short() => board.stderr.say(&board.summary()),
        Err(Error::Stopped) if settings.resume => log_interrupted(settings, board),
        _ => {}
    }
    done
}

/// Calls `run` beside a thread that draws the bars.
fn with_bars(board: &Board, run: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let draw = |done: &Stop| {
        while !done.wait_for(DRAW_PERIOD) {
            board.draw();
        }
        board.stderr.show(Vec::new());
    };
    stop::beside("progress", draw, run).map_err(Error::Thread)?
}

/// Logs the progress of a run that a signal ended, and the next step.
fn log_interrupted(settings: &client::Settings, board: &Board) {
    let told = board.stored();
    let stored = match told {
        Some((stored, of)) => format!("{stored} | of: {of}"),
        None => format!("unknown, no answer from {} yet", LogValue(&settings.server_address)),
    };
    let next = match told {
        Some((stored, of)) if stored >= of => "asks for the winners",
        _ => "goes on after the bets that are stored",
    };
    info!(
        "action: interrupt | result: success | stored: {stored} | next: run the client again, it {next}"
    );
}
