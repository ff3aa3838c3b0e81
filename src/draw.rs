//! Where the agencies meet: each takes its seat at the barrier once, and when all have, one of them
//! has the draw held. Knows no sockets and no files, and not what a result is.
//!
//! A barrier cannot be cancelled but it can be completed: [`Draw::cancel`] closes the door and sends
//! a stand-in to every empty seat. A fate that is written once tells everyone why they rose.

use crate::bet::{Agencies, AgencyId};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::convert::Infallible;
use std::sync::{Barrier, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

/// A stand-in only waits.
const STAND_IN_STACK_BYTES: usize = 64 << 10;

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
    decided: Receiver<Infallible>,
    everyone_told: Receiver<Infallible>,
}

#[derive(Debug)]
struct Hall {
    door: Door,
    /// By agency, in their order.
    seats: Vec<Seat>,
    /// Dropped when the fate is decided.
    undecided: Option<Sender<Infallible>>,
    /// Dropped when every agency has been told.
    someone_untold: Option<Sender<Infallible>>,
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
}

impl<R: Send + Sync> Draw<R> {
    /// A draw for `agencies` that is still to be held.
    pub fn pending(agencies: Agencies) -> Draw<R> {
        let count = usize::from(agencies.count());
        let (undecided, decided) = bounded(0);
        let (someone_untold, everyone_told) = bounded(0);
        let hall = Hall {
            door: Door::Open,
            seats: vec![Seat::default(); count],
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

    /// Is closed when the fate is decided.
    pub fn decided(&self) -> &Receiver<Infallible> {
        &self.decided
    }

    /// Is closed when every agency has been told the result.
    pub fn everyone_told(&self) -> &Receiver<Infallible> {
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
        if seat.taken {
            return self.wait_beside(agency, hall);
        }
        seat.taken = true;
        drop(hall);
        if self.barrier.wait().is_leader() && self.begin_holding() {
            self.decide(hold());
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
                for _ in 0..empty {
                    let stand_in = thread::Builder::new().name("stand-in".into());
                    stand_in
                        .stack_size(STAND_IN_STACK_BYTES)
                        .spawn_scoped(scope, || self.barrier.wait())
                        .expect("a stopping program has threads to spare");
                }
            });
        }
    }

    fn hall(&self) -> MutexGuard<'_, Hall> {
        // Nothing panics while it is held, and a hall is whole between any two statements.
        self.hall.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
