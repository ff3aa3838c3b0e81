//! Whole lotteries, by the two programs as they are built, beside what one thread needs to copy the same
//! rows from CSV to CSV, and beside what a user would take instead. Prints a table and writes it to
//! `docs/performance.csv`, which `scripts/plot-performance.py` makes a picture of.
//!
//! ```text
//! cargo bench [--features tls] --bench lottery -- [--bets N] [--runs N] [--from DIR] [--ten-thousand] [--only WORD]
//! ```
//!
//! Without `--from` the bets are those of `make_agencies`; with it, the files of that directory, repeated
//! until there are enough. Times are medians of runs that take turns, and what counts is their ratio. What is not
//! installed (Redis, PostgreSQL, SQLite) is skipped. `--ten-thousand` adds a draw of ten thousand
//! agencies, which needs `ulimit -n 11000`. `--only` measures only what has a word in its name, such as `one batch`, and
//! writes no file.

#![allow(clippy::print_stdout, reason = "to print is what a benchmark does")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing better to do")]

mod rivals;
mod table;
#[cfg(feature = "tls")]
mod tls;
#[path = "../whole/mod.rs"]
mod whole;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};
use table::{Contender, Options, Table, ratios};
use whole::{Certificates, Data, Lottery, Run, Server, median};

/// Stored here, a sync does nothing.
const MEMORY: &str = "/dev/shm";

/// The most that is stored one batch at a time, and by the rivals: their rates do not grow with the bets.
const SLOW_BETS: u64 = 500_000;

const LONE_BATCH: &str = "a lone batch";

/// What is divided by what.
const RATIOS: [(&str, &str); 12] = [
    ("loteria", "the csv crate's copy"),
    ("loteria in memory", "the csv crate's copy in memory"),
    ("loteria", "loteria at LOG_LEVEL=warn"),
    ("loteria with 500 agencies", "loteria"),
    ("loteria with 2,000 agencies", "loteria"),
    ("loteria in TLS", "loteria"),
    ("loteria with 500 agencies in TLS", "loteria with 500 agencies"),
    ("loteria, one batch at a time", "Redis, one batch at a time"),
    ("loteria's server, one batch at a time", "Redis, one batch at a time"),
    ("loteria", "Redis, pipelined"),
    ("loteria", "PostgreSQL"),
    ("loteria", "SQLite"),
];

fn main() {
    let options = Options::parse();
    let scratch = tempfile::tempdir().unwrap();
    let memory = tempfile::tempdir_in(MEMORY);
    let inputs = Inputs::new(&options, scratch.path());
    let memory = memory.as_ref().map(|memory| memory.path()).map_err(|_| "no /dev/shm");
    let mut contenders = contenders(&inputs, scratch.path(), memory);
    contenders.extend(rivals::rivals(scratch.path(), &inputs.equal));
    contenders.retain(|contender| options.wants(contender.name));
    let (bets, load) = (inputs.data.bets, fs::read_to_string("/proc/loadavg").unwrap());
    let load = load.split(' ').next().unwrap();
    println!("{bets} bets, {} runs, load average {load} at the start\n", options.runs);
    // The first of each does not count.
    for run in 0..=options.runs {
        for contender in &mut contenders {
            contender.run(run > 0);
        }
    }

    let mut table = Table::new();
    contenders.iter().for_each(|contender| table.rates(contender));
    for (over, under) in RATIOS {
        let [over, under] =
            [over, under].map(|name| contenders.iter().find(|contender| contender.name == name));
        if let (Some(over), Some(under)) = (over, under) {
            table.ratios(over, under);
        }
    }
    contenders.iter().for_each(|contender| table.peaks(contender));
    // Ends the rivals.
    drop(contenders);
    #[cfg(feature = "tls")]
    if let Ok(certificates) = &inputs.five_named
        && options.wants("connection")
    {
        tls::connections(&mut table, scratch.path(), certificates, options.runs);
    }
    if options.ten_thousand {
        ten_thousand(&mut table, scratch.path());
    }
    if options.wants(LONE_BATCH) {
        latency(&mut table, scratch.path(), options.runs);
    }
    if options.wants("draw") || options.wants("start") {
        big_file(&mut table, scratch.path(), &inputs.data, options.runs);
    }
    if options.only.is_none() {
        table.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.csv"));
    }
}

/// What the contenders store. An error says why it is not there.
struct Inputs {
    data: Data,
    /// The same bets of 500 and of 2,000 agencies.
    many: Data,
    most: Result<Data, &'static str>,
    /// Some of them, of five agencies with the same number of bets.
    equal: Data,
    five_named: Result<Certificates, &'static str>,
    many_named: Result<Certificates, &'static str>,
}

impl Inputs {
    fn new(options: &Options, scratch: &Path) -> Inputs {
        let data = match &options.from {
            Some(from) => Data::repeat(from, scratch, options.bets),
            None => Data::generate(scratch, 5, options.bets),
        };
        let certificates = |agencies| match cfg!(feature = "tls") {
            true => Ok(Certificates::generate(scratch, agencies)),
            false => Err("needs --features tls"),
        };
        Inputs {
            many: data.split(scratch, 500, data.bets),
            most: enough_files(2_100, "needs ulimit -n 2100")
                .map(|()| data.split(scratch, 2_000, data.bets)),
            equal: data.split(scratch, 5, SLOW_BETS),
            five_named: certificates(5),
            many_named: certificates(500),
            data,
        }
    }
}

