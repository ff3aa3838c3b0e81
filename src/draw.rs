//! The agencies' meeting. An agency *comes* when it has no more bets, with a *visit*: a thread that waits for the
//! draw. When every agency has come, and only then, a thread of each passes the barrier, and the leader holds the
//! draw. The *fate* is the outcome: held, cancelled or failed. Knows no sockets, no files and no kind of result.
//!
//! Once every agency has come, this stays true, and every thread checks it under the one lock. So either all pass
//! the barrier or none does, and no thread has to be woken from the barrier: a meeting that is cancelled never
//! reaches it.

use crate::bet::{Agencies, AgencyId, PerAgency};
use crate::stop::{Stop, Stopper};
use crate::text::list_of;
use log::info;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Barrier, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// The most missing agencies that a log line names.
const MISSING_NAMED_MAX: usize = 10;

/// The outcome of the draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<R> {
    /// It was held, with this result.
    Held(R),
    /// The program stops before it can be held.
    Cancelled,
    /// It could not be held, and the program stops.
    Failed,
}

/// The meeting of all agencies, and the fate that they wait for.
#[derive(Debug)]
pub struct Draw<R> {
    meeting: Mutex<Meeting>,
    /// Wakes the thread that waits for an agency. There is one for each, so that an agency that comes again and again
    /// wakes only its own.
    look_again: PerAgency<Condvar>,
    /// Passed by one thread of each agency.
    barrier: Barrier,
    /// Written once.
    fate: OnceLock<Fate<R>>,
    decided: Stop,
}

#[derive(Debug)]
struct Meeting {
    /// The number of agencies that have not come yet.
    missing: usize,
    /// The number of the newest visit of each agency, from 1, or 0 if there was none. Only the newest visit waits. The
    /// number does not change after every agency has come.
    newest: PerAgency<u64>,
    /// Dropped when the fate is decided.
    undecided: Option<Stopper>,
}

impl<R: Send + Sync> Draw<R> {
    /// Returns a draw for `agencies` that is still to be held.
    pub fn pending(agencies: Agencies) -> Draw<R> {
        let count = usize::from(agencies.count());
        let (undecided, decided) = Stopper::new();
        let newest = PerAgency::new(agencies, |_| 0);
        let meeting = Meeting { missing: count, newest, undecided: Some(undecided) };
        Draw {
            meeting: Mutex::new(meeting),
            look_again: PerAgency::new(agencies, |_| Condvar::new()),
            barrier: Barrier::new(count),
            fate: OnceLock::new(),
            decided,
        }
    }

    /// Returns a draw that was held before.
    pub fn held(agencies: Agencies, result: R) -> Draw<R> {
        let draw = Draw::pending(agencies);
        draw.decide(&mut draw.lock(), Fate::Held(result));
        draw
    }

    /// Returns the lottery's agencies.
    pub fn agencies(&self) -> Agencies {
        self.look_again.agencies()
    }

    /// Returns the fate. Returns `None` until it is decided.
    pub fn fate(&self) -> Option<&Fate<R>> {
        self.fate.get()
    }

    /// Returns the stop that comes when the fate is decided.
    pub fn decided(&self) -> &Stop {
        &self.decided
    }

    /// Returns, for each agency, whether it has come. From then on its newest visit waits until the fate is decided.
    pub fn have_come(&self) -> PerAgency<bool> {
        let meeting = self.lock();
        PerAgency::new(self.agencies(), |agency| meeting.newest[agency] > 0)
    }

    /// Comes for `agency`, which has no more bets, and blocks until the fate is decided. When every agency has come, one
    /// of the threads calls `hold`, which returns the fate of all. If it panics, the fate is [`Fate::Failed`].
    ///
    /// Returns `None` as soon as a newer visit of the agency comes, which waits in place of this one.
    pub fn attend(&self, agency: AgencyId, hold: impl FnOnce() -> Fate<R>) -> Option<&Fate<R>> {
        let mut meeting = self.lock();
        if meeting.missing == 0 || self.fate().is_some() {
            // Other threads pass the barrier, or the fate is decided.
            drop(meeting);
            return Some(self.fate.wait());
        }
        let visit = self.come(agency, &mut meeting);
        let is_last = meeting.missing == 0;
        while meeting.missing > 0 && self.fate().is_none() && meeting.newest[agency] == visit {
            let woken = self.look_again[agency].wait(meeting);
            meeting = woken.unwrap_or_else(PoisonError::into_inner);
        }
        if meeting.newest[agency] != visit {
            return None;
        }
        let have_all_come = meeting.missing == 0;
        drop(meeting);
        if is_last {
            self.wake_everybody();
        }
        if have_all_come && self.barrier.wait().is_leader() {
            match catch_unwind(AssertUnwindSafe(hold)) {
                Ok(fate) => self.decide(&mut self.lock(), fate),
                Err(panic) => {
                    // Without a fate, the other threads would wait forever.
                    self.decide(&mut self.lock(), Fate::Failed);
                    resume_unwind(panic);
                }
            }
        }
        Some(self.fate.wait())
    }

