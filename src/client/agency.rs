//! One agency, from its checked file to its winners.

use super::attempts::{Attempts, Progress};
use super::bets_file::BetsFile;
use super::conversation::{Conversation, unexpected};
use super::{Error, Observer, Settings};
use crate::bet::{AgencyId, Bet};
use crate::connection::OpenSockets;
use crate::protocol::{BatchWriter, Command, ErrorCode, MESSAGE_BYTES_MAX, Reply};
use crate::stop::Stop;
use crate::summary::Standing;
use crate::text::log_lines;
use log::info;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The longest time that one connection waits for the draw before another asks again, so that a server that vanished
/// without closing it is noticed.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 180_000 });
/// The most batches of one write, which are in memory until then: half a megabyte.
const BURST_MAX: usize = 64;
/// The bytes of a winner's document in a reply, with its separator.
const DOCUMENT_BYTES: usize = 9;

/// One agency's run.
pub(super) struct Agency<'a> {
    pub(super) id: AgencyId,
    pub(super) file: BetsFile,
    pub(super) settings: &'a Settings,
    pub(super) stop: &'a Stop,
    pub(super) observer: &'a dyn Observer,
    /// The connections that wait for the draw, shut when there will be none.
    pub(super) waiting: &'a OpenSockets,
}

impl Agency<'_> {
    /// Sends the file and asks for the winners, over as many connections as needed.
    pub(super) fn run(&self, attempts: &Attempts<'_>) -> Result<(), Error> {
        use ErrorCode::{AgencyFinished, DrawHeld};
        let settings = self.settings;
        let mut was_refused = false;
        attempts.run(
            || self.observer.reconnecting(self.id, self.file.bets()),
            |conversation, turn, progress| {
                // An agency that pauses between batches does not keep the others from theirs.
                let turn = Some(turn).filter(|_| settings.batch_period.is_zero());
                let (last, sent, paced) = (None, VecDeque::new(), false);
                let mut attempt =
                    Attempt { agency: self, conversation, progress, last, sent, paced };
                if settings.resume {
                    attempt.resume()?;
                }
                match attempt.send_rest() {
                    // Another client of the agency may have stored the same file to its end. Then the next connection
                    // finds nothing left to send. Otherwise it is refused too.
                    Err(Error::Refused(Some(AgencyFinished | DrawHeld), _))
                        if settings.resume && !was_refused =>
                    {
                        was_refused = true;
                        return Ok(false);
                    }
                    sent => sent?,
                }
                drop(turn);
                attempt.wait_for_winners()
            },
        )
    }
}

/// One attempt, over one connection.
struct Attempt<'a, 'c> {
    agency: &'a Agency<'a>,
    conversation: &'a mut Conversation<'c>,
    progress: &'a mut Progress,
    /// The document and the number of the bet that the server stored last.
    last: Option<(String, String)>,
    /// The number of bets of each batch in flight.
    sent: VecDeque<u32>,
    /// Whether there is a pause before the next batch.
    paced: bool,
}

impl Attempt<'_, '_> {
    /// Asks how many bets are stored, and which one is the last.
    fn resume(&mut self) -> Result<(), Error> {
        let Agency { id, file, observer, .. } = self.agency;
        let Standing { bets: stored, last } = self.conversation.resume(*id)?;
        let confirmed = self.progress.confirmed;
        if stored < confirmed {
            return Err(Error::bets_gone(*id, confirmed, stored));
        }
        let of = file.bets();
        if stored > of {
            let why = format!("the server has {stored} bets stored and the file has {of}");
            return Err(other_file(&why));
        }
        self.last = last;
        if stored > 0 {
            info!("action: resume | result: success | client_id: {id} | stored: {stored}");
        }
        if stored > confirmed {
            self.progress.note();
        }
        self.progress.confirmed = stored;
        observer.confirmed(*id, stored, of);
        Ok(())
    }

