//! At stake: that a test never hangs, never leaves a process behind, and shows what its programs said
//! when it fails. Programs start with an empty environment, and everything they write is captured.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before the test fails: plenty for a busy machine.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);
/// How long a program may take from its signal to its end. The promise is a second; the rest is for a
/// busy machine. A stop that waited for a silent newcomer would take ten.
const STOPS_WITHIN: Duration = Duration::from_secs(9);
/// Between two looks at something that cannot be waited for.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// A directory of the test's own.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        Scratch(tempfile::tempdir().expect("a scratch directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        let directory = path.parent().expect("a file is in a directory");
        fs::create_dir_all(directory).expect("the directories of a scratch file");
        fs::write(&path, text).expect("a scratch file can be written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// What the file holds; nothing where it is not there.
    pub(crate) fn read_if_there(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("the scratch directory");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.expect("an entry").file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    /// A server on a port of its own.
    pub(crate) fn server(&self) -> Start {
        self.bare_server().variable("SERVER_ADDRESS", "127.0.0.1:0")
    }

    /// A server of another user, whom a limit on threads can stop: root has none, and for a user of other programs their
    /// threads count too. `None` where it cannot run.
    pub(crate) fn server_of(&self, user: u32) -> Option<Start> {
        self.of(user, self.server())
    }

    /// The same program of another user. `None` where it cannot run.
    pub(crate) fn of(&self, user: u32, program: Start) -> Option<Start> {
        let user = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()];
        let words = ["setpriv", &user[0], &user[1], &user[2]];
        let mut probe = Command::new(words[0]);
        probe.args(&words[1..]).args(["test", "-x"]).arg(program.executable());
        if !probe.output().is_ok_and(|output| output.status.success()) {
            not_tried("other user who can run the programs");
            return None;
        }
        fs::set_permissions(self.path(""), PermissionsExt::from_mode(0o777)).expect("its own");
        Some(program.started_by(&words))
    }

    /// A client of the server at `address`.
    pub(crate) fn client(&self, address: &str) -> Start {
        let client = self.bare_client().variable("CLI_SERVER_ADDRESS", address);
        client.variable("CLI_RETRY_FOR_MS", "30000")
    }

    pub(crate) fn bare_server(&self) -> Start {
        self.program("server", SERVER)
    }

    pub(crate) fn bare_client(&self) -> Start {
        self.program("client", CLIENT)
    }

    fn program(&self, name: &str, executable: &str) -> Start {
        let mut command = Command::new(executable);
        command.current_dir(self.0.path()).env_clear();
        Start { name: name.to_owned(), ..Start::of(command) }
    }
}

/// An address that a server can come back to: not one that the system gives to outgoing connections, which
/// could take it meanwhile.
pub(crate) fn lasting_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 16_000;
    // Another run of these tests at the same time begins elsewhere.
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("less than 16000");
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return format!("127.0.0.1:{port}");
        }
    }
    panic!("no free port");
}

/// Says that something was not tried, where it cannot be overlooked.
pub(crate) fn skipped(what: &str, missing: &str) {
    // Not by `eprintln`, which the test runner keeps to itself where a test passes; and in one piece.
    let text = format!("\nSKIPPED, NOT TESTED: {what}: no {missing} here\n");
    std::io::stderr().write_all(text.as_bytes()).expect("somebody who reads it");
}

/// Says that the test of this thread was not tried, or only in part.
pub(crate) fn not_tried(missing: &str) {
    skipped(thread::current().name().unwrap_or("a test"), missing);
}

/// Whether these words start another program here, as `strace` with its arguments does where it may.
pub(crate) fn starts_programs(words: &[&str]) -> bool {
    let probe = Command::new(words[0]).args(&words[1..]).arg("true").output();
    let starts = probe.is_ok_and(|output| output.status.success());
    if !starts {
        not_tried(&format!("{} that starts programs", words[0]));
    }
    starts
}

/// A program about to be started.
pub(crate) struct Start {
    name: String,
    command: Command,
}

