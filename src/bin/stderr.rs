//! The thread that writes stderr: the log, and on a terminal the lines that stay below it. Other threads put their
//! lines in a bounded queue, so that a reader of stderr that stops does not block them for long.
//!
//! A thread blocks on a full queue as long as the reader reads now and then, so that a slow reader loses nothing. If
//! the reader takes nothing for [`STALLED_AFTER`], lines are dropped until it has caught up, and a line reports their
//! number.

use loteria::stop::{self, Stop};
use loteria::system::lock;
use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

/// The size of the queue, in bytes.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// A full queue wakes those that wait for it when it has shrunk by this much.
const WAKE_BYTES: usize = 64 << 10;
/// The most bytes of one write: a page, so that a pipe takes it as soon as its reader has read one.
const WRITE_BYTES_MAX: usize = 4096;
/// The longest time that a reader may take nothing, while the queue is full, before lines are dropped.
const STALLED_AFTER: Duration = Duration::from_millis(500);
/// The time after a write in which lines are gathered for the next one.
const GATHER_TIME: Duration = Duration::from_millis(5);
/// The longest time that the end of the program waits for a reader that takes nothing, and for any reader after a
/// signal.
const FLUSH_TIME_MAX: Duration = Duration::from_millis(400);
/// The longest time that a stop waits for a reader of stdout.
const PRINT_TIME_MAX: Duration = Duration::from_millis(250);
/// The assumed size of a terminal whose size is unknown.
const SIZE: (usize, usize) = (24, 80);

/// A handle that writes to stderr through its thread.
#[derive(Clone)]
pub(crate) struct Stderr(Arc<Shared>);

impl Stderr {
    pub(crate) fn start() -> io::Result<(Stderr, JoinHandle<()>)> {
        let is_terminal = io::stderr().is_terminal();
        let can_erase = is_terminal && env::var_os("TERM").is_none_or(|kind| kind != "dumb");
        let shared = Shared { is_terminal, can_erase, ..Shared::default() };
        let stderr = Stderr(Arc::new(shared));
        let shared = Arc::clone(&stderr.0);
        let thread = Builder::new().name("stderr".into()).spawn(move || shared.write_all())?;
        Ok((stderr, thread))
    }

    /// Removes the lines that stay, writes what is left and ends the thread. Gives up if the reader takes
    /// nothing for [`FLUSH_TIME_MAX`], or takes longer than that after a signal. A thread that is not within a write
    /// waits for a processor and not for the reader, so that a busy machine loses no line.
    pub(crate) fn close(&self, thread: JoinHandle<()>) {
        let shared = &self.0;
        let mut state = lock(&shared.state);
        state.is_closing = true;
        state.lines.clear();
        shared.work.notify_one();
        while !state.is_closed {
            let before = (state.is_writing, state.writes);
            let waited =
                shared.written.wait_timeout_while(state, FLUSH_TIME_MAX, |state| !state.is_closed);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let has_stalled = (state.is_writing, state.writes) == before;
            if !state.is_closed && state.is_writing && (state.is_stopping || has_stalled) {
                return;
            }
        }
        drop(state);
        // A panic of the thread has already been printed.
        let _panicked = thread.join();
    }

    /// Returns whether stderr is a terminal that can erase lines.
    pub(crate) fn can_erase(&self) -> bool {
        self.0.can_erase
    }

    /// Returns whether stderr was a terminal that is closed now.
    pub(crate) fn has_lost_terminal(&self) -> bool {
        self.0.is_terminal && !io::stderr().is_terminal()
    }

    /// Writes a line that is not part of the log.
    pub(crate) fn say(&self, line: &str) {
        self.0.push(format!("{line}\n").as_bytes());
    }

    /// Replaces the lines that stay below all others on a terminal, which shows as much of each as fits its width.
    pub(crate) fn show(&self, lines: Vec<String>) {
        let mut state = lock(&self.0.state);
        if state.lines != lines && !state.is_closing {
            state.lines = lines;
            state.has_new_lines = true;
            self.0.work.notify_one();
        }
    }

    /// Prints to stdout, in a thread of its own, because a reader of stdout that takes nothing must not keep the program
    /// from stopping: after `stop` it has [`PRINT_TIME_MAX`].
    ///
    /// # Errors
    ///
    /// Those of stdout; [`io::ErrorKind::Interrupted`] if the stop came and not all was printed.
    pub(crate) fn print(&self, text: &str, stop: &Stop) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let (own, owned) = (self.clone(), text.to_owned());
        let print = move || own.print_all(&owned);
        match stop::interruptible("stdout", stop, PRINT_TIME_MAX, print) {
            Ok(printed) => printed.unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into())),
            Err(_no_thread) => self.print_all(text),
        }
    }

    /// Prints to stdout. On a terminal, removes the lines that stay and has them drawn again below.
    fn print_all(&self, text: &str) -> io::Result<()> {
        let can_erase = self.0.can_erase && io::stdout().is_terminal();
        let mut stdout = Retrying(io::stdout().lock());
        if !can_erase {
            stdout.write_all(text.as_bytes())?;
            return stdout.flush();
        }
        let mut drawn = lock(&self.0.drawn);
        let mut output = Vec::new();
        erase(&mut output, &mut drawn, size_of_terminal().1);
        // A terminal that is gone shows no lines.
        let _gone = Retrying(io::stderr()).write_all(&output);
        let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        drop(drawn);
        lock(&self.0.state).has_new_lines = true;
        self.0.work.notify_one();
        printed
    }

    /// Notes that the program stops: from here on no thread blocks on a full queue.
    pub(crate) fn stop_waiting(&self) {
        lock(&self.0.state).is_stopping = true;
        self.0.written.notify_all();
    }
}

