//! What a user would take instead: Redis, PostgreSQL and SQLite, which store the same rows durably on the same
//! disk, 120 rows a command or a transaction. Each runs with its own defaults, in a directory of the benchmark's,
//! and gets its input ready made: what its client would need to read files and check bets is not counted. The
//! server of the lottery gets the same client as Redis.

use super::table::Contender;
use super::whole::{Data, Run, Server, free_port};
use loteria::bet::AgencyId;
use loteria::bet::row::Fields;
use loteria::protocol::BatchWriter;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BATCH: usize = 120;

/// Of bets.csv, which is that of the two SQL databases too.
const CREATE_TABLE: &str = "CREATE TABLE bets (agency integer, first_name text, last_name text, document text, \
     birthdate date, number integer);";

/// All rivals over the bets of `data`.
pub(crate) fn rivals<'s>(scratch: &'s Path, data: &Data) -> Vec<Contender<'s>> {
    let batches: Vec<Vec<String>> = (1..).zip(data.files()).map(batches).collect();
    let bets = data.bets;
    let rival = |name, store: Result<Store<'s>, _>| {
        let run = |store: Store<'s>| move || Run { time: store(), peak_kib: 0 };
        Contender::new(name, bets, store.map(run))
    };
    let messages: Vec<Vec<String>> = (1..).zip(data.files()).map(messages).collect();
    let server: Store<'s> = Box::new(move || server(scratch, &messages));
    let redis = |commands_at_once| -> Result<Store<'s>, _> {
        let program = installed("redis-server").ok_or("redis-server is not installed")?;
        let commands = commands(&batches);
        Ok(Box::new(move || redis(&program, scratch, &commands, commands_at_once)))
    };
    let postgres = || -> Result<Store<'s>, _> {
        let postgres = Postgres::start(scratch, &batches)?;
        Ok(Box::new(move || postgres.store(bets)))
    };
    let sqlite = || -> Result<Store<'s>, _> {
        let program = installed("sqlite3").ok_or("sqlite3 is not installed")?;
        let script = scratch.join("sqlite.sql");
        write_sqlite(&script, &batches);
        Ok(Box::new(move || sqlite(&program, scratch, &script, bets)))
    };
    vec![
        rival("loteria's server, one batch at a time", Ok(server)),
        rival("Redis, one batch at a time", redis(1)),
        rival("Redis, pipelined", redis(usize::MAX)),
        rival("PostgreSQL", postgres()),
        rival("SQLite", sqlite()),
    ]
}

/// Stores all rows, and returns the time.
type Store<'s> = Box<dyn Fn() -> Duration + 's>;

/// The rows of bets.csv that an agency's file becomes, in batches.
fn batches((agency, file): (usize, PathBuf)) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let rows: Vec<String> = text.lines().map(|line| format!("{agency},{line}\n")).collect();
    rows.chunks(BATCH).map(<[String]>::concat).collect()
}

/// The messages of an agency's file, of a batch each.
fn messages((agency, file): (u16, PathBuf)) -> Vec<String> {
    let agency = AgencyId::new(agency).unwrap();
    let mut writer = BatchWriter::new(agency, u32::try_from(BATCH).unwrap());
    for line in fs::read_to_string(file).unwrap().lines() {
        writer.push(agency, Fields::parse(line.as_bytes()).unwrap().bet().unwrap());
    }
    writer.close();
    let messages = std::str::from_utf8(writer.messages()).unwrap();
    messages.split_inclusive('\n').map(str::to_owned).collect()
}

/// The server of the lottery, with the client that Redis has: no file is read, no bet checked before it is sent, and
/// there is no draw.
fn server(scratch: &Path, messages: &[Vec<String>]) -> Duration {
    let directory = tempfile::tempdir_in(scratch).unwrap();
    let server = Server::start(directory.path(), messages.len());
    let connect = |_| TcpStream::connect(&server.address).unwrap();
    let streams: Vec<TcpStream> = messages.iter().map(connect).collect();
    let reply =
        |_, message: &str| format!("CONFIRMARAPUESTA|{}", message.matches("APUESTA|").count());
    let time = converse(&streams, messages, 1, reply);
    server.stop();
    time
}

/// Sends the commands of each connection in a thread of its own, which waits for the replies after so many of them.
/// `reply` is the one to a command, given with its number from 1.
fn converse(
    streams: &[TcpStream],
    commands: &[Vec<String>],
    commands_at_once: usize,
    reply: impl Fn(usize, &str) -> String + Sync,
) -> Duration {
    let reply = &reply;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (commands, mut stream) in commands.iter().zip(streams) {
            scope.spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut replies = BufReader::new(stream).lines();
                let mut stored = 0;
                for chunk in commands.chunks(commands_at_once) {
                    stream.write_all(chunk.concat().as_bytes()).unwrap();
                    for command in chunk {
                        stored += 1;
                        assert_eq!(replies.next().unwrap().unwrap(), reply(stored, command));
                    }
                }
            });
        }
    });
    start.elapsed()
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.exists())
}

/// A process that ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let id = self.0.id().to_string();
        let _ = Command::new("kill").args(["-INT", &id]).status();
        let _ = self.0.wait();
    }
}

