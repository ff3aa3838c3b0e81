//! The central office of the lottery.

mod board;
#[path = "../process.rs"]
mod process;
mod verify;

use board::Board;
use clap::Parser;
use log::{info, warn};
use loteria::config::{Flags, ServerConfig, Sources};
use loteria::connection::Acceptor;
use loteria::draw::Draw;
use loteria::ledger::{self, Found, Ledger, OpenError};
use loteria::server;
use loteria::stop::Stop;
use loteria::text::LogValue;
use process::{Failure, SignalWatch};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

const HELP_AFTER: &str = "\
Settings without a flag (variable, default):
  server.max_connections       SERVER_MAX_CONNECTIONS       1024, connections at a time
  server.message_timeout_ms    SERVER_MESSAGE_TIMEOUT_MS    60000, milliseconds for a message or an answer
  storage.draw                 DRAW_FILE                    sorteo.toml, the draw's result
  tls.certificate              TLS_CERTIFICATE              none, the certificate that is shown, in PEM
  tls.key                      TLS_KEY                      none, its private key
  tls.authority                TLS_AUTHORITY                none, the certificates of who is believed

Examples:
  server                                           five agencies, on 127.0.0.1:12345
  server --address 0.0.0.0:12345 --agencies 10     ten, from anywhere
  server --exit-after-draw                         until everybody has heard the winners
  server --new-draw                                another draw, after one is finished
  server --verify                                  do bets.csv and sorteo.toml agree?
  BETS_FILE=/data/bets.csv DRAW_FILE=/data/sorteo.toml server

Exit codes: 0 done or stopped, 1 failed, 2 wrong usage or configuration.";

/// The lottery's central office: stores the agencies' bets and holds the draw when all are done.
///
/// A flag beats its variable, that beats config.toml, that beats the default.
#[derive(Debug, Parser)]
#[command(version, after_help = HELP_AFTER)]
struct Arguments {
    /// The configuration [default: config.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen [variable: SERVER_ADDRESS] [default: 127.0.0.1:12345]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// How many agencies take part, 1 to 10000 [variable: AGENCIES] [default: 5]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    agencies: Option<String>,
    /// The number that wins, 0 to 9999 [variable: WINNING_NUMBER] [default: 7574]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    winning_number: Option<String>,
    /// Where the bets are stored [variable: BETS_FILE] [default: bets.csv]
    #[arg(long, value_name = "FILE")]
    bets: Option<PathBuf>,
    /// Stop when every agency has heard its winners [variable: SERVER_EXIT_AFTER_DRAW]
    #[arg(long)]
    exit_after_draw: bool,
    /// Set the files of a finished draw aside under numbered names, and start afresh
    #[arg(long)]
    new_draw: bool,
    /// Read the bets and the draw's result, say whether they agree, and end; no server may be running
    #[arg(long, conflicts_with_all = ["new_draw", "exit_after_draw"])]
    verify: bool,
    /// Show how each agency stands, as on a terminal
    #[arg(long)]
    progress: bool,
    /// off, error, warn, info, debug or trace [variable: LOG_LEVEL, then RUST_LOG] [default: info]
    #[arg(long, value_name = "L")]
    log_level: Option<String>,
}