/// For the logger, which writes whole lines.
impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stdout or stderr, which another process may have made non-blocking: a write that would block is retried after a
/// pause.
struct Retrying<W>(W);

impl<W: Write> Retrying<W> {
    fn retry<T>(&mut self, mut call: impl FnMut(&mut W) -> io::Result<T>) -> io::Result<T> {
        loop {
            match call(&mut self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(GATHER_TIME);
                }
                outcome => return outcome,
            }
        }
    }
}

impl<W: Write> Write for Retrying<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(|inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.retry(W::flush)
    }
}

#[derive(Default)]
struct Shared {
    is_terminal: bool,
    can_erase: bool,
    state: Mutex<State>,
    /// Wakes the thread: there is something to write, or it must end.
    work: Condvar,
    /// Wakes threads that wait: there is room, or all is written.
    written: Condvar,
    /// The widths of the lines that the terminal shows below the log.
    drawn: Mutex<Vec<usize>>,
}

#[derive(Default)]
struct State {
    queue: Vec<u8>,
    /// Bytes that are not written, those that the thread has taken from the queue included.
    unwritten: usize,
    /// The number of writes.
    writes: u64,
    /// Whether the thread is within a write.
    is_writing: bool,
    /// The number of dropped lines that is not reported yet.
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
    /// Returns whether the queue has room for `bytes` more bytes.
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

    /// Reports the number of dropped lines, if there are any.
    fn add_dropped(&mut self) {
        if self.dropped > 0 {
            let (time, dropped) = (jiff::Timestamp::now(), self.dropped);
            let line = format!(
                "{time:.3} WARN action: write_log | result: fail | dropped_lines: {dropped} | error: \
                 the reader of stderr has stalled\n"
            );
            self.dropped = 0;
            self.add(line.as_bytes());
        }
    }
}

/// Returns the rows and columns of the terminal.
pub(crate) fn size_of_terminal() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(io::stderr());
    size.map_or(SIZE, |(width, height)| (height.0.into(), width.0.into()))
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').map(|_| 1).sum()
}

