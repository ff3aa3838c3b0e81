//! The server's side of one conversation: lines become commands, commands become answers. Knows no
//! listener and no signals.
//!
//! Nearly all messages are a whole batch. Those are gathered, as many as have arrived, and stored and
//! answered together. Every other message is executed command by command.

mod authorization;
mod outcome;
mod status;

pub use authorization::Authorization;
pub use status::status;

use crate::bet::row::write_row;
use crate::bet::{AgencyId, Bet};
use crate::connection::{Stream, is_timeout};
use crate::draw::{Draw, Fate};
use crate::ledger::{Access, DrawResult, HoldFailed, Ledger, Standing};
use crate::lines::{GrowthBudget, LineBuffer};
use crate::protocol::{
    BatchReader, Command, Effect, ErrorCode, LastBet, MESSAGE_BYTES_MAX, Refusal, Reply,
};
use crate::stop::Stop;
use crossbeam_channel::Sender;
use log::{error, info, warn};
use outcome::{log_bets, log_refused, refusal_of, stopping, stored};
use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

/// The most bytes of an open batch, as lines of `bets.csv`: some five thousand bets.
pub const BATCH_BYTES_MAX: usize = 256 << 10;
/// How many bytes of answers are gathered before they are sent: a byte can earn fifty.
const ANSWERS_BYTES_MAX: usize = 64 << 10;
/// How long a peer that is refused may take to hear so.
pub const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);

/// What all conversations share.
#[derive(Debug)]
pub struct Office<'o> {
    /// Where bets are stored.
    pub ledger: &'o Ledger,
    /// Where the agencies meet.
    pub draw: &'o Draw<DrawResult>,
    /// Where each agency goes that has been told the draw's result.
    pub told: Sender<AgencyId>,
    /// How long a peer may take to complete a message, or to take an answer.
    pub message_timeout: Duration,
    /// What the buffers of all conversations may grow by.
    pub buffers: &'o GrowthBudget,
}

/// Talks with one peer until it leaves, is refused, or `stop` is closed and its socket shut for
/// reading.
pub fn converse(
    stream: &mut Stream<'_>,
    authorization: Authorization,
    access: Access<'_>,
    office: &Office<'_>,
    stop: &Stop,
) {
    let mut session = Session {
        stream,
        authorization,
        access,
        office,
        stop,
        speaker: None,
        gathered: GatheredBatches::default(),
        open: OpenBatch::default(),
        answers: Vec::new(),
    };
    match session.run() {
        // Who says no more may still be listening, and is not to take this end for a cut.
        Ok(()) => session.stream.end(),
        Err(End::Refused(refusal)) => {
            info!("action: conversation | result: fail | error: {refusal}");
            refusal.reply().write(&mut session.answers);
            // The peer may be gone, or deaf: then it does not hear why. A server that stops is not
            // read from any more, so a peer that goes on writing is to be woken, by a reset.
            match session.send() {
                Ok(()) if refusal.code == ErrorCode::Stopping => session.stream.end(),
                Ok(()) => session.stream.drain(),
                Err(_deaf) => {}
            }
        }
        Err(End::Io(error)) => {
            info!("action: conversation | result: fail | error: connection lost: {error}");
        }
        Err(End::Ledger) => {
            // What was earned before is still true.
            let _gone = session.send();
            info!("action: conversation | result: fail | error: the ledger has ended");
        }
    }
}

/// Tells a peer why there is no conversation with it.
pub fn refuse(stream: &mut Stream<'_>, refusal: &Refusal) {
    let mut line = Vec::new();
    refusal.reply().write(&mut line);
    if stream.within(REFUSAL_TIME_MAX).write_all(&line).is_ok() {
        stream.drain();
    }
}

