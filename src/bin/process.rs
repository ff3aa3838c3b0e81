//! What both programs share: their arguments, the logger, the signals and the exit code.

pub(crate) mod arguments;
pub(crate) mod stderr;
pub(crate) mod words;

use arguments::Arguments;
use log::{Level, error, info, log_enabled, warn};
use loteria::config::{self, Config, InvalidConfig, Program};
use loteria::connection::TlsFiles;
use loteria::stop::{Stop, Stopper};
use loteria::system::{address_space_max, lock};
use loteria::text::LogValue;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
pub(crate) use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::Builder;
use stderr::Stderr;

const EXIT_USAGE: u8 = 2;
const EXIT_FAILURE: u8 = 1;
/// The log's filter if the settings are invalid.
const DEFAULT_FILTER: &str = "info";
/// The target of the record of a signal, by which a filter can let it through and not the others of its level.
pub(crate) const SIGNAL: &str = concat!(module_path!(), "::signal");
/// The beginnings of repeated records, which a short log leaves out.
const REPEATED: &[&str] = &[
    "action: accept_connections | result: success",
    "action: handshake | result: success",
    "action: apuesta_recibida | result: success",
    "action: apuesta_enviada | result: success | cantidad",
    "action: resume |",
    "action: wait_for_draw |",
    "action: consulta_ganadores |",
    "action: close_",
    "action: conversation | result: fail | error: stopping",
    "action: exit | result: success",
];
/// The beginnings of records of which a short log has one for each error, however many agencies have it.
const LOGGED_ONCE: &[&str] = &[
    "action: accept_connections | result: in_progress",
    "action: connect | result: in_progress",
    "action: agency | result: fail",
];

/// Whether the program reads its settings. That may block forever, because a file may be a pipe, and there is nothing to
/// close yet, so a signal ends the program at once.
static IS_STARTING: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(true.into()));
/// Whether the log leaves out repeated records.
static IS_SHORT: AtomicBool = AtomicBool::new(false);

/// The reason why a program ends with a failure.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The usage or the configuration is wrong.
    Usage(String),
    /// The program's task failed.
    Failed(String),
}

impl Failure {
    pub(crate) fn failed(error: impl fmt::Display) -> Failure {
        Failure::Failed(error.to_string())
    }
}

impl From<InvalidConfig> for Failure {
    fn from(invalid: InvalidConfig) -> Failure {
        Failure::Usage(invalid.to_string())
    }
}

