//! At stake: that nobody waits for ever, that the draw is held at most once and after everybody came, and
//! that everybody hears the same, in whatever order their threads run.
//!
//! A model checker runs `src/draw.rs` over and over, and decides at each lock, wait and barrier who
//! goes on. Small meetings are run in every order there is, larger ones in many that are drawn
//! from a seed. A thread that is left waiting is found as a deadlock, with the schedule that leads there.

#[allow(dead_code, unused_imports, reason = "the library uses more of it")]
mod bet;
#[allow(dead_code, unused_imports, reason = "the library uses more of it")]
mod stop;
#[allow(dead_code, unused_imports, reason = "the library uses more of it")]
mod text;
#[allow(dead_code, reason = "the server uses more of it than the model")]
mod draw {
    include!(concat!(env!("OUT_DIR"), "/draw.rs"));
}
#[allow(clippy::new_without_default, reason = "it is what the standard library's own is like")]
mod threads;

use bet::Agencies;
use draw::{Draw, Fate};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How the one who holds the draw fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    Succeeds,
    IsInterrupted,
    Panics,
}

/// Who comes to a meeting.
#[derive(Clone, Copy, Debug)]
struct Meeting {
    /// How often each agency comes, one thread each time.
    arrivals: &'static [usize],
    /// Whether the program stops at some time.
    stops: bool,
    holding: Holding,
}

/// What is seen of a meeting over all its orders, so that a model that checks nothing is found out.
#[derive(Debug, Default)]
struct Seen {
    held: AtomicUsize,
    cancelled: AtomicUsize,
    failed: AtomicUsize,
    superseded: AtomicUsize,
}

impl Meeting {
    fn agencies(&self) -> Agencies {
        let count = u16::try_from(self.arrivals.len()).expect("a small number");
        Agencies::new(count).expect("from one on")
    }

    /// Whether every agency comes.
    fn is_complete(&self) -> bool {
        self.arrivals.iter().all(|times| *times > 0)
    }

