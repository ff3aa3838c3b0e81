//! The execution of each command.

use super::batches::{BATCH_BYTES_MAX, Open, log_refused, log_stored};
use super::{ANSWERS_BYTES_MAX, End, Peer, Session, listed, summary};
use crate::bet::{AgencyId, Bet};
use crate::draw::Fate;
use crate::ledger::DrawResult;
use crate::lines::{LineBuffer, without_end};
use crate::protocol::{BatchReader, Command, ErrorCode, Refusal, Reply};
use crate::text::LogValue;
use log::{error, info, warn};

impl Session<'_, '_> {
    /// Executes the commands of a message, up to the first that fails.
    pub(super) fn execute(
        &mut self,
        message: &[u8],
        lines: &mut LineBuffer<'_>,
    ) -> Result<(), End> {
        let text = std::str::from_utf8(without_end(message)).map_err(|error| {
            let at = error.valid_up_to() + 1;
            ErrorCode::InvalidUtf8.with(format_args!("byte {at} of the message is not UTF-8"))
        })?;
        let mut commands = Command::split(text);
        while let Some(command) = commands.next() {
            // One message can hold a thousand commands, and an answer can be long.
            if self.answers.len() >= ANSWERS_BYTES_MAX {
                self.send()?;
            }
            if let Err(end) = self.execute_command(command, lines) {
                if let End::Refused(refusal) = &end {
                    let rest: Vec<&str> = std::iter::once(command).chain(commands).collect();
                    self.refuse_rest(refusal, &rest);
                }
                return self.answer(end);
            }
        }
        Ok(())
    }

    /// Refuses and logs the open batch and those in the rest of a message, of which the first command failed; the rest is
    /// empty if no command did. The batch that the message leaves open is refused up to its end, and logged once.
    pub(super) fn refuse_rest(&mut self, refusal: &Refusal, rest: &[&str]) {
        let (mut refused, mut bets) = (Vec::new(), self.batches.bets());
        let open = &mut self.batches.open;
        for text in rest {
            if Command::is_close(text) {
                refused.push(std::mem::take(&mut bets));
                *open = Open::Nothing;
            } else if Command::is_bet(text) && *open != Open::Refused {
                bets += 1;
            }
        }
        if bets > 0 {
            refused.push(bets);
            *open = Open::Refused;
        }
        refused.retain(|bets| *bets > 0);
        log_refused(&refused, refusal, &self.peer);
        self.batches.rows.clear();
    }

    fn execute_command(&mut self, text: &str, lines: &mut LineBuffer<'_>) -> Result<(), End> {
        // The commands that have arrived may be a hundred thousand, and each may ask the ledger.
        self.may_go_on()?;
        if self.batches.open == Open::Refused {
            if Command::is_bet(text) {
                return Ok(());
            }
            if Command::is_close(text) {
                self.batches.close();
                return Ok(());
            }
        }
        match Command::parse(text, self.office.draw.agencies()) {
            Ok(Command::Bet { agency, bet }) => self.add(agency, &bet)?,
            Ok(Command::CloseBatch) => self.close_batch()?,
            Ok(Command::Winners { agency }) => self.winners(agency, lines)?,
            Ok(Command::Resume { agency }) => self.resume(agency)?,
            Ok(Command::Echo(text)) => self.echo(text),
            Ok(Command::Status) => {
                let summary = summary(&self.access, self.office.draw)?;
                Reply::Status(summary).write(&mut self.answers);
            }
            Err(refusal) if Command::is_bet(text) => return Err(self.for_next_bet(refusal).into()),
            Err(refusal) => return Err(refusal.into()),
        }
        Ok(())
    }

    pub(super) fn add(&mut self, agency: AgencyId, bet: &Bet<'_>) -> Result<(), Refusal> {
        self.speak_for(agency).map_err(|refusal| match self.place.eviction() {
            // The bet is not the reason.
            Some(_) => refusal,
            None => self.for_next_bet(refusal),
        })?;
        if !self.batches.add(agency, bet) {
            let detail = format_args!("a batch must have at most {BATCH_BYTES_MAX} bytes as CSV");
            return Err(self.for_next_bet(ErrorCode::BatchTooLong.with(detail)));
        }
        Ok(())
    }

