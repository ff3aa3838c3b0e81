//! The one owner of `bets.csv`: a thread that stores batches in groups, knows how far each agency
//! got, and holds the draw. To ask it something is to send a message and wait.

use crate::bet::{Agencies, PerAgency};
use crate::stop::{Stop, Stopper};
use crossbeam_channel::{Sender, bounded};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

mod adopt;
mod aside;
mod count;
mod disk;
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

pub use adopt::InvalidLine;
pub use aside::{SetAside, set_aside};
pub use open::OpenError;
pub use request::{Access, AgencyCount, HoldFailed, Refused, Standing};
pub use result::{AgencyResult, DrawResult};
pub use verify::{Difference, Verified, verify};
pub use writer::WriterFailed;

use request::{Request, Tickets};

/// How many requests may wait for the writer before further ones block.
const REQUESTS_MAX: usize = 256;

/// What a ledger is opened with.
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

/// What was found when a ledger was opened.
#[derive(Debug)]
pub struct Found {
    /// How many bets each agency has stored.
    pub bets: PerAgency<u64>,
    /// The result of the draw, if it was held.
    pub result: Option<DrawResult>,
    /// What was done to the files.
    pub repair: Repair,
}

/// What a start did to the files before it went on with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// There was a `bets.csv` and no journal: every line was checked, and a journal was made.
    pub adopted: bool,
    /// How many bytes were cut off the end of `bets.csv`, because they were never confirmed.
    pub cut_bytes: u64,
    /// How many bytes were written to its end, because the journal had them and it had not.
    pub written_bytes: u64,
}

/// The thread that owns `bets.csv`.
#[derive(Debug)]
pub struct Ledger {
    requests: Sender<Request>,
    writer: JoinHandle<Result<(), WriterFailed>>,
    ended: Stop,
    tickets: Arc<Tickets>,
}

impl Ledger {
    /// Locks and checks the files, puts what the journal has into `bets.csv`, and starts the thread. Makes the
    /// files if there are none.
    ///
    /// # Errors
    ///
    /// What keeps it from being opened; [`OpenError::Interrupted`] as soon as `stop` comes.
    pub fn open(settings: Settings, stop: &Stop) -> Result<(Ledger, Found), OpenError> {
        let opened = open::open(disk::FileSystem, &settings, stop)?;
        let found = Found {
            bets: opened.stored.clone().map(|_, stored| stored.bets),
            result: opened.result.clone(),
            repair: opened.repair,
        };
        let tickets = Arc::new(Tickets::default());
        let start =
            |tickets| writer::Writer::new(opened, settings.winning_number, tickets, stop.clone());
        let writer = start(Arc::clone(&tickets)).map_err(OpenError::Thread)?;
        let ledger = Ledger::start(writer, tickets).map_err(OpenError::Thread)?;
        Ok((ledger, found))
    }

    fn start(
        writer: writer::Writer<impl disk::Disk>,
        tickets: Arc<Tickets>,
    ) -> std::io::Result<Ledger> {
        let (requests, queue) = bounded(REQUESTS_MAX);
        let (alive, ended) = Stopper::new();
        let writer = std::thread::Builder::new().name("ledger".into()).spawn(move || {
            let _alive = alive;
            writer.run(&queue)
        })?;
        Ok(Ledger { requests, writer, ended, tickets })
    }

    /// Returns access for one more connection: later ones are newer.
    pub fn access(&self) -> Access<'_> {
        Access::new(&self.requests, self.tickets.next())
    }

    /// Returns the stop that comes when the thread has ended, by [`Ledger::close`] or by a failure.
    pub fn ended(&self) -> &Stop {
        &self.ended
    }

    /// Ends the thread after what it was asked so far, and waits for it. The files are closed then.
    ///
    /// # Errors
    ///
    /// The failure that ended it before.
    pub fn close(self) -> Result<(), WriterFailed> {
        drop(self.requests);
        self.writer.join().unwrap_or(Err(WriterFailed::Panicked))
    }
}
