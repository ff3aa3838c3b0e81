//! The thread that writes stderr: the log, and on a terminal the lines that stay below it. A thread that has
//! something to say puts it in a bounded queue, so that a reader of stderr that stops delays nothing.
//!
//! A full queue is waited for as long as the reader takes something now and then, so a slow reader loses
//! nothing. Once it has taken nothing for [`STALLED_AFTER`], lines are dropped until it has caught up, and a
//! line says how many.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

/// The most bytes that wait to be written.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// A full queue wakes those that wait for it when it has shrunk by this much.
const WAKE_BYTES: usize = 64 << 10;
/// The most bytes of one write: a page, so that a pipe takes it as soon as its reader has read one.
const WRITE_BYTES_MAX: usize = 4096;
/// How long a reader may take nothing, while the queue is full, before lines are dropped.
const STALLED_AFTER: Duration = Duration::from_millis(500);
/// How long lines are gathered for one write after the one before.
const GATHER_TIME: Duration = Duration::from_millis(5);
/// How long the end of the program waits for a reader that takes nothing, and for any reader after a signal.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(500);
/// The size of a terminal that does not tell its own.
const SIZE: (usize, usize) = (24, 80);

/// The thread that writes stderr.
pub(crate) struct StderrThread {
    stderr: Stderr,
    thread: JoinHandle<()>,
}

impl StderrThread {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub(crate) fn start() -> io::Result<StderrThread> {
        let shared = Shared { is_terminal: io::stderr().is_terminal(), ..Shared::default() };
        let stderr = Stderr(Arc::new(shared));
        let shared = Arc::clone(&stderr.0);
        let thread = Builder::new().name("stderr".into()).spawn(move || shared.write_all())?;
        Ok(StderrThread { stderr, thread })
    }

    /// Returns a handle to write with.
    pub(crate) fn handle(&self) -> Stderr {
        self.stderr.clone()
    }

    /// Removes the lines that stay, writes what is left and ends the thread. Gives up if the reader takes
    /// nothing for [`FLUSH_TIME_MAX`], or takes longer than that after a signal.
    pub(crate) fn close(self) {
        let shared = &self.stderr.0;
        let mut state = shared.lock();
        state.is_closing = true;
        state.lines.clear();
        shared.work.notify_one();
        let mut deadline = Instant::now() + FLUSH_TIME_MAX;
        let mut writes = state.writes;
        while !state.is_closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if state.is_stopping || state.writes == writes {
                    return;
                }
                (deadline, writes) = (Instant::now() + FLUSH_TIME_MAX, state.writes);
                continue;
            }
            let waited = shared.written.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        // A panic of the thread has been written by itself.
        let _panicked = self.thread.join();
    }
}

/// Writes to stderr by way of its thread.
#[derive(Clone)]
pub(crate) struct Stderr(Arc<Shared>);

impl Stderr {
    /// Returns whether stderr is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.0.is_terminal
    }

    /// Returns the rows and columns of the terminal.
    pub(crate) fn size(&self) -> (usize, usize) {
        size_of_terminal()
    }

    /// Puts whole lines in the queue. Blocks while it is full and its reader is alive.
    pub(crate) fn say(&self, text: &[u8]) {
        self.0.push(text);
    }

    /// Replaces the lines that stay below all others on a terminal.
    pub(crate) fn show(&self, lines: Vec<String>) {
        let mut state = self.0.lock();
        if state.lines != lines && !state.is_closing {
            state.lines = lines;
            state.has_new_lines = true;
            self.0.work.notify_one();
        }
    }

    /// Prints to stdout, where no line that stays is in the way.
    ///
    /// # Errors
    ///
    /// Those of stdout.
    pub(crate) fn print(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        if !self.0.is_terminal || !stdout.is_terminal() {
            stdout.write_all(text.as_bytes())?;
            return stdout.flush();
        }
        let mut drawn = self.0.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut output = Vec::new();
        erase(&mut output, &mut drawn, self.size().1);
        // A terminal that is gone has nothing in the way.
        let _gone = io::stderr().write_all(&output);
        let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        drop(drawn);
        self.0.lock().has_new_lines = true;
        self.0.work.notify_one();
        printed
    }

    /// Says that the program is to stop: from here on no line is waited for.
    pub(crate) fn stop_waiting(&self) {
        self.0.lock().is_stopping = true;
        self.0.written.notify_all();
    }
}