/// Calls `work` until it has worked out.
fn retry<T>(mut work: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = work() {
            return value;
        }
        assert!(Instant::now() < deadline, "a rival did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A command for each batch: it is appended to the list of its agency.
fn commands(batches: &[Vec<String>]) -> Vec<Vec<String>> {
    let command = |agency: usize, rows: &String| {
        format!("*3\r\n$5\r\nRPUSH\r\n$1\r\n{agency}\r\n${}\r\n{rows}\r\n", rows.len())
    };
    let of_agency = |(agency, batches): (usize, &Vec<String>)| {
        batches.iter().map(|rows| command(agency, rows)).collect()
    };
    (1..).zip(batches).map(of_agency).collect()
}

/// A connection for each agency, which waits for the replies after so many commands.
fn redis(
    program: &Path,
    scratch: &Path,
    commands: &[Vec<String>],
    commands_at_once: usize,
) -> Duration {
    let directory = tempfile::tempdir_in(scratch).unwrap();
    let port = free_port();
    let child = Command::new(program)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .args(["--auto-aof-rewrite-percentage", "0"])
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .spawn();
    let _server = Process(child.unwrap());
    let connect = |_| retry(|| TcpStream::connect(("127.0.0.1", port)).ok());
    let streams: Vec<TcpStream> = commands.iter().map(connect).collect();
    converse(&streams, commands, commands_at_once, |stored, _| format!(":{stored}"))
}

/// A cluster with one database.
struct Postgres {
    _server: Process,
    psql: PathBuf,
    port: String,
    /// For each agency.
    scripts: Vec<PathBuf>,
}

impl Postgres {
    fn start(scratch: &Path, batches: &[Vec<String>]) -> Result<Postgres, &'static str> {
        let programs = postgres_programs().ok_or("postgres is not installed")?;
        let directory = scratch.join("postgres");
        fs::create_dir(&directory).unwrap();
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let command = |program| {
            let program = programs.join(program);
            let mut command = Command::new(if is_root { "setpriv".as_ref() } else { &*program });
            if is_root {
                // It refuses to run as root.
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
            }
            command.current_dir(&directory).stdout(Stdio::null()).stderr(Stdio::null());
            command.arg("-D").arg(directory.join("cluster"));
            command
        };
        if is_root {
            chown(&directory, Some(65_534), Some(65_534)).unwrap();
            fs::set_permissions(scratch, fs::Permissions::from_mode(0o711)).unwrap();
        }
        let options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"];
        if !command("initdb").args(options).status().is_ok_and(|status| status.success()) {
            return Err("initdb failed");
        }
        let port = free_port().to_string();
        let server = command("postgres")
            .args(["-p", &port, "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .spawn();
        let scripts = (1..).zip(batches).map(|(agency, batches)| {
            let path = scratch.join(format!("postgres-{agency}.sql"));
            let transaction =
                |rows: &String| format!("COPY bets FROM STDIN (FORMAT csv);\n{rows}\\.\n");
            fs::write(&path, batches.iter().map(transaction).collect::<String>()).unwrap();
            path
        });
        let postgres = Postgres {
            _server: Process(server.unwrap()),
            psql: programs.join("psql"),
            port,
            scripts: scripts.collect(),
        };
        retry(|| postgres.query("SELECT 1"));
        Ok(postgres)
    }

    fn psql(&self) -> Command {
        let mut command = Command::new(&self.psql);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]);
        command.args(["-p", &self.port, "-U", "postgres", "-d", "postgres"]);
        command
    }

    fn query(&self, sql: &str) -> Option<String> {
        let output = self.psql().args(["-c", sql]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    /// A connection for each agency, with a COPY for each batch, which is a transaction.
    fn store(&self, bets: u64) -> Duration {
        self.query("DROP TABLE IF EXISTS bets").unwrap();
        self.query(CREATE_TABLE).unwrap();
        self.query("CHECKPOINT").unwrap();
        let start = Instant::now();
        let begin = |script| self.psql().stdin(File::open(script).unwrap()).spawn().unwrap();
        let clients: Vec<Child> = self.scripts.iter().map(begin).collect();
        for mut client in clients {
            assert!(client.wait().unwrap().success(), "PostgreSQL stores all rows");
        }
        let time = start.elapsed();
        assert_eq!(self.query("SELECT count(*) FROM bets").unwrap().trim(), bets.to_string());
        time
    }
}

/// The directory of its programs. Debian has one for each version, which is not in the PATH.
fn postgres_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions.map(|version| version.unwrap().path().join("bin/initdb")).max();
    let initdb = newest.or_else(|| installed("initdb")?.canonicalize().ok())?;
    let programs = initdb.parent()?.to_owned();
    programs.join("psql").exists().then_some(programs)
}

/// One connection with a transaction for each batch, because SQLite has one writer at a time.
fn sqlite(program: &Path, scratch: &Path, script: &Path, bets: u64) -> Duration {
    let directory = tempfile::tempdir_in(scratch).unwrap();
    let sqlite = |input: Stdio, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(["-batch", "-bail", "bets.db"]).args(arguments);
        let output = command.stdin(input).current_dir(directory.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let script = File::open(script).unwrap();
    let start = Instant::now();
    let mode = sqlite(script.into(), &[]);
    let time = start.elapsed();
    let stored = sqlite(Stdio::null(), &["SELECT count(*) FROM bets"]);
    assert_eq!((mode.trim(), stored.trim()), ("wal", bets.to_string().as_str()));
    time
}

fn write_sqlite(path: &Path, batches: &[Vec<String>]) {
    let mut script = "PRAGMA journal_mode=WAL;\nPRAGMA synchronous=FULL;\n".to_owned();
    script += CREATE_TABLE;
    for rows in batches.iter().flatten() {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(rows.as_bytes());
        let values = reader.records().map(|record| {
            let record = record.unwrap();
            let fields = record.iter().map(|field| format!("'{}'", field.replace('\'', "''")));
            format!("({})", fields.collect::<Vec<_>>().join(","))
        });
        let values = values.collect::<Vec<_>>().join(",");
        script += &format!("\nBEGIN; INSERT INTO bets VALUES {values}; COMMIT;");
    }
    script += "\n";
    fs::write(path, script).unwrap();
}
