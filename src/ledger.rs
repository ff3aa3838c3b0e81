//! The owner of `bets.csv`: a thread that stores batches, counts the bets of each agency and holds the draw. A
//! session sends it a request and blocks until the reply.
//!
//! The thread stores a *group* of batches with one sync. A connection has a *ticket*: a number that rises from one
//! connection to the next. An agency has a *fence*: the ticket of the connection that took the agency over last.
//! A connection with a lower ticket stores nothing, so that an old connection cannot store what a newer one sends
//! again. `bets.journal` records the *extent* of `bets.csv`: the length and the checksum of its durable bytes.
//!
//! Read `request` first, then `writer`, `journal`, `files` and `open`.

use crate::bet::Agencies;
use crate::stop::{Stop, Stopper};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

mod adopt;
mod aside;
mod count;
mod disk;
mod error;
mod examine;
mod files;
mod hash;
mod journal;
mod open;
mod pass;
mod request;
mod result;
#[cfg(test)]
mod simulation;
mod verify;
mod winners;
mod writer;

pub use aside::set_aside;
pub use error::OpenError;
pub use files::Paths;
pub use request::{Access, RequestError};
pub use result::{AgencyResult, DrawResult};
pub use verify::{Verified, verify};
pub use writer::WriterFailed;

use request::Request;
use writer::Writer;

/// The most requests that wait for the writer. Further ones block.
const REQUESTS_MAX: usize = 256;

/// Returns the path of the journal of `bets`: the same with another extension.
fn journal_of(bets: &Path) -> PathBuf {
    bets.with_extension("journal")
}

/// The settings of a ledger.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The path of `bets.csv`. The journal is beside it.
    pub bets: PathBuf,
    /// The path of `sorteo.toml`.
    pub result: PathBuf,
    /// The lottery's agencies.
    pub agencies: Agencies,
    /// The number that wins, 0 to [`NUMBER_MAX`](crate::bet::NUMBER_MAX).
    pub winning_number: u16,
}

impl Settings {
    /// Returns the path of the journal. Does not follow a symbolic link at [`Settings::bets`], beside whose target the
    /// journal is.
    pub fn journal(&self) -> PathBuf {
        journal_of(&self.bets)
    }

    /// Returns the settings of a lottery in `directory`, on the number 1.
    #[cfg(test)]
    pub(crate) fn for_tests(directory: &std::path::Path, agencies: Agencies) -> Settings {
        let (bets, result) = (directory.join("bets.csv"), directory.join("sorteo.toml"));
        Settings { bets, result, agencies, winning_number: 1 }
    }
}

/// The state of a ledger when it was opened.
#[derive(Debug)]
pub struct Found {
    /// The number of stored bets.
    pub bets: u64,
    /// The result of the draw, if it was held.
    pub result: Option<DrawResult>,
    /// The changes to the files.
    pub repair: Repair,
}

/// The changes by which a start makes the files what is confirmed, whether it has made them or is still to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// There was a `bets.csv` and no journal: every line was checked, and a journal was made.
    pub adopted: bool,
    /// The number of bytes that were cut off the end of `bets.csv`, because they were never confirmed.
    pub cut_bytes: u64,
    /// The number of bytes that were written to it from the journal, from the first that it did not have.
    pub written_bytes: u64,
}

/// The requests to the thread. Dropping it drops each request until all senders are dropped: a channel keeps what it
/// holds when its receiver is dropped, and a session that waits for the reply to such a request would wait forever.
struct Queue(Receiver<Request>);

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.iter().for_each(drop);
    }
}

/// The thread that owns `bets.csv`.
#[derive(Debug)]
pub struct Ledger {
    requests: Sender<Request>,
    writer: JoinHandle<Result<(), WriterFailed>>,
    ended: Stop,
    /// The next ticket.
    tickets: Arc<AtomicU64>,
}

impl Ledger {
    /// Locks and checks the files, writes the rows of the journal to `bets.csv`, and starts the thread. Creates the
    /// files if there are none.
    ///
    /// # Errors
    ///
    /// A file is invalid or cannot be used; [`OpenError::Interrupted`] as soon as `stop` comes.
    pub fn open(settings: &Settings, stop: &Stop) -> Result<(Ledger, Found), OpenError> {
        let (opened, found) = open::open(disk::FileSystem, settings, stop)?;
        let tickets = Arc::default();
        let number = settings.winning_number;
        let writer = Writer::new(opened, number, Arc::clone(&tickets), stop.clone());
        let ledger = writer.and_then(|writer| Ledger::start(writer, tickets));
        Ok((ledger.map_err(OpenError::Thread)?, found))
    }

    fn start(writer: Writer<impl disk::Disk>, tickets: Arc<AtomicU64>) -> io::Result<Ledger> {
        let (requests, queue) = bounded(REQUESTS_MAX);
        let (alive, ended) = Stopper::new();
        let writer = std::thread::Builder::new().name("ledger".into()).spawn(move || {
            // Dropped after `_alive`, because it waits for the senders, and they wait for `ended`.
            let queue = Queue(queue);
            let _alive = alive;
            writer.run(&queue.0)
        })?;
        Ok(Ledger { requests, writer, ended, tickets })
    }

    /// Returns access for a new connection, with the next ticket.
    pub fn access(&self) -> Access<'_> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        Access { requests: &self.requests, ticket }
    }

    /// Returns the stop that comes when the thread handles no more requests, after [`Ledger::close`] or a failure.
    pub fn ended(&self) -> &Stop {
        &self.ended
    }

    /// Ends the thread after the requests that were sent so far. Blocks until it has ended and the files are closed.
    ///
    /// # Errors
    ///
    /// The failure that ended it before.
    pub fn close(self) -> Result<(), WriterFailed> {
        drop(self.requests);
        self.writer.join().unwrap_or(Err(WriterFailed::Panicked))
    }
}
