//! What both programs do as processes: the logger, the signals, the exit code.

use indicatif::MultiProgress;
use log::{Level, error, info, log_enabled, warn};
use loteria::config::{self, InvalidConfig, Program, Sources};
use loteria::stop::{Stop, Stopper};
use loteria::text::LogValue;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// Something that was asked for cannot be done as it was asked.
const EXIT_USAGE: u8 = 2;
const EXIT_FAILURE: u8 = 1;
/// What is logged where the settings cannot say it.
const DEFAULT_FILTER: &str = "info";

/// Why a program ends other than well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The usage or the configuration is wrong.
    Usage(String),
    /// What was to be done was not.
    Failed(String),
}

impl Failure {
    /// A failure of what was to be done.
    pub(crate) fn failed(error: impl fmt::Display) -> Failure {
        Failure::Failed(error.to_string())
    }
}

impl From<InvalidConfig> for Failure {
    fn from(invalid: InvalidConfig) -> Failure {
        Failure::Usage(invalid.to_string())
    }
}

/// Logs how a program ended, and what its exit code is.
pub(crate) fn exit(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => {
            info!("action: exit | result: success");
            ExitCode::SUCCESS
        }
        Err(Failure::Failed(error)) => {
            error!("action: exit | result: fail | error: {}", LogValue(error));
            ExitCode::from(EXIT_FAILURE)
        }
        Err(Failure::Usage(error)) => {
            error!("action: config | result: fail | error: {}", LogValue(&error));
            if !log_enabled!(Level::Error) {
                // Who logs nothing, maybe by this very mistake, is told all the same.
                let _closed = writeln!(io::stderr(), "error: {error}");
            }
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Reads the environment.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Logs to `target` from here on, as the settings say unless there is another filter, or what is wrong with
/// the settings.
pub(crate) fn start_logger<'s>(
    sources: Result<Sources<'s>, InvalidConfig>,
    other_filter: Option<&str>,
    target: env_logger::Target,
) -> Result<Sources<'s>, InvalidConfig> {
    let read = sources.and_then(|sources| Ok((sources.log_filter()?, sources)));
    let filter = read.as_ref().map_or(DEFAULT_FILTER, |(log, _)| &log.filter);
    log_to(target, other_filter.unwrap_or(filter));
    read.map(|(_, sources)| sources)
}

/// Warns of variables that look like settings and are none.
pub(crate) fn warn_of_misspelled(program: Program) {
    let names = std::env::vars_os().map(|(name, _)| name);
    for (name, variable) in config::misspelled(program, names) {
        let name = LogValue(name);
        let hint = variable.map_or(String::new(), |variable| format!("; is it {variable}?"));
        warn!(
            "action: config | result: in_progress | error: {name}: no setting has this variable{hint}"
        );
    }
}

fn log_to(target: env_logger::Target, filter: &str) {
    env_logger::Builder::new()
        .parse_filters(filter)
        .target(target)
        .format(|out, record| {
            let time = out.timestamp_millis();
            let level = record.level();
            // What happened together is one record of several lines, written with one write.
            let lines = record.args().to_string();
            lines.lines().try_for_each(|line| writeln!(out, "{time} {level} {line}"))
        })
        .init();
}

/// Writes to stderr above bars and other lines that stay.
pub(crate) struct AboveBars(pub(crate) MultiProgress);

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Waits for SIGTERM and SIGINT.
pub(crate) struct SignalWatch {
    handle: signal_hook::iterator::Handle,
    thread: JoinHandle<()>,
}

impl SignalWatch {
    /// Does `configure`, which starts the logger, and then `work`, with a receiver that is closed by the
    /// first signal. A signal from the first moment on is kept until it can be logged.
    pub(crate) fn around<C>(
        configure: impl FnOnce() -> Result<C, Failure>,
        work: impl FnOnce(C, &Stop) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // A file that must not grow any more is an error of the write, as a full disk is.
        signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(Failure::failed)?;
        let signals = Signals::new([SIGTERM, SIGINT]).map_err(Failure::failed)?;
        let configured = configure()?;
        let (watch, stop) = SignalWatch::start(signals).map_err(Failure::failed)?;
        let outcome = work(configured, &stop);
        watch.close();
        outcome
    }

    /// Starts to watch; the receiver is closed by the first signal.
    fn start(mut signals: Signals) -> io::Result<(SignalWatch, Stop)> {
        let handle = signals.handle();
        let (stopper, stop) = Stopper::new();
        let thread = Builder::new().name("signals".into()).spawn(move || {
            let mut stopper = Some(stopper);
            for signal in signals.forever() {
                let name = signal_name(signal).unwrap_or("unknown");
                info!("action: receive_signal | result: success | signal: {name}");
                stopper = None;
            }
            drop(stopper);
        })?;
        Ok((SignalWatch { handle, thread }, stop))
    }

    /// Ends the watch and waits for its thread.
    fn close(self) {
        self.handle.close();
        if self.thread.join().is_err() {
            error!("action: close_thread | result: fail | thread: signals");
        } else {
            info!("action: close_thread | result: success | thread: signals");
        }
    }
}
