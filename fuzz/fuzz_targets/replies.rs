//! What a server answers: no panic, and a reply that is accepted is printed as it was written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loteria::protocol::Reply;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for line in text.split('\n') {
        if let Some(reply) = Reply::parse(line) {
            assert_eq!(reply.to_string(), line);
            let mut written = Vec::new();
            reply.write(&mut written);
            assert_eq!(written, format!("{line}\n").into_bytes());
        }
    }
});
