//! At stake: that what a test draws can be drawn again. Numbers and pauses follow from a seed (SplitMix64).

use std::thread;
use std::time::Duration;

/// A small generator.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Another generator, for another thread.
    pub(crate) fn another(&mut self) -> Random {
        Random(self.draw())
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a small number");
        usize::try_from(self.draw() % bound).expect("less than a small number")
    }

    pub(crate) fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }

    /// Waits for up to so many microseconds: nothing depends on how long it is.
    pub(crate) fn pass(&mut self, micros: usize) {
        let micros = u64::try_from(self.below(micros)).expect("a small number");
        thread::sleep(Duration::from_micros(micros));
    }
}
