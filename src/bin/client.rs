//! The agencies of the lottery.

mod process;
mod progress;

use clap::Parser;
use log::info;
use loteria::bet::{AgencyId, Bet};
use loteria::client::{self, Failed, Observer, SingleBet};
use loteria::config::{ClientConfig, Flags, Sources};
use loteria::connection::Connector;
use loteria::protocol::{AgencyState, AgencyStatus, DrawStatus, Status};
use loteria::stop::{Stop, Stopper};
use loteria::text::LogValue;
use process::{Failure, SignalWatch};
use progress::Progress;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::{self, Builder};
use std::time::Duration;

/// How often the server is asked for whom the draw waits, where there are bars to say so.
const ASK_PERIOD: Duration = Duration::from_secs(5);
/// How many agencies a status names of those that the draw waits for.
const AGENCIES_NAMED_MAX: usize = 20;
/// The variables of a single bet, in the order of its fields.
const BET_VARIABLES: [&str; 5] = ["NOMBRE", "APELLIDO", "DOCUMENTO", "NACIMIENTO", "NUMERO"];

const HELP_AFTER: &str = "\
Settings without a flag (variable, default):
  client.agencies_dir        CLI_AGENCIES_DIR        agencies, the directory of agency-N.csv
  client.batch_period_ms     CLI_BATCH_PERIOD_MS     0, milliseconds of pause between batches
  client.window              CLI_WINDOW              128, batches without a confirmation
  client.resume              CLI_RESUME              true; false for servers without REANUDAR
  client.reply_timeout_ms    CLI_REPLY_TIMEOUT_MS    30000, milliseconds for a confirmation
  client.retry_for_ms        CLI_RETRY_FOR_MS        60000, milliseconds to try without progress
  tls.certificate            TLS_CERTIFICATE         none, the certificate that is shown, in PEM
  tls.key                    TLS_KEY                 none, its private key
  tls.authority              TLS_AUTHORITY           none, the certificates of who is believed

Examples:
  client                                           every agency of agencies/
  client --agency 3                                agencies/agency-3.csv
  client --agency 3 --file bets.csv                another file of agency 3
  client --server office:12345 --quiet             no progress, only winners and errors
  client --status                                  how does the lottery stand?
  CLI_ID=2 NOMBRE=Ana APELLIDO=Paz DOCUMENTO=30904465 NACIMIENTO=1999-03-17 NUMERO=7574 client

Winners are printed as agency,document. Exit codes: 0 done or stopped, 1 failed, 2 wrong usage or
configuration.";

/// An agency of the lottery, or all: sends its file's bets and prints its winners.
///
/// With an agency, that one; without, every agency-N.csv of the directory. With NOMBRE, APELLIDO,
/// DOCUMENTO, NACIMIENTO and NUMERO set, and an agency: that one bet.
///
/// A flag beats its variable, that beats config.toml, that beats the default.
#[derive(Debug, Parser)]
#[command(version, after_help = HELP_AFTER)]
struct Arguments {
    /// The configuration [default: config.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the server is [variable: CLI_SERVER_ADDRESS] [default: 127.0.0.1:12345]
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// The agency [variable: CLI_ID] [default: all of the directory]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    agency: Option<String>,
    /// The agency's file [default: agency-N.csv in CLI_AGENCIES_DIR, which is agencies]
    #[arg(long, value_name = "CSV")]
    file: Option<PathBuf>,
    /// The most bets in a batch [variable: CLI_BATCH_MAX_AMOUNT] [default: 120]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    batch_max_amount: Option<String>,
    /// Print how the lottery stands, as the server tells it, and end
    #[arg(long, conflicts_with_all = ["agency", "file", "batch_max_amount"])]
    status: bool,
    /// No progress, and of the log only errors unless --log-level says more
    #[arg(long)]
    quiet: bool,
    /// off, error, warn, info, debug or trace [variable: LOG_LEVEL, then RUST_LOG] [default: info]
    #[arg(long, value_name = "L")]
    log_level: Option<String>,
}

