//! What the tests of pages and of examples share: the fenced blocks of a page, and programs that are run as a
//! reader of the page would run them. Every wait has an end, and no program outlives its test.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long anything may take that has to happen: far longer than it does, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that cannot be waited for.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The directory of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page of the project.
#[track_caller]
pub(crate) fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A fenced block of a page.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The line that its text begins at.
    pub(crate) line: usize,
    /// What stands behind the fence: `sh`, `text`, …
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// The fenced blocks of a page, in its order.
#[track_caller]
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let mut text = String::new();
        loop {
            match lines.next() {
                Some(("```", _)) => break,
                Some((line, _)) => text.extend([line, "\n"]),
                None => panic!("the block at line {number} does not end"),
            }
        }
        blocks.push(Block { line: number + 1, kind: kind.to_owned(), text });
    }
    blocks
}

/// A page without its fenced blocks, line for line.
pub(crate) fn prose(page: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in page.lines() {
        let fence = line.starts_with("```");
        if !fenced && !fence {
            prose.push_str(line);
        }
        prose.push('\n');
        fenced ^= fence;
    }
    prose
}

/// The program of this name that a shell would start; nothing where there is none.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").expect("a PATH");
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.exists())
}

/// Says that something was not tried, where it cannot be overlooked.
pub(crate) fn skipped(what: &str, missing: &str) {
    // Not by `eprintln`, which the test runner keeps to itself where a test passes; and in one piece.
    let text = format!("\nSKIPPED, NOT TESTED: {what}: no {missing} here\n");
    io::stderr().write_all(text.as_bytes()).expect("somebody who reads it");
}

/// An address that a server can come back to: of ports that the system does not give to outgoing
/// connections, which could take it meanwhile.
pub(crate) fn lasting_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 31_000;
    const COUNT: u16 = 1_700;
    // Another run of these tests at the same time begins elsewhere.
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("less than 1700");
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return format!("127.0.0.1:{port}");
        }
    }
    panic!("no free port");
}

/// What one pipe of a program has brought so far.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<String>>);

impl Said {
    fn listen(&self, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let said = self.clone();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                said.text().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        })
    }

    fn text(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program that was started; killed when dropped.
pub(crate) struct Running {
    name: String,
    child: Child,
    listeners: Vec<JoinHandle<()>>,
    stdout: Said,
    stderr: Said,
}

impl Running {
    /// Starts `command`, and captures what it says.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Running {
        let name = format!("{command:?}");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let (stdout, stderr) = (Said::default(), Said::default());
        let listeners = vec![
            stdout.listen(child.stdout.take().expect("a pipe")),
            stderr.listen(child.stderr.take().expect("a pipe")),
        ];
        Running { name, child, listeners, stdout, stderr }
    }

    /// Waits until it says one of `texts` on stderr, or ends; whether it goes on.
    #[track_caller]
    pub(crate) fn goes_on_after(&mut self, texts: &[&str]) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // In this order: what it said before it ended counts.
            let ended = self.has_ended();
            let said = texts.iter().any(|text| self.stderr.text().contains(text));
            if said || ended {
                return !ended;
            }
            assert!(Instant::now() < deadline, "{} never says {texts:?}:\n{self}", self.name);
            thread::sleep(LOOK_AGAIN_AFTER);
        }
    }

    /// Waits until it says `text` on stderr.
    #[track_caller]
    pub(crate) fn says(&mut self, text: &str) {
        let goes_on = self.goes_on_after(&[text]);
        assert!(goes_on, "{} ends without {text:?}:\n{self}", self.name);
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ends(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        while !self.has_ended() {
            assert!(Instant::now() < deadline, "{} does not end:\n{self}", self.name);
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        let status = self.child.wait().expect("a child can be waited for");
        for listener in self.listeners.drain(..) {
            listener.join().expect("a listener does not panic");
        }
        let (stdout, stderr) = (self.stdout.text().clone(), self.stderr.text().clone());
        Ended { name: self.name.clone(), code: status.code(), stdout, stderr }
    }

    /// Asks it to stop, as Ctrl-C would, and waits for its end.
    #[track_caller]
    pub(crate) fn stops(self) -> Ended {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &id]).status();
        assert!(sent.expect("`kill` can be run").success(), "{} ended before", self.name);
        self.ends()
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }
}

impl fmt::Display for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.stdout.text(), self.stderr.text())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _buried = self.child.wait();
    }
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    name: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Ended {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Its stderr holds `text`.
    #[track_caller]
    pub(crate) fn said(&self, text: &str) -> &Ended {
        assert!(self.stderr.contains(text), "no {text:?} in\n{self}");
        self
    }

    #[track_caller]
    pub(crate) fn printed(&self, stdout: &str) -> &Ended {
        assert_eq!(self.stdout, stdout, "{self}");
        self
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "--- {} ended with {:?}, stdout:", self.name, self.code)?;
        write!(formatter, "{}--- stderr:\n{}", self.stdout, self.stderr)
    }
}

/// Runs `command` to its end.
#[track_caller]
pub(crate) fn run(command: Command) -> Ended {
    Running::start(command).ends()
}