    /// Stores the open batch and answers it.
    fn close_batch(&mut self) -> Result<(), End> {
        if !self.batches.close() {
            // The batch is empty.
            log_stored(&[0], &self.peer);
            Reply::Stored { bets: 0 }.write(&mut self.answers);
        }
        self.store()
    }

    /// Closes the agency and waits for the draw.
    fn winners(&mut self, agency: AgencyId, lines: &mut LineBuffer<'_>) -> Result<(), End> {
        self.between_batches()?;
        self.speak_for(agency)?;
        self.verify_again()?;
        self.access.finish(agency)?;

        self.send()?;
        self.free_memory(lines);
        let draw = self.office.draw;
        let fate = self.place.while_it_waits(|| draw.attend(agency, || self.hold_draw()));
        let refusal = match fate.map_err(Refusal::from)? {
            Some(Fate::Held(result)) => {
                self.verify_again()?;
                let documents = result.winners(agency).iter().map(String::as_str).collect();
                Reply::Winners { documents }.write(&mut self.answers);
                self.winners_sent = Some(self.stream.is_quiet());
                return self.send();
            }
            Some(Fate::Cancelled) => ErrorCode::Stopping.with("the server stops without a draw"),
            Some(Fate::Failed) => {
                ErrorCode::Stopping.with("the draw could not be held, and the server stops")
            }
            None => ErrorCode::Superseded
                .with(format_args!("agency {agency} waits on a newer connection")),
        };
        Err(refusal.into())
    }

    fn hold_draw(&self) -> Fate<DrawResult> {
        match self.access.hold_draw() {
            Ok(Some(result)) => {
                info!("action: sorteo | result: success");
                Fate::Held(result)
            }
            Ok(None) => Fate::Cancelled,
            Err(_) => {
                error!("action: sorteo | result: fail | error: the ledger has ended");
                Fate::Failed
            }
        }
    }

    /// Takes the agency over and answers its stored bets.
    fn resume(&mut self, agency: AgencyId) -> Result<(), End> {
        self.between_batches()?;
        self.speak_for(agency)?;
        self.verify_again()?;
        let standing = self.access.resume(agency)?;
        info!("action: resume | result: success | bets: {} | {}", standing.bets, self.peer);
        Reply::Resume(standing).write(&mut self.answers);
        Ok(())
    }

    fn echo(&mut self, text: &str) {
        let (Peer { ip, rest, .. }, message) = (&self.peer, LogValue(text));
        info!("action: receive_message | result: success | ip: {ip} | msg: {message} | {rest}");
        Reply::Echo(text).write(&mut self.answers);
    }

    fn between_batches(&self) -> Result<(), Refusal> {
        let detail = match self.batches.open {
            Open::Nothing => return Ok(()),
            Open::Bets(bets) => format!("a batch of {bets} bets is open, and is refused"),
            Open::Refused => "the refused batch needs its FINAPUESTA first".to_owned(),
        };
        Err(ErrorCode::OpenBatch.with(detail))
    }

    /// Binds the connection to the first agency that it names. Fails for another one, and for one that it may not speak
    /// for.
    fn speak_for(&mut self, agency: AgencyId) -> Result<(), Refusal> {
        let Peer { ip, port, authorized, .. } = &self.peer;
        if let Some(authorized) = authorized
            && !authorized.contains(&agency)
        {
            let authorized = listed(authorized);
            warn!(
                "action: authorize | result: fail | agency: {agency} | authorized: {authorized} | \
                 ip: {ip} | port: {port}"
            );
            let detail = format!("agency: this connection may not speak for agency {agency}");
            return Err(ErrorCode::WrongAgency.with(detail));
        }
        match self.peer.agency {
            None => {
                self.place.belongs_to(vec![agency])?;
                self.peer.speaks_for(agency);
                self.reader = Some(BatchReader::new(agency, self.office.draw.agencies()));
                Ok(())
            }
            Some(own) if own == agency => Ok(()),
            Some(own) => {
                let detail =
                    format!("agency: this connection speaks for agency {own}, not {agency}");
                Err(ErrorCode::WrongAgency.with(detail))
            }
        }
    }

    /// Returns the refusal of the open batch because of its next bet.
    fn for_next_bet(&self, Refusal { code, detail }: Refusal) -> Refusal {
        code.with(format_args!("bet {}: {detail}", self.batches.bets() + 1))
    }
}
