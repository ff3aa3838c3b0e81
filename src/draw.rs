//! Where the agencies meet: each takes its seat at the barrier once, and when all have, one of them
//! has the draw held. Knows no sockets and no files, and not what a result is.
//!
//! A barrier cannot be cancelled but it can be completed: [`Draw::cancel`] closes the door and sends
//! a stand-in to every empty seat. A fate that is written once tells everyone why they rose.

use crate::bet::{Agencies, AgencyId};
use crate::stop::{Stop, Stopper};
use log::error;
use std::sync::{Barrier, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A stand-in only waits.
const STAND_IN_STACK_BYTES: usize = 64 << 10;
/// How long to go on asking the system for the threads of stand-ins, and how often.
const STAND_INS_TIME_MAX: Duration = Duration::from_secs(1);
const STAND_IN_PAUSE: Duration = Duration::from_millis(10);

/// What became of the draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<R> {
    /// It was held, with this result.
    Held(R),
    /// The program stops before it can be held.
    Cancelled,
    /// It could not be held, and the program stops.
    Failed,
}

/// What [`Draw::attend`] comes back with.
#[derive(Debug, PartialEq, Eq)]
pub enum Attended<'d, R> {
    /// The fate of the draw.
    Fate(&'d Fate<R>),
    /// Somebody else came for the agency and waits in this one's place.
    Superseded,
}

/// The meeting of all agencies, and the draw that they wait for.
#[derive(Debug)]
pub struct Draw<R> {
    barrier: Barrier,
    fate: OnceLock<Fate<R>>,
    hall: Mutex<Hall>,
    /// Somebody who waits beside the barrier has to look again.
    look_again: Condvar,
    decided: Stop,
    everyone_told: Stop,
}

#[derive(Debug)]
struct Hall {
    door: Door,
    /// By agency, in their order.
    seats: Vec<Seat>,
    /// How many are at the barrier.
    seated: usize,
    /// Dropped when the fate is decided.
    undecided: Option<Stopper>,
    /// Dropped when every agency has been told.
    someone_untold: Option<Stopper>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Open,
    /// Everybody is there and the draw is being held.
    Holding,
    Closed,
}

#[derive(Clone, Debug, Default)]
struct Seat {
    taken: bool,
    /// How many came after the seat was taken; the last of them waits.
    later: u64,
    told: bool,
    /// How many are waiting for the draw, at the barrier or beside it.
    waiting: u32,
}

impl<R: Send + Sync> Draw<R> {
    /// A draw for `agencies` that is still to be held.
    pub fn pending(agencies: Agencies) -> Draw<R> {
        let count = usize::from(agencies.count());
        let (undecided, decided) = Stopper::new();
        let (someone_untold, everyone_told) = Stopper::new();
        let hall = Hall {
            door: Door::Open,
            seats: vec![Seat::default(); count],
            seated: 0,
            undecided: Some(undecided),
            someone_untold: Some(someone_untold),
        };
        Draw {
            barrier: Barrier::new(count),
            fate: OnceLock::new(),
            hall: Mutex::new(hall),
            look_again: Condvar::new(),
            decided,
            everyone_told,
        }
    }

    /// A draw that was held before.
    pub fn held(agencies: Agencies, result: R) -> Draw<R> {
        let draw = Draw::pending(agencies);
        draw.decide(Fate::Held(result));
        draw
    }

    /// What became of it, if that is decided.
    pub fn fate(&self) -> Option<&Fate<R>> {
        self.fate.get()
    }

    /// Returns the stop that comes when the fate is decided.
    pub fn decided(&self) -> &Stop {
        &self.decided
    }

    /// Returns the stop that comes when every agency has been told the result.
    pub fn everyone_told(&self) -> &Stop {
        &self.everyone_told
    }

    /// Takes note that `agency` has been told the result.
    pub fn told(&self, agency: AgencyId) {
        let mut hall = self.hall();
        hall.seats[agency.index()].told = true;
        if hall.seats.iter().all(|seat| seat.told) {
            hall.someone_untold = None;
        }
    }

