//! How cost grows: with the bets, the agencies, the batches, the disk. Writes `docs/growth.csv`, which
//! `scripts/plot-performance.py` makes a picture of.
//!
//! ```text
//! cargo bench --bench growth
//! ```
//!
//! It takes some ten minutes and as many gigabytes of disk. Every point is the median of three runs, but for
//! the largest, which are one. Beside each stands what one thread needs to copy the same rows with the
//! `csv` crate in the same minute. Where `/dev/shm` is in memory, what is stored there is synced for nothing.

#![allow(clippy::print_stdout, reason = "to print is what a benchmark does")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing better to do")]

mod whole;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use whole::{Data, Lottery, median};

const MEMORY: &str = "/dev/shm";

fn main() {
    let scratch = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/growth.csv");
    let mut table = Table { out: File::create(path).unwrap() };
    table.line("series,x,seconds,million_bets_per_second,over_copy,server_peak_mib");
    for bets in [100_000, 1_000_000, 10_000_000, 100_000_000] {
        let data = Data::generate(scratch.path(), 5, bets);
        table.point("bets", bets, Lottery::over(&data), scratch.path());
        data.remove();
    }
    for agencies in [5, 50, 500, 2_000] {
        let data = Data::generate(scratch.path(), agencies, 2_000_000);
        table.point("agencies", agencies as u64, Lottery::over(&data), scratch.path());
        data.remove();
    }
    let data = Data::generate(scratch.path(), 5, 2_000_000);
    for amount in [1, 10, 120] {
        let lottery = Lottery { batch_max_amount: Some(amount), ..Lottery::over(&data) };
        table.point("batch amount", amount.into(), lottery, scratch.path());
    }
    for window in [1, 4, 16, 64, 128, 256] {
        let lottery = Lottery { window: Some(window), ..Lottery::over(&data) };
        table.point("window", window.into(), lottery, scratch.path());
    }
    let memory = tempfile::tempdir_in(MEMORY).unwrap();
    for window in [1, 128] {
        let lottery = Lottery { window: Some(window), ..Lottery::over(&data) };
        table.point("window in memory", window.into(), lottery, memory.path());
    }
}

struct Table {
    out: File,
}

impl Table {
    fn line(&mut self, line: &str) {
        println!("{line}");
        writeln!(self.out, "{line}").unwrap();
    }

    fn point(&mut self, series: &str, x: u64, lottery: Lottery<'_>, scratch: &Path) {
        let times = if lottery.data.bets > 20_000_000 { 1 } else { 3 };
        let (mut seconds, mut over_copy, mut peaks) = (vec![], vec![], vec![]);
        for _ in 0..times {
            let copy = lottery.data.copy(scratch);
            let run = lottery.run(scratch);
            seconds.push(run.time.as_secs_f64());
            over_copy.push(copy.as_secs_f64() / run.time.as_secs_f64());
            peaks.push(run.peak_kib as f64 / 1024.0);
        }
        let (seconds, over_copy, peak) = (median(&seconds), median(&over_copy), median(&peaks));
        let rate = lottery.data.bets as f64 / seconds / 1e6;
        self.line(&format!("{series},{x},{seconds:.3},{rate:.2},{over_copy:.2},{peak:.1}"));
    }
}
