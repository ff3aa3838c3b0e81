//! The central office of the lottery.

mod board;
#[path = "../process.rs"]
mod process;
mod verify;

use log::{info, warn};
use loteria::config::Program;
use loteria::connection::Acceptor;
use loteria::draw::Draw;
use loteria::ledger::{self, DrawResult, Found, Ledger, OpenError, Repair};
use loteria::server;
use loteria::stop::{self, Stop};
use loteria::text::LogValue;
use process::arguments::{Arguments, switch};
use process::stderr::Stderr;
use process::{Failure, Signals};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const ABOUT: &str = "\
The lottery's central office: stores the agencies' bets and holds the draw when all are done.

A flag takes precedence over its variable, a variable over config.toml, and that over the default.";

const EXAMPLES: &str = "\
Examples:
  server                                        five local agencies
  server --address 0.0.0.0:12345 --agencies 10  ten, from other machines
  server --exit-after-draw                      end after the draw
  server --new-draw                             prepare the next lottery
  server --verify                               check the stored files
  server --bets /data/bets.csv --draw /data/sorteo.toml

Exit codes: 0 done or stopped, 1 failed or a --verify that was stopped,
2 wrong usage or configuration.";

fn main() -> ExitCode {
    let others = vec![
        switch(
            "new-draw",
            "Set the files of a finished draw aside under numbered names, and end",
        ),
        switch(
            "verify",
            "Check the files of a stopped server: report what they hold and how they differ from what was confirmed, and end",
        )
        .conflicts_with_all(["new-draw", "exit-after-draw"]),
        switch("progress", "Log the state of each agency if there is no terminal to show it on"),
    ];
    let arguments = Arguments::parse(Program::Server, ABOUT, others, EXAMPLES);
    let must_finish = arguments.is_set("verify");
    process::run(Program::Server, must_finish, |stderr, signals| run(&arguments, stderr, signals))
}

/// Reads the settings and runs the task of the arguments until a signal comes.
fn run(arguments: &Arguments, stderr: &Stderr, signals: Signals) -> Result<(), Failure> {
    let config = process::configure(Program::Server, arguments, None, stderr)?;
    let parts = config.log_parts()?;
    let ledger = config.ledger()?;
    if arguments.is_set("verify") {
        let verify = |stop: &Stop| verify::verify(&ledger, stderr, stop);
        return process::until_signal(signals, stderr, &parts, || {}, verify);
    }
    if arguments.is_set("new-draw") {
        let set_aside = |stop: &Stop| set_aside(&ledger, stop);
        return process::until_signal(signals, stderr, &parts, || {}, set_aside);
    }
    let server = config.server()?;
    let (most, agencies) = (server.max_connections, ledger.agencies.count());
    if most < usize::from(agencies) {
        warn!(
            "action: config | result: in_progress | error: {most} connections at a time may be too few for \
             {agencies} agencies, each of which holds one while it waits for the draw",
        );
    }
    let tls = server.tls.clone();
    let at_hangup = move || tls.iter().for_each(read_again);
    let address = config.address()?;
    let has_board = stderr.can_erase() || arguments.is_set("progress");
    let board = has_board.then_some(stderr);
    process::until_signal(signals, stderr, &parts, at_hangup, |stop| {
        serve(&address, &ledger, &server, board, stop)
    })
}

/// Reads the TLS files again.
fn read_again(acceptor: &Acceptor) {
    match acceptor.reload() {
        Ok(revoked) => {
            let revoked = revoked.unwrap_or(Path::new("none")).display();
            info!("action: reload_certificates | result: success | revoked: {}", LogValue(revoked));
        }
        Err(error) => warn!(
            "action: reload_certificates | result: fail | error: {}; the previous files stay in use",
            LogValue(error)
        ),
    }
}

