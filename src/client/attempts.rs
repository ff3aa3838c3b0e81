//! Attempts over as many connections as needed, with exponential back-off, until none has made progress for too
//! long.

use super::Settings;
use super::conversation::{Conversation, converse};
use super::dial::{Turn, Turns, dial};
use super::error::Error;
use crate::bet::AgencyId;
use crate::connection::OpenSockets;
use crate::stop::Stop;
use crate::system::{EMFILE, lock};
use crate::text::LogValue;
use log::{info, warn};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The pause after the first failure.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One agency's way to the server.
pub(super) struct Attempts<'a> {
    pub(super) id: AgencyId,
    pub(super) settings: &'a Settings,
    pub(super) stop: &'a Stop,
    /// Every open socket, shut when the program stops.
    pub(super) sockets: &'a OpenSockets,
    /// Shared by all agencies of the client.
    pub(super) turns: &'a Turns,
}

/// The progress of all attempts so far.
pub(super) struct Progress {
    /// The number of bets of the agency that the server has confirmed.
    pub(super) confirmed: u64,
    /// Whether bets were sent and not confirmed on the same connection.
    pub(super) in_doubt: bool,
    /// The time of the last progress, or of the end of a long wait for the draw. The waits that do not count as time without
    /// progress move it forward.
    last: Instant,
    /// The number of failures since then.
    failures: u32,
    /// The time of the last progress of any agency of the client.
    last_of_any: Arc<Mutex<Instant>>,
}

impl Attempts<'_> {
    /// Connects in its turn and calls `attempt`, which ends the turn, until that returns `true`, fails in a way that another
    /// attempt would not mend, or has made no progress for the time to retry. Calls `reconnecting` before each pause.
    pub(super) fn run(
        &self,
        reconnecting: impl Fn(),
        mut attempt: impl FnMut(&mut Conversation<'_>, Turn<'_>, &mut Progress) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let Settings { retry_for, reply_timeout, resume, .. } = *self.settings;
        let mut progress = Progress::new(self.turns);
        loop {
            let start = Instant::now();
            let left = retry_for.saturating_sub(progress.last.elapsed());
            let turn = self.turns.wait(self.stop).ok_or(Error::Stopped)?;
            let outcome = if progress.waited_for_turn(start) > left.max(reply_timeout) {
                Err(Error::Lost("the agencies before this one make no progress".into()))
            } else {
                self.connect(|conversation| attempt(conversation, turn, &mut progress))
            };
            let error = match outcome {
                Ok(true) => return Ok(()),
                Ok(false) => continue,
                Err(_) if self.stop.has_come() => return Err(Error::Stopped),
                Err(error) => error,
            };
            let Some(remedy) = error.remedy() else { return Err(error) };
            if progress.in_doubt && !resume {
                return Err(Error::Failed(format!(
                    "connection lost ({error}) before a confirmation: the bets in flight may be stored or not. The \
                     server is not asked, because resuming is off"
                )));
            }
            let Some(time) = progress.pause(retry_for) else {
                let after = retry_for.as_millis();
                let why = format!("no progress for {after} ms, last error: {error}; {remedy}");
                return Err(Error::Failed(why));
            };
            warn!(
                "action: connect | result: in_progress | client_id: {} | error: {} | \
                 next_try_ms: {}",
                self.id,
                LogValue(error),
                time.as_millis()
            );
            reconnecting();
            if self.stop.wait_for(time) {
                return Err(Error::Stopped);
            }
        }
    }

    /// Calls `attempt` with one connection.
    fn connect(
        &self,
        attempt: impl FnOnce(&mut Conversation<'_>) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let address = &self.settings.server_address;
        let lost = |error: io::Error| match error.raw_os_error() {
            Some(EMFILE) => Error::NoDescriptor(error),
            _ => Error::Lost(format!("{address}: {error}")),
        };
        let socket = dial(address, self.stop).map_err(lost)?.ok_or(Error::Stopped)?;
        let outcome = converse(socket, self.sockets, self.settings, attempt);
        info!("action: close_socket | result: success | client_id: {}", self.id);
        outcome
    }
}

impl Progress {
    fn new(turns: &Turns) -> Progress {
        let (last, last_of_any) = (Instant::now(), Arc::clone(&turns.progress));
        Progress { confirmed: 0, in_doubt: false, last, failures: 0, last_of_any }
    }

    /// Notes progress: the time without it starts again.
    pub(super) fn note(&mut self) {
        self.last = Instant::now();
        self.failures = 0;
        *lock(&self.last_of_any) = self.last;
    }

    /// Does not count the wait for a turn since `start` up to the last progress of any agency. Returns the rest of it.
    fn waited_for_turn(&mut self, start: Instant) -> Duration {
        let last_of_any = *lock(&self.last_of_any);
        self.last += last_of_any.saturating_duration_since(start);
        last_of_any.max(start).elapsed()
    }

    /// Does not count the time since `start`, because the client only waited for the next batch.
    pub(super) fn leave_out_since(&mut self, start: Instant) {
        self.last += start.elapsed();
    }

