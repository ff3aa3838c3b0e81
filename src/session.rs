//! The server's side of one conversation: parses messages into commands, executes them and sends the replies. Knows
//! no listener and no signals.
//!
//! Nearly all messages are a whole batch. As many as have arrived are gathered, stored with one request to the ledger
//! and answered together. Every other message is executed command by command.

mod batches;
mod commands;
mod peer;
mod refusal;
mod summary;

pub use batches::BATCH_BYTES_MAX;
pub(crate) use peer::{Peer, agencies_of, listed};
pub use summary::summary;

use crate::bet::AgencyId;
use crate::connection::{Stream, is_timeout};
use crate::draw::Draw;
use crate::ledger::{Access, DrawResult, Ledger};
use crate::lines::{GrowthBudget, LineBuffer};
use crate::places::Place;
use crate::protocol::{BatchReader, Effect, ErrorCode, MESSAGE_BYTES_MAX, Refusal, Reply};
use crate::stop::Stop;
use batches::{Batches, Open, log_bets, log_refused, log_stored};
use crossbeam_channel::Sender;
use log::info;
use std::io::{self, Write};
use std::time::{Duration, Instant};
use thiserror::Error;

/// The size at which gathered answers are sent, in bytes. A byte of a message can cause fifty of an answer.
const ANSWERS_BYTES_MAX: usize = 64 << 10;
/// The most memory that is kept for the rows of a connection whose read buffer has not grown, in bytes.
const ROWS_KEPT_BYTES_MAX: usize = 32 << 10;
/// The time without any bytes after which the read buffer of a connection shrinks.
const SILENT_AFTER: Duration = Duration::from_millis(100);
/// The longest time that sending a refusal to a peer may take.
pub(crate) const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);

/// The parts of the server that all conversations share.
#[derive(Debug)]
pub(crate) struct Office<'o> {
    pub ledger: &'o Ledger,
    pub draw: &'o Draw<DrawResult>,
    /// Receives each agency that has been told its winners, for `server` to know when all have.
    pub told: Sender<AgencyId>,
    /// The longest time to complete a message, or to take an answer.
    pub message_timeout: Duration,
    /// The longest time from the beginning of a connection until it has named its agency.
    pub newcomer_timeout: Duration,
    /// The memory by which the buffers of all conversations may grow.
    pub buffers: &'o GrowthBudget,
    pub stop: Stop,
}

/// Serves `peer` until it ends the connection, an error closes it, it has to leave its place, or the server stops and
/// its socket is shut for reading.
pub(crate) fn converse(
    stream: Stream<'_>,
    place: &mut Place<'_>,
    peer: Peer,
    access: Access<'_>,
    office: &Office<'_>,
) {
    let mut session = Session {
        stream,
        place,
        newcomer_deadline: Instant::now() + office.newcomer_timeout,
        peer,
        access,
        office,
        reader: None,
        batches: Batches::default(),
        answers: Vec::new(),
        winners_sent: None,
    };
    let Err(end) = session.run() else {
        // A half-closed peer may still be reading, and must be able to tell this from a lost connection.
        return session.stream.end();
    };
    if let End::Refused(refusal) = &end {
        session.refuse_rest(refusal, &[]);
    }
    info!("action: conversation | result: fail | error: {end} | {}", session.peer);
    match end {
        End::Refused(refusal) => {
            refusal.reply().write(&mut session.answers);
            session.place.gives_way();
            // A server that stops does not drain, so a reset wakes a peer that goes on writing.
            match session.send() {
                Ok(()) if refusal.code == ErrorCode::Stopping => session.stream.end(),
                Ok(()) => session.stream.drain(),
                Err(_gone_or_not_reading) => {}
            }
        }
        End::Io(_) => {}
        End::Ledger => {
            // Replies to batches that are stored must still be sent.
            let _gone = session.send();
        }
    }
}

/// Sends a refusal to a peer that gets no conversation.
pub(crate) fn turn_away(mut stream: Stream<'_>, refusal: &Refusal) {
    let mut line = Vec::new();
    refusal.reply().write(&mut line);
    if stream.within(REFUSAL_TIME_MAX).write_all(&line).is_ok() {
        stream.drain();
    }
}

