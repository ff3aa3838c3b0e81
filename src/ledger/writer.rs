//! The thread: a loop that takes requests, stores batches in groups, and replies after the sync.

use super::count::{Account, last_of};
use super::disk::{self, Disk, DiskFile, NamesVersion};
use super::files::Paths;
use super::hash::Follower;
use super::journal::{Extent, GROUP_BYTES_MAX, Held, Journal};
use super::journal_of;
use super::open::Opened;
use super::pass;
use super::request::{Request, RequestError, StoreRequest};
use super::result::DrawResult;
use super::winners::Winners;
use crate::bet::PerAgency;
use crate::bet::row::document_and_number;
use crate::stop::Stop;
use crate::summary::{AgencyState, AgencySummary, Standing};
use crate::system::if_denied;
use crossbeam_channel::Receiver;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

/// The most bytes of a group that goes into the journal's log. For a larger one, a sync of `bets.csv` costs
/// less.
const LOGGED_BYTES_MAX: usize = if cfg!(test) { 1000 } else { 64 << 10 };

/// The state of the thread.
pub(super) struct Writer<D: Disk> {
    disk: D,
    paths: Paths,
    /// The path of `bets.csv` in the settings, which may be a symbolic link to it.
    bets_name: PathBuf,
    bets: Arc<D::File>,
    journal: Journal<D::File>,
    /// The version of the names beside `bets.csv` with which they were those of the open files.
    names: Option<NamesVersion>,
    /// The durable bytes of `bets.csv`.
    extent: Extent,
    accounts: PerAgency<Account>,
    winning_number: u16,
    tickets: Arc<AtomicU64>,
    stop: Stop,
    follower: Follower<D::File>,
    group: Group,
}

/// Sends the answer to a request that stores nothing.
type Answer = Box<dyn FnOnce(&PerAgency<Account>) + Send>;

/// The batches that are stored with one sync, and the answers to other requests that are sent after it.
#[derive(Default)]
struct Group {
    requests: Vec<StoreRequest>,
    /// The size of their rows.
    bytes: usize,
    /// The rows of a small group, in one piece.
    rows: Vec<u8>,
    answers: Vec<Answer>,
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(
        opened: Opened<D>,
        winning_number: u16,
        tickets: Arc<AtomicU64>,
        stop: Stop,
    ) -> io::Result<Writer<D>> {
        let is_draw_held = opened.journal.slot.held.is_some();
        // After the draw nothing asks for the hash.
        let hashed_bytes = if is_draw_held { 0 } else { opened.extent.bytes };
        Ok(Writer {
            follower: Follower::start(Arc::clone(&opened.bets), hashed_bytes)?,
            disk: opened.disk,
            paths: opened.paths,
            bets_name: opened.bets_name,
            bets: opened.bets,
            names: None,
            extent: opened.extent,
            accounts: opened.accounts,
            winning_number,
            journal: opened.journal,
            tickets,
            stop,
            group: Group::default(),
        })
    }

    /// Handles requests until all senders are dropped, and leaves a journal that needs no repair.
    pub(super) fn run(mut self, queue: &Receiver<Request>) -> Result<(), WriterFailed> {
        while let Ok(first) = queue.recv() {
            let mut next = Some(first);
            while let Some(request) = next {
                self.take(request)?;
                let full = self.group.bytes >= GROUP_BYTES_MAX;
                next = if full { None } else { queue.try_recv().ok() };
            }
            self.commit()?;
        }
        self.close()
    }

    /// Adds a request to the group, or holds the draw after it. A request affects later ones immediately; its reply is
    /// sent after the group is stored.
    pub(super) fn take(&mut self, request: Request) -> Result<(), WriterFailed> {
        match request {
            Request::Store(store) => self.gather(store),
            Request::Resume { agency, reply } => {
                let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
                self.accounts[agency].fence = ticket;
                self.answer_later(reply, move |accounts| {
                    let Account { bets, last_row, .. } = &accounts[agency];
                    (ticket, Standing { bets: *bets, last: document_and_number(last_row) })
                });
            }
            Request::Finish { ticket, agency, reply } => {
                let draw_held = self.is_draw_held();
                let account = &mut self.accounts[agency];
                let taken_over = ticket < account.fence && !account.finished && !draw_held;
                account.finished |= !taken_over;
                let outcome = if taken_over { Err(RequestError::TakenOver) } else { Ok(()) };
                self.answer_later(reply, |_| outcome);
            }
            Request::Count { reply } => {
                let draw_held = self.is_draw_held();
                let count = move |Account { bets, finished, .. }: &Account| {
                    let is_open = !finished && !draw_held;
                    let state = if is_open { AgencyState::Open } else { AgencyState::Finished };
                    AgencySummary { bets: *bets, state }
                };
                self.answer_later(reply, move |accounts| accounts.values().map(count).collect());
            }
            Request::Hold { reply } => {
                self.commit()?;
                // A closed reply channel means that the session has ended.
                let _gone = reply.send(self.hold_draw()?);
            }
        }
        Ok(())
    }

