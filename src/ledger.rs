//! The one owner of `bets.csv`: a thread that stores batches in groups, knows how far each agency
//! got, and holds the draw. To ask it something is to send a message and wait.

use crate::bet::{Agencies, AgencyId};
use crate::stop::{Stop, Stopper};
use crossbeam_channel::{Sender, bounded};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

mod disk;
mod open;
mod recovery;
mod result;
#[cfg(test)]
mod simulation;
mod verify;
mod winners;
mod writer;

pub use open::{OpenError, set_aside};
pub use recovery::InvalidLine;
pub use result::{AgencyResult, DrawResult, InvalidResult};
pub use verify::{Difference, Verified, verify};

/// How many requests may wait for the writer before those who ask wait themselves.
const REQUESTS_MAX: usize = 256;

/// What a ledger is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The path of `bets.csv`.
    pub bets: PathBuf,
    /// The path of `sorteo.toml`.
    pub result: PathBuf,
    /// The lottery's agencies.
    pub agencies: Agencies,
    /// The number that wins, 0 to [`NUMBER_MAX`](crate::bet::NUMBER_MAX).
    pub winning_number: u16,
}

/// What was found where a ledger was opened.
#[derive(Debug)]
pub struct Found {
    /// How many bets each agency has stored, in their order.
    pub bets: Vec<u64>,
    /// How many bytes of a line that was never completed were cut off.
    pub torn_bytes: u64,
    /// The result of the draw, where it was held.
    pub result: Option<DrawResult>,
}

/// The thread that owns `bets.csv`.
#[derive(Debug)]
pub struct Ledger {
    requests: Sender<Request>,
    writer: JoinHandle<Result<(), WriterFailed>>,
    ended: Stop,
    tickets: Arc<AtomicU64>,
}

impl Ledger {
    /// Locks, checks and repairs `bets.csv`, makes sure that what is in it is on disk, and starts
    /// the thread. Creates the file where it is missing.
    ///
    /// # Errors
    ///
    /// What keeps it from being opened, or [`OpenError::Interrupted`] as soon as `stop` is closed.
    pub fn open(settings: Settings, stop: &Stop) -> Result<(Ledger, Found), OpenError> {
        let (disk, recovered, result) = open::open(&settings, stop)?;
        let found = Found {
            bets: recovered.accounts.iter().map(|account| account.bets).collect(),
            torn_bytes: recovered.torn_bytes,
            result,
        };
        let draw_held = found.result.is_some();
        let ledger = Ledger::start(disk, recovered, settings.winning_number, draw_held, stop)
            .map_err(OpenError::Thread)?;
        Ok((ledger, found))
    }

    fn start(
        disk: impl disk::Disk + 'static,
        recovered: recovery::Recovered,
        winning_number: u16,
        draw_held: bool,
        stop: &Stop,
    ) -> std::io::Result<Ledger> {
        let (requests, queue) = bounded(REQUESTS_MAX);
        let (alive, ended) = Stopper::new();
        let tickets = Arc::new(AtomicU64::new(0));
        let writer = writer::Writer::new(
            disk,
            recovered,
            winning_number,
            draw_held,
            Arc::clone(&tickets),
            stop.clone(),
        );
        let writer = std::thread::Builder::new().name("ledger".into()).spawn(move || {
            let _alive = alive;
            writer.run(&queue)
        })?;
        Ok(Ledger { requests, writer, ended, tickets })
    }

    /// Access for one more connection: later ones are newer.
    pub fn access(&self) -> Access<'_> {
        Access { requests: &self.requests, ticket: next_ticket(&self.tickets) }
    }

    /// Returns the stop that comes when the thread has ended, by [`Ledger::close`] or by a failure.
    pub fn ended(&self) -> &Stop {
        &self.ended
    }

    /// Ends the thread after what it was asked so far, and waits for it. The file is closed then.
    ///
    /// # Errors
    ///
    /// The failure that ended it before.
    pub fn close(self) -> Result<(), WriterFailed> {
        drop(self.requests);
        self.writer.join().unwrap_or(Err(WriterFailed::Panicked))
    }
}

fn next_ticket(tickets: &AtomicU64) -> u64 {
    tickets.fetch_add(1, Ordering::Relaxed)
}

/// A connection's access to the ledger.
#[derive(Debug)]
pub struct Access<'l> {
    requests: &'l Sender<Request>,
    ticket: u64,
}

