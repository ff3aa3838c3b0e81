//! What the benchmarks of whole lotteries share: data, servers, runs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// The files of some agencies.
pub(crate) struct Data {
    directory: PathBuf,
    agencies: usize,
    pub(crate) bets: u64,
}

impl Data {
    /// Files of so many agencies with so many bets in all, made by `make_agencies`.
    pub(crate) fn generate(scratch: &Path, agencies: usize, bets: u64) -> Data {
        let directory = scratch.join(format!("agencies-{agencies}-{bets}"));
        generate(&directory, agencies, bets);
        Data { directory, agencies, bets }
    }

    /// The five files of `from`, repeated until there are as many bets.
    #[allow(dead_code, reason = "not every benchmark repeats files")]
    pub(crate) fn repeat(from: &Path, scratch: &Path, bets: u64) -> Data {
        let directory = scratch.join("agencies-repeated");
        fs::create_dir(&directory).unwrap();
        let bets = repeat(from, &directory, 5, bets);
        Data { directory, agencies: 5, bets }
    }

    /// Gives the disk back.
    #[allow(dead_code, reason = "not every benchmark is short of disk")]
    pub(crate) fn remove(self) {
        fs::remove_dir_all(self.directory).unwrap();
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        (1..=self.agencies).map(|agency| self.directory.join(format!("agency-{agency}.csv")))
    }

    /// The first `bets` of these bets, by `agencies` agencies that have the same number of them.
    #[allow(dead_code, reason = "not every benchmark compares numbers of agencies")]
    pub(crate) fn split(&self, scratch: &Path, agencies: usize, bets: u64) -> Data {
        let bets = bets.min(self.bets);
        let split =
            Data { directory: scratch.join(format!("agencies-{agencies}-equal")), agencies, bets };
        fs::create_dir(&split.directory).unwrap();
        let mut lines = self.files().flat_map(|file| {
            let lines = BufReader::new(File::open(file).unwrap()).lines();
            lines.map(|line| line.unwrap())
        });
        for (agency, file) in (0..).zip(split.files()) {
            let mut file = BufWriter::new(File::create(file).unwrap());
            let place = |agency| agency * bets / agencies as u64;
            let share = usize::try_from(place(agency + 1) - place(agency)).unwrap();
            for line in lines.by_ref().take(share) {
                writeln!(file, "{}", line.trim_end()).unwrap();
            }
            file.flush().unwrap();
        }
        split
    }

    /// The time that one thread needs to read all rows and write them into one file.
    #[allow(dead_code, reason = "not every benchmark compares with it")]
    pub(crate) fn copy(&self, scratch: &Path) -> Duration {
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
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success(), "no bets could be made");
}

fn repeat(from: &Path, directory: &Path, agencies: usize, bets: u64) -> u64 {
    let name = |agency| format!("agency-{agency}.csv");
    let texts: Vec<Vec<u8>> =
        (1..=agencies).map(|agency| fs::read(from.join(name(agency))).unwrap()).collect();
    let once: u64 = texts.iter().map(|text| lines(text)).sum();
    let times = bets.div_ceil(once);
    for (agency, text) in (1..).zip(texts) {
        let mut file = File::create(directory.join(name(agency))).unwrap();
        for _ in 0..times {
            file.write_all(&text).unwrap();
        }
    }
    times * once
}

fn lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
        + u64::from(!text.is_empty() && !text.ends_with(b"\n"))
}

/// One lottery from nothing to the winners.
pub(crate) struct Lottery<'d> {
    pub(crate) data: &'d Data,
    pub(crate) window: Option<u32>,
    pub(crate) batch_max_amount: Option<u32>,
    /// For both programs.
    pub(crate) log_level: Option<&'d str>,
    /// With certificates it is in TLS.
    pub(crate) certificates: Option<&'d Certificates>,
}

pub(crate) struct Run {
    /// From the start of the client to its end.
    pub(crate) time: Duration,
    /// The server's, as the system counts it.
    pub(crate) peak_kib: u64,
}

