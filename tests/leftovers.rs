//! At stake: that a server which has stopped leaves nothing behind, whoever came and went. The only
//! test of its process, because it counts the threads and the files that the process has.

mod support;

use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;
use support::peer::{Lottery, Office, PATIENCE};

fn count(what: &str) -> usize {
    std::fs::read_dir(Path::new("/proc/self").join(what)).expect("it can be listed").count()
}

fn threads_and_files() -> (usize, usize) {
    (count("task"), count("fd"))
}

#[test]
fn a_thousand_who_come_and_go_leave_no_thread_and_no_file_behind() {
    if !Path::new("/proc/self/fd").is_dir() {
        // Only Linux tells.
        return;
    }
    let before = threads_and_files();
    // Few places, so that many of them are refused too.
    let mut office = Office::start(Lottery::of(2).connections(20));
    let mut constant = office.agency();
    // A newcomer that is silent for long would make room for others.
    constant.says("REANUDAR|2");
    constant.hears("REANUDAR|0");
    let address = constant.stream().peer_addr().expect("an address");
    for number in 0..1000_u32 {
        let stream = TcpStream::connect(address).expect("the server accepts");
        let bytes: &[u8] = match number % 5 {
            0 => b"",
            1 => b"ECO|a\n",
            2 => b"ECO|half",
            3 => b"\xff\n",
            _ => b"GANADORES|1\n",
        };
        // Who was refused may be unable to send.
        let _refused = std::io::Write::write_all(&mut &stream, bytes);
        drop(stream);
        if number.is_multiple_of(50) {
            // Whoever is answered, attended or not, came after all others: the queue of those who are not
            // accepted yet stays short.
            let mut last = office.agency();
            let _refused = std::io::Write::write_all(&mut last.stream(), b"ECO|a\n");
            let _answer = last.rest_of_a_line();
        }
    }
    constant.says("APUESTA|2|Ana|Paz|30904465|1999-03-17|1234;FINAPUESTA");
    constant.hears("CONFIRMARAPUESTA|1");
    office.stop();
    drop(constant);
    // The threads have done their work; the system may still be clearing the last of them away.
    let start = Instant::now();
    while threads_and_files() != before && start.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    assert_eq!(threads_and_files(), before);
}