impl Start {
    /// Any other program than the two.
    pub(crate) fn of(mut command: Command) -> Start {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Start { name: format!("{command:?}"), command }
    }

    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Start {
        self.command.args(arguments);
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Start {
        self.command.env(name, value);
        self
    }

    pub(crate) fn variables(self, variables: &[(&str, &str)]) -> Start {
        variables.iter().fold(self, |start, (name, value)| start.variable(name, value))
    }

    /// The same within limits, as the shell's `ulimit` sets them.
    pub(crate) fn limited(self, limits: &str) -> Start {
        self.started_by(&["/bin/sh", "-c", &format!("ulimit {limits} && exec \"$0\" \"$@\"")])
    }

    /// The same, started by another program, whose last arguments it is.
    pub(crate) fn started_by(self, words: &[&str]) -> Start {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.command.get_program()).args(self.command.get_args());
        self.replaced_by(command)
    }

    /// The program itself, before it is started by another.
    pub(crate) fn executable(&self) -> PathBuf {
        self.command.get_program().into()
    }

    /// The same environment and directory for another program, which starts this one.
    fn replaced_by(self, mut command: Command) -> Start {
        command.env_clear();
        for (name, value) in self.command.get_envs() {
            command.env(name, value.expect("no variable is removed"));
        }
        command.current_dir(self.command.get_current_dir().expect("a scratch directory"));
        Start { name: self.name, ..Start::of(command) }
    }

    /// The same on a terminal of its own, of this size, that `script` of util-linux makes. What it writes there is
    /// what it prints.
    pub(crate) fn on_terminal(self, columns: u16, rows: u16) -> Start {
        let mut words = vec![self.command.get_program()];
        words.extend(self.command.get_args());
        let words = words.into_iter().map(|word| word.to_str().expect("words in UTF-8"));
        let words: Vec<String> = words.map(|word| format!("'{word}'")).collect();
        let command = format!("stty cols {columns} rows {rows}; exec {}", words.join(" "));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--echo", "never", "--command", &command, "/dev/null"]);
        let mut start = self.replaced_by(script);
        start.command.stdin(Stdio::piped());
        start
    }

    pub(crate) fn stdout_to(mut self, file: File) -> Start {
        self.command.stdout(file);
        self
    }

    pub(crate) fn stderr_to(mut self, file: File) -> Start {
        self.command.stderr(file);
        self
    }

    pub(crate) fn start(mut self) -> Program {
        let child = self.command.spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let stdout = Captured::of(child.stdout.take());
        let stderr = Captured::of(child.stderr.take());
        Program { name: self.name, child, stdout, stderr }
    }

    /// Starts a server that must not start, and waits for its end.
    #[track_caller]
    pub(crate) fn refuses_to_start(self) -> Ended {
        let server = self.start();
        let listens = server.logs_times_before_its_end("action: accept_connections", 1);
        assert!(!listens, "it starts");
        let ended = server.ends();
        ended.exits(1);
        ended
    }

    /// Starts it and waits for its end.
    pub(crate) fn run(self) -> Ended {
        self.start().ends()
    }
}

