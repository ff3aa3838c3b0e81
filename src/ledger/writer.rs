//! The thread: a loop that takes what is asked, stores batches in groups, and answers after the disk.

use super::disk::Disk;
use super::recovery::{Counted, Recovered};
use super::result::{AgencyResult, DrawResult};
use super::winners;
use super::{
    AgencyCount, HoldFailed, Refused, Request, Standing, StoreRequest, WriterFailed, next_ticket,
};
use crate::bet::row::document_and_number;
use crate::bet::{Agencies, AgencyId};
use crate::stop::Stop;
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The most bytes that a group takes before it is written, but for its last request.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// What is known of an agency.
#[derive(Debug)]
struct Account {
    counted: Counted,
    /// Connections with a lower ticket store nothing.
    fence: u64,
    /// It has said that it has no more bets.
    finished: bool,
}

/// The state of the thread.
pub(super) struct Writer<D> {
    disk: D,
    /// The bytes of `bets.csv`, all of them durable.
    bytes: u64,
    accounts: Vec<Account>,
    winning_number: u16,
    draw_held: bool,
    tickets: Arc<AtomicU64>,
    stop: Stop,
    group: Group,
}

/// What is stored with one write and one sync.
#[derive(Debug, Default)]
struct Group {
    requests: Vec<StoreRequest>,
    rows: Vec<u8>,
    /// What is answered after it, so that a question does not end the group of everybody else.
    questions: Vec<Question>,
}

/// A request that stores nothing.
#[derive(Debug)]
enum Question {
    Resume { agency: AgencyId, ticket: u64, reply: Sender<(u64, Standing)> },
    Finish { outcome: Result<(), Refused>, reply: Sender<Result<(), Refused>> },
    Count { reply: Sender<Vec<AgencyCount>> },
}