/// Why a conversation ends before the peer leaves.
#[derive(Debug)]
enum End {
    /// The peer is told why.
    Refused(Refusal),
    /// The connection broke, or the peer does not take its answers.
    Io(std::io::Error),
    /// The ledger has ended: what it was asked last may or may not be stored, so nothing is said.
    Ledger,
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> End {
        End::Io(error)
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> End {
        End::Refused(refusal)
    }
}

struct Session<'s, 'p> {
    stream: &'s mut Stream<'p>,
    authorization: Authorization,
    access: Access<'s>,
    office: &'s Office<'s>,
    stop: &'s Stop,
    speaker: Option<Speaker>,
    gathered: GatheredBatches,
    open: OpenBatch,
    answers: Vec<u8>,
}

/// The agency that the connection speaks for.
struct Speaker {
    agency: AgencyId,
    batches: BatchReader,
}

/// Whole batches that are not stored yet.
#[derive(Default)]
struct GatheredBatches {
    rows: Vec<u8>,
    /// How many bets each has.
    bets: Vec<u32>,
}

/// The batch that is not closed yet.
#[derive(Default)]
struct OpenBatch {
    rows: Vec<u8>,
    bets: u32,
}

impl Session<'_, '_> {
    fn run(&mut self) -> Result<(), End> {
        let mut lines = LineBuffer::growing(MESSAGE_BYTES_MAX, self.office.buffers);
        let mut deadline = Instant::now() + self.office.message_timeout;
        while self.receive(&mut lines, deadline)? {
            let mut completed = self.gather(&mut lines);
            while let Some(message) = self.next_message(&mut lines)? {
                completed = true;
                let message = message.to_vec();
                self.store_gathered()?;
                self.execute(&message, &mut lines)?;
                if self.answers.len() >= ANSWERS_BYTES_MAX {
                    self.store_gathered()?;
                    self.send()?;
                }
                self.gather(&mut lines);
            }
            self.store_gathered()?;
            self.send()?;
            if completed {
                deadline = Instant::now() + self.office.message_timeout;
            }
        }
        Ok(())
    }