/// A running program; killed when dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Program {
    /// Where the server listens, once it does.
    pub(crate) fn address(&self) -> String {
        let line = self.logs("action: accept_connections | result: in_progress");
        let (_, address) = line.rsplit_once("address: ").expect("the line names the address");
        address.split(" | ").next().expect("a split has a first part").trim().to_owned()
    }

    /// Waits for a line on stderr that contains `text`.
    pub(crate) fn logs(&self, text: &str) -> String {
        self.logs_times(text, 1)
    }

    /// Waits until `times` lines on stderr contain `text`; the last of these.
    pub(crate) fn logs_times(&self, text: &str, times: usize) -> String {
        let found = self.stderr.wait_until(|captured| {
            let nth = captured.lines.iter().filter(|line| line.contains(text)).nth(times - 1);
            nth.cloned()
        });
        found.unwrap_or_else(|| panic!("the {} never logged {times} × {text:?}", self.name))
    }

    /// Waits until `times` lines on stderr contain `text`, or one contains any of `otherwise`; whether it
    /// was the former.
    pub(crate) fn logs_times_or(&self, text: &str, times: usize, otherwise: &[&str]) -> bool {
        let found = self.stderr.wait_until(|captured| {
            let count =
                |text: &str| captured.lines.iter().filter(|line| line.contains(text)).count();
            let other = otherwise.iter().any(|other| count(other) > 0).then_some(false);
            (count(text) >= times).then_some(true).or(other)
        });
        found.unwrap_or_else(|| panic!("the {} never logged {times} × {text:?}", self.name))
    }

    /// Does `work` again and again until a line on stderr contains `text`.
    pub(crate) fn logs_while(&self, text: &str, mut work: impl FnMut()) {
        let deadline = Instant::now() + WITHIN;
        while !self.stderr.lock().lines.iter().any(|line| line.contains(text)) {
            assert!(Instant::now() < deadline, "the {} never logged {text:?}", self.name);
            work();
        }
    }

    /// Whether `times` lines on stderr contain `text` before the program ends.
    pub(crate) fn logs_times_before_its_end(&self, text: &str, times: usize) -> bool {
        let enough = |captured: &Text| {
            let count = captured.lines.iter().filter(|line| line.contains(text)).count();
            (count >= times).then_some(())
        };
        self.stderr.wait_until(enough).is_some()
    }

    /// Waits until the system says that SIGTERM and SIGINT are caught.
    pub(crate) fn catches_signals(&self) {
        let status = format!("/proc/{}/status", self.child.id());
        let (sigint, sigterm) = (1_u64 << 1, 1_u64 << 14);
        let deadline = Instant::now() + WITHIN;
        while Instant::now() < deadline {
            let text = fs::read_to_string(&status).expect("the status of a child");
            let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let mask = u64::from_str_radix(mask.expect("a mask of caught signals").trim(), 16);
            let mask = mask.expect("a hexadecimal mask");
            if mask & sigint != 0 && mask & sigterm != 0 {
                return;
            }
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        panic!("the {} does not catch its signals", self.name);
    }

    /// Waits until it has a thread of this name.
    pub(crate) fn has_thread(&self, name: &str) {
        let tasks = format!("/proc/{}/task", self.child.id());
        let deadline = Instant::now() + WITHIN;
        while Instant::now() < deadline {
            let tasks = fs::read_dir(&tasks).expect("the threads of a child");
            let mut names = tasks.flatten().filter_map(|task| {
                // It may have ended meanwhile.
                fs::read_to_string(task.path().join("comm")).ok()
            });
            if names.any(|found| found.trim_end() == name) {
                return;
            }
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        panic!("the {} has no thread {name}", self.name);
    }

    /// Waits until it has used no processor time for a while, so that all its threads are blocked.
    pub(crate) fn is_blocked(&self) {
        const A_WHILE: Duration = Duration::from_millis(150);
        let stat = format!("/proc/{}/stat", self.child.id());
        let used = || {
            let text = fs::read_to_string(&stat).expect("the status of a child");
            let fields = text.rsplit_once(')').map(|(_, fields)| fields.split(' '));
            let times = fields.expect("a name in parentheses").skip(12).take(2);
            times.map(str::to_owned).collect::<Vec<String>>()
        };
        let deadline = Instant::now() + WITHIN;
        let mut before = used();
        while Instant::now() < deadline {
            thread::sleep(A_WHILE);
            let now = used();
            if now == before {
                return;
            }
            before = now;
        }
        panic!("the {} does not come to rest", self.name);
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.expect("`kill` can be run").success(), "signal {signal} was not sent");
    }

    /// Kills it on the spot, and waits until the system has buried it.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Its number in the system.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types on its terminal.
    pub(crate) fn types(&self, keys: &str) {
        let mut terminal = self.child.stdin.as_ref().expect("it is on a terminal");
        terminal.write_all(keys.as_bytes()).expect("it takes what is typed");
    }

    /// Waits for a line on stdout, or on its terminal, that contains `text`.
    #[track_caller]
    pub(crate) fn prints(&self, text: &str) {
        let found = self.stdout.wait_until(|captured| {
            captured.lines.iter().any(|line| line.contains(text)).then_some(())
        });
        found.unwrap_or_else(|| panic!("the {} never printed {text:?}", self.name));
    }

    /// Waits for its end.
    pub(crate) fn ends(mut self) -> Ended {
        self.wait(WITHIN)
    }

    /// Waits so long for its end.
    pub(crate) fn ends_within(mut self, time: Duration) -> Ended {
        self.wait(time)
    }

    /// Sends the signal and waits for the end, which has to be good and soon.
    pub(crate) fn stops_on(mut self, signal: &str) -> Ended {
        let start = Instant::now();
        self.signal(signal);
        let ended = self.wait(WITHIN);
        let took = start.elapsed();
        ended.succeeds();
        ended.says(&format!("action: receive_signal | result: success | signal: SIG{signal}"));
        assert!(took < STOPS_WITHIN, "stopping took {took:?}\n{ended}");
        ended
    }

    /// Stops it as [`Program::stops_on`] does, whatever it logs.
    pub(crate) fn stops_quietly(mut self) -> Ended {
        self.signal("TERM");
        let ended = self.wait(WITHIN);
        ended.exits(0);
        ended
    }

    fn wait(&mut self, time: Duration) -> Ended {
        let deadline = Instant::now() + time;
        let code = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status.code();
            }
            assert!(Instant::now() < deadline, "the {} does not end", self.name);
            thread::sleep(LOOK_AGAIN_AFTER);
        };
        let ended = |captured: &Captured| {
            let all = captured.wait_until(|text| text.ended.then(|| text.lines.clone()));
            all.expect("the end of a pipe follows the end of the program")
        };
        let (stdout, stderr) = (ended(&self.stdout), ended(&self.stderr));
        Ended { name: self.name.clone(), code, stdout: stdout.concat(), stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _buried = self.child.wait();
        if thread::panicking() {
            show(&format!("--- {} said\n{}", self.name, self.stderr.lock().lines.concat()));
        }
    }
}

