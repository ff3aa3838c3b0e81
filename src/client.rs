//! The agencies: each checks its file, sends it in batches, counts the confirmations and asks for its
//! winners, over as many connections as it takes. Knows no progress bar.

use crate::bet::AgencyId;
use crate::connection::{Connector, OpenSockets};
use crate::protocol::ErrorCode;
use crate::stop::{Stop, Stopper};
use crate::text::LogValue;
use crossbeam_channel::select;
use log::{error, info};
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::path::PathBuf;
use std::thread::{self, Builder};
use std::time::Duration;

mod agency;
mod attempts;
mod bets_file;
mod conversation;
mod dial;
mod retry;
mod single;
mod status;

pub use bets_file::FileFailed;
pub use single::{SingleBet, place};
pub use status::status;

use agency::Agency;
use attempts::Attempts;
use bets_file::BetsFile;
use dial::Dials;

/// How an agency talks with the server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the server is, `HOST:PORT`.
    pub server_address: String,
    /// The most bets in a batch, from 1.
    pub batch_max_amount: u32,
    /// How long to pause between batches; nothing where it is zero.
    pub batch_period: Duration,
    /// How many batches may be on their way without a confirmation, from 1.
    pub window: usize,
    /// Whether the server is asked how far the agency got.
    pub resume: bool,
    /// How long a confirmation may take.
    pub reply_timeout: Duration,
    /// How long to go on trying without progress.
    pub retry_for: Duration,
    /// Where it is there, conversations are in TLS.
    pub tls: Option<Connector>,
}

/// Hears what becomes of each agency, from several threads at once.
pub trait Observer: Sync {
    /// A line of an agency's file is no bet: `FILE:LINE: field: reason`.
    fn invalid_line(&self, report: &str);
    /// So many of the agency's bets, of so many in its file, are known to be on the server's disk.
    fn confirmed(&self, agency: AgencyId, bets: u64, of: u64);
    /// The agency has no more than these bets and waits for the draw.
    fn waiting(&self, agency: AgencyId, bets: u64);
    /// The documents of the agency's winners.
    ///
    /// # Errors
    ///
    /// They could not be told, which is a failure of the agency.
    fn winners(&self, agency: AgencyId, documents: &[String]) -> io::Result<()>;
}

/// Runs agencies until each has its winners, each with its file. The files are checked before
/// anything is sent.
///
/// Where one fails the others send what they have and do not wait for a draw that it keeps from
/// being held.
///
/// # Errors
///
/// [`Failed::Stopped`] as soon as `stop` is closed, or the first failure.
pub fn run(
    agencies: Vec<(AgencyId, PathBuf)>,
    settings: &Settings,
    observer: &dyn Observer,
    stop: &Stop,
) -> Result<(), Failed> {
    let files = in_threads("check", agencies, |(id, path)| {
        let file = BetsFile::check(&path, stop, |report| observer.invalid_line(&report))?;
        Ok((id, file))
    })?;

    let (waiting, dials) = (OpenSockets::new(), Dials::new());
    watched(stop, |sockets| {
        in_threads("agency", files, |(id, file)| {
            let attempts = Attempts { id, settings, stop, sockets, dials: &dials };
            let agency = Agency { file, attempts, observer, waiting: &waiting };
            let outcome = agency.run();
            if let Err(failed) = &outcome
                && !matches!(failed, Failed::Stopped | Failed::Abandoned)
            {
                error!(
                    "action: agency | result: fail | client_id: {id} | error: {}",
                    LogValue(failed)
                );
                waiting.close(Shutdown::Both);
            }
            outcome
        })
    })
    .map(|_each| ())
}

/// Does `work` with a list of sockets that are shut as soon as `stop` is closed.
fn watched<O>(
    stop: &Stop,
    work: impl FnOnce(&OpenSockets) -> Result<O, Failed>,
) -> Result<O, Failed> {
    let sockets = OpenSockets::new();
    let (working, done) = Stopper::new();
    thread::scope(|scope| {
        let watch = || {
            select! {
                recv(stop.channel()) -> _ => sockets.close(Shutdown::Both),
                recv(done.channel()) -> _ => {}
            }
            log_thread_closed();
        };
        let thread = Builder::new().name("stop".into());
        thread.spawn_scoped(scope, watch).map_err(Failed::Thread)?;
        let outcome = work(&sockets);
        drop(working);
        outcome
    })
}