    /// Whether anybody waits for each agency, in their order.
    pub fn waiting(&self) -> Vec<bool> {
        self.hall().seats.iter().map(|seat| seat.waiting > 0).collect()
    }

    /// How many wait in the seat of their agency: each of them for as long as it takes, be its peer
    /// still there or not.
    pub fn seated(&self) -> usize {
        self.hall().seated
    }

    /// Comes for `agency`, which has no more bets, and waits for the fate of the draw. One of those
    /// who complete the meeting calls `hold` for everybody.
    ///
    /// Of those who come for the same agency the first takes its seat, and of the later ones the last
    /// waits; the others are [`Attended::Superseded`].
    pub fn attend(&self, agency: AgencyId, hold: impl FnOnce() -> Fate<R>) -> Attended<'_, R> {
        let mut hall = self.hall();
        if let Some(fate) = self.fate() {
            return Attended::Fate(fate);
        }
        let seat = &mut hall.seats[agency.index()];
        seat.waiting += 1;
        let attended = if seat.taken {
            self.wait_beside(agency, hall)
        } else {
            seat.taken = true;
            hall.seated += 1;
            drop(hall);
            let attended = self.wait_at_the_barrier(hold);
            self.hall().seated -= 1;
            attended
        };
        self.hall().seats[agency.index()].waiting -= 1;
        attended
    }

    fn wait_at_the_barrier(&self, hold: impl FnOnce() -> Fate<R>) -> Attended<'_, R> {
        if self.barrier.wait().is_leader() && self.begin_holding() {
            let mut holding = Holding { draw: self, fate: Fate::Failed };
            holding.fate = hold();
        }
        Attended::Fate(self.fate.wait())
    }

    fn wait_beside<'d>(
        &'d self,
        agency: AgencyId,
        mut hall: MutexGuard<'d, Hall>,
    ) -> Attended<'d, R> {
        let seat = &mut hall.seats[agency.index()];
        seat.later += 1;
        let place = seat.later;
        self.look_again.notify_all();
        loop {
            if let Some(fate) = self.fate() {
                return Attended::Fate(fate);
            }
            if hall.seats[agency.index()].later != place {
                return Attended::Superseded;
            }
            hall = self.look_again.wait(hall).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether it is for the leader to decide: not if stand-ins completed the barrier.
    fn begin_holding(&self) -> bool {
        let mut hall = self.hall();
        let open = hall.door == Door::Open;
        if open {
            hall.door = Door::Holding;
        }
        open
    }

    fn decide(&self, fate: Fate<R>) {
        let mut hall = self.hall();
        let first = self.fate.set(fate).is_ok();
        debug_assert!(first, "a fate is decided once");
        hall.undecided = None;
        self.look_again.notify_all();
    }

    /// Decides that there is no draw, unless it is decided or being held, and sees to it that nobody
    /// waits any longer than the holding takes. To be called once.
    pub fn cancel(&self) {
        let mut hall = self.hall();
        if hall.door != Door::Open || self.fate().is_some() {
            return;
        }
        hall.door = Door::Closed;
        let taken = hall.seats.iter().filter(|seat| seat.taken).count();
        let empty = hall.seats.len() - taken;
        for seat in &mut hall.seats {
            seat.taken = true;
        }
        drop(hall);
        self.decide(Fate::Cancelled);
        if taken > 0 {
            thread::scope(|scope| {
                let deadline = Instant::now() + STAND_INS_TIME_MAX;
                let mut missing = empty;
                while missing > 0 {
                    let stand_in = thread::Builder::new().name("stand-in".into());
                    let stand_in = stand_in.stack_size(STAND_IN_STACK_BYTES);
                    match stand_in.spawn_scoped(scope, || self.barrier.wait()) {
                        Ok(_) => missing -= 1,
                        // Threads become free as others end.
                        Err(_) if Instant::now() < deadline => thread::sleep(STAND_IN_PAUSE),
                        Err(error) => {
                            // A system that has no threads for the stand-ins has none for the agencies
                            // either. Those who wait cannot be woken, and to wait for them is worse.
                            error!("action: cancel_draw | result: fail | error: {error}");
                            std::process::exit(1);
                        }
                    }
                }
            });
        }
    }

    fn hall(&self) -> MutexGuard<'_, Hall> {
        // Nothing panics while it is held, and a hall is whole between any two statements.
        self.hall.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decides the fate when it is dropped: where the one who holds the draw panics, nobody waits for ever.
struct Holding<'d, R: Send + Sync> {
    draw: &'d Draw<R>,
    fate: Fate<R>,
}