/// Logs how a program ended, and returns its exit code.
fn exit(outcome: Result<(), Failure>, stderr: &Stderr) -> ExitCode {
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
            let error = LogValue(error);
            error!("action: config | result: fail | error: {error}");
            if !log_enabled!(Level::Error) {
                // Logging may be off, perhaps because of this very error.
                stderr.say(&format!("error: {error}"));
            }
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Reads the settings, starts the logger with their filter, or with `other_filter` if there is one, and warns of settings
/// that are likely mistakes. Starts the logger even if the settings are invalid, so that their error can be logged.
pub(crate) fn configure(
    program: Program,
    arguments: &Arguments,
    other_filter: Option<&str>,
    stderr: &Stderr,
) -> Result<Config, InvalidConfig> {
    let file = arguments.file(arguments::CONFIG);
    let config = Config::read(program, file, |name| arguments.flag(name), |name| env::var_os(name));
    let read = config.and_then(|config| Ok((config.log_filter()?, config)));
    let is_asked_for = read.as_ref().is_ok_and(|(_, config)| config.has_log_filter());
    let is_short = stderr.can_erase() && !is_asked_for && other_filter.is_none();
    IS_SHORT.store(is_short, Ordering::Relaxed);
    let filter = read.as_ref().map_or(DEFAULT_FILTER, |(filter, _)| filter);
    log_to(stderr.clone(), other_filter.unwrap_or(filter));
    let (_, config) = read?;
    warn_of_misspelled(program);
    warn_of_exposed_key(&config)?;
    Ok(config)
}

/// Returns whether the log leaves out repeated records: on a terminal, if no level is given.
pub(crate) fn is_log_short() -> bool {
    IS_SHORT.load(Ordering::Relaxed)
}

/// Warns of variables that resemble those of settings.
fn warn_of_misspelled(program: Program) {
    let names = env::vars_os().map(|(name, _)| name);
    for (name, variable) in config::misspelled(program, names) {
        let name = LogValue(name);
        let hint = variable.map_or(String::new(), |variable| format!("; is it {variable}?"));
        warn!(
            "action: config | result: in_progress | error: {name}: no setting has this variable{hint}"
        );
    }
}

/// Warns of a private key that other users of this machine can read.
fn warn_of_exposed_key(config: &Config) -> Result<(), InvalidConfig> {
    if let Some(files) = config.tls()?.filter(TlsFiles::is_key_exposed) {
        let key = LogValue(files.key.display());
        warn!(
            "action: config | result: in_progress | error: {key}: other users of this machine can read this \
             private key; let only the user of this program read it"
        );
    }
    Ok(())
}

fn log_to(stderr: Stderr, filter: &str) {
    let logged = Mutex::default();
    env_logger::Builder::new()
        .parse_filters(filter)
        .target(env_logger::Target::Pipe(Box::new(stderr)))
        .format(move |out, record| {
            let level = record.level();
            let begin = format!("{} {level} ", out.timestamp_millis());
            // A record may have several lines, which are written with one write.
            let lines = record.args().to_string();
            if is_log_short() && is_repeated(level, &lines, &logged) {
                return Ok(());
            }
            lines.lines().try_for_each(|line| writeln!(out, "{begin}{line}"))
        })
        .init();
}

/// Returns whether a short log leaves the record out. `logged` has the records of [`LOGGED_ONCE`] so far, as far as they
/// must differ.
fn is_repeated(level: Level, record: &str, logged: &Mutex<BTreeSet<String>>) -> bool {
    let begins = |begin: &&str| record.starts_with(begin);
    let Some(once) = LOGGED_ONCE.iter().copied().find(begins) else {
        return level >= Level::Info && REPEATED.iter().any(begins);
    };
    let error = record.split_once(" | error: ").map_or("", |(_, after)| after);
    let error = error.split(" | ").next().unwrap_or_default();
    let mut logged = lock(logged);
    !logged.insert(format!("{once} | {error}"))
}

/// Starts the thread of stderr and calls `main`, which starts the logger and calls [`until_signal`] for its work. A signal
/// before that ends the process: as a failure if `must_finish`, and otherwise with exit code 0.
pub(crate) fn run(
    program: Program,
    must_finish: bool,
    main: impl FnOnce(&Stderr, Signals) -> Result<(), Failure>,
) -> ExitCode {
    start_again_with_one_arena();
    let signals = signals_of(program, if must_finish { EXIT_FAILURE } else { 0 });
    let started = signals.and_then(|signals| Ok((signals, Stderr::start()?)));
    let (signals, (stderr, thread)) = match started {
        Ok(started) => started,
        Err(error) => {
            // A closed stderr leaves no place to report to.
            let _closed = writeln!(io::stderr(), "error: the program cannot start: {error}");
            return ExitCode::from(EXIT_FAILURE);
        }
    };
    let code = exit(main(&stderr, signals), &stderr);
    stderr.close(thread);
    code
}

/// Replaces this program by itself with a variable for the allocator, if its address space is limited and the variable is
/// not set. Otherwise glibc reserves 64 MiB of address space for each of its first threads, and fails for the next
/// ones. If the program cannot be replaced, it goes on as it is.
fn start_again_with_one_arena() {
    const VARIABLE: &str = "MALLOC_ARENA_MAX";
    if address_space_max().is_some()
        && env::var_os(VARIABLE).is_none()
        && let Ok(program) = env::current_exe()
    {
        let mut again = Command::new(program);
        let mut words = env::args_os();
        again.arg0(words.next().unwrap_or_default()).args(words).env(VARIABLE, "1");
        let _failed = again.exec();
    }
}

/// Returns the signals that a program handles, and ends it with `early_code` if one comes while it starts. A client leaves
/// SIGHUP at its default, so that it ends with its terminal.
fn signals_of(program: Program, early_code: u8) -> io::Result<Signals> {
    // A write beyond the limit of a file's size then fails with an error, as on a full disk, instead of a signal.
    flag::register(SIGXFSZ, Arc::default())?;
    for signal in [SIGTERM, SIGINT] {
        flag::register_conditional_shutdown(signal, early_code.into(), Arc::clone(&IS_STARTING))?;
    }
    let hangup = (program == Program::Server).then_some(SIGHUP);
    Signals::new([SIGTERM, SIGINT].into_iter().chain(hangup))
}

/// Logs the settings, which are parts of a line, and calls `work` with a stop that comes with SIGTERM or SIGINT, or with
/// the SIGHUP of a terminal that is closed. Calls `at_hangup` at each other SIGHUP meanwhile.
pub(crate) fn until_signal(
    mut signals: Signals,
    stderr: &Stderr,
    settings: &str,
    at_hangup: impl Fn() + Send + 'static,
    work: impl FnOnce(&Stop) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // From here on a signal is kept until the thread takes it.
    IS_STARTING.store(false, Ordering::Relaxed);
    info!("action: config | result: success{settings}");
    let (handle, stderr) = (signals.handle(), stderr.clone());
    let (stopper, stop) = Stopper::new();
    let mut stopper = Some(stopper);
    let watch = move || {
        for signal in signals.forever() {
            // A server whose terminal is gone would hold its port and its files unseen.
            let is_stop = signal != SIGHUP || stderr.has_lost_terminal();
            if is_stop {
                stderr.stop_waiting();
            }
            let name = signal_name(signal).unwrap_or("unknown");
            info!(target: SIGNAL, "action: receive_signal | result: success | signal: {name}");
            if is_stop {
                stopper = None;
            } else {
                at_hangup();
            }
        }
        drop(stopper);
    };
    let thread = Builder::new()
        .name("signals".into())
        .spawn(watch)
        .map_err(|error| Failure::Failed(format!("no thread for signals: {error}")))?;
    let outcome = work(&stop);
    handle.close();
    if thread.join().is_err() {
        error!("action: close_thread | result: fail | thread: signals");
    } else {
        info!("action: close_thread | result: success | thread: signals");
    }
    outcome
}
