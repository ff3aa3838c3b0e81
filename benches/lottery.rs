//! Whole lotteries, by the two programs as they are built, beside what one thread needs to copy the same
//! rows from CSV to CSV.
//!
//! ```text
//! cargo bench --bench lottery -- [--bets N] [--runs N] [--from DIR]
//! ```
//!
//! Without `--from` the bets are those of `make_agencies`; with it, the files of that directory, repeated
//! until there are enough. Times are medians of runs that take turns, and what counts is their ratio.

#![allow(clippy::print_stdout, reason = "to print is what a benchmark does")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing better to do")]

mod whole;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use whole::table::{Options, rate, rates, ratios, row};
use whole::{Data, Lottery, Run, Server, median};

fn main() {
    let options = Options::parse();
    let scratch = tempfile::tempdir().unwrap();
    let data = match &options.from {
        Some(from) => Data::repeat(from, scratch.path(), options.bets),
        None => Data::generate(scratch.path(), 5, options.bets),
    };
    let many = Data::generate(scratch.path(), 500, options.bets);
    println!("{} bets of 5 agencies, {} of 500, {} runs\n", data.bets, many.bets, options.runs);
    println!("| figure | median | least | most |");
    println!("|---|---|---|---|");

    let run = || Lottery::over(&data).run(scratch.path());
    let copy = || data.copy(scratch.path());
    // One of each that does not count.
    let _warm = (copy(), run());
    let (mut copies, mut runs, mut lone, mut fives, mut fivehundreds) =
        (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..options.runs {
        copies.push(copy());
        runs.push(run());
        lone.push(Lottery { window: Some(1), ..Lottery::over(&data) }.run(scratch.path()));
        fives.push(Lottery::over(&many.of_five(scratch.path())).run(scratch.path()));
        fivehundreds.push(Lottery::over(&many).run(scratch.path()));
    }
    let copied: Vec<f64> = copies.iter().map(|time| rate(data.bets, *time)).collect();
    row("copy by the csv crate, M bets/s", &copied);
    row("whole client run, M bets/s", &rates(data.bets, &runs));
    row("... over the copy", &ratios(&rates(data.bets, &runs), &copied));
    row("window 1, M bets/s", &rates(data.bets, &lone));
    row("... over the copy", &ratios(&rates(data.bets, &lone), &copied));
    let peaks =
        |runs: &[Run]| runs.iter().map(|run| run.peak_kib as f64 / 1024.0).collect::<Vec<_>>();
    row("server's peak memory, MiB", &peaks(&runs));
    let ratio = ratios(&rates(many.bets, &fivehundreds), &rates(many.bets, &fives));
    row("500 agencies over 5 agencies", &ratio);
    row("server's peak memory with 500 agencies, MiB", &peaks(&fivehundreds));

    latency(scratch.path(), options.runs);
    big_file(scratch.path(), &data, options.runs);
}

/// One batch at a time by one agency, and the same bytes appended and synced by nobody but this.
fn latency(scratch: &Path, runs: usize) {
    const BETS: usize = 120;
    const TIMES: usize = 300;
    let directory = tempfile::tempdir_in(scratch).unwrap();
    let server = Server::start(directory.path(), 5);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    let bet = "Santiago Lionel|Lorca|30904465|1999-03-17|2201";
    let message = format!("{}FINAPUESTA\n", format!("APUESTA|1|{bet};").repeat(BETS));
    let rows = format!("1,{}\n", bet.replace('|', ",")).repeat(BETS);
    let mut bare = File::create(directory.path().join("bare.csv")).unwrap();
    let (mut confirmed, mut appended) = (vec![], vec![]);
    for _ in 0..runs {
        let mut batch = || {
            let mut line = String::new();
            stream.write_all(message.as_bytes()).unwrap();
            replies.read_line(&mut line).unwrap();
            assert_eq!(line, format!("CONFIRMARAPUESTA|{BETS}\n"));
        };
        confirmed.push(median_micros(TIMES, &mut batch));
        let mut append = || {
            bare.write_all(rows.as_bytes()).unwrap();
            bare.sync_data().unwrap();
        };
        appended.push(median_micros(TIMES, &mut append));
    }
    drop((stream, replies));
    server.stop();
    row("a lone batch of 120, confirmed, median in µs", &confirmed);
    row("the same bytes, appended and synced, median in µs", &appended);
    row("... the one over the other", &ratios(&confirmed, &appended));
}

fn median_micros(times: usize, work: &mut impl FnMut()) -> f64 {
    let measured = (0..times).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1e6
    });
    median(&measured.collect::<Vec<_>>())
}

/// The draw, and the start of a server, over a file that is already there.
fn big_file(scratch: &Path, data: &Data, runs: usize) {
    let directory = tempfile::tempdir_in(scratch).unwrap();
    let bets = directory.path().join("bets.csv");
    let mut rows = std::io::BufWriter::new(File::create(&bets).unwrap());
    for (agency, file) in (1..).zip(data.files()) {
        for line in BufReader::new(File::open(file).unwrap()).lines() {
            let line = line.unwrap();
            // What is quoted would have to be written as the server does.
            if !line.contains('"') {
                writeln!(rows, "{agency},{}", line.trim_end()).unwrap();
            }
        }
    }
    rows.into_inner().unwrap().sync_all().unwrap();
    let (mut reads, mut adoptions, mut starts, mut draws) = (vec![], vec![], vec![], vec![]);
    for _ in 0..=runs {
        // The first start adopts the file: it checks every line and makes a journal.
        let server = Server::start(directory.path(), 5);
        adoptions.push(server.start.as_secs_f64() * 1e3);
        server.stop();
        reads.push(read_once(&bets).as_secs_f64() * 1e3);
        let server = Server::start(directory.path(), 5);
        starts.push(server.start.as_secs_f64() * 1e3);
        let mut agencies: Vec<TcpStream> =
            (1..=5).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
        for (agency, stream) in (1..).zip(&mut agencies) {
            if agency == 5 {
                // The hash of a file that was there at the start follows behind it: let it be ready.
                let reading = reads.last().copied().unwrap();
                std::thread::sleep(Duration::from_secs_f64(20.0 * reading / 1e3));
            }
            // All but the last have arrived when they are answered.
            stream.write_all(format!("ECO|a;GANADORES|{agency}\n").as_bytes()).unwrap();
            if agency < 5 {
                let mut echo = [0; "ECO|a\n".len()];
                stream.read_exact(&mut echo).unwrap();
            }
        }
        let start = Instant::now();
        let mut line = String::new();
        let mut last = BufReader::new(&agencies[4]);
        last.read_line(&mut line).unwrap();
        line.clear();
        last.read_line(&mut line).unwrap();
        draws.push(start.elapsed().as_secs_f64() * 1e3);
        assert!(line.starts_with("GANADORES|"), "{line}");
        server.stop();
        for name in ["sorteo.toml", "bets.journal"] {
            fs::remove_file(directory.path().join(name)).unwrap();
        }
    }
    // The first of each does not count.
    row("reading bets.csv once in 1 MiB pieces, ms", &reads[1..]);
    row("the draw, ms", &draws[1..]);
    row("... over reading", &ratios(&draws[1..], &reads[1..]));
    row("start without a journal, ms", &adoptions[1..]);
    row("start, ms", &starts[1..]);
    row("... over reading", &ratios(&starts[1..], &reads[1..]));
}

fn read_once(path: &Path) -> Duration {
    let mut piece = vec![0; 1 << 20];
    let mut file = File::open(path).unwrap();
    let start = Instant::now();
    while file.read(&mut piece).unwrap() > 0 {}
    start.elapsed()
}