    fn is_draw_held(&self) -> bool {
        self.journal.slot.held.is_some()
    }

    /// Adds a batch to the group, or its rejection. That too is sent after the group is stored: otherwise the session of a
    /// rejected batch could send the next one at once, and peers that do so would keep the group from ending.
    fn gather(&mut self, store: StoreRequest) {
        let account = &self.accounts[store.agency];
        let refused = if self.is_draw_held() {
            RequestError::DrawHeld
        } else if account.finished {
            RequestError::Finished
        } else if store.ticket < account.fence {
            RequestError::TakenOver
        } else {
            self.group.bytes += store.rows.len();
            self.group.requests.push(store);
            return;
        };
        self.group.answers.push(Box::new(move |_| store.answer(Err(refused))));
    }

    /// Replies after the group is stored, so that a request that stores nothing does not end the group early.
    fn answer_later<T: Send + 'static>(
        &mut self,
        reply: SyncSender<T>,
        answer: impl FnOnce(&PerAgency<Account>) -> T + Send + 'static,
    ) {
        self.group.answers.push(Box::new(move |accounts| {
            // A closed reply channel means that the session has ended.
            let _gone = reply.send(answer(accounts));
        }));
    }

    /// Stores the group, and then replies to everything in it.
    pub(super) fn commit(&mut self) -> Result<(), WriterFailed> {
        self.store_group()?;
        self.group.answers.drain(..).for_each(|answer| answer(&self.accounts));
        Ok(())
    }

    /// Stores the batches of the group durably, all of them or none, and then replies to each.
    fn store_group(&mut self) -> Result<(), WriterFailed> {
        if self.group.requests.is_empty() {
            return Ok(());
        }
        self.check_files()?;
        let pieces = self.group.pieces();
        let mut extent = self.extent;
        let written = pieces.iter().try_for_each(|rows| {
            self.bets.write_at(rows, extent.bytes)?;
            extent = extent.with(rows);
            Ok::<(), io::Error>(())
        });
        if let Err(error) = written {
            // If a crash leaves some of these rows, they come after the confirmed bytes, and the next start cuts them.
            self.bets.truncate(self.extent.bytes).map_err(WriterFailed::Undo)?;
            let refused = RequestError::WriteFailed(error.to_string());
            self.group.answer(|_| Err(refused.clone()));
            return Ok(());
        }
        let is_logged = match pieces[..] {
            [rows] if rows.len() <= LOGGED_BYTES_MAX => {
                self.journal.log(self.extent, rows).map_err(WriterFailed::Sync)?
            }
            _ => false,
        };
        if !is_logged {
            self.bets.sync().map_err(WriterFailed::Sync)?;
            self.journal.checkpoint(extent).map_err(WriterFailed::Sync)?;
        }
        self.extent = extent;
        self.follower.follow(extent.bytes);
        let accounts = &mut self.accounts;
        self.group.answer(|store| {
            accounts[store.agency].add(store.bets, last_of(&store.rows));
            Ok(())
        });
        Ok(())
    }

    /// Fails if `bets.csv` or the journal was replaced, or does not have the length that this thread left. Looks for the
    /// files by their names only if the directory was changed, because to do so makes the next syncs slower. A symbolic
    /// link may be in another directory, or lead to one, so it is always followed.
    fn check_files(&mut self) -> Result<(), WriterFailed> {
        let Paths { bets, journal, .. } = &self.paths;
        let journal_name = journal_of(bets);
        let is_link = self.bets_name != *bets || journal_name != *journal;
        let names = self.disk.names_version(bets).map_err(WriterFailed::Check)?;
        if is_link || names.is_none() || names != self.names {
            if !self.bets.is_at(&self.bets_name).map_err(WriterFailed::Check)? {
                return Err(self.changed(self.bets_name.clone(), "was removed or replaced".into()));
            }
            if !self.journal.is_at(&journal_name).map_err(WriterFailed::Check)? {
                return Err(self.changed(journal_name, "was removed or replaced".into()));
            }
            self.names = names;
        }
        let (length, bytes) = (self.bets.length().map_err(WriterFailed::Check)?, self.extent.bytes);
        if length != bytes {
            let what = format!("has {length} bytes, and {bytes} were confirmed");
            return Err(self.changed(self.bets_name.clone(), what));
        }
        if !self.journal.is_whole().map_err(WriterFailed::Check)? {
            return Err(self.changed(journal_name, "was cut or extended".into()));
        }
        Ok(())
    }

    /// Returns the failure for a change to the file with the name `path`. Seals the journal, so that the next start does
    /// not mistake foreign bytes in `bets.csv` for the trace of a crash. Syncs `bets.csv` first, because a start does not
    /// repair it from a sealed journal: a power cut would lose the bets that only the log holds durably.
    fn changed(&mut self, path: PathBuf, what: String) -> WriterFailed {
        let way_out = if path == self.bets_name {
            self.paths.way_out(&self.paths.bets, self.is_draw_held())
        } else {
            let way_out = "move it away, if it is there, and start the server again, which goes on with all \
                           confirmed bets";
            way_out.into()
        };
        match self.bets.sync().and_then(|()| self.journal.log(self.extent, &[])) {
            Ok(_) => WriterFailed::Changed { path, what, way_out },
            Err(error) => WriterFailed::Sync(error),
        }
    }

    /// Holds the draw. Returns `None` if the program is stopping.
    fn hold_draw(&mut self) -> Result<Option<DrawResult>, WriterFailed> {
        self.check_files()?;
        let agencies = self.accounts.agencies();
        let make = || Winners::new(agencies, self.winning_number);
        let read = pass::over(&*self.bets, self.extent.bytes, &self.stop, make);
        let Some((found, winners)) = read.map_err(WriterFailed::Scan)? else { return Ok(None) };
        if found != self.extent {
            let bytes = self.extent.bytes;
            let what = "bytes are not those that were confirmed: the draw is not held";
            return Err(self.changed(self.bets_name.clone(), format!("its {bytes} {what}")));
        }
        let sha256 = self.follower.digest(self.extent, &self.stop);
        let Some(sha256) = sha256.map_err(WriterFailed::Scan)? else { return Ok(None) };
        let (number, accounts, winners) = (self.winning_number, &self.accounts, winners.documents);
        let result = DrawResult::new(number, self.extent, sha256, accounts, winners);
        let text = result.to_toml();
        let path = &self.paths.result;
        let failed = |error| WriterFailed::SaveResult { path: path.clone(), error };
        disk::replace(&self.disk, path, |file| {
            // Only another program can have written it since the start. Servers with one name for their results lock the
            // same draft, so none writes it from here on.
            if self.disk.exists(path)? {
                let what = "it exists, and this server did not write it: name another with --draw";
                return Err(io::Error::other(what));
            }
            file.write_at(text.as_bytes(), 0)
        })
        .map_err(failed)?;
        self.bets.sync().map_err(WriterFailed::Sync)?;
        self.journal.slot.held = Some(Held::on(self.winning_number, text.as_bytes()));
        self.journal.checkpoint(self.extent).map_err(WriterFailed::Sync)?;
        Ok(Some(result))
    }

    /// Syncs the files, and leaves a journal whose log is empty.
    pub(super) fn close(&mut self) -> Result<(), WriterFailed> {
        self.check_files()?;
        self.bets.sync().map_err(WriterFailed::Sync)?;
        self.journal.close(self.extent).map_err(WriterFailed::Sync)
    }
}