/// Does `work` for each agency in a thread of its own, `NAME-ID`; the outcome of each, or the failure
/// that is most worth telling.
fn in_threads<I: Send, O: Send>(
    name: &str,
    agencies: Vec<(AgencyId, I)>,
    work: impl Fn((AgencyId, I)) -> Result<O, Failed> + Sync,
) -> Result<Vec<O>, Failed> {
    let work = &work;
    thread::scope(|scope| {
        let start = |(id, item)| {
            let thread = Builder::new().name(format!("{name}-{id}"));
            thread.spawn_scoped(scope, move || {
                let outcome = work((id, item));
                log_thread_closed();
                outcome
            })
        };
        let started: Vec<_> = agencies.into_iter().map(start).collect();
        let join = |thread: io::Result<thread::ScopedJoinHandle<'_, _>>| {
            thread.map_err(Failed::Thread)?.join().unwrap_or(Err(Failed::Panicked))
        };
        let outcomes: Vec<_> = started.into_iter().map(join).collect();
        let mut done = Vec::new();
        let mut worst: Option<Failed> = None;
        for outcome in outcomes {
            match outcome {
                Ok(outcome) => done.push(outcome),
                Err(failed) if worst.as_ref().is_none_or(|worst| worst.rank() < failed.rank()) => {
                    worst = Some(failed);
                }
                Err(_) => {}
            }
        }
        worst.map_or(Ok(done), Err)
    })
}

fn log_thread_closed() {
    if let Some(name) = thread::current().name() {
        info!("action: close_thread | result: success | thread: {name}");
    }
}

/// Why an agency did not get its winners.
#[derive(Debug)]
pub enum Failed {
    /// The program was stopped, which is no failure.
    Stopped,
    /// Another agency failed, so the draw is not waited for.
    Abandoned,
    /// The agency's file.
    File(FileFailed),
    /// The server did not do what it was asked, in its words.
    Refused {
        /// Its code.
        code: String,
        /// What it says.
        detail: String,
    },
    /// The server gave an answer that cannot be one.
    Answer(String),
    /// The server said something that is no reply of the protocol.
    Dialect(String),
    /// What the server has stored is not the beginning of this file.
    OtherFile(String),
    /// There was no progress for as long as was to be tried; the last reason.
    GaveUp {
        /// For how long.
        after: Duration,
        /// Why the last connection failed.
        last: String,
    },
    /// Server and client do not believe each other, or only one of them speaks TLS.
    Distrust(String),
    /// Agencies have more files and sockets open than the process may have.
    NoDescriptor(io::Error),
    /// No server answers, and it was to be asked only once.
    NoServer(String),
    /// Bets were sent, their confirmation was lost, and the server is not to be asked.
    Unknown(String),
    /// The winners could not be printed.
    Output(io::Error),
    /// The system gives no thread.
    Thread(io::Error),
    /// A thread panicked, which is a defect of this program.
    Panicked,
}

impl Failed {
    /// Which failure to tell of where there are several.
    fn rank(&self) -> u8 {
        match self {
            Failed::Abandoned => 0,
            Failed::Stopped => 1,
            _ => 2,
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Stopped => formatter.write_str("stopped"),
            Failed::Abandoned => formatter.write_str("another agency failed"),
            Failed::File(failed) => failed.fmt(formatter),
            Failed::Refused { code, detail } => {
                write!(formatter, "the server refused: {code}: {detail}")?;
                formatter.write_str(match ErrorCode::from_word(code) {
                    Some(ErrorCode::DrawHeld) => {
                        "; what was not stored before is not in it, and `server --new-draw` begins another"
                    }
                    Some(ErrorCode::TlsRequired) => {
                        "; [tls] in config.toml says what to show it, and whom to believe"
                    }
                    _ => "",
                })
            }
            Failed::Answer(what) => write!(formatter, "the server answered {what}"),
            Failed::Dialect(said) => {
                write!(formatter, "the server does not speak this protocol, it said \"{said}\"")
            }
            Failed::OtherFile(why) => {
                write!(formatter, "not the file that was sent before: {why}; nothing was sent")
            }
            Failed::GaveUp { after, last } => {
                let after = after.as_millis();
                write!(
                    formatter,
                    "no progress for {after} ms, last: {last}; is the server running there? --server or \
                     CLI_SERVER_ADDRESS name another"
                )
            }
            Failed::Distrust(why) => write!(
                formatter,
                "TLS: {why}; [tls] in config.toml says what to show, and whom to believe"
            ),
            Failed::NoDescriptor(error) => write!(
                formatter,
                "{error}: each agency needs two, its file and its connection; `ulimit -n` says how many \
                 there may be, and raises it"
            ),
            Failed::NoServer(why) => write!(formatter, "{why}; is a server running there?"),
            Failed::Unknown(last) => write!(
                formatter,
                "connection lost ({last}) with batches on their way, which may be stored or not, \
                 and without resuming there is no way to know"
            ),
            Failed::Output(error) => write!(formatter, "winners could not be printed: {error}"),
            Failed::Thread(error) => write!(formatter, "no thread: {error}"),
            Failed::Panicked => formatter.write_str("a thread panicked"),
        }
    }
}

impl std::error::Error for Failed {}

impl From<FileFailed> for Failed {
    fn from(failed: FileFailed) -> Failed {
        match failed {
            FileFailed::Stopped => Failed::Stopped,
            other => Failed::File(other),
        }
    }
}