    /// Sends every bet that is not confirmed yet, and reads the confirmation of each batch. Sends nothing if the last
    /// confirmed bet is not the one that the server stored last.
    fn send_rest(&mut self) -> Result<(), Error> {
        let Agency { id, file, settings, stop, .. } = self.agency;
        let mut writer = BatchWriter::new(*id, settings.batch_max_amount);
        // One write sends enough batches to make few writes, but only a part of the window, so that the server has
        // others to store meanwhile.
        let burst = if settings.batch_period.is_zero() {
            (settings.window / 4).clamp(1, BURST_MAX)
        } else {
            1
        };
        let (mut place, confirmed) = (0, self.progress.confirmed);
        file.each_bet(stop, |line_number, line| {
            place += 1;
            if place < confirmed {
                return Ok(());
            }
            if let Some((text, bytes)) = file.unquoted(line).filter(|_| place > confirmed) {
                writer.push_line(text, bytes);
            } else {
                let changed = |_| Error::changed(&file.path);
                let fields = line.fields().map_err(changed)?;
                let bet = fields.bet().map_err(changed)?;
                if place == confirmed {
                    return self.check_last(line_number, &bet);
                }
                writer.push(*id, bet);
            }
            if writer.closed().len() >= burst {
                self.send(&mut writer)?;
            }
            Ok(())
        })?;
        writer.close();
        self.send(&mut writer)?;
        self.hear_until(0)
    }

    /// Compares the last confirmed bet of the file with the one that the server stored last.
    fn check_last(&self, line_number: u64, bet: &Bet<'_>) -> Result<(), Error> {
        let Some((document, number)) = &self.last else { return Ok(()) };
        if (bet.document(), bet.number()) == (document.as_str(), number.as_str()) {
            return Ok(());
        }
        let why = format!(
            "the server stored document {document} with number {number} as bet {}, and line \
             {line_number} has document {} with number {}",
            self.progress.confirmed,
            bet.document(),
            bet.number()
        );
        Err(other_file(&why))
    }

    /// Sends the closed batches when the window has room for them.
    fn send(&mut self, writer: &mut BatchWriter) -> Result<(), Error> {
        if writer.closed().is_empty() {
            return Ok(());
        }
        let Settings { window, batch_period, .. } = *self.agency.settings;
        if self.paced {
            let start = Instant::now();
            if self.agency.stop.wait_for(batch_period) {
                return Err(Error::Stopped);
            }
            self.progress.leave_out_since(start);
        }
        self.hear_until(window - writer.closed().len().min(window))?;
        self.progress.in_doubt = true;
        self.sent.extend(writer.closed());
        // The server may have confirmed or refused batches before it stopped reading.
        let written = self.conversation.write(writer.messages());
        written.map_err(|error| error.unless_refused(self.hear_until(0)))?;
        writer.clear();
        self.paced = !batch_period.is_zero();
        // The confirmation can arrive during the pause.
        if self.paced { self.hear_until(0) } else { Ok(()) }
    }

    /// Reads confirmations until at most `left` batches are in flight, and reports them.
    fn hear_until(&mut self, left: usize) -> Result<(), Error> {
        let Agency { id, file, observer, .. } = self.agency;
        let (mut confirmed, mut outcome) = (Vec::new(), Ok(()));
        while outcome.is_ok() && self.sent.len() > left {
            let expected = self.sent[0];
            outcome = self.conversation.expect_stored(expected);
            if outcome.is_ok() {
                self.sent.pop_front();
                confirmed.push(expected);
            }
        }
        if !confirmed.is_empty() {
            let line = |bets: &u32| {
                format!(
                    "action: apuesta_enviada | result: success | cantidad: {bets} | client_id: {id}"
                )
            };
            info!("{}", log_lines(&confirmed, line));
            self.progress.confirmed += confirmed.iter().copied().map(u64::from).sum::<u64>();
            self.progress.in_doubt = !self.sent.is_empty();
            self.progress.note();
            observer.confirmed(*id, self.progress.confirmed, file.bets());
        }
        outcome
    }