    /// Takes what has arrived, or waits until something does; `false` where the peer has left.
    fn receive(&mut self, lines: &mut LineBuffer<'_>, deadline: Instant) -> Result<bool, End> {
        let count = lines.fill(self.stream.until(deadline));
        if self.stop.has_come() {
            return Err(stopping("the server is stopping").into());
        }
        match count {
            Ok(0) if lines.rest().is_empty() => Ok(false),
            Ok(0) => {
                let bytes = lines.rest().len();
                let detail = format_args!("the connection ended {bytes} bytes into a message");
                Err(ErrorCode::MessageTorn.with(detail).into())
            }
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(true),
            Err(error) if is_timeout(&error) => {
                let limit = self.office.message_timeout.as_millis();
                let detail = format_args!("no complete message within {limit} ms");
                Err(ErrorCode::TimedOut.with(detail).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn next_message<'l>(&mut self, lines: &'l mut LineBuffer<'_>) -> Result<Option<&'l [u8]>, End> {
        match lines.next_line() {
            Ok(message) => Ok(message),
            Err(too_long) => {
                self.store_gathered()?;
                Err(ErrorCode::MessageTooLong.with(too_long).into())
            }
        }
    }

    /// Gathers the messages that have arrived, up to the first that is not a whole batch;
    /// whether there were any.
    fn gather(&mut self, lines: &mut LineBuffer<'_>) -> bool {
        let Some(speaker) = self.speaker.as_ref().filter(|_| self.open.bets == 0) else {
            return false;
        };
        let before = self.gathered.bets.len();
        while let Some(batch) = speaker.batches.read(lines.rest(), &mut self.gathered.rows) {
            lines.take(batch.message_bytes);
            self.gathered.bets.push(batch.bets);
        }
        self.gathered.bets.len() > before
    }

    /// Stores the batches gathered and answers each.
    fn store_gathered(&mut self) -> Result<(), End> {
        let Some(agency) = self.speaker.as_ref().map(|speaker| speaker.agency) else {
            return Ok(());
        };
        if self.gathered.bets.is_empty() {
            return Ok(());
        }
        let bets = self.gathered.bets.iter().copied().map(u64::from).sum();
        let outcome = self.access.store(agency, bets, &mut self.gathered.rows);
        let refusal = outcome.err().map(refusal_of).transpose()?;
        if refusal.is_none() {
            log_bets(&self.gathered.rows, &self.gathered.bets);
        }
        self.gathered.rows.clear();
        let batches = std::mem::take(&mut self.gathered.bets);
        let Some(refusal) = refusal else {
            stored(&batches, &mut self.answers);
            return Ok(());
        };
        log_refused(&batches, &refusal);
        if refusal.code.effect() == Effect::Closes {
            return Err(refusal.into());
        }
        batches.iter().for_each(|_| refusal.reply().write(&mut self.answers));
        Ok(())
    }

    /// Executes the commands of a message, up to the first that fails.
    fn execute(&mut self, message: &[u8], lines: &mut LineBuffer<'_>) -> Result<(), End> {
        let line = message.strip_suffix(b"\n").unwrap_or(message);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).map_err(|error| {
            let at = error.valid_up_to() + 1;
            ErrorCode::InvalidUtf8.with(format_args!("byte {at} of the message is not UTF-8"))
        })?;
        for command in Command::split(text) {
            match self.execute_command(command, lines) {
                Ok(()) => {}
                Err(End::Refused(refusal)) if refusal.code.effect() == Effect::Continues => {
                    refusal.reply().write(&mut self.answers);
                    self.open.clear();
                    return Ok(());
                }
                Err(end) => return Err(end),
            }
            // One message can hold a thousand commands, and an answer can be long.
            if self.answers.len() >= ANSWERS_BYTES_MAX {
                self.send()?;
            }
        }
        Ok(())
    }

    fn execute_command(&mut self, text: &str, lines: &mut LineBuffer<'_>) -> Result<(), End> {
        let parsed = Command::parse(text, self.office.draw.agencies());
        match parsed {
            Ok(Command::Bet { agency, bet }) => self.add(agency, &bet)?,
            Ok(Command::CloseBatch) => self.store_open()?,
            Ok(Command::Winners { agency }) => self.winners(agency, lines)?,
            Ok(Command::Resume { agency }) => self.resume(agency)?,
            Ok(Command::Echo(text)) => Reply::Echo(text).write(&mut self.answers),
            Ok(Command::Status) => self.status()?,
            Err(invalid) if Command::is_bet(text) => {
                return Err(self.refuse_bet(invalid.code(), invalid).into());
            }
            Err(invalid) => return Err(self.refuse(invalid.code().with(invalid)).into()),
        }
        Ok(())
    }

    /// Adds a bet to the open batch.
    fn add(&mut self, agency: AgencyId, bet: &Bet<'_>) -> Result<(), Refusal> {
        if let Err(wrong_agency) = self.speak_for(agency) {
            return Err(self.refuse_bet(wrong_agency.code, wrong_agency.detail));
        }
        write_row(agency, bet, &mut self.open.rows);
        if self.open.rows.len() > BATCH_BYTES_MAX {
            let detail = format_args!("a batch must have at most {BATCH_BYTES_MAX} bytes as CSV");
            return Err(self.refuse_bet(ErrorCode::BatchTooLong, detail));
        }
        self.open.bets += 1;
        Ok(())
    }

    /// Stores the open batch and answers it.
    fn store_open(&mut self) -> Result<(), End> {
        let Some(speaker) = self.speaker.as_ref().filter(|_| self.open.bets > 0) else {
            // Nothing is open, so nothing is stored.
            stored(&[0], &mut self.answers);
            return Ok(());
        };
        match self.access.store(speaker.agency, self.open.bets.into(), &mut self.open.rows) {
            Ok(()) => {
                log_bets(&self.open.rows, &[self.open.bets]);
                stored(&[self.open.bets], &mut self.answers);
                self.open.clear();
                Ok(())
            }
            Err(refused) => Err(self.refuse(refusal_of(refused)?).into()),
        }
    }

    /// Closes the agency and waits for the draw.
    fn winners(&mut self, agency: AgencyId, lines: &mut LineBuffer<'_>) -> Result<(), End> {
        self.between_batches()?;
        self.speak_for(agency)?;
        if let Err(refused) = self.access.finish(agency) {
            return Err(refusal_of(refused)?.into());
        }

        // It may be long: what is answered so far is told, and memory given back.
        self.send()?;
        lines.shrink();
        self.stream.shrink();
        self.gathered = GatheredBatches::default();
        self.answers = Vec::new();

        let hold = || match self.access.hold_draw() {
            Ok(result) => {
                info!("action: sorteo | result: success");
                Fate::Held(result)
            }
            Err(HoldFailed::Interrupted) => Fate::Cancelled,
            Err(HoldFailed::Storage) => {
                error!("action: sorteo | result: fail | error: the ledger has ended");
                Fate::Failed
            }
        };
        match self.office.draw.attend(agency, hold) {
            Some(Fate::Held(result)) => {
                let documents = result.winners(agency).iter().map(String::as_str).collect();
                Reply::Winners { documents }.write(&mut self.answers);
                self.send()?;
                // The server may not listen any more, or never have.
                let _unheard = self.office.told.send(agency);
                Ok(())
            }
            Some(Fate::Cancelled) => Err(stopping("no draw yet: the server stops").into()),
            Some(Fate::Failed) => {
                Err(stopping("the draw could not be held, and the server stops").into())
            }
            None => {
                let detail = format_args!("agency {agency} waits on a newer connection");
                Err(ErrorCode::Superseded.with(detail).into())
            }
        }
    }

    /// Takes the agency over and tells how far it got.
    fn resume(&mut self, agency: AgencyId) -> Result<(), End> {
        self.between_batches()?;
        self.speak_for(agency)?;
        let standing = self.access.resume(agency).map_err(|_| End::Ledger)?;
        let Standing { bets, last } = &standing;
        let last = last.as_ref().map(|(document, number)| LastBet { document, number });
        Reply::Resume { bets: *bets, last }.write(&mut self.answers);
        Ok(())
    }

    /// Tells how the lottery stands.
    fn status(&mut self) -> Result<(), End> {
        let status = status(&self.access, self.office.draw).map_err(|_| End::Ledger)?;
        Reply::Status(status).write(&mut self.answers);
        Ok(())
    }

    fn between_batches(&self) -> Result<(), Refusal> {
        if self.open.bets == 0 {
            return Ok(());
        }
        let bets = self.open.bets;
        let detail = format_args!("a batch of {bets} bets is open, and is gone");
        Err(self.refuse(ErrorCode::OpenBatch.with(detail)))
    }

    /// Holds the connection to one agency: the first that it names, of those that it may.
    fn speak_for(&mut self, agency: AgencyId) -> Result<(), Refusal> {
        if !self.authorization.covers(agency) {
            let authorized = &self.authorization;
            warn!("action: authorize | result: fail | agency: {agency} | authorized: {authorized}");
            let detail = format!("agency: this connection may not speak for agency {agency}");
            return Err(ErrorCode::WrongAgency.with(detail));
        }
        let agencies = self.office.draw.agencies();
        let speaker = self
            .speaker
            .get_or_insert_with(|| Speaker { agency, batches: BatchReader::new(agency, agencies) });
        if speaker.agency == agency {
            return Ok(());
        }
        let own = speaker.agency;
        let detail = format!("agency: this connection speaks for agency {own}, not {agency}");
        Err(ErrorCode::WrongAgency.with(detail))
    }

    /// Refuses the open batch for the bet that would have been the next in it.
    fn refuse_bet(&self, code: ErrorCode, reason: impl fmt::Display) -> Refusal {
        let bets = self.open.bets + 1;
        let refusal = code.with(format_args!("bet {bets}: {reason}"));
        log_refused(&[bets], &refusal);
        refusal
    }

    /// Refuses a command, and with it the open batch, if there is one.
    fn refuse(&self, refusal: Refusal) -> Refusal {
        if self.open.bets > 0 {
            log_refused(&[self.open.bets], &refusal);
        }
        refusal
    }

    /// Sends the answers.
    fn send(&mut self) -> Result<(), End> {
        if !self.answers.is_empty() {
            self.stream.within(self.office.message_timeout).write_all(&self.answers)?;
            self.answers.clear();
        }
        Ok(())
    }
}

impl OpenBatch {
    fn clear(&mut self) {
        self.rows.clear();
        self.bets = 0;
    }
}
