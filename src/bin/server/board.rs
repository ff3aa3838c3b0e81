//! How each agency stands, as the server shows it: on a terminal in lines below the log, elsewhere, where it
//! is asked for, in the log.

use crate::process::AboveBars;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::info;
use loteria::draw::Draw;
use loteria::ledger::{Access, DrawResult, Ledger};
use loteria::session;
use loteria::stop::{Stop, Stopper};
use loteria::summary::{AgencyState, AgencySummary};
use loteria::text::LogLines;
use std::io::{self, IsTerminal};
use std::thread::{self, Builder};
use std::time::Duration;

/// How often the board is brought up to date.
const PERIOD: Duration = Duration::from_secs(1);
/// More agencies than this share one line.
const LINES_MAX: usize = 20;

/// How it is shown.
pub(crate) enum Board {
    /// Below the log.
    Lines(MultiProgress),
    /// In the log, where something has changed.
    Log,
    /// Not at all.
    Nothing,
}

impl Board {
    /// A board where stderr is a terminal or it is `wanted`.
    pub(crate) fn new(wanted: bool) -> Board {
        if io::stderr().is_terminal() {
            Board::Lines(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
        } else if wanted {
            Board::Log
        } else {
            Board::Nothing
        }
    }

    /// Where log lines go.
    pub(crate) fn log_target(&self) -> env_logger::Target {
        match self {
            Board::Lines(bars) => env_logger::Target::Pipe(Box::new(AboveBars(bars.clone()))),
            _ => env_logger::Target::Stderr,
        }
    }

    /// Serves, and shows meanwhile how each agency stands.
    pub(crate) fn beside(
        &self,
        ledger: &Ledger,
        draw: &Draw<DrawResult>,
        serve: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        if matches!(self, Board::Nothing) {
            return serve();
        }
        let (serving, over) = Stopper::new();
        let access = ledger.access();
        thread::scope(|scope| {
            let thread = Builder::new().name("board".into());
            thread.spawn_scoped(scope, || self.show(&access, draw, &over))?;
            let served = serve();
            drop(serving);
            served
        })
    }

    /// Shows what is so until `over` is closed, or the ledger has ended.
    fn show(&self, access: &Access<'_>, draw: &Draw<DrawResult>, over: &Stop) {
        let style = ProgressStyle::with_template("{msg}").expect("the template is right");
        let mut lines: Vec<ProgressBar> = Vec::new();
        let mut shown = Vec::new();
        while let Ok(status) = session::summary(access, draw) {
            let texts = describe_all(&status.agencies);
            match self {
                Board::Lines(bars) => {
                    lines.resize_with(texts.len(), || {
                        bars.add(ProgressBar::new_spinner().with_style(style.clone()))
                    });
                    lines
                        .iter()
                        .zip(&texts)
                        .for_each(|(line, text)| line.set_message(text.clone()));
                }
                _ if texts != shown => info!(
                    "{}",
                    LogLines(&texts, |text: &String| format!(
                        "action: progress | result: in_progress | state: {text}"
                    ))
                ),
                _ => {}
            }
            shown = texts;
            if over.wait_for(PERIOD) {
                break;
            }
        }
        lines.iter().for_each(ProgressBar::finish_and_clear);
    }
}

/// A line for each agency, or one for all where they are many.
fn describe_all(agencies: &[AgencySummary]) -> Vec<String> {
    if agencies.len() > LINES_MAX {
        return vec![summary(agencies)];
    }
    let describe = |(agency, AgencySummary { bets, state }): (u32, &AgencySummary)| {
        format!("agency {agency:>3}, {bets:>12} bets, {}", state.description())
    };
    (1..).zip(agencies).map(describe).collect()
}

fn summary(agencies: &[AgencySummary]) -> String {
    let bets: u64 = agencies.iter().map(|agency| agency.bets).sum();
    let count = |state| agencies.iter().filter(|agency| agency.state == state).count();
    let (open, waiting) = (count(AgencyState::Open), count(AgencyState::Waiting));
    let agencies = agencies.len();
    format!("{agencies} agencies, {bets} bets: {open} open, {waiting} waiting for the draw")
}