/// The reason why a conversation ends before the peer ends it.
#[derive(Debug, Error)]
enum End {
    /// An error, which is sent to the peer.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The connection broke, or the peer does not take its answers.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// The ledger has ended. No error is sent, because the last batches may or may not be stored.
    #[error("the ledger has ended")]
    Ledger,
}

struct Session<'s, 'p> {
    stream: Stream<'s>,
    place: &'s mut Place<'p>,
    /// The time by which a newcomer must have named its agency.
    newcomer_deadline: Instant,
    peer: Peer,
    access: Access<'s>,
    office: &'s Office<'s>,
    /// Reads whole batches of the agency that the connection speaks for. `None` until that is known.
    reader: Option<BatchReader>,
    batches: Batches,
    answers: Vec<u8>,
    /// Whether all bytes that arrived before the winners were sent have been read. Until then, reading proves nothing.
    /// `None` if no winners were sent, or if the agency has been told.
    winners_sent: Option<bool>,
}

impl Session<'_, '_> {
    fn run(&mut self) -> Result<(), End> {
        self.may_go_on()?;
        if let Some(agencies) = &self.peer.authorized {
            // An agency of another lottery has no place here.
            let agencies_max = self.office.draw.agencies().count();
            let in_lottery = agencies.iter().copied().filter(|agency| agency.get() <= agencies_max);
            self.place.belongs_to(in_lottery.collect()).map_err(Refusal::from)?;
        }
        let mut lines = LineBuffer::growing(MESSAGE_BYTES_MAX, self.office.buffers);
        let mut deadline = Instant::now() + self.office.message_timeout;
        while self.receive(&mut lines, deadline)? {
            let mut completed = false;
            loop {
                completed |= self.gather(&mut lines);
                self.store().or_else(|end| self.answer(end))?;
                let too_long = |error| ErrorCode::MessageTooLong.with(error);
                let Some(message) = lines.next_line().map_err(too_long)? else { break };
                let message = message.to_vec();
                completed = true;
                self.execute(&message, &mut lines)?;
            }
            self.send()?;
            if completed {
                deadline = Instant::now() + self.office.message_timeout;
            }
        }
        Ok(())
    }