impl Arguments {
    fn flags(&self) -> Flags {
        let quiet = self.quiet || self.status;
        Flags {
            config: self.config.clone(),
            server: self.server.clone(),
            agency: self.agency.clone(),
            file: self.file.clone(),
            batch_max_amount: self.batch_max_amount.clone(),
            log_level: self.log_level.clone().or_else(|| quiet.then(|| "error".into())),
            ..Flags::default()
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let progress = Progress::new(arguments.quiet || arguments.status);
    process::exit(SignalWatch::around(
        || configure(&arguments, &progress),
        |(settings, work), stop| run(&settings, work, &progress, stop),
    ))
}

/// What a client is to do.
enum Work {
    Status,
    Agencies(Vec<(AgencyId, PathBuf)>),
    Bet(AgencyId, [String; 5]),
}

fn configure(
    arguments: &Arguments,
    progress: &Progress,
) -> Result<(client::Settings, Work), Failure> {
    let flags = arguments.flags();
    let sources = Sources::read(&flags, &process::variable);
    let sources = process::start_logger(sources, progress.log_target())?;
    let config = sources.client()?;
    let settings = settings(&config)?;
    if arguments.status {
        // What is asked for is on stdout; a line of settings before it is of no interest.
        return Ok((settings, Work::Status));
    }
    let work = match single_bet(&config)? {
        Some((agency, fields)) => Work::Bet(agency, fields),
        None => Work::Agencies(agencies(&config)?),
    };
    let id = config.id.map_or("all".into(), |id| id.to_string());
    let source = match &config.file {
        Some(file) => format!("file: {}", LogValue(file.display())),
        None => format!("agencies_dir: {}", LogValue(config.agencies_dir.display())),
    };
    info!(
        "action: config | result: success | client_id: {id} | server_address: {} | \
         {source} | batch_max_amount: {} | batch_period_ms: {} | window: {} | resume: {} | \
         reply_timeout_ms: {} | retry_for_ms: {} | tls: {}",
        config.server_address,
        config.batch_max_amount,
        config.batch_period.as_millis(),
        config.window,
        config.resume,
        config.reply_timeout.as_millis(),
        config.retry_for.as_millis(),
        settings.tls.is_some(),
    );
    Ok((settings, work))
}

fn settings(config: &ClientConfig) -> Result<client::Settings, Failure> {
    let connector = |files| Connector::open(files, &config.server_address);
    Ok(client::Settings {
        server_address: config.server_address.clone(),
        batch_max_amount: config.batch_max_amount,
        batch_period: config.batch_period,
        window: config.window as usize,
        resume: config.resume,
        reply_timeout: config.reply_timeout,
        retry_for: config.retry_for,
        tls: config.tls.as_ref().map(connector).transpose()?,
    })
}

/// The bet of the variables, if they are set.
fn single_bet(config: &ClientConfig) -> Result<Option<(AgencyId, [String; 5])>, Failure> {
    let mut fields: [String; 5] = Default::default();
    let mut missing = Vec::new();
    for (field, name) in fields.iter_mut().zip(BET_VARIABLES) {
        match process::variable(name).filter(|value| !value.is_empty()) {
            None => missing.push(name),
            Some(value) => {
                let text = value.into_string();
                *field = text.map_err(|_| Failure::Usage(format!("{name}: must be UTF-8")))?;
            }
        }
    }
    if missing.len() == BET_VARIABLES.len() {
        return Ok(None);
    }
    if config.id.is_none() {
        missing.push("CLI_ID");
    }
    let (Some(agency), true) = (config.id, missing.is_empty()) else {
        let missing = missing.join(", ");
        return Err(Failure::Usage(format!("a single bet needs these too: {missing}")));
    };
    Bet::new(fields.each_ref().map(String::as_str)).map_err(|invalid| {
        Failure::Usage(format!("the bet of {}: {invalid}", BET_VARIABLES.join(", ")))
    })?;
    Ok(Some((agency, fields)))
}

/// The agency with its file, or all those of the directory.
fn agencies(config: &ClientConfig) -> Result<Vec<(AgencyId, PathBuf)>, Failure> {
    let directory = &config.agencies_dir;
    if let Some(id) = config.id {
        let file = || directory.join(format!("agency-{id}.csv"));
        return Ok(vec![(id, config.file.clone().unwrap_or_else(file))]);
    }
    let failed = |error| {
        let looked = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
        let (directory, looked) = (directory.display(), looked.display());
        Failure::Failed(format!(
            "{directory}: {error}; looked for agency-N.csv in {looked}, and CLI_AGENCIES_DIR or \
             --agency N --file CSV would name others"
        ))
    };
    let mut agencies = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        agencies.extend(agency_of(&path).map(|id| (id, path)));
    }
    if agencies.is_empty() {
        return Err(failed(io::Error::other("no agency-N.csv in it")));
    }
    agencies.sort();
    Ok(agencies)
}

/// N, of `agency-N.csv`.
fn agency_of(path: &Path) -> Option<AgencyId> {
    let name = path.file_name()?.to_str()?;
    AgencyId::parse(name.strip_prefix("agency-")?.strip_suffix(".csv")?)
}

fn run(
    settings: &client::Settings,
    work: Work,
    progress: &Progress,
    stop: &Stop,
) -> Result<(), Failure> {
    match work_until(settings, work, progress, stop) {
        Ok(()) | Err(Failed::Stopped) => Ok(()),
        Err(failed) => Err(Failure::failed(failed)),
    }
}

fn work_until(
    settings: &client::Settings,
    work: Work,
    progress: &Progress,
    stop: &Stop,
) -> Result<(), Failed> {
    match work {
        Work::Status => {
            let status = client::status(settings, stop)?;
            print(&describe(&status)).map_err(Failed::Output)
        }
        Work::Agencies(agencies) if progress.shows_bars() && settings.resume => {
            run_and_ask(agencies, settings, progress, stop)
        }
        Work::Agencies(agencies) => client::run(agencies, settings, &Terminal { progress }, stop),
        Work::Bet(agency, fields) => {
            let bet = Bet::new(fields.each_ref().map(String::as_str));
            let bet = bet.expect("it was checked when it was read");
            client::place(SingleBet { agency, bet }, settings, stop)
        }
    }
}

/// Runs agencies, and asks now and then for whom the draw waits.
fn run_and_ask(
    agencies: Vec<(AgencyId, PathBuf)>,
    settings: &client::Settings,
    progress: &Progress,
    stop: &Stop,
) -> Result<(), Failed> {
    let (working, done) = Stopper::new();
    thread::scope(|scope| {
        let asking = || {
            while !done.wait_for(ASK_PERIOD) {
                // A server that does not know the question is no reason for anything.
                if progress.anyone_waits()
                    && let Ok(status) = client::status(settings, &done)
                {
                    progress.stands(&status);
                }
            }
        };
        let thread = Builder::new().name("progress".into());
        thread.spawn_scoped(scope, asking).map_err(Failed::Thread)?;
        let outcome = client::run(agencies, settings, &Terminal { progress }, stop);
        drop(working);
        outcome
    })
}

/// A table of the agencies, and the draw.
fn describe(status: &Status) -> String {
    let mut text = String::from("agency        bets  state\n");
    let mut open = Vec::new();
    for (agency, AgencyStatus { bets, state }) in (1_u32..).zip(&status.agencies) {
        if *state == AgencyState::Open {
            open.push(agency.to_string());
        }
        text.push_str(&format!("{agency:>6}  {bets:>10}  {}\n", state.description()));
    }
    let bets: u64 = status.agencies.iter().map(|agency| agency.bets).sum();
    text.push_str(&match status.draw {
        DrawStatus::Held { winners } => {
            format!("draw: held over {bets} bets, {winners} of them won\n")
        }
        DrawStatus::Pending if open.is_empty() => "draw: pending, every agency is done\n".into(),
        DrawStatus::Pending => {
            let more = open.len().saturating_sub(AGENCIES_NAMED_MAX);
            open.truncate(AGENCIES_NAMED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let agencies = if open.len() == 1 { "agency" } else { "agencies" };
            format!("draw: pending, it waits for {agencies} {}{more}\n", open.join(", "))
        }
    });
    text
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Winners to stdout, and nothing else there; the rest to stderr.
struct Terminal<'p> {
    progress: &'p Progress,
}

impl Observer for Terminal<'_> {
    fn invalid_line(&self, report: &str) {
        // Where stderr is closed there is nobody to tell.
        let _closed = self.progress.beside(|| writeln!(io::stderr(), "{report}"));
    }

    fn confirmed(&self, agency: AgencyId, bets: u64, of: u64) {
        self.progress.confirmed(agency, bets, of);
    }

    fn waiting(&self, agency: AgencyId, bets: u64) {
        self.progress.waiting(agency, bets);
    }

    fn winners(&self, agency: AgencyId, documents: &[String]) -> io::Result<()> {
        let lines: String =
            documents.iter().map(|document| format!("{agency},{document}\n")).collect();
        self.progress.beside(|| print(&lines))?;
        self.progress.finished(agency, documents.len());
        Ok(())
    }
}