impl<'d> Lottery<'d> {
    /// A lottery with nothing but defaults.
    pub(crate) fn over(data: &'d Data) -> Lottery<'d> {
        Lottery { data, window: None, batch_max_amount: None, log_level: None, certificates: None }
    }

    /// Runs it in a directory of its own below `scratch`.
    pub(crate) fn run(&self, scratch: &Path) -> Run {
        let directory = tempfile::tempdir_in(scratch).unwrap();
        let both = |program: &mut Command, name| {
            if let Some(level) = self.log_level {
                program.env("LOG_LEVEL", level);
            }
            if let Some(certificates) = self.certificates {
                certificates.show(program, name);
            }
        };
        let server = Server::start_with(directory.path(), self.data.agencies, |server| {
            both(server, "server");
        });
        let mut client = Command::new(CLIENT);
        client.env_clear().current_dir(directory.path());
        client.env("CLI_AGENCIES_DIR", &self.data.directory);
        client.env("CLI_SERVER_ADDRESS", &server.address);
        if let Some(window) = self.window {
            client.env("CLI_WINDOW", window.to_string());
        }
        if let Some(amount) = self.batch_max_amount {
            client.env("CLI_BATCH_MAX_AMOUNT", amount.to_string());
        }
        both(&mut client, "agencies");
        client.stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = client.status().unwrap();
        let time = start.elapsed();
        assert!(status.success(), "the client failed");
        let peak_kib = server.peak_kib();
        server.stop();
        let stored = lines_of(&directory.path().join("bets.csv"));
        assert_eq!(stored, self.data.bets, "every bet is stored");
        Run { time, peak_kib }
    }
}

/// What `scripts/generar-certificados.sh` makes.
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    /// For so many agencies.
    #[allow(dead_code, reason = "not every benchmark is about TLS")]
    pub(crate) fn generate(scratch: &Path, agencies: usize) -> Certificates {
        let directory = scratch.join(format!("tls-{agencies}"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/generar-certificados.sh");
        let mut command = Command::new(script);
        command.arg(&directory).arg(agencies.to_string()).stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "no certificates could be made");
        Certificates(directory)
    }

    #[allow(dead_code, reason = "not every benchmark is about TLS")]
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// Gives `program` the certificate `name`.
    pub(crate) fn show(&self, program: &mut Command, name: &str) {
        program.env("TLS_CERTIFICATE", self.0.join(format!("{name}.pem")));
        program.env("TLS_KEY", self.0.join(format!("{name}.key")));
        program.env("TLS_AUTHORITY", self.0.join("authority.pem"));
    }
}

/// A server in a directory of its own.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    /// From its start until it answers.
    #[allow(dead_code, reason = "not every benchmark looks at it")]
    pub(crate) start: Duration,
}

impl Server {
    #[allow(dead_code, reason = "not every benchmark starts one by itself")]
    pub(crate) fn start(directory: &Path, agencies: usize) -> Server {
        Server::start_with(directory, agencies, |_| {})
    }

    /// A server with more settings. Its log is in `server.log`.
    pub(crate) fn start_with(
        directory: &Path,
        agencies: usize,
        settings: impl FnOnce(&mut Command),
    ) -> Server {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(SERVER);
        command
            .args(["--address", &address, "--agencies", &agencies.to_string()])
            .env_clear()
            .env("SERVER_MAX_CONNECTIONS", "20000")
            .current_dir(directory)
            .stdout(Stdio::null())
            .stderr(File::create(directory.join("server.log")).unwrap());
        settings(&mut command);
        let start = Instant::now();
        let mut child = command.spawn().unwrap();
        // One in TLS answers with an alert.
        while ask(&address).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the server did not start");
            std::thread::sleep(Duration::from_micros(100));
        }
        Server { child, address, start: start.elapsed() }
    }

    pub(crate) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        assert!(self.child.wait().unwrap().success(), "the server failed");
    }
}

/// Any answer, or the end of the connection.
fn ask(address: &str) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"ECO|a\n")?;
    stream.read(&mut [0; 64])
}

/// A port below those that the system gives to connections, so that no connection to it can meet itself.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The lines of a file, however large.
fn lines_of(path: &Path) -> u64 {
    let mut piece = vec![0; 1 << 20];
    let mut file = File::open(path).unwrap();
    let mut count = 0;
    loop {
        match file.read(&mut piece).unwrap() {
            0 => return count,
            bytes => count += memchr::memchr_iter(b'\n', &piece[..bytes]).count() as u64,
        }
    }
}

/// The one in the middle.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