impl<D: Disk> Writer<D> {
    pub(super) fn new(
        disk: D,
        recovered: Recovered,
        winning_number: u16,
        draw_held: bool,
        tickets: Arc<AtomicU64>,
        stop: Stop,
    ) -> Writer<D> {
        let account = |counted| Account { counted, fence: 0, finished: false };
        Writer {
            disk,
            bytes: recovered.bytes,
            accounts: recovered.accounts.into_iter().map(account).collect(),
            winning_number,
            draw_held,
            tickets,
            stop,
            group: Group::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Does what it is asked until nobody is left who could ask.
    pub(super) fn run(mut self, queue: &Receiver<Request>) -> Result<(), WriterFailed> {
        while let Ok(first) = queue.recv() {
            let mut next = Some(first);
            while let Some(request) = next {
                self.take(request)?;
                let full = self.group.rows.len() >= GROUP_BYTES_MAX;
                next = if full { None } else { queue.try_recv().ok() };
            }
            self.commit()?;
        }
        Ok(())
    }

    /// Adds a request to the group, or holds the draw after it. What a request changes for those behind it
    /// is changed at once; its answer comes after the group is stored.
    pub(super) fn take(&mut self, request: Request) -> Result<(), WriterFailed> {
        match request {
            Request::Store(store) => self.gather(store),
            Request::Resume { agency, reply } => {
                let ticket = next_ticket(&self.tickets);
                self.accounts[agency.index()].fence = ticket;
                self.group.questions.push(Question::Resume { agency, ticket, reply });
            }
            Request::Finish { ticket, agency, reply } => {
                let account = &mut self.accounts[agency.index()];
                let taken_over = ticket < account.fence && !account.finished && !self.draw_held;
                account.finished |= !taken_over;
                let outcome = if taken_over { Err(Refused::TakenOver) } else { Ok(()) };
                self.group.questions.push(Question::Finish { outcome, reply });
            }
            Request::Count { reply } => self.group.questions.push(Question::Count { reply }),
            Request::Hold { reply } => {
                self.commit()?;
                let held = self.hold_draw();
                // A closed reply channel means that the session has ended.
                let _gone = reply.send(match &held {
                    Ok(Some(result)) => Ok(result.clone()),
                    Ok(None) => Err(HoldFailed::Interrupted),
                    Err(_) => Err(HoldFailed::Storage),
                });
                held?;
            }
        }
        Ok(())
    }

    /// Adds a batch to the group, or refuses it at once.
    fn gather(&mut self, store: StoreRequest) {
        let account = &self.accounts[store.agency.index()];
        let refused = if self.draw_held {
            Some(Refused::DrawHeld)
        } else if account.finished {
            Some(Refused::Finished)
        } else if store.ticket < account.fence {
            Some(Refused::TakenOver)
        } else {
            None
        };
        match refused {
            Some(refused) => store.answer(Err(refused)),
            None => {
                self.group.rows.extend_from_slice(&store.rows);
                self.group.requests.push(store);
            }
        }
    }

    /// Stores the group, and then answers everything in it.
    pub(super) fn commit(&mut self) -> Result<(), WriterFailed> {
        self.store_group()?;
        for question in std::mem::take(&mut self.group.questions) {
            self.answer(question);
        }
        Ok(())
    }

    fn answer(&self, question: Question) {
        // A closed reply channel means that the session has ended.
        match question {
            Question::Resume { agency, ticket, reply } => {
                let _gone = reply.send((ticket, self.accounts[agency.index()].counted.standing()));
            }
            Question::Finish { outcome, reply } => {
                let _gone = reply.send(outcome);
            }
            Question::Count { reply } => {
                let count = |account: &Account| AgencyCount {
                    bets: account.counted.bets,
                    finished: account.finished || self.draw_held,
                };
                let _gone = reply.send(self.accounts.iter().map(count).collect());
            }
        }
    }

    /// Stores the batches of the group: one write, one sync, then each is answered.
    fn store_group(&mut self) -> Result<(), WriterFailed> {
        if self.group.requests.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.disk.append(&self.group.rows) {
            self.undo()?;
            let refused = Refused::WriteFailed(error.to_string());
            self.group.answer(|_| Err(refused.clone()));
            return Ok(());
        }
        if let Err(error) = self.disk.sync() {
            // Whether the disk has the group is not known, and it is told to nobody. What the system
            // still shows of it must not pass for durable at the next start.
            let _best_effort = self.disk.truncate(self.bytes);
            return Err(WriterFailed::Sync(error));
        }
        self.bytes += self.group.rows.len() as u64;
        let accounts = &mut self.accounts;
        self.group.answer(|store| {
            accounts[store.agency.index()].counted.add(store.bets, &store.rows);
            Ok(())
        });
        Ok(())
    }

    /// Makes the file what it was before a failed write, durably: who is told that nothing was
    /// stored must not find it stored after a crash.
    fn undo(&mut self) -> Result<(), WriterFailed> {
        self.disk.truncate(self.bytes).map_err(WriterFailed::Undo)?;
        self.disk.sync().map_err(WriterFailed::Undo)
    }

    /// Holds the draw; `None` where the program is stopping.
    fn hold_draw(&mut self) -> Result<Option<DrawResult>, WriterFailed> {
        let count = u16::try_from(self.accounts.len()).ok().and_then(Agencies::new);
        let agencies = count.expect("there is an account for each agency");
        let bets = self.disk.read().map_err(WriterFailed::Scan)?;
        let winners = winners::find(bets, agencies, self.winning_number, &self.stop);
        let Some(winners) = winners.map_err(WriterFailed::Scan)? else {
            return Ok(None);
        };
        let agency = |((agency, account), winners): ((_, &Account), _)| {
            let agency: AgencyId = agency;
            AgencyResult { id: agency.get(), bets: account.counted.bets, winners }
        };
        let result = DrawResult {
            winning_number: self.winning_number,
            held_at: now(),
            agencies: agencies.iter().zip(&self.accounts).zip(winners).map(agency).collect(),
        };
        self.disk.save_result(&result.to_toml()).map_err(WriterFailed::SaveResult)?;
        self.draw_held = true;
        Ok(Some(result))
    }
}

/// The time in UTC, to the second.
fn now() -> toml::value::Datetime {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    now.parse().expect("TOML takes its dates from the same standard")
}

impl Group {
    /// Answers every batch of the group and removes them.
    fn answer(&mut self, mut outcome: impl FnMut(&StoreRequest) -> Result<(), Refused>) {
        for store in self.requests.drain(..) {
            let outcome = outcome(&store);
            store.answer(outcome);
        }
        self.rows.clear();
    }
}

impl StoreRequest {
    fn answer(self, outcome: Result<(), Refused>) {
        // A session that does not wait any more has nobody to tell.
        let _gone = self.reply.send((self.rows, outcome));
    }
}

impl Counted {
    /// Counts lines that were stored.
    fn add(&mut self, bets: u64, rows: &[u8]) {
        self.bets += bets;
        let ended = rows.len().saturating_sub(1);
        let last = memchr::memrchr(b'\n', &rows[..ended]).map_or(0, |before| before + 1);
        self.last_row.clear();
        self.last_row.extend_from_slice(&rows[last..]);
    }

    fn standing(&self) -> Standing {
        Standing { bets: self.bets, last: document_and_number(&self.last_row) }
    }
}
