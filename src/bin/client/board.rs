//! Shows the client's agencies while they work: bars on a terminal, unless `--quiet` is set.

use crate::process::stderr::{Stderr, size_of_terminal};
use crate::process::words;
use indicatif::{FormattedDuration, HumanCount, HumanFloatCount, ProgressBar, ProgressDrawTarget};
use loteria::bet::AgencyId;
use loteria::client::Observer;
use loteria::stop::Stop;
use loteria::system::lock;
use loteria::text::noun_for;
use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::time::Instant;

/// The widest bar, in columns.
const BAR_WIDTH: usize = 30;
/// The narrowest bar. A terminal with less room has none.
const BAR_WIDTH_MIN: usize = 8;
/// The most agencies with a line each in the summary at the end.
const SUMMARY_LINES_MAX: usize = 20;

/// The progress of all agencies, and the way in which it is shown.
pub(crate) struct Board {
    is_quiet: bool,
    pub(crate) stderr: Stderr,
    stop: Stop,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    agencies: BTreeMap<AgencyId, Agency>,
}

struct Agency {
    /// The number of stored bets, the number of all, and the recent rate. It draws nothing.
    bar: ProgressBar,
    doing: Doing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// The server has not told yet how many bets it has.
    Connecting,
    Sending,
    Reconnecting,
    Waiting,
    Done {
        winners: u64,
    },
}

impl Board {
    /// Shows bars if stderr is a terminal, unless `is_quiet`. Prints winners until `stop` comes.
    pub(crate) fn new(stderr: Stderr, is_quiet: bool, stop: Stop) -> Board {
        Board { is_quiet, stderr, stop, start: Instant::now(), state: Mutex::default() }
    }

    pub(crate) fn shows_bars(&self) -> bool {
        !self.is_quiet && self.stderr.can_erase()
    }

    pub(crate) fn draw(&self) {
        let (rows, width) = size_of_terminal();
        let lines = lock(&self.state).lines(rows, width);
        self.stderr.show(lines);
    }

    /// Returns the number of stored bets and the number of all bets, of the agencies that have begun to connect. Returns
    /// `None` if the server has told none of them how many it has.
    pub(crate) fn stored(&self) -> Option<(u64, u64)> {
        let state = lock(&self.state);
        let is_told = state.agencies.values().any(|agency| agency.doing != Doing::Connecting);
        is_told.then(|| state.stored())
    }

    /// Returns the summary of a run that succeeded: the winners of each agency, and a total.
    pub(crate) fn summary(&self) -> String {
        let state = lock(&self.state);
        let mut text = String::new();
        let mut all = 0;
        for (id, agency) in &state.agencies {
            let Doing::Done { winners } = agency.doing else { continue };
            all += winners;
            if state.agencies.len() <= SUMMARY_LINES_MAX {
                let (bets, winners) =
                    (count_of(agency.bar.position(), "bet"), count_of(winners, "winner"));
                text.push_str(&format!("agency {id:>3}: {bets}, {winners}\n"));
            }
        }
        let bets = count_of(state.stored().0, "bet");
        let agencies = count_of(state.agencies.len() as u64, "agency");
        let (time, winners) = (self.start.elapsed().as_secs_f64(), count_of(all, "winner"));
        text.push_str(&format!("{bets} of {agencies} stored, {winners}, in {time:.1} s"));
        text
    }
}

/// Prints winners to stdout, and nothing else there; shows the rest on stderr.
impl Observer for Board {
    fn invalid_line(&self, report: &str) {
        self.stderr.say(report);
    }

    fn confirmed(&self, agency: AgencyId, bets: u64, of: u64) {
        let mut state = lock(&self.state);
        let shown = state.agency(agency, of);
        shown.bar.set_position(bets);
        if shown.doing != Doing::Sending {
            // Bets that were stored before do not count for the rate.
            shown.bar.reset_eta();
        }
        shown.doing = Doing::Sending;
    }

    fn reconnecting(&self, agency: AgencyId, of: u64) {
        let mut state = lock(&self.state);
        let shown = state.agency(agency, of);
        if shown.doing != Doing::Connecting {
            shown.doing = Doing::Reconnecting;
        }
    }

    fn waiting(&self, agency: AgencyId, bets: u64) {
        lock(&self.state).agency(agency, bets).doing = Doing::Waiting;
    }

    fn winners(&self, agency: AgencyId, documents: &[&str]) -> io::Result<()> {
        let lines: String =
            documents.iter().map(|document| format!("{agency},{document}\n")).collect();
        self.stderr.print(&lines, &self.stop)?;
        if let Some(shown) = lock(&self.state).agencies.get_mut(&agency) {
            shown.doing = Doing::Done { winners: documents.len() as u64 };
        }
        Ok(())
    }
}

