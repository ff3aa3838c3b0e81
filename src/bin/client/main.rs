//! The agencies of the lottery.

#[path = "../process.rs"]
mod process;
mod progress;
mod report;
mod work;

use clap::Parser;
use log::info;
use loteria::client;
use loteria::config::{ClientConfig, Flags, Sources};
use loteria::connection::Connector;
use loteria::text::LogValue;
use process::{Failure, SignalWatch};
use progress::Progress;
use std::path::PathBuf;
use std::process::ExitCode;
use work::{Form, Work};

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
    /// With --status: as one line of JSON
    #[arg(long, requires = "status")]
    json: bool,
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
        |(settings, work), stop| work::run(&settings, work, &progress, stop),
    ))
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
        let form = if arguments.json { Form::Json } else { Form::Table };
        return Ok((settings, Work::Status(form)));
    }
    let work = work::bets(&config)?;
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