/// Serves until `stop` comes or the draw is over, and shows the state of each agency on `board`, if there is one.
fn serve(
    address: &str,
    settings: &ledger::Settings,
    server: &server::Settings,
    board: Option<&Stderr>,
    stop: &Stop,
) -> Result<(), Failure> {
    // The port is bound first, so that no file is touched if another server has it.
    let bound = match address.parse::<SocketAddr>() {
        Ok(address) => TcpListener::bind(address).map(Some),
        Err(_name) => {
            let name = address.to_owned();
            stop::interruptible("listen", stop, Duration::ZERO, || TcpListener::bind(name))
                .and_then(Option::transpose)
        }
    };
    let Some(listener) = bound.map_err(|error| cannot_listen(address, &error))? else {
        return Ok(());
    };
    let address = listener.local_addr().map_err(Failure::failed)?;
    let Some((ledger, found)) = unless_interrupted(Ledger::open(settings, stop))? else {
        close_listener(listener, address);
        log_files_closed(settings);
        return Ok(());
    };
    log_found(settings, &found);
    let draw = match found.result {
        Some(result) => Draw::held(settings.agencies, result),
        None => Draw::pending(settings.agencies),
    };
    let run = || server::run(&listener, &ledger, &draw, server, stop);
    let served = match board {
        Some(stderr) => {
            let access = ledger.access();
            let show = |over: &Stop| board::show(stderr, &access, &draw, over);
            stop::beside("board", show, run).flatten()
        }
        None => run(),
    };
    close_listener(listener, address);
    let closed = ledger.close();
    for thread in ["hash", "ledger"] {
        info!("action: close_thread | result: success | thread: {thread}");
    }
    log_files_closed(settings);
    served.map_err(Failure::failed).and(closed.map_err(Failure::failed))
}

/// Returns what became of the ledger's files, or `None` if a signal came first, which is no failure.
fn unless_interrupted<T>(outcome: Result<T, OpenError>) -> Result<Option<T>, Failure> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(OpenError::Interrupted) => Ok(None),
        Err(error) => Err(Failure::failed(error)),
    }
}

fn log_files_closed(settings: &ledger::Settings) {
    for file in [&settings.bets, &settings.journal()] {
        info!("action: close_file | result: success | file: {}", LogValue(file.display()));
    }
}

fn close_listener(listener: TcpListener, address: SocketAddr) {
    drop(listener);
    info!("action: close_socket | result: success | address: {address}");
}

/// Logs the state of the files, and the changes that the start made to them. Warns if the draw was held on another number
/// than the settings name.
fn log_found(settings: &ledger::Settings, found: &Found) {
    let (file, total) = (LogValue(settings.bets.display()), found.bets);
    let Repair { adopted, cut_bytes, written_bytes } = found.repair;
    if adopted {
        info!("action: adopt | result: success | file: {file} | bets: {total}");
    }
    if cut_bytes > 0 || written_bytes > 0 {
        warn!(
            "action: recover | result: success | file: {file} | torn_bytes: {cut_bytes} | \
             restored_bytes: {written_bytes}"
        );
    }
    let Some(DrawResult { winning_number: held_on, held_at, .. }) = &found.result else {
        info!("action: open_ledger | result: success | bets: {total} | draw_held: false");
        return;
    };
    info!(
        "action: open_ledger | result: success | bets: {total} | draw_held: true | held_at: {held_at} | \
         winning_number: {held_on} | next: no more bets are accepted, --new-draw prepares another draw"
    );
    let winning_number = settings.winning_number;
    if *held_on != winning_number {
        warn!(
            "action: open_ledger | result: in_progress | error: the draw was held on {held_on}, and the winning \
             number is set to {winning_number}; the draw stands, and --new-draw prepares another"
        );
    }
}

/// Returns the failure of an address that cannot be bound, with its remedy.
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

fn set_aside(settings: &ledger::Settings, stop: &Stop) -> Result<(), Failure> {
    let Some(names) = unless_interrupted(ledger::set_aside(settings, stop))? else {
        return Ok(());
    };
    let [bets, journal, draw] =
        [&names.bets, &names.journal, &names.result].map(|name| LogValue(name.display()));
    info!("action: new_draw | result: success | bets: {bets} | journal: {journal} | draw: {draw}");
    Ok(())
}