#[expect(clippy::print_stderr, reason = "the test runner shows it where the test fails")]
pub(crate) fn show(text: &str) {
    eprintln!("{text}");
}

/// What a program writes, as it comes.
#[derive(Clone)]
struct Captured(Arc<(Mutex<Text>, Condvar)>);

#[derive(Default)]
struct Text {
    /// With their ends.
    lines: Vec<String>,
    ended: bool,
}

impl Captured {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Captured {
        let captured = Captured(Arc::default());
        let Some(pipe) = pipe else {
            captured.lock().ended = true;
            return captured;
        };
        let writer = captured.clone();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            loop {
                let mut line = Vec::new();
                let count = pipe.read_until(b'\n', &mut line).unwrap_or(0);
                let mut text = writer.lock();
                if count == 0 {
                    text.ended = true;
                } else {
                    text.lines.push(String::from_utf8_lossy(&line).into_owned());
                }
                writer.0.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        captured
    }

    /// What `look` finds, looking again whenever there is more; `None` at the end or out of time.
    fn wait_until<T>(&self, look: impl Fn(&Text) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + WITHIN;
        let mut text = self.lock();
        loop {
            if let Some(found) = look(&text) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if text.ended || left.is_zero() {
                return None;
            }
            let waited = self.0.1.wait_timeout(text, left);
            text = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Text> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program that has ended.
pub(crate) struct Ended {
    name: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    /// Line by line, with their ends.
    pub(crate) stderr: Vec<String>,
}

impl Ended {
    /// It ended well, and said so last.
    #[track_caller]
    pub(crate) fn succeeds(&self) -> &Ended {
        assert_eq!(self.code, Some(0), "{self}");
        assert!(self.last().ends_with("action: exit | result: success\n"), "{self}");
        self
    }

    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Ended {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    #[track_caller]
    pub(crate) fn prints(&self, stdout: &str) -> &Ended {
        assert_eq!(self.stdout, stdout, "{self}");
        self
    }

    /// Some line on stderr contains `text`.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Ended {
        assert!(self.count(text) > 0, "no {text:?} in\n{self}");
        self
    }

    #[track_caller]
    pub(crate) fn never_says(&self, text: &str) -> &Ended {
        assert!(self.count(text) == 0, "{text:?} in\n{self}");
        self
    }

    /// How many lines on stderr contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.stderr.iter().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn last(&self) -> &str {
        self.stderr.last().map_or("", String::as_str)
    }

    /// The lines of stdout, sorted.
    pub(crate) fn sorted_stdout(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.stdout.split_inclusive('\n').map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "--- {} ended with {:?}, stdout:", self.name, self.code)?;
        write!(formatter, "{}--- stderr:\n{}", self.stdout, self.stderr.concat())
    }
}

/// Runs any command to its end.
#[track_caller]
pub(crate) fn run(command: Command) -> Ended {
    Start::of(command).run()
}
