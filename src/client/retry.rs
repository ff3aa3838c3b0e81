//! How long to wait before the next try, and when to give up.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Tries with exponential back-off and jitter, for so long without progress.
#[derive(Debug)]
pub(super) struct Retry {
    retry_for: Duration,
    last_progress: Instant,
    failures: u32,
}

impl Retry {
    /// To go on for `retry_for` without progress.
    pub(super) fn new(retry_for: Duration) -> Retry {
        Retry { retry_for, last_progress: Instant::now(), failures: 0 }
    }

    /// There was progress.
    pub(super) fn progress(&mut self) {
        self.last_progress = Instant::now();
        self.failures = 0;
    }

    /// Since `start` there was nothing to be done but to wait, which is no lack of progress.
    pub(super) fn waited_since(&mut self, start: Instant) {
        self.last_progress += start.elapsed();
        self.failures = 0;
    }

    /// How long to wait before the next try; `None` where it is time to give up.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        let left = self.retry_for.checked_sub(self.last_progress.elapsed())?;
        let longest = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures += 1;
        // Between half of it and all: many agencies that lost one server do not come back at once.
        let pause = longest.mul_f64(0.5 + 0.5 * random_fraction());
        (!left.is_zero()).then_some(pause.min(left))
    }
}

/// A number from 0 to 1: the standard library seeds its hashers at random.
fn random_fraction() -> f64 {
    let random = RandomState::new().hash_one(());
    // The 53 bits that a float holds exactly.
    (random >> 11) as f64 / (1_u64 << 53) as f64
}
