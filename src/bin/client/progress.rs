//! What the client shows of its agencies while they work: bars on a terminal, a line every few seconds
//! elsewhere, nothing where quiet is asked for. The home of the `indicatif` crate.

use crate::process::AboveBars;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use log::info;
use loteria::bet::AgencyId;
use loteria::summary::{DrawState, Summary};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often an agency's progress is logged where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(5);
/// Numbers and plain characters only: there is no colour that NO_COLOR would have to keep away.
const BAR: &str = "{prefix} [{bar:30}] {human_pos}/{human_len} {msg}";
const SENDING: &str = "{prefix} [{bar:30}] {human_pos}/{human_len} {rate} bets/s, {eta} left";

/// How progress is shown.
pub(crate) struct Progress {
    shown: Shown,
    agencies: Mutex<BTreeMap<AgencyId, Agency>>,
}

enum Shown {
    Bars(MultiProgress),
    Lines,
    Nothing,
}

struct Agency {
    bar: Option<ProgressBar>,
    waiting: bool,
    reconnecting: bool,
    /// When a line was logged last, or the first might have been.
    last_line: Instant,
}

impl Progress {
    /// Bars where stderr is a terminal, lines where it is not, nothing where `quiet`.
    pub(crate) fn new(quiet: bool) -> Progress {
        let shown = if quiet {
            Shown::Nothing
        } else if io::stderr().is_terminal() {
            Shown::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
        } else {
            Shown::Lines
        };
        Progress { shown, agencies: Mutex::default() }
    }

    /// Where log lines go: above the bars, where there are any.
    pub(crate) fn log_target(&self) -> env_logger::Target {
        match &self.shown {
            Shown::Bars(bars) => env_logger::Target::Pipe(Box::new(AboveBars(bars.clone()))),
            _ => env_logger::Target::Stderr,
        }
    }

    /// Whether it is worth asking how many agencies are missing.
    pub(crate) fn shows_bars(&self) -> bool {
        matches!(self.shown, Shown::Bars(_))
    }

    /// Whether an agency waits for the draw.
    pub(crate) fn anyone_waits(&self) -> bool {
        self.agencies().values().any(|agency| agency.waiting)
    }

    /// So many of the agency's bets are stored.
    pub(crate) fn confirmed(&self, id: AgencyId, bets: u64, of: u64) {
        let mut agencies = self.agencies();
        let place = agencies.range(..id).count();
        let agency = agencies.entry(id).or_insert_with(|| self.begin(place, id, bets, of));
        if let Some(bar) = &agency.bar {
            if std::mem::take(&mut agency.reconnecting) {
                bar.set_style(style(SENDING));
            }
            bar.set_position(bets);
        } else if matches!(self.shown, Shown::Lines) && agency.last_line.elapsed() >= LINE_PERIOD {
            agency.last_line = Instant::now();
            info!(
                "action: progress | result: in_progress | client_id: {id} | stored: {bets} | of: {of}"
            );
        }
    }

    /// An agency that is heard of first; its bar is in this place among the others.
    fn begin(&self, place: usize, id: AgencyId, bets: u64, of: u64) -> Agency {
        let bar = match &self.shown {
            Shown::Bars(bars) => {
                let bar = bars.insert(place, ProgressBar::new(of).with_style(style(SENDING)));
                bar.set_prefix(format!("agency {id:>3}"));
                bar.set_position(bets);
                // What was stored before is no measure of the rate.
                bar.reset_eta();
                Some(bar)
            }
            _ => None,
        };
        Agency { bar, waiting: false, reconnecting: false, last_line: Instant::now() }
    }

    /// The agency waits for the draw.
    pub(crate) fn waiting(&self, id: AgencyId, of: u64) {
        let mut agencies = self.agencies();
        let place = agencies.range(..id).count();
        let agency = agencies.entry(id).or_insert_with(|| self.begin(place, id, of, of));
        agency.waiting = true;
        if let Some(bar) = &agency.bar {
            bar.set_style(style(BAR));
            bar.set_position(of);
            bar.set_message("waiting for the draw");
        }
    }

    /// The agency's connection is lost.
    pub(crate) fn reconnecting(&self, id: AgencyId) {
        if let Some(agency) = self.agencies().get_mut(&id) {
            agency.reconnecting = true;
            if let Some(bar) = &agency.bar {
                bar.set_style(style(BAR));
                bar.set_message("reconnecting");
            }
        }
    }

    /// The server has said how the lottery stands.
    pub(crate) fn stands(&self, summary: &Summary) {
        let missing = summary.missing().len();
        if summary.draw == DrawState::Pending {
            for agency in self.agencies().values().filter(|agency| agency.waiting) {
                if let Some(bar) = &agency.bar {
                    bar.set_message(match missing {
                        1 => "waiting for the draw, 1 agency is missing".into(),
                        _ => format!("waiting for the draw, {missing} agencies are missing"),
                    });
                }
            }
        }
    }

    /// The agency has heard its winners.
    pub(crate) fn finished(&self, id: AgencyId, winners: usize) {
        if let Some(agency) = self.agencies().get_mut(&id) {
            agency.waiting = false;
            if let Some(bar) = &agency.bar {
                bar.finish_with_message(match winners {
                    1 => "1 winner".into(),
                    _ => format!("{winners} winners"),
                });
            }
        }
    }

    /// Does something with the terminal while no bar is in its way.
    pub(crate) fn beside<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.shown {
            Shown::Bars(bars) => bars.suspend(work),
            _ => work(),
        }
    }

    fn agencies(&self) -> MutexGuard<'_, BTreeMap<AgencyId, Agency>> {
        self.agencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are constants that are right")
        .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
            // Where it cannot be written, nothing of the bar can.
            let _unwritten = write!(out, "{:.0}", state.per_sec());
        })
        .progress_chars("=> ")
}