impl Shared {
    /// Puts whole lines in the queue. Blocks while it is full and its reader reads.
    fn push(&self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        while !state.has_room(text.len()) {
            if state.dropped > 0 || state.is_stopping {
                state.dropped += count_lines(text);
                return;
            }
            let writes = state.writes;
            let waited = self.written.wait_timeout(state, STALLED_AFTER);
            let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
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
        // After a failed write, dropped lines are not reported before the next line, because that write would fail too.
        let mut has_failed = false;
        loop {
            let mut state = lock(&self.state);
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
            let lines = if self.can_erase { state.lines.clone() } else { Vec::new() };
            state.is_writing = true;
            drop(state);
            has_failed = !self.write(&taken, &lines);
            // A burst is no reason to keep its memory.
            taken = Vec::with_capacity(taken.capacity().min(WAKE_BYTES));
            let mut state = lock(&self.state);
            state.is_writing = false;
            if is_last && state.queue.is_empty() && (state.dropped == 0 || has_failed) {
                state.is_closed = true;
                self.written.notify_all();
                return;
            }
            if !state.is_closing {
                // Lines of this time are written together, because one write for each would cost more.
                drop(self.work.wait_timeout_while(state, GATHER_TIME, |state| !state.is_closing));
            }
        }
    }

    /// Writes text, and the lines that stay below it. Returns whether all of it was written.
    fn write(&self, text: &[u8], lines: &[String]) -> bool {
        if !self.is_terminal {
            return self.write_parts(text, text.len());
        }
        let mut drawn = lock(&self.drawn);
        let mut output = Vec::new();
        let (_, width) = size_of_terminal();
        erase(&mut output, &mut drawn, width);
        output.extend_from_slice(text);
        for line in lines {
            // The last column stays empty, because a terminal may wrap there.
            let line = cut(line, width.saturating_sub(1));
            output.extend_from_slice(line.as_bytes());
            output.push(b'\n');
            drawn.push(line.chars().count());
        }
        self.write_parts(&output, text.len())
    }

    /// Writes `output`, which holds `queued` bytes of the queue. Returns whether all of it was written.
    fn write_parts(&self, mut output: &[u8], mut queued: usize) -> bool {
        let mut has_failed = false;
        while !output.is_empty() {
            let part = &output[..output.len().min(WRITE_BYTES_MAX)];
            let (count, lost) = match Retrying(io::stderr()).write(part) {
                Ok(count) if count > 0 => (count, 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Stderr is closed or on a full disk. The part is lost, but the next may not be.
                _ => (part.len(), count_lines(part)),
            };
            has_failed |= lost > 0;
            output = &output[count..];
            let of_the_queue = count.min(queued);
            queued -= of_the_queue;
            let mut state = lock(&self.state);
            state.writes += 1;
            state.unwritten -= of_the_queue;
            state.dropped += lost;
            if state.unwritten <= QUEUE_BYTES_MAX - WAKE_BYTES {
                self.written.notify_all();
            }
        }
        !has_failed
    }
}

/// Returns a line of at most `columns`, which ends in `…` if it is cut.
fn cut(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    line.chars().take(columns.saturating_sub(1)).chain(['…']).take(columns).collect()
}

/// Removes the lines that stay from a terminal of this width, which may have wrapped them.
fn erase(output: &mut Vec<u8>, drawn: &mut Vec<usize>, width: usize) {
    let rows: usize = drawn.drain(..).map(|line| line.max(1).div_ceil(width.max(1))).sum();
    if rows > 0 {
        output.extend_from_slice(format!("\r\x1b[{rows}A\x1b[J").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{
        FLUSH_TIME_MAX, PRINT_TIME_MAX, QUEUE_BYTES_MAX, STALLED_AFTER, Shared, State, Stderr, cut,
    };
    use loteria::server::STOP_GRACE;
    use loteria::system::lock;
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    /// Says a line to a full queue, whose reader is alive: it takes something now and then, but never enough for the line.
    /// After `time` calls `over`. Returns what became of the queue.
    fn say_to_a_slow_reader(time: Duration, over: impl FnOnce(&Stderr)) -> State {
        let stderr = Stderr(Arc::default());
        lock(&stderr.0.state).unwritten = 2 * QUEUE_BYTES_MAX;
        let (sayer, start) = (stderr.clone(), Instant::now());
        let sayer = thread::spawn(move || sayer.say("a line"));
        let mut over = Some(over);
        while !sayer.is_finished() {
            if start.elapsed() >= time
                && let Some(over) = over.take()
            {
                over(&stderr);
            }
            assert!(start.elapsed() < Duration::from_secs(30), "the line is still waited for");
            lock(&stderr.0.state).writes += 1;
            thread::sleep(Duration::from_millis(1));
        }
        std::mem::take(&mut lock(&stderr.0.state))
    }

    #[test]
    fn a_line_waits_for_a_reader_that_is_slow_but_alive() {
        // This thread may be held up for so long that it seems dead, but not each time.
        let waits = |_| {
            let state = say_to_a_slow_reader(STALLED_AFTER + STALLED_AFTER / 2, |stderr| {
                lock(&stderr.0.state).unwritten = 0;
                stderr.0.written.notify_all();
            });
            state.dropped == 0 && state.queue == b"a line\n"
        };
        assert!((0..5).any(waits), "it was dropped");
    }

    #[test]
    fn a_stop_waits_for_no_reader_that_is_slow_but_alive() {
        let state = say_to_a_slow_reader(STALLED_AFTER / 5, Stderr::stop_waiting);
        assert_eq!((state.dropped, state.queue.len()), (1, 0));
    }

    #[test]
    fn all_that_a_stop_waits_for_takes_less_than_a_second() {
        // A server waits for peers that do not read, a client for the reader of stdout, and both for that of stderr.
        for wait in [STOP_GRACE, PRINT_TIME_MAX] {
            assert!(wait + FLUSH_TIME_MAX < Duration::from_millis(950), "{wait:?}");
        }
    }

    #[test]
    fn a_reader_that_stalled_has_to_catch_up_to_half_of_the_queue() {
        let half = QUEUE_BYTES_MAX / 2;
        let has_room =
            |unwritten, dropped| State { unwritten, dropped, ..State::default() }.has_room(100);
        assert!(has_room(half, 0) && !has_room(half, 1));
        assert!(has_room(half - 100, 1));
    }

    #[test]
    fn a_line_that_is_cut_shows_it() {
        let cuts = [8, 7, 1, 0].map(|columns| cut("agency 1", columns));
        assert_eq!(cuts, ["agency 1", "agency…", "…", ""]);
    }

    #[test]
    fn a_thread_that_gets_no_processor_for_long_loses_no_line() {
        for is_stopping in [false, true] {
            let stderr = Stderr(Arc::new(Shared::default()));
            let shared = Arc::clone(&stderr.0);
            let thread = thread::spawn(move || {
                thread::sleep(FLUSH_TIME_MAX + FLUSH_TIME_MAX / 2);
                shared.write_all();
            });
            stderr.say("");
            if is_stopping {
                stderr.stop_waiting();
            }
            stderr.close(thread);
            assert!(lock(&stderr.0.state).is_closed, "it gave up");
        }
    }
}