    /// Does not count the time since `start`, because the client only waited for the draw. A wait that is longer than any
    /// pause is progress, because the server was there. The agencies that wait for a turn are not told of it.
    pub(super) fn waited_since(&mut self, start: Instant) {
        if start.elapsed() >= PAUSE_MAX {
            (self.last, self.failures) = (Instant::now(), 0);
        } else {
            self.leave_out_since(start);
        }
    }

    /// Returns the pause before the next attempt: exponential back-off with jitter. Returns `None` after `retry_for`
    /// without progress.
    fn pause(&mut self, retry_for: Duration) -> Option<Duration> {
        let left = retry_for.checked_sub(self.last.elapsed())?;
        let longest = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures += 1;
        // Between half of it and all, so that agencies that lost one server do not return at once.
        let pause = longest.mul_f64(0.5 + 0.5 * random_fraction());
        (!left.is_zero()).then_some(pause.min(left))
    }
}

/// Returns a number from 0 to 1, from the seed of the standard library's hashers.
fn random_fraction() -> f64 {
    let random = RandomState::new().hash_one(());
    // The 53 bits that a float holds exactly.
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::{Attempts, PAUSE_MAX, PAUSE_MIN, Progress};
    use crate::bet::AgencyId;
    use crate::client::dial::{TURNS_MAX, Turns};
    use crate::client::{Error, Settings};
    use crate::connection::OpenSockets;
    use crate::stop::Stop;
    use std::iter::from_fn;
    use std::net::TcpListener;
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn pauses_grow_while_the_server_ends_each_wait_for_the_draw_at_once() {
        let turns = Turns::new();
        let mut progress = Progress::new(&turns);
        let pause = |progress: &mut Progress| {
            progress.pause(Duration::MAX).expect("there is time for another attempt")
        };
        for _attempt in 0..5 {
            progress.waited_since(Instant::now());
            pause(&mut progress);
        }
        assert!(pause(&mut progress) > 8 * PAUSE_MIN);
        let long_ago = Instant::now().checked_sub(PAUSE_MAX).expect("the machine runs for longer");
        progress.waited_since(long_ago);
        assert!(pause(&mut progress) <= PAUSE_MIN);
    }

    #[test]
    fn the_wait_for_a_turn_is_time_without_progress_only_if_no_other_agency_makes_any() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let retry_for = Duration::from_secs(1);
        let settings = Settings::for_tests(&listener, retry_for);
        let (sockets, turns, stop) = (OpenSockets::default(), Turns::new(), Stop::never());
        let id = AgencyId::new(1).expect("it is an agency");
        let attempts =
            Attempts { id, settings: &settings, stop: &stop, sockets: &sockets, turns: &turns };
        for others_make_progress in [true, false] {
            let taken: Vec<_> = from_fn(|| turns.wait(&stop)).take(TURNS_MAX).collect();
            let mut tries = 0;
            let outcome = thread::scope(|scope| {
                scope.spawn(|| {
                    // This is longer than an agency retries, and than a reply may take.
                    thread::sleep(retry_for + retry_for / 4);
                    if others_make_progress {
                        Progress::new(&turns).note();
                    }
                    drop(taken);
                });
                attempts.run(
                    || {},
                    |_, _turn, _| {
                        tries += 1;
                        if tries == 1 {
                            Err(Error::Lost("the first one fails".into()))
                        } else {
                            Ok(true)
                        }
                    },
                )
            });
            if others_make_progress {
                assert!(outcome.is_ok() && tries == 2, "{outcome:?} after {tries} tries");
            } else {
                let Err(Error::Failed(why)) = outcome else { panic!("{outcome:?}") };
                assert!(why.starts_with("no progress for 1000 ms"), "{why}");
                assert_eq!(tries, 0);
            }
        }
    }

    #[test]
    fn an_agency_that_failed_before_waits_for_a_turn_for_no_longer_than_it_retries() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let retry_for = Duration::from_secs(1);
        let reply_timeout = Duration::from_millis(10);
        let settings = Settings { reply_timeout, ..Settings::for_tests(&listener, retry_for) };
        let (sockets, turns, stop) = (OpenSockets::default(), Turns::new(), Stop::never());
        let id = AgencyId::new(1).expect("it is an agency");
        let attempts =
            Attempts { id, settings: &settings, stop: &stop, sockets: &sockets, turns: &turns };
        let _others: Vec<_> = from_fn(|| turns.wait(&stop)).take(TURNS_MAX - 1).collect();
        let mut tries = 0;
        let outcome = thread::scope(|scope| {
            attempts.run(
                || {},
                |_, _turn, _| {
                    tries += 1;
                    // The next turn is that of an agency that waits by now and has it for as long as this one retries.
                    scope.spawn(|| {
                        let turn = turns.wait(&stop);
                        thread::sleep(retry_for);
                        drop(turn);
                    });
                    thread::sleep(retry_for / 2);
                    Err(Error::Lost("no reply".into()))
                },
            )
        });
        let Err(Error::Failed(why)) = outcome else { panic!("{outcome:?}") };
        assert!(why.starts_with("no progress for 1000 ms"), "{why}");
        assert_eq!(tries, 1);
    }
}