impl Arguments {
    fn flags(&self) -> Flags {
        Flags {
            config: self.config.clone(),
            address: self.address.clone(),
            agencies: self.agencies.clone(),
            winning_number: self.winning_number.clone(),
            bets: self.bets.clone(),
            exit_after_draw: self.exit_after_draw,
            log_level: self.log_level.clone(),
            ..Flags::default()
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let board = Board::new(arguments.progress);
    process::exit(SignalWatch::around(
        || configure(&arguments, &board),
        |(config, tls), stop| run(&config, tls, &arguments, &board, stop),
    ))
}

fn configure(
    arguments: &Arguments,
    board: &Board,
) -> Result<(ServerConfig, Option<Acceptor>), Failure> {
    let flags = arguments.flags();
    let sources =
        process::start_logger(Sources::read(&flags, &process::variable), board.log_target())?;
    let config = sources.server()?;
    // Who only reads files speaks with nobody.
    let tls = config.tls.as_ref().filter(|_| !arguments.verify);
    let tls = tls.map(Acceptor::open).transpose()?;
    let (bets, draw) = (LogValue(config.bets.display()), LogValue(config.draw.display()));
    info!(
        "action: config | result: success | agencies: {} | winning_number: {} | address: {} | \
         max_connections: {} | message_timeout_ms: {} | exit_after_draw: {} | bets: {bets} | draw: {draw} | \
         tls: {}",
        config.agencies.count(),
        config.winning_number,
        config.address,
        config.max_connections,
        config.message_timeout.as_millis(),
        config.exit_after_draw,
        tls.is_some(),
    );
    if config.max_connections < u32::from(config.agencies.count()) {
        warn!(
            "action: config | result: in_progress | error: {} connections at a time may be too few for \
             {} agencies, each of which holds one while it waits for the draw",
            config.max_connections,
            config.agencies.count()
        );
    }
    Ok((config, tls))
}

fn run(
    config: &ServerConfig,
    tls: Option<Acceptor>,
    arguments: &Arguments,
    board: &Board,
    stop: &Stop,
) -> Result<(), Failure> {
    let settings = ledger::Settings {
        bets: config.bets.clone(),
        result: config.draw.clone(),
        agencies: config.agencies,
        winning_number: config.winning_number,
    };
    if arguments.verify {
        verify::verify(&settings, stop)
    } else {
        serve(config, tls, settings, arguments.new_draw, board, stop)
    }
}

fn serve(
    config: &ServerConfig,
    tls: Option<Acceptor>,
    settings: ledger::Settings,
    new_draw: bool,
    board: &Board,
    stop: &Stop,
) -> Result<(), Failure> {
    // The port is taken first: nothing is touched where another server has it.
    let listener = TcpListener::bind(&config.address)
        .map_err(|error| cannot_listen(&config.address, &error))?;
    let address = listener.local_addr().map_err(Failure::failed)?;
    if new_draw {
        set_aside(&settings)?;
    }
    let (ledger, found) = match Ledger::open(settings, stop) {
        Ok(opened) => opened,
        Err(OpenError::Interrupted) => {
            close_listener(listener, address);
            log_file_closed(config);
            return Ok(());
        }
        Err(error) => return Err(Failure::failed(error)),
    };
    if found.torn_bytes > 0 {
        warn!(
            "action: recover | result: success | file: {} | torn_bytes: {}",
            config.bets.display(),
            found.torn_bytes
        );
    }
    let bets: u64 = found.bets.iter().sum();
    match &found.result {
        None => info!("action: open_ledger | result: success | bets: {bets} | draw_held: false"),
        Some(result) => info!(
            "action: open_ledger | result: success | bets: {bets} | draw_held: true | held_at: {} | \
             winning_number: {} | next: no more bets are taken, --new-draw begins another draw",
            result.held_at, result.winning_number
        ),
    }

    warn_of_other_draw(&found, config.winning_number);
    let draw = match found.result {
        Some(result) => Draw::held(config.agencies, result),
        None => Draw::pending(config.agencies),
    };
    let settings = server::Settings {
        max_connections: config.max_connections as usize,
        message_timeout: config.message_timeout,
        exit_after_draw: config.exit_after_draw,
        tls,
    };
    let served =
        board.beside(&ledger, &draw, || server::run(&listener, &ledger, &draw, &settings, stop));
    close_listener(listener, address);
    let closed = ledger.close();
    info!("action: close_thread | result: success | thread: ledger");
    log_file_closed(config);
    served.map_err(Failure::failed).and(closed.map_err(Failure::failed))
}

fn log_file_closed(config: &ServerConfig) {
    info!("action: close_file | result: success | file: {}", LogValue(config.bets.display()));
}

fn close_listener(listener: TcpListener, address: SocketAddr) {
    drop(listener);
    info!("action: close_socket | result: success | address: {address}");
}

/// Warns where the draw that was held is not the one that the settings and the bets would make.
fn warn_of_other_draw(found: &Found, winning_number: u16) {
    let Some(result) = &found.result else { return };
    if result.winning_number != winning_number {
        warn!(
            "action: open_ledger | result: in_progress | error: the draw was held on {}, and the winning \
             number {winning_number} is for another, which --new-draw begins",
            result.winning_number
        );
    }
    for (agency, stored) in result.agencies.iter().zip(&found.bets) {
        if agency.bets != *stored {
            warn!(
                "action: open_ledger | result: in_progress | error: agency {} had {} bets in the draw, \
                 and {stored} are stored: see server --verify",
                agency.id, agency.bets
            );
        }
    }
}

/// What to do where the address is not to be had.
fn cannot_listen(address: &str, error: &io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there: stop it, or name another port"
        }
        io::ErrorKind::AddrNotAvailable => "; no network of this machine has it: 0.0.0.0 takes all",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 may need a privilege: name a higher one"
        }
        _ => "",
    };
    Failure::Failed(format!("{address}: {error}{next}"))
}

fn set_aside(settings: &ledger::Settings) -> Result<(), Failure> {
    let set_aside = ledger::set_aside(settings).map_err(Failure::failed)?;
    if let Some((bets, result)) = set_aside {
        let (bets, draw) = (bets.display(), result.display());
        info!("action: new_draw | result: success | bets: {bets} | draw: {draw}");
    }
    Ok(())
}
