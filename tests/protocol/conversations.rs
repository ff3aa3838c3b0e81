//! At stake: that commands of several connections keep the promises of the page together. Random conversations are
//! compared with a model of the page. `fuzz/fuzz_targets/conversations.rs` plays more of them.

use crate::support::conversations::plays;
use crate::support::program::show;
use crate::support::random::Random;

#[test]
fn hundreds_of_conversations_of_several_connections_go_as_the_model_of_the_page_says() {
    for seed in 0..200 {
        // Shown by the test runner where the test fails.
        show(&format!("seed {seed}"));
        let mut random = Random::new(seed);
        let count = 50 + random.below(500);
        let bytes = (0..count).map(|_| u8::try_from(random.below(256)).expect("a byte"));
        plays(&bytes.collect::<Vec<u8>>());
    }
}
