//! Shows the state of each agency: on a terminal in lines below the log, and with `--progress` without a terminal in
//! the log.

use crate::process::stderr::{Stderr, fit, size_of_terminal};
use crate::process::words;
use indicatif::HumanCount;
use log::info;
use loteria::draw::Draw;
use loteria::ledger::{Access, DrawResult, Ledger};
use loteria::session;
use loteria::stop::{self, Stop};
use loteria::summary::{AgencyState, AgencySummary, Summary};
use loteria::text::log_lines;
use std::fmt::Display;
use std::io;
use std::time::Duration;

/// The period of updates.
const PERIOD: Duration = Duration::from_secs(1);
/// More agencies than this share one line of the log.
const LOG_LINES_MAX: usize = 20;

/// The place where the state is shown: lines below the log on a terminal, and otherwise the log, if that is wanted.
pub(crate) struct Board {
    pub(crate) stderr: Stderr,
    pub(crate) is_wanted: bool,
}

impl Board {
    /// Calls `serve`, and shows the state of each agency meanwhile.
    pub(crate) fn beside(
        &self,
        ledger: &Ledger,
        draw: &Draw<DrawResult>,
        serve: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.stderr.can_erase() && !self.is_wanted {
            return serve();
        }
        let access = ledger.access();
        stop::beside("board", |over| self.show(&access, draw, over), serve)?
    }

    /// Shows the state until `over` comes, or the ledger has ended.
    fn show(&self, access: &Access<'_>, draw: &Draw<DrawResult>, over: &Stop) {
        let mut logged = Vec::new();
        while let Ok(summary) = session::summary(access, draw) {
            if self.stderr.can_erase() {
                let (rows, width) = size_of_terminal();
                self.stderr.show(lines(&summary, rows, width));
            } else {
                let texts = log_texts(&summary);
                if texts != logged {
                    let line = |text: &String| {
                        format!("action: progress | result: in_progress | state: {text}")
                    };
                    info!("{}", log_lines(&texts, line));
                    logged = texts;
                }
            }
            if over.wait_for(PERIOD) {
                break;
            }
        }
        self.stderr.show(Vec::new());
    }
}

/// Returns a line for each agency and one for the draw, or for as many agencies as fit with the others in
/// one line.
fn lines(summary: &Summary, rows: usize, width: usize) -> Vec<String> {
    let agencies = &summary.agencies;
    let listed = words::listed(agencies.len(), rows, 1);
    let describe = |(agency, AgencySummary { bets, state }): (u32, &AgencySummary)| {
        let bets = HumanCount(*bets).to_string();
        let state = words::state(*state);
        let long = format!("agency {agency:>3} {bets:>12} bets, {state}");
        let short = state.split(' ').next().unwrap_or(state);
        fit([long, format!("agency {agency:>3} {bets} {short}")], width)
    };
    let mut lines: Vec<String> = (1..).zip(agencies).take(listed).map(describe).collect();
    if listed < agencies.len() {
        let more = agencies.len() - listed;
        let [long, short, shortest] = totals(summary, HumanCount(summary.bets()));
        lines.push(fit([format!("{more} more; all {long}"), short, shortest], width));
    }
    lines.push(fit([describe_draw(summary, width)], width));
    lines
}

/// Returns the lines for the log, with plain numbers. More than [`LOG_LINES_MAX`] agencies share one line.
fn log_texts(summary: &Summary) -> Vec<String> {
    let describe = |(agency, AgencySummary { bets, state }): (u32, &AgencySummary)| {
        format!("agency {agency:>3}, {bets:>12} bets, {}", words::state(*state))
    };
    let mut texts = if summary.agencies.len() > LOG_LINES_MAX {
        let [total, ..] = totals(summary, summary.bets());
        vec![total]
    } else {
        (1..).zip(&summary.agencies).map(describe).collect()
    };
    texts.push(describe_draw(summary, usize::MAX));
    texts
}

/// Returns a line for all agencies, and two shorter ones: their bets, as written already, and the number of agencies in
/// each state.
fn totals(summary: &Summary, bets: impl Display) -> [String; 3] {
    let count = |state| summary.agencies.iter().filter(|agency| agency.state == state).count();
    let (open, waiting) = (count(AgencyState::Open), count(AgencyState::Waiting));
    let all = summary.agencies.len();
    let states = format!("{open} open, {waiting} waiting");
    [
        format!("{all} agencies, {bets} bets: {states} for the draw"),
        format!("all {all}: {bets} bets, {states}"),
        format!("all {all}: {states}"),
    ]
}

/// Returns the state of the draw, with as many missing agencies as fit.
fn describe_draw(summary: &Summary, width: usize) -> String {
    let missing = summary.missing();
    match summary.winners {
        Some(winners) => format!("the draw was held, {}", words::count_of(winners, "winner")),
        None if missing.is_empty() => "every agency is done".into(),
        None => words::missing(&missing, width),
    }
}

#[cfg(test)]
mod tests {
    use super::lines;
    use loteria::summary::{AgencyState, AgencySummary, Summary};

    fn lottery(agencies: usize, winners: Option<u64>) -> Summary {
        let agency = AgencySummary { bets: 1_234_567, state: AgencyState::Open };
        Summary { winners, agencies: vec![agency; agencies] }
    }

    #[test]
    fn the_board_fits_the_terminal_and_ends_with_the_draw() {
        for agencies in [1, 5, 21, 500] {
            for (rows, width) in [(24, 80), (24, 40), (6, 100), (3, 10), (1, 1)] {
                let lines = lines(&lottery(agencies, None), rows, width);
                assert!(lines.len() <= rows.max(2), "{rows} rows: {lines:?}");
                for line in lines {
                    assert!(line.chars().count() < width.max(2), "{width} columns: {line}");
                }
            }
        }
        let five = lines(&lottery(5, None), 24, 40);
        assert_eq!(five[0], "agency   1    1,234,567 bets, open");
        assert_eq!(five[5], "missing agencies: 1, 2, 3, 4, 5");
        let narrow = lines(&lottery(5, None), 24, 30);
        assert_eq!(narrow[0], "agency   1 1,234,567 open");
        assert_eq!(narrow[5], "5 agencies missing");
        let held = lines(&lottery(500, Some(1)), 10, 100);
        assert_eq!(held.len(), 8);
        let total = "all 500 agencies, 617,283,500 bets: 500 open, 0 waiting for the draw";
        assert_eq!(held[6], format!("494 more; {total}"));
        assert_eq!(held[7], "the draw was held, 1 winner");
        let narrow = lines(&lottery(500, None), 10, 40);
        assert_eq!(narrow[6], "all 500: 500 open, 0 waiting");
    }
}
