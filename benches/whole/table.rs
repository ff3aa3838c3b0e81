//! Options, ratios and rows of a table, for the benchmarks that print one.

use super::{Run, median};
use std::path::PathBuf;
use std::time::Duration;

/// What is measured, and how often.
pub(crate) struct Options {
    pub(crate) bets: u64,
    pub(crate) runs: usize,
    pub(crate) from: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse() -> Options {
        let mut options = Options { bets: 2_000_000, runs: 7, from: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bets" => options.bets = arguments.next().unwrap().parse().unwrap(),
                "--runs" => options.runs = arguments.next().unwrap().parse().unwrap(),
                "--from" => options.from = Some(arguments.next().unwrap().into()),
                // What cargo says by itself.
                "--bench" => {}
                other => panic!("no such option: {other}"),
            }
        }
        options
    }
}

/// Millions of bets a second.
pub(crate) fn rate(bets: u64, time: Duration) -> f64 {
    bets as f64 / time.as_secs_f64() / 1e6
}

pub(crate) fn rates(bets: u64, runs: &[Run]) -> Vec<f64> {
    runs.iter().map(|run| rate(bets, run.time)).collect()
}

pub(crate) fn ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    over.iter().zip(under).map(|(over, under)| over / under).collect()
}

/// The middle one, the least and the most.
pub(crate) fn row(figure: &str, figures: &[f64]) {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    println!("| {figure} | {:.2} | {least:.2} | {most:.2} |", median(figures));
}
