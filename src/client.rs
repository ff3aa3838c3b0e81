//! The agencies. Each checks its file, sends it in batches, counts the confirmations and asks for its winners, over
//! as many connections as needed. Knows no progress bar.

use crate::bet::AgencyId;
use crate::connection::{Connector, OpenSockets};
use crate::stop::{self, Stop};
use crate::system::{lock, log_thread_closed, processors};
use crate::text::LogValue;
use crossbeam_channel::select;
use log::error;
use std::io;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::thread::{self, Builder};
use std::time::Duration;

mod agency;
mod attempts;
mod bets_file;
mod conversation;
mod dial;
mod error;
mod single;
mod status;

pub use error::Error;
pub use single::place;
pub use status::status;

use agency::Agency;
use attempts::Attempts;
use bets_file::BetsFile;
use dial::Turns;

/// The settings of an agency.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server, `HOST:PORT`.
    pub server_address: String,
    /// The most bets in a batch, from 1.
    pub batch_max_amount: u32,
    /// The pause between batches. Zero means none.
    pub batch_period: Duration,
    /// The most batches in flight without a confirmation, from 1.
    pub window: usize,
    /// Whether to ask the server how many bets of the agency it has stored.
    pub resume: bool,
    /// The longest that a confirmation may take.
    pub reply_timeout: Duration,
    /// The longest time to retry without progress.
    pub retry_for: Duration,
    /// The TLS client. `None` means plain TCP.
    pub tls: Option<Connector>,
}

#[cfg(test)]
impl Settings {
    /// Returns the settings of a client of `listener`, with one batch of one bet in flight, whose replies and retries may
    /// take `time`.
    fn for_tests(listener: &std::net::TcpListener, time: Duration) -> Settings {
        Settings {
            server_address: listener.local_addr().expect("it is bound").to_string(),
            batch_max_amount: 1,
            batch_period: Duration::ZERO,
            window: 1,
            resume: true,
            reply_timeout: time,
            retry_for: time,
            tls: None,
        }
    }
}

/// Observes the progress of each agency. Several threads call it at once.
pub trait Observer: Sync {
    /// A line of an agency's file is no valid bet: `FILE:LINE: field: reason`.
    fn invalid_line(&self, report: &str);
    /// The server has stored `bets` of the agency's bets durably, of `of` in its file.
    fn confirmed(&self, agency: AgencyId, bets: u64, of: u64);
    /// There is no connection, or it is lost, and the agency with `of` bets in its file retries after a pause.
    fn reconnecting(&self, agency: AgencyId, of: u64);
    /// The agency has sent its `bets` bets and waits for the draw.
    fn waiting(&self, agency: AgencyId, bets: u64);
    /// The documents of the agency's winners.
    ///
    /// # Errors
    ///
    /// They could not be printed, which is a failure of the agency.
    fn winners(&self, agency: AgencyId, documents: &[&str]) -> io::Result<()>;
}

/// Runs agencies, each with its file, until each has its winners. All files are checked before anything is sent.
///
/// If one fails, the others still send their files. They do not wait for the draw, because there is none without
/// the one that failed, unless it was held before.
///
/// # Errors
///
/// [`Error::Stopped`] as soon as `stop` comes, or the first failure.
pub fn run(
    agencies: Vec<(AgencyId, PathBuf)>,
    settings: &Settings,
    observer: &dyn Observer,
    stop: &Stop,
) -> Result<(), Error> {
    let files = check(agencies, observer, stop)?;
    let is_one_of_many = files.len() > 1;
    let (waiting, turns) = (OpenSockets::default(), Turns::new());
    // Asked once, because thousands of agencies may fail, and an answer is as long as there are agencies.
    let was_held = LazyLock::new(|| draw_was_held(settings, stop));
    watched(stop, |sockets| {
        let named = |(id, file)| (format!("agency-{id}"), (id, file));
        let one_failed = || {
            if !is_one_of_many || !*was_held {
                waiting.close();
            }
        };
        in_threads(files.into_iter().map(named), one_failed, |(id, file)| {
            let attempts = Attempts { id, settings, stop, sockets, turns: &turns };
            let agency = Agency { id, file, settings, stop, observer, waiting: &waiting };
            // A panic is a failure like any other, so that the other agencies do not wait for a draw without this one.
            let outcome = catch_unwind(AssertUnwindSafe(|| agency.run(&attempts)))
                .unwrap_or(Err(Error::Panicked));
            if let Err(error) = &outcome
                && !matches!(error, Error::Stopped)
            {
                error!(
                    "action: agency | result: fail | client_id: {id} | error: {}",
                    LogValue(error)
                );
                one_failed();
            }
            outcome
        })
    })
    .map(|_each| ())
}

