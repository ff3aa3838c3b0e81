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

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const CLIENT: &str = env!("CARGO_BIN_EXE_client");

fn main() {
    let options = Options::parse();
    let scratch = tempfile::tempdir().unwrap();
    let data = Data::make(&options, scratch.path(), 5);
    let many = Data::make(&Options { from: None, ..options.clone() }, scratch.path(), 500);
    println!("{} bets of 5 agencies, {} of 500, {} runs\n", data.bets, many.bets, options.runs);
    println!("| figure | median | least | most |");
    println!("|---|---|---|---|");

    let run = || Lottery { data: &data, window: None }.run(scratch.path());
    let copy = || data.copy(scratch.path());
    // One of each that does not count.
    let _warm = (copy(), run());
    let (mut copies, mut runs, mut lone, mut fives, mut fivehundreds) =
        (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..options.runs {
        copies.push(copy());
        runs.push(run());
        lone.push(Lottery { data: &data, window: Some(1) }.run(scratch.path()));
        fives.push(
            Lottery { data: &many.of_five(scratch.path()), window: None }.run(scratch.path()),
        );
        fivehundreds.push(Lottery { data: &many, window: None }.run(scratch.path()));
    }
    let rate = |bets: u64, time: Duration| bets as f64 / time.as_secs_f64() / 1e6;
    let rates =
        |bets, runs: &[Run]| runs.iter().map(|run| rate(bets, run.time)).collect::<Vec<_>>();
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

#[derive(Clone)]
struct Options {
    bets: u64,
    runs: usize,
    from: Option<PathBuf>,
}

impl Options {
    fn parse() -> Options {
        let mut options = Options { bets: 2_000_000, runs: 7, from: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bets" => options.bets = arguments.next().unwrap().parse().unwrap(),
                "--runs" => options.runs = arguments.next().unwrap().parse().unwrap(),
                "--from" => options.from = Some(arguments.next().unwrap().into()),
                // What cargo says by itself.
                "--bench" => {}
                other => panic!("no such option: {other}"),
            }
        }
        options
    }
}

/// The files of some agencies.
struct Data {
    directory: PathBuf,
    agencies: usize,
    bets: u64,
}

impl Data {
    fn make(options: &Options, scratch: &Path, agencies: usize) -> Data {
        let directory = scratch.join(format!("agencies-{agencies}"));
        fs::create_dir(&directory).unwrap();
        match &options.from {
            Some(from) => repeat(from, &directory, agencies, options.bets),
            None => generate(&directory, agencies, options.bets),
        }
        let data = Data { directory, agencies, bets: 0 };
        let bets = data.files().map(|file| lines(&fs::read(file).unwrap())).sum();
        Data { bets, ..data }
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        (1..=self.agencies).map(|agency| self.directory.join(format!("agency-{agency}.csv")))
    }

    /// The same bets by five agencies.
    fn of_five(&self, scratch: &Path) -> Data {
        let directory = scratch.join("agencies-as-5");
        let five = Data { directory, agencies: 5, bets: self.bets };
        if !five.directory.exists() {
            fs::create_dir(&five.directory).unwrap();
            let files: Vec<PathBuf> = self.files().collect();
            for (file, own) in five.files().zip(files.chunks(files.len().div_ceil(5))) {
                let mut all = File::create(file).unwrap();
                for own in own {
                    let text = fs::read(own).unwrap();
                    all.write_all(&text).unwrap();
                    if !text.ends_with(b"\n") {
                        all.write_all(b"\n").unwrap();
                    }
                }
            }
        }
        five
    }

    /// The time that one thread needs to read all rows and write them into one file.
    fn copy(&self, scratch: &Path) -> Duration {
        let start = Instant::now();
        let to = scratch.join("copy.csv");
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_path(&to).unwrap();
        let mut record = csv::ByteRecord::new();
        for file in self.files() {
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(file).unwrap();
            while reader.read_byte_record(&mut record).unwrap() {
                writer.write_byte_record(&record).unwrap();
            }
        }
        writer.flush().unwrap();
        let time = start.elapsed();
        fs::remove_file(to).unwrap();
        time
    }
}

fn generate(directory: &Path, agencies: usize, bets: u64) {
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--release", "--example", "make_agencies", "--"])
        .args(["--agencies", &agencies.to_string(), "--bets", &bets.to_string()])
        .arg(directory)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(status.unwrap().success(), "no bets could be made");
}

fn repeat(from: &Path, directory: &Path, agencies: usize, bets: u64) {
    let name = |agency| format!("agency-{agency}.csv");
    let texts: Vec<Vec<u8>> =
        (1..=agencies).map(|agency| fs::read(from.join(name(agency))).unwrap()).collect();
    let times = bets.div_ceil(texts.iter().map(|text| lines(text)).sum());
    for (agency, text) in (1..).zip(texts) {
        let mut file = File::create(directory.join(name(agency))).unwrap();
        for _ in 0..times {
            file.write_all(&text).unwrap();
        }
    }
}

fn lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
        + u64::from(!text.is_empty() && !text.ends_with(b"\n"))
}

