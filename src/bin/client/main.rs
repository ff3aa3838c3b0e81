//! The agencies of the lottery.

mod board;
#[path = "../process.rs"]
mod process;
mod report;
mod work;

use board::Board;
use loteria::config::Program;
use loteria::stop::Stop;
use loteria::text::LogValue;
use process::arguments::{Arguments, option, switch};
use process::stderr::Stderr;
use process::{Failure, Signals};
use std::process::ExitCode;

const ABOUT: &str = "\
An agency of the lottery, or all: sends the bets of a file and prints the winners.

With --agency it runs that agency, and without it every agency-N.csv of the directory. With --agency and the variables \
NOMBRE, APELLIDO, DOCUMENTO, NACIMIENTO and NUMERO it sends that one bet.

A flag takes precedence over its variable, a variable over config.toml, and that over the default.";

const EXAMPLES: &str = "\
Examples:
  client                                every agency of agencies/
  client --agency 3                     agencies/agency-3.csv
  client --agency 3 --file friday.csv   another file of agency 3
  client --server office:12345 --quiet  only winners and errors
  client --status                       the state of the lottery
  CLI_ID=2 NOMBRE=Ana APELLIDO=Paz DOCUMENTO=30904465 NACIMIENTO=1999-03-17 \\
      NUMERO=7574 client                one bet

Winners are printed as agency,document. Exit codes: 0 done or stopped, 1 failed
or a --status that was stopped, 2 wrong usage or configuration.";

fn main() -> ExitCode {
    let of_files = ["agency", "file", "batch-max-amount"];
    let csv = "The agency's file [default: agency-N.csv of the directory]".into();
    let others = vec![
        option("file", "CSV", csv),
        switch("status", "Ask the server for the state of the lottery, print it, and end")
            .conflicts_with_all(of_files),
        switch("json", "Print the --status as one line of JSON").requires("status"),
        switch("quiet", "Show no progress, and of the log only errors unless --log-level is set"),
    ];
    let arguments = Arguments::parse(Program::Client, ABOUT, others, EXAMPLES);
    let must_finish = arguments.is_set("status");
    process::run(Program::Client, must_finish, |stderr, signals| run(&arguments, stderr, signals))
}

/// Reads the settings and runs the task of the arguments until a signal comes.
fn run(arguments: &Arguments, stderr: &Stderr, signals: Signals) -> Result<(), Failure> {
    let (is_quiet, is_status) = (arguments.is_set("quiet"), arguments.is_set("status"));
    // The state is printed to stdout; log lines beside it would only distract.
    let status_filter = is_status.then(|| format!("error,{}=info", process::SIGNAL));
    let filter = if is_quiet { Some("error") } else { status_filter.as_deref() };
    let filter = filter.filter(|_| arguments.flag("log-level").is_none());
    let config = process::configure(Program::Client, arguments, filter, stderr)?;
    let mut parts = config.log_parts()?;
    let settings = config.client()?;
    if is_status {
        let as_json = arguments.is_set("json");
        let print = |stop: &Stop| work::print_status(&settings, as_json, stderr, stop);
        return process::until_signal(signals, stderr, &parts, || {}, print);
    }
    let (agency, file) = (config.agency()?, arguments.file("file"));
    let variables = work::variables(agency)?;
    let work = work::choose(variables.as_ref(), agency, &config.agencies_dir()?, file)?;
    if let Some(file) = file {
        parts.push_str(&format!(" | file: {}", LogValue(file.display())));
    }
    let send = |stop: &Stop| {
        let board = Board::new(stderr.clone(), is_quiet, stop.clone());
        work::run(work, &settings, &board, stop)
    };
    process::until_signal(signals, stderr, &parts, || {}, send)
}