impl<R: Send + Sync> Drop for Holding<'_, R> {
    fn drop(&mut self) {
        self.draw.decide(std::mem::replace(&mut self.fate, Fate::Failed));
    }
}

#[cfg(test)]
mod tests {
    //! Nobody waits for ever, the draw is held once and after everybody came, whatever the order in
    //! which they come, come again, and the program stops. That a test ends is half of what it says.

    use super::{Attended, Draw, Fate};
    use crate::bet::{Agencies, AgencyId};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    /// Fails, rather than to hang, where `work` does not end.
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

    /// Who comes, in which order: some numbers from 0, mixed by a seed.
    fn mixed(count: u64, seed: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (0..count).collect();
        order.sort_by_key(|place| {
            (place + 1).wrapping_mul(seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15))
        });
        order
    }

    #[test]
    fn everyone_rises_with_one_fate_in_a_thousand_orders_of_arrivals_repeats_and_stops() {
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
                        Attended::Fate(Fate::Held(complete)) => {
                            assert!(complete, "seed {seed}: held over a part");
                        }
                        Attended::Fate(fate) => assert!(stops, "seed {seed}: {fate:?}"),
                        Attended::Superseded => {}
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
    fn who_waits_beside_the_barrier_is_superseded_by_who_comes_later() {
        watched(|| {
            let draw = Draw::<()>::pending(agencies(2));
            let agency = AgencyId::new(1).expect("1 is an agency");
            let come = || draw.attend(agency, || Fate::Held(()));
            thread::scope(|scope| {
                let (superseded, heard) = mpsc::channel();
                for _ in 0..3 {
                    let superseded = superseded.clone();
                    scope.spawn(move || {
                        if come() == Attended::Superseded {
                            superseded.send(()).expect("it is waited for");
                        }
                    });
                }
                // Of three one has the seat and one waits beside it, whichever.
                heard.recv().expect("one of three is superseded");
                assert!(heard.recv_timeout(Duration::from_millis(50)).is_err());
                draw.cancel();
            });
        });
    }

    #[test]
    fn where_the_one_who_holds_the_draw_panics_everybody_rises() {
        watched(|| {
            let draw = Draw::<()>::pending(agencies(3));
            thread::scope(|scope| {
                let come = |agency| draw.attend(agency, || panic!("as the test wants it"));
                let threads: Vec<_> =
                    agencies(3).iter().map(|agency| scope.spawn(move || come(agency))).collect();
                let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
                let panicked = outcomes.iter().filter(|outcome| outcome.is_err()).count();
                assert_eq!(panicked, 1, "one of them holds the draw");
                let failed = |outcome: &Attended<'_, ()>| *outcome == Attended::Fate(&Fate::Failed);
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
            assert_eq!(attended, Attended::Fate(&Fate::Held("result")));
            draw.cancel();
            assert_eq!(draw.fate(), Some(&Fate::Held("result")));
        });
    }

    #[test]
    fn everyone_is_told_when_each_agency_was() {
        let draw = Draw::held(agencies(2), ());
        for (agency, everyone) in [(1, false), (1, false), (2, true)] {
            draw.told(AgencyId::new(agency).expect("it is an agency"));
            assert_eq!(draw.everyone_told().has_come(), everyone);
        }
    }
}