/// One lottery from nothing to the winners.
struct Lottery<'d> {
    data: &'d Data,
    window: Option<u32>,
}

struct Run {
    /// From the start of the client to its end.
    time: Duration,
    /// The server's, as the system counts it.
    peak_kib: u64,
}

impl Lottery<'_> {
    fn run(&self, scratch: &Path) -> Run {
        let directory = tempfile::tempdir_in(scratch).unwrap();
        let server = Server::start(directory.path(), self.data.agencies);
        let mut client = Command::new(CLIENT);
        client.env_clear().current_dir(directory.path());
        client.env("CLI_AGENCIES_DIR", &self.data.directory);
        client.env("CLI_SERVER_ADDRESS", &server.address);
        if let Some(window) = self.window {
            client.env("CLI_WINDOW", window.to_string());
        }
        client.stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = client.status().unwrap();
        let time = start.elapsed();
        assert!(status.success(), "the client failed");
        let peak_kib = server.peak_kib();
        server.stop();
        let stored = lines(&fs::read(directory.path().join("bets.csv")).unwrap());
        assert_eq!(stored, self.data.bets, "every bet is stored");
        Run { time, peak_kib }
    }
}

/// A server in a directory of its own.
struct Server {
    child: Child,
    address: String,
    /// From its start until it accepts.
    start: Duration,
}

impl Server {
    fn start(directory: &Path, agencies: usize) -> Server {
        let log = directory.join("server.log");
        let start = Instant::now();
        let mut child = Command::new(SERVER)
            .args(["--address", "127.0.0.1:0", "--agencies", &agencies.to_string()])
            .env_clear()
            .env("SERVER_MAX_CONNECTIONS", "10000")
            .current_dir(directory)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server did not start");
            if line.contains("accept_connections | result: in_progress") {
                break line.trim_end().rsplit(' ').next().unwrap().to_owned();
            }
        };
        let start = start.elapsed();
        // The log is written to a file, as it would be.
        let mut log = File::create(log).unwrap();
        std::thread::spawn(move || std::io::copy(&mut lines, &mut log));
        Server { child, address, start }
    }

    fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        assert!(self.child.wait().unwrap().success(), "the server failed");
    }
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
            writeln!(rows, "{agency},{}", line.unwrap().trim_end()).unwrap();
        }
    }
    rows.into_inner().unwrap().sync_all().unwrap();
    let (mut reads, mut starts, mut draws) = (vec![], vec![], vec![]);
    for _ in 0..=runs {
        reads.push(read_once(&bets).as_secs_f64() * 1e3);
        let server = Server::start(directory.path(), 5);
        starts.push(server.start.as_secs_f64() * 1e3);
        let mut agencies: Vec<TcpStream> =
            (1..=5).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
        for (agency, stream) in (1..).zip(&mut agencies) {
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
        fs::remove_file(directory.path().join("sorteo.toml")).unwrap();
    }
    // The first of each does not count.
    row("reading bets.csv once in 1 MiB pieces, ms", &reads[1..]);
    row("the draw, ms", &draws[1..]);
    row("... over reading", &ratios(&draws[1..], &reads[1..]));
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

fn ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    over.iter().zip(under).map(|(over, under)| over / under).collect()
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn row(figure: &str, figures: &[f64]) {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    println!("| {figure} | {:.2} | {least:.2} | {most:.2} |", median(figures));
}