    /// Tells the server that there are no more bets, and waits for the draw. Returns whether the wait is over, because the
    /// draw was held or another agency failed; if not, another connection has to ask again.
    fn wait_for_winners(&mut self) -> Result<bool, Error> {
        let Agency { id, file, observer, waiting, .. } = self.agency;
        if !waiting.register(self.conversation.socket) {
            return Ok(true);
        }
        self.conversation.tell(&Command::Winners { agency: *id })?;
        info!("action: wait_for_draw | result: in_progress | client_id: {id}");
        observer.waiting(*id, file.bets());
        let start = Instant::now();
        // There are at most as many winners as bets.
        let bets = usize::try_from(file.bets()).unwrap_or(usize::MAX);
        let bytes_max = MESSAGE_BYTES_MAX.saturating_add(bets.saturating_mul(DOCUMENT_BYTES));
        let heard = self.conversation.hear(ASK_AGAIN_AFTER, bytes_max);
        // Two clients of one agency that replace each other make no progress, so this wait counts as time to retry.
        let replaced = [Some(ErrorCode::TakenOver), Some(ErrorCode::Superseded)];
        if !matches!(&heard, Err(Error::Refused(code, _)) if replaced.contains(code)) {
            self.progress.waited_since(start);
        }
        let documents = match heard {
            Ok(Some(Reply::Winners { documents })) => documents,
            Ok(Some(other)) => return Err(unexpected(&other)),
            Ok(None) => {
                info!(
                    "action: wait_for_draw | result: in_progress | client_id: {id} | next: asks again on another \
                     connection"
                );
                return Ok(false);
            }
            Err(_) if waiting.is_closed() => return Ok(true),
            Err(error) => return Err(error),
        };
        info!(
            "action: consulta_ganadores | result: success | cant_ganadores: {} | client_id: {id}",
            documents.len()
        );
        observer.winners(*id, &documents).map_err(Error::Output)?;
        Ok(true)
    }
}

/// Returns the error of a file that does not begin with the bets stored for the agency.
fn other_file(why: &str) -> Error {
    Error::Failed(format!(
        "not the file that was sent before: {why}; nothing more was sent. Restore that file, and append new bets \
         to it; or start the server with other files"
    ))
}

#[cfg(test)]
mod tests {
    use super::{Agency, Attempt};
    use crate::bet::AgencyId;
    use crate::client::attempts::{Attempts, Progress};
    use crate::client::bets_file::BetsFile;
    use crate::client::conversation::Conversation;
    use crate::client::dial::{Turn, Turns};
    use crate::client::{Error, Observer, Settings, run};
    use crate::connection::OpenSockets;
    use crate::stop::{Stop, Stopper, beside};
    use std::collections::VecDeque;
    use std::io::{self, BufRead, BufReader, Write};
    use std::net::{Shutdown, TcpListener};
    use std::thread;
    use std::time::Duration;

    /// The longest time that anything here may take.
    const TIME: Duration = Duration::from_secs(30);

    /// Panics when this agency waits, and ignores everything else.
    struct PanicsFor(Option<AgencyId>);

    impl Observer for PanicsFor {
        fn invalid_line(&self, _: &str) {}
        fn confirmed(&self, _: AgencyId, _: u64, _: u64) {}
        fn reconnecting(&self, _: AgencyId, _: u64) {}
        fn waiting(&self, agency: AgencyId, _: u64) {
            assert_ne!(Some(agency), self.0, "a defect");
        }
        fn winners(&self, _: AgencyId, _: &[&str]) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_agency_that_waits_for_long_asks_again_on_a_new_connection_and_leaves_the_old_one() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        // That there is no draw yet is no failure, so this client may ask again.
        let settings =
            Settings { retry_for: Duration::ZERO, ..Settings::for_tests(&listener, TIME) };
        let id = AgencyId::new(1).expect("it is an agency");
        let server = thread::spawn(move || {
            // The winners are there before the client asks, so that they come in time on a busy machine too.
            for replies in ["REANUDAR|0\n", "REANUDAR|0\nGANADORES|\n"] {
                let (mut socket, _) = listener.accept().expect("the client connects");
                socket.set_read_timeout(Some(TIME)).expect("a bound for reads");
                socket.write_all(replies.as_bytes()).expect("the client reads");
                let messages =
                    BufReader::new(socket).lines().map(|line| line.expect("it is whole"));
                assert!(messages.eq(["REANUDAR|1", "GANADORES|1"]));
            }
        });
        let agencies = vec![(id, file.path().to_owned())];
        let outcome = run(agencies, &settings, &PanicsFor(None), &Stop::never());
        outcome.expect("it has its winners");
        server.join().expect("it does not panic");
    }