impl Group {
    /// Returns the rows in the order of the file: in one piece if the group is small, and without copying them otherwise.
    fn pieces(&mut self) -> Vec<&[u8]> {
        if self.bytes > LOGGED_BYTES_MAX {
            return self.requests.iter().map(|store| store.rows.as_slice()).collect();
        }
        self.rows.clear();
        self.requests.iter().for_each(|store| self.rows.extend_from_slice(&store.rows));
        vec![&self.rows]
    }

    /// Replies to every batch of the group and removes them.
    fn answer(&mut self, mut outcome: impl FnMut(&StoreRequest) -> Result<(), RequestError>) {
        for store in self.requests.drain(..) {
            let outcome = outcome(&store);
            store.answer(outcome);
        }
        self.bytes = 0;
    }
}

/// The failure that ended the ledger.
#[derive(Debug, thiserror::Error)]
pub enum WriterFailed {
    /// Another program changed `bets.csv` or the journal.
    #[error("{}: {what}; nothing more is confirmed: {way_out}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The error.
        what: String,
        /// The way to start again.
        way_out: String,
    },
    /// The files could not be checked for such a change.
    #[error("the files of the bets cannot be checked: {0}")]
    Check(io::Error),
    /// A sync failed, so that it is unknown whether the bets are durable.
    #[error("bets could not be synced: {0}")]
    Sync(io::Error),
    /// A failed write could not be undone.
    #[error("a failed write could not be undone: {0}")]
    Undo(io::Error),
    /// The bets could not be read for the draw.
    #[error("the bets could not be read for the draw: {0}")]
    Scan(io::Error),
    /// The draw's result could not be written.
    #[error(
        "{}: the draw's result could not be written: {error}{}",
        path.display(),
        if_denied(error, "use it and its directory")
    )]
    SaveResult {
        /// Its path.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// It panicked, which is a defect of this program.
    #[error("the ledger panicked")]
    Panicked,
}