/// Returns whether the server says that the draw was held, so that it tells each agency its winners at once.
fn draw_was_held(settings: &Settings, stop: &Stop) -> bool {
    // A server without REANUDAR has no ESTADO either.
    settings.resume && status(settings, stop).is_ok_and(|summary| summary.winners.is_some())
}

/// Checks the agencies' files, as many at a time as there are processors.
fn check(
    agencies: Vec<(AgencyId, PathBuf)>,
    observer: &dyn Observer,
    stop: &Stop,
) -> Result<Vec<(AgencyId, BetsFile)>, Error> {
    let threads = processors().min(agencies.len());
    let agencies = Mutex::new(agencies.into_iter());
    let next = || lock(&agencies).next();
    let named = (1..=threads).map(|number| (format!("check-{number}"), ()));
    let check = |()| {
        all(iter::from_fn(next).map(|(id, path)| {
            BetsFile::check(&path, stop, |report| observer.invalid_line(&report))
                .map(|file| (id, file))
        }))
    };
    let checked = in_threads(named, || {}, check)?;
    Ok(checked.into_iter().flatten().collect())
}

/// Calls `work` with a list of sockets that are shut as soon as `stop` comes.
fn watched<O>(
    stop: &Stop,
    work: impl FnOnce(&OpenSockets) -> Result<O, Error>,
) -> Result<O, Error> {
    let sockets = OpenSockets::default();
    let watch = |done: &Stop| {
        select! {
            recv(stop.channel()) -> _ => sockets.close(),
            recv(done.channel()) -> _ => {}
        }
        log_thread_closed();
    };
    stop::beside("stop", watch, || work(&sockets)).map_err(Error::Thread)?
}

/// Calls `work` for each item in a separate thread, which has the name beside the item. Calls `not_started` if the system
/// has no thread for one of them, because the others may wait for it. Returns all outcomes.
///
/// # Errors
///
/// The first failure, if there is any. To be stopped comes after all others.
fn in_threads<I: Send, O: Send>(
    items: impl Iterator<Item = (String, I)>,
    not_started: impl FnOnce(),
    work: impl Fn(I) -> Result<O, Error> + Sync,
) -> Result<Vec<O>, Error> {
    let work = &work;
    thread::scope(|scope| {
        let start = |(name, item)| {
            Builder::new().name(name).spawn_scoped(scope, move || {
                let outcome = work(item);
                log_thread_closed();
                outcome
            })
        };
        let started: Vec<_> = items.map(start).collect();
        if started.iter().any(Result::is_err) {
            not_started();
        }
        all(started.into_iter().map(|thread| {
            let thread = thread.map_err(Error::Thread)?;
            thread.join().unwrap_or(Err(Error::Panicked))
        }))
    })
}

/// Returns all outcomes.
///
/// # Errors
///
/// The first failure, if there is any. To be stopped comes after all others.
fn all<O>(outcomes: impl Iterator<Item = Result<O, Error>>) -> Result<Vec<O>, Error> {
    let (mut done, mut failure) = (Vec::new(), None::<Error>);
    for outcome in outcomes {
        match (outcome, &failure) {
            (Ok(outcome), _) => done.push(outcome),
            (Err(error), None | Some(Error::Stopped)) => failure = Some(error),
            (Err(_), Some(_)) => {}
        }
    }
    failure.map_or(Ok(done), Err)
}