impl State {
    /// Returns an agency. Adds it if it is new.
    fn agency(&mut self, id: AgencyId, of: u64) -> &mut Agency {
        self.agencies.entry(id).or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::hidden());
            Agency { bar, doing: Doing::Connecting }
        })
    }

    fn stored(&self) -> (u64, u64) {
        let bars = || self.agencies.values().map(|agency| &agency.bar);
        let of = bars().map(|bar| bar.length().unwrap_or_default()).sum();
        (bars().map(ProgressBar::position).sum(), of)
    }

    /// Returns a line for each agency, or for as many as fit with the others in one line.
    fn lines(&self, rows: usize, width: usize) -> Vec<String> {
        let count = words::listed(self.agencies.len(), rows, 0);
        let fits = count == self.agencies.len();
        // Agencies that are done make room for the others.
        let is_listed = |agency: &Agency| fits || !matches!(agency.doing, Doing::Done { .. });
        let listed = self.agencies.iter().filter(|(_, agency)| is_listed(agency)).take(count);
        let mut lines: Vec<String> = listed.map(|(id, agency)| agency.line(*id, width)).collect();
        if !fits {
            lines.push(self.total(lines.len()));
        }
        lines
    }

    /// Returns the line of all agencies. The first `listed` of them have lines of their own.
    fn total(&self, listed: usize) -> String {
        let (bets, of) = self.stored();
        let count = |wanted: fn(Doing) -> bool| {
            self.agencies.values().filter(|agency| wanted(agency.doing)).count()
        };
        let done = count(|doing| matches!(doing, Doing::Done { .. }));
        let waiting = count(|doing| doing == Doing::Waiting);
        let (bets, of) = (HumanCount(bets), HumanCount(of));
        let all = self.agencies.len();
        let more = if listed == 0 { String::new() } else { format!("{} more; ", all - listed) };
        format!("{more}all {all}: {bets}/{of} bets, {waiting} waiting, {done} done")
    }
}

impl Agency {
    /// Returns its line, with a bar if there is room.
    fn line(&self, id: AgencyId, width: usize) -> String {
        let (bets, of) = (self.bar.position(), self.bar.length().unwrap_or_default());
        let state = match self.doing {
            Doing::Connecting => {
                return format!("agency {id:>3} {} connecting", count_of(of, "bet"));
            }
            Doing::Reconnecting => "reconnecting".into(),
            Doing::Waiting => "waiting for the draw".into(),
            Doing::Done { winners } => count_of(winners, "winner"),
            Doing::Sending => {
                let rate = HumanFloatCount(self.bar.per_sec());
                format!("{rate:.0} bets/s, {} left", FormattedDuration(self.bar.eta()))
            }
        };
        let mut counts = HumanCount(bets).to_string();
        if bets < of {
            counts.push_str(&format!("/{}", HumanCount(of)));
        }
        let line = |bar: &str| format!("agency {id:>3} {bar}{counts} {state}");
        // The brackets of the bar, a space and the last column are left free.
        match width.saturating_sub(line("").len() + 4).min(BAR_WIDTH) {
            ..BAR_WIDTH_MIN => line(""),
            room => line(&format!("[{}] ", bar(bets, of, room))),
        }
    }
}

fn count_of(count: u64, noun: &str) -> String {
    format!("{} {}", HumanCount(count), noun_for(count, noun))
}

/// Returns a bar of `width` columns.
fn bar(part: u64, whole: u64, width: usize) -> String {
    let filled = (width as u64 * part)
        .checked_div(whole)
        .map_or(width, |filled| usize::try_from(filled).unwrap_or(width).min(width));
    let head = if filled < width { ">" } else { "" };
    format!("{:<width$}", "=".repeat(filled) + head)
}

#[cfg(test)]
mod tests {
    use super::{Doing, State};
    use loteria::bet::AgencyId;

    fn lottery(agencies: u16) -> State {
        let mut state = State::default();
        for id in (1..=agencies).filter_map(AgencyId::new) {
            let agency = state.agency(id, 2_000_000);
            agency.bar.set_position(1_000_000);
            agency.bar.reset_eta();
            agency.doing = Doing::Sending;
        }
        state
    }

    #[test]
    fn lines_fit_the_terminal_whatever_its_height() {
        for agencies in [1, 5, 30] {
            let mut state = lottery(agencies);
            let states = [
                Doing::Connecting,
                Doing::Sending,
                Doing::Reconnecting,
                Doing::Waiting,
                Doing::Done { winners: 1234 },
            ];
            for (agency, doing) in state.agencies.values_mut().zip(states.into_iter().cycle()) {
                agency.doing = doing;
            }
            for rows in [24, 5, 3, 1] {
                let lines = state.lines(rows, 80);
                assert!(lines.len() <= rows.max(2), "{rows} rows: {lines:?}");
            }
        }
    }

    #[test]
    fn a_wide_terminal_has_bars_and_a_narrow_one_has_none() {
        let mut state = lottery(2);
        state.agency(AgencyId::new(2).expect("an agency"), 0).doing = Doing::Waiting;
        let half = format!("[{}>{}]", "=".repeat(15), " ".repeat(14));
        let wide = state.lines(24, 100);
        assert!(wide[0].contains(&format!("agency   1 {half} 1,000,000/2,000,000 ")), "{wide:?}");
        let waiting = "1,000,000/2,000,000 waiting for the draw";
        assert_eq!(state.lines(24, 63)[1], format!("agency   2 [====>   ] {waiting}"));
        assert_eq!(state.lines(24, 62)[1], format!("agency   2 {waiting}"));
        state.agency(AgencyId::new(2).expect("an agency"), 0).doing = Doing::Reconnecting;
        let reconnecting = "agency   2 [====>    ] 1,000,000/2,000,000 reconnecting";
        assert_eq!(state.lines(24, 56)[1..], [reconnecting]);
    }

    #[test]
    fn agencies_beyond_the_rows_share_a_line_with_a_total() {
        let state = lottery(30);
        let lines = state.lines(12, 80);
        assert_eq!(lines.len(), 10);
        let total = "21 more; all 30: 30,000,000/60,000,000 bets, 0 waiting, 0 done";
        assert_eq!(lines[9], total);
    }
}
