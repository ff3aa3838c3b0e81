//! At stake: that what a peer sends costs the server no more memory than it says it does, however
//! much longer the answer is than the question. The only test of its process, because it
//! looks at the memory that the process ever had.

mod support;

use std::io::Read;
use support::peer::{Agency, Lottery, Office};

/// The most memory that this process has had at a time, in KiB; `None` where the system does not tell.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn short_messages_with_long_answers_do_not_fill_the_memory() {
    const PEERS: usize = 100;
    const MESSAGES: usize = 8_000;
    let Some(before) = peak_kib() else { return };
    let office = Office::start(Lottery::of(5));
    let mut peers: Vec<Agency> = (0..PEERS).map(|_| office.agency()).collect();
    for peer in &mut peers {
        // The shortest message there is, and an answer many times its length to each.
        peer.sends(&[b'\n'; MESSAGES]);
    }
    let answer = b"ERROR|empty_command|a command must not be empty\n";
    let mut heard = vec![0; MESSAGES * answer.len()];
    for peer in &mut peers {
        peer.stream().read_exact(&mut heard).expect("every message is answered");
        assert!(heard.starts_with(answer) && heard.ends_with(answer));
    }
    let grown = peak_kib().unwrap_or_default() - before;
    assert!(grown < 32 << 10, "{PEERS} peers with {MESSAGES} bytes each have cost {grown} KiB");
}