/// For the logger: each write is of whole lines.
impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.say(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Shared {
    is_terminal: bool,
    state: Mutex<State>,
    /// Announces that there is something to write, or that it is the end.
    work: Condvar,
    /// Announces that there is room, or that all is written.
    written: Condvar,
    /// The widths of the lines that stay, as they stand on the terminal.
    drawn: Mutex<Vec<usize>>,
}

#[derive(Default)]
struct State {
    queue: Vec<u8>,
    /// Bytes that are not written, those that the thread has taken from the queue included.
    unwritten: usize,
    /// How often something was written.
    writes: u64,
    /// How many threads wait for room.
    waiting: usize,
    /// How many lines were dropped of which nothing is said yet.
    dropped: u64,
    /// Whether the thread waits for something to write.
    is_idle: bool,
    lines: Vec<String>,
    has_new_lines: bool,
    is_stopping: bool,
    is_closing: bool,
    is_closed: bool,
}

impl State {
    /// Returns whether so many bytes may be put in the queue.
    fn has_room(&self, bytes: usize) -> bool {
        let max = match (self.is_stopping, self.dropped) {
            // The lines of the stop itself, which are bounded, have room of their own.
            (true, _) => 2 * QUEUE_BYTES_MAX,
            (false, 0) => QUEUE_BYTES_MAX,
            // A reader that stalled has to catch up first, so that it does not delay anyone again and again.
            (false, _) => QUEUE_BYTES_MAX / 2,
        };
        self.unwritten == 0 || self.unwritten + bytes <= max
    }

    fn add(&mut self, text: &[u8]) {
        self.queue.extend_from_slice(text);
        self.unwritten += text.len();
    }

    /// Says how many lines were dropped, if any were.
    fn add_dropped(&mut self) {
        if self.dropped > 0 {
            let (time, dropped) = (jiff::Timestamp::now(), self.dropped);
            let line = format!(
                "{time:.3} WARN action: write_log | result: fail | dropped_lines: {dropped} | error: \
                 nobody reads stderr\n"
            );
            self.dropped = 0;
            self.add(line.as_bytes());
        }
    }
}

/// Returns the rows and columns of the terminal.
fn size_of_terminal() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(io::stderr());
    size.map_or(SIZE, |(width, height)| (height.0.into(), width.0.into()))
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').map(|_| 1).sum()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let mut state = self.lock();
        while !state.has_room(text.len()) {
            if state.dropped > 0 || state.is_stopping {
                state.dropped += count_lines(text);
                return;
            }
            let writes = state.writes;
            state.waiting += 1;
            let waited = self.written.wait_timeout(state, STALLED_AFTER);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.waiting -= 1;
            if timeout.timed_out() && state.writes == writes {
                state.dropped += count_lines(text);
                return;
            }
        }
        state.add_dropped();
        state.add(text);
        if state.is_idle {
            state.is_idle = false;
            self.work.notify_one();
        }
    }

    /// Writes what is in the queue and draws the lines that stay, until it is closed.
    fn write_all(&self) {
        let mut taken = Vec::new();
        // After a failed write the next line is waited for before the dropped ones are told again.
        let mut has_failed = false;
        loop {
            let mut state = self.lock();
            while state.queue.is_empty()
                && !state.has_new_lines
                && !state.is_closing
                && (state.dropped == 0 || has_failed)
            {
                state.is_idle = true;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.is_idle = false;
            if state.queue.is_empty() && !has_failed {
                state.add_dropped();
            }
            std::mem::swap(&mut state.queue, &mut taken);
            state.has_new_lines = false;
            let is_last = state.is_closing;
            let lines = if self.is_terminal { state.lines.clone() } else { Vec::new() };
            drop(state);
            has_failed = !self.write(&taken, &lines);
            // A burst is no reason to keep its memory.
            taken = Vec::with_capacity(taken.capacity().min(WAKE_BYTES));
            let mut state = self.lock();
            if is_last && state.queue.is_empty() && (state.dropped == 0 || has_failed) {
                state.is_closed = true;
                self.written.notify_all();
                return;
            }
            if !state.is_closing {
                // What comes within this time is written together: a write a line would cost more.
                drop(self.work.wait_timeout_while(state, GATHER_TIME, |state| !state.is_closing));
            }
        }
    }

    /// Writes text, and the lines that stay below it. Returns whether all of it was written.
    fn write(&self, text: &[u8], lines: &[String]) -> bool {
        if !self.is_terminal {
            return self.write_parts(text, text.len());
        }
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut output = Vec::new();
        let (_, width) = size_of_terminal();
        erase(&mut output, &mut drawn, width);
        output.extend_from_slice(text);
        for line in lines {
            output.extend_from_slice(line.as_bytes());
            output.push(b'\n');
            drawn.push(line.chars().count());
        }
        self.write_parts(&output, text.len())
    }

    /// Writes `output`, in which there are so many bytes of the queue. Returns whether all of it was written.
    fn write_parts(&self, mut output: &[u8], mut queued: usize) -> bool {
        let mut has_failed = false;
        while !output.is_empty() {
            let part = &output[..output.len().min(WRITE_BYTES_MAX)];
            let (count, lost) = match io::stderr().write(part) {
                Ok(count) if count > 0 => (count, 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Somebody made it non-blocking, and there is nothing to wait with but time.
                    thread::sleep(GATHER_TIME);
                    continue;
                }
                // Closed, or on a full disk: the part is lost, the next may not be.
                _ => (part.len(), count_lines(part)),
            };
            has_failed |= lost > 0;
            output = &output[count..];
            let of_the_queue = count.min(queued);
            queued -= of_the_queue;
            let mut state = self.lock();
            state.writes += 1;
            state.unwritten -= of_the_queue;
            state.dropped += lost;
            let has_room = state.unwritten <= QUEUE_BYTES_MAX - WAKE_BYTES;
            if state.waiting > 0 && has_room {
                self.written.notify_all();
            }
        }
        !has_failed
    }
}

/// Cuts a line so that it fits a terminal of this width, whose last column stays empty.
pub(crate) fn fit(line: String, width: usize) -> String {
    let room = width.saturating_sub(1);
    if line.chars().count() <= room { line } else { line.chars().take(room).collect() }
}

/// Removes the lines that stay from a terminal of this width, which may have wrapped them.
fn erase(output: &mut Vec<u8>, drawn: &mut Vec<usize>, width: usize) {
    let rows: usize = drawn.drain(..).map(|line| line.max(1).div_ceil(width.max(1))).sum();
    if rows > 0 {
        output.extend_from_slice(format!("\r\x1b[{rows}A\x1b[J").as_bytes());
    }
}