    #[test]
    fn after_a_write_that_failed_the_replies_are_read_up_to_the_first_that_confirms_no_batch() {
        // The replies that arrive, the bets that they confirm, and whether one of them is a refusal of a batch.
        for (replies, confirmed, is_refused) in [
            ("CONFIRMARAPUESTA|1\nCONFIRMARAPUESTA|1\n", 2, false),
            ("CONFIRMARAPUESTA|1\nERROR|batch_too_long|why\n", 1, true),
            ("CONFIRMARAPUESTA|1\nECO|x\nERROR|batch_too_long|why\n", 1, false),
            ("CONFIRMARAPUESTA|2\n", 0, false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let scratch = tempfile::NamedTempFile::new().expect("a scratch file");
            let bets = "Ana,Paz,30904461,1999-03-17,7574\n".repeat(5);
            std::fs::write(&scratch, bets).expect("the scratch file can be written");
            // One write has four batches of one bet.
            let settings = Settings { window: 16, ..Settings::for_tests(&listener, TIME) };
            let server = thread::spawn(move || {
                let (mut socket, _) = listener.accept().expect("the client connects");
                socket.write_all(replies.as_bytes()).expect("the client reads");
                io::copy(&mut socket, &mut io::sink()).expect("the client says no more");
            });
            let (settings, stop) = (&settings, &Stop::never());
            let (sockets, waiting, turns) =
                (&OpenSockets::default(), &OpenSockets::default(), &Turns::new());
            let (id, observer) = (AgencyId::new(1).expect("it is an agency"), &PanicsFor(None));
            let file = BetsFile::check(scratch.path(), stop, |_| {}).expect("it is valid");
            let agency = &Agency { id, file, settings, stop, observer, waiting };
            let attempts = Attempts { id, settings, stop, sockets, turns };
            let (mut outcome, mut heard) = (Ok(()), 0);
            let work =
                |conversation: &mut Conversation<'_>, _: Turn<'_>, progress: &mut Progress| {
                    conversation.socket.shutdown(Shutdown::Write).expect("it is connected");
                    let (last, sent) = (None, VecDeque::new());
                    let mut attempt =
                        Attempt { agency, conversation, progress, last, sent, paced: false };
                    outcome = attempt.send_rest();
                    heard = progress.confirmed;
                    Ok(true)
                };
            attempts.run(|| {}, work).expect("it is done");
            let is_right = match outcome {
                Err(Error::Refused(..)) => is_refused,
                Err(Error::Lost(_)) => !is_refused,
                _ => false,
            };
            assert!(is_right && heard == confirmed, "{replies:?}: {heard}, {outcome:?}");
            server.join().expect("it does not panic");
        }
    }

    #[test]
    fn a_panic_for_one_agency_ends_the_wait_of_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        let settings = Settings { resume: false, ..Settings::for_tests(&listener, TIME) };
        // It takes all connections and never answers.
        thread::spawn(move || listener.incoming().collect::<Vec<_>>());
        let ids = [1, 2, 3].map(|id| AgencyId::new(id).expect("it is an agency"));
        let agencies = ids.map(|id| (id, file.path().to_owned())).to_vec();
        let (stopper, stop) = Stopper::new();
        let mut has_ended = false;
        let watch = |over: &Stop| {
            has_ended = over.wait_for(TIME);
            stopper.stop();
        };
        let run = || run(agencies, &settings, &PanicsFor(Some(ids[1])), &stop);
        let outcome = beside("watch", watch, run).expect("a thread");
        assert!(has_ended && matches!(outcome, Err(Error::Panicked)), "{outcome:?}");
    }
}
