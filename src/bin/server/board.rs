//! Shows the state of each agency: on a terminal in lines below the log, and with `--progress` without a terminal in
//! the log.

use crate::process::stderr::{Stderr, size_of_terminal};
use crate::process::words;
use indicatif::HumanCount;
use log::info;
use loteria::draw::Draw;
use loteria::ledger::{Access, DrawResult};
use loteria::session;
use loteria::stop::Stop;
use loteria::summary::{AgencyState, AgencySummary, Summary};
use loteria::text::{log_lines, noun_for};
use std::time::Duration;

/// The period of updates.
const PERIOD: Duration = Duration::from_secs(1);
/// More agencies than this share one line of the log.
const LOG_LINES_MAX: usize = 20;

/// Shows the state of each agency until `over` comes, or the ledger has ended: in lines below the log on a terminal, and
/// otherwise in the log.
pub(crate) fn show(stderr: &Stderr, access: &Access<'_>, draw: &Draw<DrawResult>, over: &Stop) {
    let mut logged = Vec::new();
    while let Ok(summary) = session::summary(access, draw) {
        if stderr.can_erase() {
            stderr.show(board(&summary, size_of_terminal().0));
        } else {
            let all = summary.agencies.len();
            let listed = if all <= LOG_LINES_MAX { all } else { 0 };
            let texts = lines(&summary, listed, |bets| bets.to_string());
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
    stderr.show(Vec::new());
}

/// Returns the lines for a terminal of `rows` rows.
fn board(summary: &Summary, rows: usize) -> Vec<String> {
    let listed = words::listed(summary.agencies.len(), rows, 1);
    lines(summary, listed, |bets| HumanCount(bets).to_string())
}

/// Returns a line for each of the first agencies, at most `listed`, one for all if there are more, and one for the draw.
/// `number` writes the numbers of bets.
fn lines(summary: &Summary, listed: usize, number: fn(u64) -> String) -> Vec<String> {
    let Summary { agencies, .. } = summary;
    let describe = |(agency, AgencySummary { bets, state }): (u32, &AgencySummary)| {
        let (noun, state) = (noun_for(*bets, "bet"), words::state(*state));
        format!("agency {agency:>3} {:>12} {noun}, {state}", number(*bets))
    };
    let mut lines: Vec<String> = (1..).zip(agencies).take(listed).map(describe).collect();
    let all = agencies.len();
    if listed < all {
        let more = if listed == 0 { String::new() } else { format!("{} more; ", all - listed) };
        let count = |state| agencies.iter().filter(|agency| agency.state == state).count();
        let (open, waiting) = (count(AgencyState::Open), count(AgencyState::Waiting));
        let (bets, noun) = (number(summary.bets()), noun_for(summary.bets(), "bet"));
        lines.push(format!(
            "{more}all {all} agencies: {bets} {noun}, {open} open, {waiting} waiting for the draw"
        ));
    }
    lines.push(words::draw(summary, number));
    lines
}

#[cfg(test)]
mod tests {
    use super::board;
    use loteria::summary::{AgencyState, AgencySummary, Summary};

    fn lottery(agencies: usize, winners: Option<u64>) -> Summary {
        let agency = AgencySummary { bets: 1_234_567, state: AgencyState::Open };
        Summary { winners, agencies: vec![agency; agencies] }
    }

    #[test]
    fn the_board_fits_the_terminal_and_ends_with_the_draw() {
        for agencies in [1, 5, 21, 500] {
            for rows in [24, 6, 3, 1] {
                let lines = board(&lottery(agencies, None), rows);
                assert!(lines.len() <= rows.max(2), "{rows} rows: {lines:?}");
            }
        }
        let five = board(&lottery(5, None), 24);
        assert_eq!(five[0], "agency   1    1,234,567 bets, open");
        assert_eq!(five[5], "draw: waits for agencies 1, 2, 3, 4, 5");
        let agency = AgencySummary { bets: 1, state: AgencyState::Waiting };
        let one = board(&Summary { winners: None, agencies: vec![agency] }, 24);
        assert_eq!(one[0], "agency   1            1 bet, waiting for the draw");
        let held = board(&lottery(500, Some(1)), 10);
        assert_eq!(held.len(), 8);
        let total = "all 500 agencies: 617,283,500 bets, 500 open, 0 waiting for the draw";
        assert_eq!(held[6], format!("494 more; {total}"));
        assert_eq!(held[7], "draw: held over 617,283,500 bets, 1 won");
    }
}