    /// Counts a visit and returns its number. Wakes the visit before it. If no agency is missing now, the caller must call
    /// [`Draw::wake_everybody`] without the lock.
    fn come(&self, agency: AgencyId, meeting: &mut Meeting) -> u64 {
        meeting.newest[agency] += 1;
        let visit = meeting.newest[agency];
        if visit == 1 {
            meeting.missing -= 1;
            if meeting.missing > 0 {
                let missing = meeting.newest.iter().filter(|(_, newest)| **newest == 0);
                let missing: Vec<_> = missing.map(|(agency, _)| agency).collect();
                let missing = list_of(&missing, MISSING_NAMED_MAX);
                info!("action: wait_for_draw | result: in_progress | missing: {missing}");
            }
        } else {
            self.look_again[agency].notify_all();
        }
        visit
    }

    /// Cancels the draw and wakes all threads that wait. Does nothing if the fate is decided, or if every agency has
    /// come: the draw is being held then, and `hold` must end.
    pub fn cancel(&self) {
        let mut meeting = self.lock();
        if meeting.missing > 0 && self.fate().is_none() {
            self.decide(&mut meeting, Fate::Cancelled);
            drop(meeting);
            self.wake_everybody();
        }
    }

    /// Decides the fate, and wakes the threads that have passed the barrier and those that wait for [`Draw::decided`].
    fn decide(&self, meeting: &mut Meeting, fate: Fate<R>) {
        let first = self.fate.set(fate).is_ok();
        debug_assert!(first, "a fate is decided once");
        meeting.undecided = None;
    }

    /// Wakes every thread that waits for agencies. Must be called without the lock, for which they would have to wait.
    fn wake_everybody(&self) {
        self.look_again.values().for_each(Condvar::notify_all);
    }

    fn lock(&self) -> MutexGuard<'_, Meeting> {
        // No statement under the lock panics, and the meeting is consistent between any two.
        self.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    //! Nobody waits for ever, the draw is held once and after everybody came, whatever the order in
    //! which they come, come again, and the program stops. That a test ends is half of what it says.