    /// One order of it, which the checker decides.
    fn take_place(&self, seen: &Seen) {
        let agencies = self.agencies();
        let draw = Draw::<()>::pending(agencies);
        let (arrived, holds, panics) =
            (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let superseded: Vec<AtomicUsize> =
            self.arrivals.iter().map(|_| AtomicUsize::new(0)).collect();
        let first_of: Vec<AtomicUsize> =
            self.arrivals.iter().map(|_| AtomicUsize::new(0)).collect();
        threads::thread::scope(|scope| {
            for (agency, &times) in agencies.iter().zip(self.arrivals) {
                for _ in 0..times {
                    let (draw, arrived, holds, panics) = (&draw, &arrived, &holds, &panics);
                    let (superseded, first_of) = (&superseded, &first_of);
                    scope.spawn(move || {
                        if first_of[usize::from(agency.get()) - 1].fetch_add(1, Ordering::SeqCst) == 0 {
                            arrived.fetch_add(1, Ordering::SeqCst);
                        }
                        let hold = || {
                            holds.fetch_add(1, Ordering::SeqCst);
                            assert_eq!(arrived.load(Ordering::SeqCst), self.arrivals.len());
                            assert_eq!(draw.fate(), None, "held after it was decided");
                            match self.holding {
                                Holding::Succeeds => Fate::Held(()),
                                Holding::IsInterrupted => Fate::Cancelled,
                                // Without the message that a panic prints.
                                Holding::Panics => resume_unwind(Box::new("as the model wants")),
                            }
                        };
                        match catch_unwind(AssertUnwindSafe(|| draw.attend(agency, hold))) {
                            Ok(Some(fate)) => {
                                assert_eq!(Some(fate), draw.fate(), "there are two fates");
                            }
                            Ok(None) => {
                                superseded[usize::from(agency.get()) - 1].fetch_add(1, Ordering::SeqCst);
                            }
                            Err(_) if self.holding == Holding::Panics => {
                                panics.fetch_add(1, Ordering::SeqCst);
                            }
                            Err(panic) => resume_unwind(panic),
                        }
                    });
                }
            }
            // Who does not all come would wait for ever, and rightly so.
            if self.stops || !self.is_complete() {
                // A thread of its own: the checker's scopes wake whoever opened them when their last
                // thread ends, whatever that one is waiting for.
                scope.spawn(|| draw.cancel());
            }
        });

        let holds = holds.into_inner();
        assert!(holds <= 1, "held {holds} times");
        match draw.fate().expect("nobody waits, so it is decided") {
            Fate::Held(()) => {
                assert!(self.is_complete() && self.holding == Holding::Succeeds);
                seen.held.fetch_add(1, Ordering::Relaxed);
            }
            Fate::Cancelled => {
                let interrupted = self.holding == Holding::IsInterrupted && holds == 1;
                assert!(self.stops || !self.is_complete() || interrupted);
                seen.cancelled.fetch_add(1, Ordering::Relaxed);
            }
            Fate::Failed => {
                assert_eq!(panics.into_inner(), 1);
                seen.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        assert!(draw.decided().has_come());
        for (times, superseded) in self.arrivals.iter().zip(superseded) {
            // The newest always waits.
            let superseded = superseded.into_inner();
            assert!(superseded <= times.saturating_sub(1), "{superseded} of {times}");
            seen.superseded.fetch_add(superseded, Ordering::Relaxed);
        }
    }

    /// Runs it in every order there is, as far as `most`; how many there were.
    fn in_every_order(self, most: usize) -> usize {
        self.report("every order", most, |config, model| {
            Runner::new(DfsScheduler::new(Some(most), false), config).run(model)
        })
    }

    /// Runs it in so many orders that follow from the seed.
    fn in_random_orders(self, seed: u64, count: usize) {
        self.report("random orders", count, |config, model| {
            Runner::new(RandomScheduler::new_from_seed(seed, count), config).run(model)
        });
        self.report("random priorities", count, |config, model| {
            Runner::new(PctScheduler::new_from_seed(seed, 3, count), config).run(model)
        });
    }

    fn report(
        self,
        name: &str,
        most: usize,
        run: impl FnOnce(Config, Box<dyn Fn() + Send + Sync>) -> usize,
    ) -> usize {
        let seen = std::sync::Arc::new(Seen::default());
        let model = {
            let seen = std::sync::Arc::clone(&seen);
            Box::new(move || self.take_place(&seen))
        };
        let start = Instant::now();
        let orders = run(Config::new(), model);
        let Meeting { arrivals, stops, holding } = self;
        let whole = if orders < most { ", all there are" } else { "" };
        println!(
            "{name}: {arrivals:?} come, stops: {stops}, holding {holding:?}: {orders} orders{whole} in \
             {:.1} s; {} held, {} cancelled, {} failed, {} superseded",
            start.elapsed().as_secs_f64(),
            seen.held.load(Ordering::Relaxed),
            seen.cancelled.load(Ordering::Relaxed),
            seen.failed.load(Ordering::Relaxed),
            seen.superseded.load(Ordering::Relaxed),
        );
        orders
    }
}

fn main() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let seed = number("LOTERIA_MODEL_SEED", 0x10_7E_41_A0);
    let most = usize::try_from(number("LOTERIA_MODEL_ORDERS", 100_000)).expect("a size");
    println!("LOTERIA_MODEL_SEED={seed} LOTERIA_MODEL_ORDERS={most}");
    let start = Instant::now();
    let mut orders = 0;
    for holding in [Holding::Succeeds, Holding::IsInterrupted, Holding::Panics] {
        for stops in [false, true] {
            for arrivals in [&[1][..], &[2], &[1, 1]] {
                orders += Meeting { arrivals, stops, holding }.in_every_order(most);
            }
            for arrivals in
                [&[3][..], &[2, 1], &[0, 2], &[3, 2], &[1, 1, 1], &[2, 1, 2], &[0, 1, 3]]
            {
                let count = most / 20;
                Meeting { arrivals, stops, holding }.in_random_orders(seed, count);
                orders += 2 * count;
            }
        }
    }
    let took: Duration = start.elapsed();
    println!("{orders} orders in {:.0} s: nobody waits for ever", took.as_secs_f64());
}
