//! What TLS costs: whole lotteries and single connections, in TLS and plain, which take turns.
//!
//! ```text
//! cargo bench --features tls --bench tls -- [--bets N] [--runs N] [--from DIR]
//! ```
//!
//! Needs `openssl`, to make certificates with. With `--from` the bets are the files of that directory,
//! repeated until there are enough.

#![allow(clippy::print_stdout, reason = "to print is what a benchmark does")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing better to do")]

mod whole;

use loteria::connection::{Connector, Stream, TlsFiles};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use whole::table::{Options, rates, ratios, row};
use whole::{Certificates, Data, Lottery, Run, Server};

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let options = Options::parse();
    let scratch = tempfile::tempdir().unwrap();
    let five = match &options.from {
        Some(from) => Data::repeat(from, scratch.path(), options.bets),
        None => Data::generate(scratch.path(), 5, options.bets),
    };
    let many = Data::generate(scratch.path(), 500, options.bets);
    println!("{} bets of 5 agencies, {} of 500, {} runs\n", five.bets, many.bets, options.runs);
    println!("| figure | median | least | most |");
    println!("|---|---|---|---|");
    let of_five = Certificates::generate(scratch.path(), 5);
    let of_many = Certificates::generate(scratch.path(), 500);
    let all = Lottery::over(&five);
    compare("5 agencies", &all, &of_five, scratch.path(), options.runs);
    let one = Lottery { window: Some(1), ..Lottery::over(&five) };
    compare("window 1", &one, &of_five, scratch.path(), options.runs);
    let all = Lottery::over(&many);
    compare("500 agencies", &all, &of_many, scratch.path(), options.runs);
    connections(scratch.path(), &of_five, options.runs);
}

/// The same lottery plain and in TLS.
fn compare(
    what: &str,
    plain: &Lottery<'_>,
    certificates: &Certificates,
    scratch: &Path,
    runs: usize,
) {
    let secure = Lottery { certificates: Some(certificates), ..*plain };
    // One of each that does not count.
    let _warm = (plain.run(scratch), secure.run(scratch));
    let (plains, secures): (Vec<Run>, Vec<Run>) =
        (0..runs).map(|_| (plain.run(scratch), secure.run(scratch))).unzip();
    let bets = plain.data.bets;
    let (plain, secure) = (rates(bets, &plains), rates(bets, &secures));
    row(&format!("{what}, plain, M bets/s"), &plain);
    row(&format!("{what}, in TLS, M bets/s"), &secure);
    row("... over plain", &ratios(&secure, &plain));
    let peaks =
        |runs: &[Run]| runs.iter().map(|run| run.peak_kib as f64 / 1024.0).collect::<Vec<_>>();
    row("... server's peak memory, plain, MiB", &peaks(&plains));
    row("... server's peak memory, in TLS, MiB", &peaks(&secures));
}

/// A connection, one question, one answer and the end.
fn connections(scratch: &Path, certificates: &Certificates, runs: usize) {
    const TIMES: u32 = 200;
    let (plain_directory, directory) =
        (tempfile::tempdir_in(scratch).unwrap(), tempfile::tempdir_in(scratch).unwrap());
    let plain = Server::start(plain_directory.path(), 5);
    let secure = Server::start_in(directory.path(), 5, Some(certificates));
    let files = TlsFiles {
        certificate: certificates.path("agency-1.pem"),
        key: certificates.path("agency-1.key"),
        authority: certificates.path("authority.pem"),
        revoked: None,
    };
    let connector = Connector::open(&files, &secure.address).unwrap();
    let micros = |server: &Server, connector: Option<&Connector>| {
        let start = Instant::now();
        (0..TIMES).for_each(|_| ask(&server.address, connector));
        start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES)
    };
    let (plains, secures): (Vec<f64>, Vec<f64>) =
        (0..runs).map(|_| (micros(&plain, None), micros(&secure, Some(&connector)))).unzip();
    plain.stop();
    secure.stop();
    row("a connection, one ECO and the end, plain, µs", &plains);
    row("the same in TLS, µs", &secures);
    row("... over plain", &ratios(&secures, &plains));
}

fn ask(address: &str, connector: Option<&Connector>) {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut stream = match connector {
        None => Stream::plain(&socket),
        Some(connector) => Stream::connect(&socket, connector, PATIENCE).unwrap(),
    };
    stream.within(PATIENCE).write_all(b"ECO|a\n").unwrap();
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).unwrap();
    assert_eq!(line, "ECO|a\n");
    stream.end();
}