    use super::{Draw, Fate};
    use crate::bet::{Agencies, AgencyId};
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    /// Fails, instead of hanging, if `work` does not end.
    fn watched(work: impl FnOnce() + Send + 'static) {
        let (done, ended) = mpsc::channel();
        let worker = thread::spawn(move || {
            work();
            let _watched = done.send(());
        });
        match ended.recv_timeout(Duration::from_secs(60)) {
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                worker.join().expect("the work succeeds");
            }
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("somebody waits for ever"),
        }
    }

    fn agencies(count: u16) -> Agencies {
        Agencies::new(count).expect("it is a number of agencies")
    }

    /// Returns the numbers from 0 to below `count`, in an order that depends on the seed.
    fn mixed(count: u64, seed: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (0..count).collect();
        order.sort_by_key(|place| {
            (place + 1).wrapping_mul(seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15))
        });
        order
    }

    #[test]
    fn everyone_is_released_with_one_fate_in_a_thousand_orders_of_arrivals_repeats_and_stops() {
        watched(|| {
            let (mut held, mut cancelled) = (0, 0);
            for seed in 0..1_000 {
                let count = 1 + u16::try_from(seed % 5).expect("it is less than 5");
                let draw = Draw::pending(agencies(count));
                let (arrived, holds) = (AtomicU32::new(0), AtomicU32::new(0));
                let stops = seed % 3 == 0;
                let come = |agency: AgencyId| {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    let outcome = draw.attend(agency, || {
                        holds.fetch_add(1, Ordering::SeqCst);
                        Fate::Held(arrived.load(Ordering::SeqCst) >= count.into())
                    });
                    match outcome {
                        Some(Fate::Held(complete)) => {
                            assert!(complete, "seed {seed}: held over a part");
                        }
                        Some(fate) => assert!(stops, "seed {seed}: {fate:?}"),
                        None => {}
                    }
                };
                thread::scope(|scope| {
                    // Each agency comes three times, in a mixed order, and the stop anywhere between.
                    for place in mixed(u64::from(count) * 3 + 1, seed) {
                        let turn = u16::try_from(place).expect("it is small") / 3 + 1;
                        match agencies(count).iter().find(|agency| agency.get() == turn) {
                            Some(agency) => {
                                scope.spawn(move || come(agency));
                            }
                            None if stops => draw.cancel(),
                            None => {}
                        }
                    }
                });
                match draw.fate() {
                    Some(Fate::Held(_)) => held += 1,
                    Some(_) => cancelled += 1,
                    None => panic!("seed {seed}: nothing was decided"),
                }
                let holds = holds.load(Ordering::SeqCst);
                assert!(holds <= 1, "seed {seed}: held {holds} times");
            }
            assert!(held > 600 && cancelled > 0, "{held} held, {cancelled} cancelled");
        });
    }

    #[test]
    fn of_an_agencys_visits_only_the_newest_waits() {
        watched(|| {
            let draw = Draw::<()>::pending(agencies(2));
            let [one, two] = [1, 2].map(|agency| AgencyId::new(agency).expect("it is an agency"));
            let (superseded, hears) = mpsc::channel();
            thread::scope(|scope| {
                for visit in 0..4 {
                    let (draw, superseded) = (&draw, superseded.clone());
                    scope.spawn(move || {
                        if draw.attend(one, || Fate::Failed).is_none() {
                            superseded.send(visit).expect("it is waited for");
                        }
                    });
                    while draw.lock().newest[one] <= visit {
                        thread::yield_now();
                    }
                }
                // Each is superseded by the next; which thread says so first is the system's.
                let mut told: Vec<_> = hears.iter().take(3).collect();
                told.sort_unstable();
                assert_eq!(told, [0, 1, 2]);
                assert!(draw.have_come()[one] && !draw.have_come()[two]);
                // Of the four one counts, so the meeting is complete.
                assert_eq!(draw.attend(two, || Fate::Held(())), Some(draw.fate.wait()));
            });
        });
    }

    #[test]
    fn once_every_agency_has_come_no_visit_is_superseded() {
        watched(|| {
            let draw = Draw::<()>::pending(agencies(2));
            let [one, two] = [1, 2].map(|agency| AgencyId::new(agency).expect("it is an agency"));
            let until = |is_so: &dyn Fn() -> bool| {
                while !is_so() {
                    thread::yield_now()
                }
            };
            let comes_again = AtomicBool::new(false);
            let hold = || {
                until(&|| comes_again.load(Ordering::SeqCst));
                (0..1_000).for_each(|_| thread::yield_now());
                Fate::Held(())
            };
            thread::scope(|scope| {
                let first = scope.spawn(|| draw.attend(one, hold));
                until(&|| draw.have_come()[one]);
                let other = scope.spawn(|| draw.attend(two, hold));
                until(&|| draw.lock().missing == 0);
                comes_again.store(true, Ordering::SeqCst);
                let again = draw.attend(one, hold);
                let [first, other] = [first, other].map(|thread| thread.join().expect("no panic"));
                assert_eq!([first, other, again], [Some(&Fate::Held(())); 3]);
                assert_eq!(draw.lock().newest[one], 1, "it did not take the place of the first");
            });
        });
    }

    #[test]
    fn if_the_thread_that_holds_the_draw_panics_everybody_is_released() {
        watched(|| {
            let draw = Draw::<()>::pending(agencies(3));
            thread::scope(|scope| {
                let come = |agency| draw.attend(agency, || panic!("as the test wants it"));
                let threads: Vec<_> =
                    agencies(3).iter().map(|agency| scope.spawn(move || come(agency))).collect();
                let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
                let panicked = outcomes.iter().filter(|outcome| outcome.is_err()).count();
                assert_eq!(panicked, 1, "one of them holds the draw");
                let failed = |outcome: &Option<&Fate<()>>| *outcome == Some(&Fate::Failed);
                assert!(outcomes.iter().flatten().all(failed), "{outcomes:?}");
            });
        });
    }

    #[test]
    fn after_the_fate_is_decided_nobody_waits() {
        watched(|| {
            let draw = Draw::held(agencies(3), "result");
            let agency = AgencyId::new(2).expect("2 is an agency");
            let attended = draw.attend(agency, || Fate::Failed);
            assert_eq!(attended, Some(&Fate::Held("result")));
            draw.cancel();
            assert_eq!(draw.fate(), Some(&Fate::Held("result")));
        });
    }
}