    /// Reads the bytes that have arrived, or blocks until some do. Returns `false` if the peer has ended the connection.
    fn receive(&mut self, lines: &mut LineBuffer<'_>, deadline: Instant) -> Result<bool, End> {
        let is_newcomer = self.place.is_newcomer();
        let deadline = if is_newcomer { deadline.min(self.newcomer_deadline) } else { deadline };
        let count = loop {
            if !lines.has_grown() && self.batches.open == Open::Nothing {
                // The rows of a large buffer take as much memory as the buffer.
                self.batches.rows.shrink_to(ROWS_KEPT_BYTES_MAX);
            }
            let silent = Instant::now() + SILENT_AFTER;
            let may_shrink = lines.has_grown() && silent < deadline;
            match lines.fill(self.stream.until(if may_shrink { silent } else { deadline })) {
                // A silent connection must not keep the memory by which those of others grow.
                Err(error) if may_shrink && is_timeout(&error) => {
                    lines.shrink();
                    self.stream.shrink();
                }
                count => break count,
            }
        };
        self.may_go_on()?;
        match count {
            Ok(0) => {
                self.note_sign_of_life();
                let bytes = lines.rest().len();
                if bytes == 0 {
                    return Ok(false);
                }
                let detail = format_args!("the connection ended {bytes} bytes into a message");
                Err(ErrorCode::MessageTorn.with(detail).into())
            }
            Ok(_) => {
                self.place.heard();
                self.note_sign_of_life();
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) if is_timeout(&error) => {
                let (limit, missing) = if is_newcomer && deadline == self.newcomer_deadline {
                    (self.office.newcomer_timeout, "agency named")
                } else {
                    (self.office.message_timeout, "complete message")
                };
                let detail = format_args!("no {missing} within {} ms", limit.as_millis());
                Err(ErrorCode::TimedOut.with(detail).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Fails if the server is stopping, or if the connection has to leave its place.
    fn may_go_on(&self) -> Result<(), Refusal> {
        if self.office.stop.has_come() {
            return Err(ErrorCode::Stopping.with("the server is stopping"));
        }
        self.place.eviction().map_or(Ok(()), |eviction| Err(eviction.into()))
    }

    /// Notes that the peer has ended cleanly or sent more. If its winners were sent before, its agency has been told,
    /// unless the connection has failed since.
    fn note_sign_of_life(&mut self) {
        let (Some(quiet), Some(agency)) = (self.winners_sent, self.peer.agency) else { return };
        if quiet && matches!(self.place.socket().take_error(), Ok(None)) {
            self.winners_sent = None;
            // The channel is closed if the server is stopping.
            let _unheard = self.office.told.send(agency);
        } else {
            self.winners_sent = Some(self.stream.is_quiet());
        }
    }

    /// Gathers the messages that have arrived, up to the first that is not a whole batch. Returns whether
    /// there were any.
    fn gather(&mut self, lines: &mut LineBuffer<'_>) -> bool {
        self.batches.open == Open::Nothing
            && self.reader.as_ref().is_some_and(|reader| self.batches.gather(reader, lines))
    }

    /// Stores the closed batches and answers each. If they are refused, the last one is answered by the error that is
    /// returned.
    fn store(&mut self) -> Result<(), End> {
        let Some(agency) = self.peer.agency.filter(|_| !self.batches.closed.is_empty()) else {
            return Ok(());
        };
        let bets = self.batches.closed.iter().copied().map(u64::from).sum();
        let outcome = self.verify_again().map_err(End::from).and_then(|()| {
            self.access.store(agency, bets, &mut self.batches.rows).map_err(End::from)
        });
        let closed = std::mem::take(&mut self.batches.closed);
        match &outcome {
            Ok(()) => {
                log_bets(&self.batches.rows, &closed, &self.peer);
                log_stored(&closed, &self.peer);
                for bets in &closed {
                    Reply::Stored { bets: u64::from(*bets) }.write(&mut self.answers);
                }
            }
            Err(End::Refused(refusal)) => {
                log_refused(&closed, refusal, &self.peer);
                if refusal.code.effect() == Effect::Continues {
                    let all_but_last = &closed[1..];
                    all_but_last.iter().for_each(|_| refusal.reply().write(&mut self.answers));
                }
            }
            Err(_) => {}
        }
        self.batches.rows.clear();
        outcome
    }

    /// Answers an error after which the connection goes on. Returns any other one.
    fn answer(&mut self, end: End) -> Result<(), End> {
        match end {
            End::Refused(refusal) if refusal.code.effect() == Effect::Continues => {
                refusal.reply().write(&mut self.answers);
                Ok(())
            }
            end => Err(end),
        }
    }

    /// Verifies that the peer's certificate is still good, so that no connection outlives it.
    fn verify_again(&mut self) -> Result<(), Refusal> {
        self.stream.verify_again().map_err(|rejected| ErrorCode::CertificateRejected.with(rejected))
    }

    fn send(&mut self) -> Result<(), End> {
        if !self.answers.is_empty() {
            let mut deadline = Instant::now() + self.office.message_timeout;
            if self.place.is_newcomer() {
                // It has time to take the error that says that its time is over.
                deadline = deadline.min(self.newcomer_deadline + REFUSAL_TIME_MAX);
            }
            self.stream.until(deadline).write_all(&self.answers)?;
            self.answers.clear();
        }
        Ok(())
    }

    /// Frees the memory of the conversation, whose answers have been sent, before a long wait.
    fn free_memory(&mut self, lines: &mut LineBuffer<'_>) {
        lines.shrink();
        self.stream.shrink();
        self.batches = Batches::default();
        self.answers = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::{Batches, End, Office, Peer, Session, summary};
    use crate::bet::{Agencies, AgencyId, Bet};
    use crate::connection::Stream;
    use crate::draw::Draw;
    use crate::ledger::{Ledger, Settings};
    use crate::lines::{GrowthBudget, LineBuffer};
    use crate::places::Places;
    use crate::stop::Stop;
    use crate::summary::AgencyState;
    use crossbeam_channel::bounded;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::thread;
    use std::time::{Duration, Instant};

    const TIME: Duration = Duration::from_secs(30);

    /// Calls `test` with a session of a lottery of one agency, with its peer, and with the places.
    fn with_session(
        budget: &GrowthBudget,
        test: impl FnOnce(&mut Session<'_, '_>, TcpStream, &Places),
    ) {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let agencies = Agencies::new(1).expect("it is a number of agencies");
        let settings = Settings::for_tests(directory.path(), agencies);
        let (ledger, _) = Ledger::open(&settings, &Stop::never()).expect("the files are new");
        let office = Office {
            ledger: &ledger,
            draw: &Draw::pending(agencies),
            told: bounded(1).0,
            message_timeout: TIME,
            newcomer_timeout: 2 * TIME,
            buffers: budget,
            stop: Stop::never(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let peer = TcpStream::connect(address).expect("it listens");
        let places = Places::new(1);
        let mut place = places.enter(listener.accept().expect("one connects").0).expect("a place");
        let socket = place.socket();
        let mut session = Session {
            stream: Stream::plain(&socket),
            place: &mut place,
            newcomer_deadline: Instant::now() + 2 * TIME,
            peer: Peer::at(address),
            access: ledger.access(),
            office: &office,
            reader: None,
            batches: Batches::default(),
            answers: Vec::new(),
            winners_sent: None,
        };
        test(&mut session, peer, &places);
        ledger.close().expect("the disk works");
    }

    #[test]
    fn a_connection_that_is_silent_after_much_gives_the_memory_of_its_buffer_back() {
        // So that one buffer can double once.
        let budget = GrowthBudget::new(16 << 10);
        with_session(&budget, |session, mut peer, _| {
            let many_lines = b"ECO|to and fro\n".repeat(4_000);
            let deadline = Instant::now() + TIME;
            session.batches.rows = Vec::with_capacity(1 << 20);
            let mut lines = LineBuffer::growing(100, &budget);
            peer.write_all(&many_lines).expect("the system has room for it");
            while !lines.has_grown() {
                assert!(session.receive(&mut lines, deadline).expect("bytes have arrived"));
                while lines.next_line().expect("it is short").is_some() {}
            }
            let has_room = thread::scope(|scope| {
                let waits = scope.spawn(|| {
                    let can_grow = || {
                        let mut other = LineBuffer::growing(100, &budget);
                        other.fill(&mut many_lines.as_slice()).expect("a slice can be read");
                        other.has_grown()
                    };
                    while !can_grow() && Instant::now() < deadline {
                        thread::sleep(Duration::from_millis(1));
                    }
                    let has_room = can_grow();
                    peer.shutdown(Shutdown::Write).expect("it is open");
                    has_room
                });
                while session.receive(&mut lines, deadline + TIME).expect("the peer ends cleanly") {
                    while lines.next_line().expect("it is short").is_some() {}
                }
                waits.join().expect("it does not panic")
            });
            assert!(has_room, "it keeps the memory");
            assert!(session.batches.rows.capacity() < 1 << 20, "it keeps that of its rows");
        });
    }

    #[test]
    fn an_agency_whose_connection_is_lost_before_it_waits_has_no_more_bets_and_has_to_ask_again() {
        let budget = GrowthBudget::new(0);
        with_session(&budget, |session, _peer, _| {
            session.place.socket().shutdown(Shutdown::Write).expect("it is open");
            let outcome =
                session.execute(b"ECO|a;GANADORES|1\n", &mut LineBuffer::growing(100, &budget));
            assert!(matches!(outcome, Err(End::Io(_))), "{outcome:?}");
            let summary = summary(&session.access, session.office.draw).expect("the ledger runs");
            assert_eq!(summary.agencies[0].state, AgencyState::Finished);
        });
    }

    #[test]
    fn a_connection_that_has_to_leave_as_it_names_its_agency_hears_nothing_of_its_bet() {
        let budget = GrowthBudget::new(0);
        with_session(&budget, |session, _peer, places| {
            places.make_room();
            let agency = AgencyId::new(1).expect("an agency");
            let bet = Bet::new(["Ana", "Paz", "30904465", "1999-03-17", "7574"]).expect("a bet");
            let refusal = session.add(agency, &bet).expect_err("it has to leave");
            assert_eq!(refusal.detail, "limit of 1 connections reached");
        });
    }
}