fn contenders<'s>(
    inputs: &'s Inputs,
    scratch: &'s Path,
    memory: Result<&'s Path, &'static str>,
) -> Vec<Contender<'s>> {
    let Inputs { data, many, most, equal, five_named, many_named } = inputs;
    let copy = |name, to: Result<&'s Path, _>| {
        let run = move |to| Run { time: data.copy(to), peak_kib: 0 };
        Contender::new(name, data.bets, to.map(|to| move || run(to)))
    };
    let run = |name, lottery: Result<Lottery<'s>, _>, to: Result<&'s Path, _>| {
        let bets = lottery.as_ref().map_or(0, |lottery| lottery.data.bets);
        let run = lottery.and_then(|lottery| Ok((lottery, to?)));
        Contender::new(name, bets, run.map(|(lottery, to)| move || lottery.run(to)))
    };
    let of = Lottery::over;
    let in_tls = |data, named: &'s Result<Certificates, &'static str>| {
        let named = named.as_ref().map_err(|why| *why)?;
        Ok(Lottery { certificates: Some(named), ..of(data) })
    };
    let most = most.as_ref().map_err(|why| *why);
    let one_at_a_time = Lottery { window: Some(1), ..of(equal) };
    let quiet = Lottery { log_level: Some("warn"), ..of(data) };
    vec![
        copy("the csv crate's copy", Ok(scratch)),
        run("loteria", Ok(of(data)), Ok(scratch)),
        run("loteria at LOG_LEVEL=warn", Ok(quiet), Ok(scratch)),
        copy("the csv crate's copy in memory", memory),
        run("loteria in memory", Ok(of(data)), memory),
        run("loteria with 500 agencies", Ok(of(many)), Ok(scratch)),
        run("loteria with 2,000 agencies", most.map(of), Ok(scratch)),
        run("loteria in TLS", in_tls(data, five_named), Ok(scratch)),
        run("loteria with 500 agencies in TLS", in_tls(many, many_named), Ok(scratch)),
        run("loteria, one batch at a time", Ok(one_at_a_time), Ok(scratch)),
    ]
}

/// Whether both programs may have so many connections.
fn enough_files(least: u64, why_not: &'static str) -> Result<(), &'static str> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let files = files.split_whitespace().next().unwrap().parse().unwrap_or(u64::MAX);
    if files < least { Err(why_not) } else { Ok(()) }
}

/// Ten thousand agencies with a hundred bets each, once.
fn ten_thousand(table: &mut Table, scratch: &Path) {
    let time = "10,000 agencies of 100 bets, one draw, s";
    if let Err(why) = enough_files(11_000, "needs ulimit -n 11000") {
        return table.skipped(time, why);
    }
    let data = Data::generate(scratch, 5, 1_000_000).split(scratch, 10_000, 1_000_000);
    let run = Lottery::over(&data).run(scratch);
    table.row(time, &[run.time.as_secs_f64()]);
    table.row("server's peak memory, 10,000 agencies, MiB", &[run.peak_kib as f64 / 1024.0]);
}

/// One batch at a time by one agency, and the same bytes appended and synced by nobody but this.
fn latency(table: &mut Table, scratch: &Path, runs: usize) {
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
    // The server looks for its files by their names until their directory has not changed for a while.
    std::thread::sleep(Duration::from_millis(300));
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
    table.row(&format!("{LONE_BATCH} of 120, confirmed, median in µs"), &confirmed);
    table.row("the same bytes, appended and synced, median in µs", &appended);
    table.row(&format!("{LONE_BATCH} over append and sync"), &ratios(&confirmed, &appended));
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
fn big_file(table: &mut Table, scratch: &Path, data: &Data, runs: usize) {
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
    let mut later_starts = vec![];
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
        let server = Server::start(directory.path(), 5);
        later_starts.push(server.start.as_secs_f64() * 1e3);
        server.stop();
        for name in ["sorteo.toml", "bets.journal"] {
            fs::remove_file(directory.path().join(name)).unwrap();
        }
    }
    // The first of each does not count.
    table.row("reading bets.csv once in 1 MiB pieces, ms", &reads[1..]);
    table.row("the draw, ms", &draws[1..]);
    table.row("the draw over reading", &ratios(&draws[1..], &reads[1..]));
    table.row("start without a journal, ms", &adoptions[1..]);
    table.row("start, ms", &starts[1..]);
    table.row("start over reading", &ratios(&starts[1..], &reads[1..]));
    table.row("start after the draw, ms", &later_starts[1..]);
    table.row("start after the draw over reading", &ratios(&later_starts[1..], &reads[1..]));
}

fn read_once(path: &Path) -> Duration {
    let mut piece = vec![0; 1 << 20];
    let mut file = File::open(path).unwrap();
    let start = Instant::now();
    while file.read(&mut piece).unwrap() > 0 {}
    start.elapsed()
}