impl Access<'_> {
    /// Stores `rows`, which are `bets` lines of `bets.csv` of `agency`. Blocks until they are on disk.
    /// The buffer is lent to the ledger meanwhile, and comes back as it was unless the ledger has ended.
    ///
    /// # Errors
    ///
    /// Why none of them is stored.
    pub fn store(&self, agency: AgencyId, bets: u64, rows: &mut Vec<u8>) -> Result<(), Refused> {
        let lent = std::mem::take(rows);
        let (returned, outcome) = self.ask(|reply| {
            Request::Store(StoreRequest { ticket: self.ticket, agency, bets, rows: lent, reply })
        })?;
        *rows = returned;
        outcome
    }

    /// Takes `agency` over: from here on older connections store none of its bets.
    ///
    /// # Errors
    ///
    /// [`Refused::Ended`].
    pub fn resume(&mut self, agency: AgencyId) -> Result<Standing, Refused> {
        let (ticket, standing) = self.ask(|reply| Request::Resume { agency, reply })?;
        self.ticket = ticket;
        Ok(standing)
    }

    /// Says that `agency` has no more bets: none is stored from here on, by any connection.
    ///
    /// # Errors
    ///
    /// [`Refused::TakenOver`] or [`Refused::Ended`].
    pub fn finish(&self, agency: AgencyId) -> Result<(), Refused> {
        self.ask(|reply| Request::Finish { ticket: self.ticket, agency, reply })?
    }

    /// Holds the draw over all that is stored: its result is on disk when this comes back, and no
    /// bet is stored any more. To be called once.
    ///
    /// # Errors
    ///
    /// [`HoldFailed`]; after [`HoldFailed::Storage`] the ledger has ended.
    pub fn hold_draw(&self) -> Result<DrawResult, HoldFailed> {
        self.ask(|reply| Request::Hold { reply }).unwrap_or(Err(HoldFailed::Storage))
    }

    /// How many bets each agency has stored, and whether it has more, in their order.
    ///
    /// # Errors
    ///
    /// [`Refused::Ended`].
    pub fn count(&self) -> Result<Vec<AgencyCount>, Refused> {
        self.ask(|reply| Request::Count { reply })
    }

    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Result<T, Refused> {
        let (reply, answer) = bounded(1);
        // Both fail alike: the thread is gone, and with it whoever could answer.
        self.requests.send(request(reply)).map_err(|_| Refused::Ended)?;
        answer.recv().map_err(|_| Refused::Ended)
    }
}

/// What is known of an agency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgencyCount {
    /// How many of its bets are on disk.
    pub bets: u64,
    /// Whether none is stored any more: it said so, or the draw was held.
    pub finished: bool,
}

/// How far an agency got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many of its bets are on disk.
    pub bets: u64,
    /// Document and number of the one stored last, where there is one.
    pub last: Option<(String, String)>,
}

/// The buffer that was lent, and whether what is in it is stored.
type StoreAnswer = (Vec<u8>, Result<(), Refused>);

#[derive(Debug)]
struct StoreRequest {
    ticket: u64,
    agency: AgencyId,
    /// How many rows there are.
    bets: u64,
    rows: Vec<u8>,
    reply: Sender<StoreAnswer>,
}

#[derive(Debug)]
enum Request {
    Store(StoreRequest),
    Resume { agency: AgencyId, reply: Sender<(u64, Standing)> },
    Finish { ticket: u64, agency: AgencyId, reply: Sender<Result<(), Refused>> },
    Count { reply: Sender<Vec<AgencyCount>> },
    Hold { reply: Sender<Result<DrawResult, HoldFailed>> },
}

/// Why the ledger did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A newer connection took the agency over.
    TakenOver,
    /// The agency has said that it has no more bets.
    Finished,
    /// The draw was held.
    DrawHeld,
    /// The disk did not take it, and it is undone: why.
    WriteFailed(String),
    /// The ledger has ended. What it was asked last may or may not be on disk.
    Ended,
}

/// Why there is no draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldFailed {
    /// The program is stopping.
    Interrupted,
    /// The disk failed; the ledger has ended.
    Storage,
}

/// Why the ledger ended by itself.
#[derive(Debug)]
pub enum WriterFailed {
    /// The disk could not be made to keep what was written: whether it did is not known.
    Sync(std::io::Error),
    /// A failed write could not be undone.
    Undo(std::io::Error),
    /// The bets could not be read for the draw.
    Scan(std::io::Error),
    /// The draw's result could not be written.
    SaveResult(std::io::Error),
    /// It panicked, which is a defect of this program.
    Panicked,
}

impl fmt::Display for WriterFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriterFailed::Sync(error) => write!(formatter, "bets could not be synced: {error}"),
            WriterFailed::Undo(error) => {
                write!(formatter, "a failed write could not be undone: {error}")
            }
            WriterFailed::Scan(error) => {
                write!(formatter, "the bets could not be read for the draw: {error}")
            }
            WriterFailed::SaveResult(error) => {
                write!(formatter, "the draw's result could not be written: {error}")
            }
            WriterFailed::Panicked => formatter.write_str("the ledger panicked"),
        }
    }
}

impl std::error::Error for WriterFailed {}
