//! The options, and the table: printed as Markdown, written as CSV.

use super::whole::{Run, median};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is measured, and how often.
pub(crate) struct Options {
    pub(crate) bets: u64,
    pub(crate) runs: usize,
    pub(crate) from: Option<PathBuf>,
    pub(crate) ten_thousand: bool,
    /// Only what has this word in its name.
    pub(crate) only: Option<String>,
}

impl Options {
    pub(crate) fn parse() -> Options {
        let mut options =
            Options { bets: 2_000_000, runs: 5, from: None, ten_thousand: false, only: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bets" => options.bets = arguments.next().unwrap().parse().unwrap(),
                "--runs" => options.runs = arguments.next().unwrap().parse().unwrap(),
                "--from" => options.from = Some(arguments.next().unwrap().into()),
                "--ten-thousand" => options.ten_thousand = true,
                "--only" => options.only = Some(arguments.next().unwrap()),
                // What cargo says by itself.
                "--bench" => {}
                other => panic!("no such option: {other}"),
            }
        }
        options
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only))
    }
}

/// A way to store bets.
pub(crate) struct Contender<'s> {
    pub(crate) name: &'static str,
    bets: u64,
    /// Stores them once. The error says why it cannot.
    run: Result<Box<dyn Fn() -> Run + 's>, &'static str>,
    runs: Vec<Run>,
}

impl<'s> Contender<'s> {
    pub(crate) fn new(
        name: &'static str,
        bets: u64,
        run: Result<impl Fn() -> Run + 's, &'static str>,
    ) -> Contender<'s> {
        let run = run.map(|run| Box::new(run) as Box<dyn Fn() -> Run>);
        Contender { name, bets, run, runs: Vec::new() }
    }

    pub(crate) fn run(&mut self, counts: bool) {
        // So that the disk does not write what the contender before left to it.
        assert!(Command::new("sync").status().unwrap().success(), "the disk could not be synced");
        let run = self.run.as_ref().ok().map(|run| run());
        self.runs.extend(run.filter(|_| counts));
    }

    /// Millions of bets a second.
    fn rates(&self) -> Vec<f64> {
        self.runs.iter().map(|run| self.bets as f64 / run.time.as_secs_f64() / 1e6).collect()
    }
}

pub(crate) fn ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    over.iter().zip(under).map(|(over, under)| over / under).collect()
}

/// The rows so far.
pub(crate) struct Table {
    csv: String,
}

impl Table {
    pub(crate) fn new() -> Table {
        println!("| figure | median | least | most |");
        println!("|---|---|---|---|");
        Table { csv: "figure,median,least,most\n".to_owned() }
    }

    /// The one in the middle, the least and the most.
    pub(crate) fn row(&mut self, figure: &str, figures: &[f64]) {
        let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
        let most = figures.iter().copied().fold(0.0, f64::max);
        let median = median(figures);
        println!("| {figure} | {median:.2} | {least:.2} | {most:.2} |");
        self.csv += &format!("\"{figure}\",{median:.2},{least:.2},{most:.2}\n");
    }

    /// Prints why a figure is not measured.
    pub(crate) fn skipped(&self, figure: &str, why: &str) {
        println!("| {figure} | skipped: {why} | | |");
    }

    pub(crate) fn rates(&mut self, contender: &Contender<'_>) {
        let figure = format!("{}, M bets/s", contender.name);
        match contender.run {
            Ok(_) => self.row(&figure, &contender.rates()),
            Err(why) => self.skipped(&figure, why),
        }
    }

    pub(crate) fn ratios(&mut self, over: &Contender<'_>, under: &Contender<'_>) {
        if over.run.is_ok() && under.run.is_ok() {
            let figure = format!("{} over {}", over.name, under.name);
            self.row(&figure, &ratios(&over.rates(), &under.rates()));
        }
    }

    /// Of the servers that are ours.
    pub(crate) fn peaks(&mut self, contender: &Contender<'_>) {
        let peaks = contender.runs.iter().map(|run| run.peak_kib as f64 / 1024.0);
        let peaks: Vec<f64> = peaks.filter(|mib| *mib > 0.0).collect();
        if !peaks.is_empty() {
            self.row(&format!("{}, server's peak memory, MiB", contender.name), &peaks);
        }
    }

    pub(crate) fn write(self, path: &Path) {
        fs::write(path, self.csv).unwrap();
    }
}
