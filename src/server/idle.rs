//! Threads whose connection has ended, and that wait a moment for another one. Under a flood of connections this saves
//! most of the cost of a connection, which is that of a thread. Does not know what the threads do.
//!
//! Does not use a channel without capacity, because its receiver waits until the sender is scheduled again. With such a
//! channel a flood closed twice as many connections before they had named their agency.

use crate::system::lock;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The longest time that a thread waits for more work before it ends.
const IDLE_TIME_MAX: Duration = Duration::from_millis(20);
/// The most threads that wait, so that a crowd that leaves at once does not.
const IDLE_MAX: usize = 64;

/// The threads that wait for work, and the work that they have been given.
pub(super) struct IdleThreads<W> {
    state: Mutex<State<W>>,
    given: Condvar,
}

struct State<W> {
    waiting: usize,
    /// Never more than threads wait, so that each item has its thread.
    given: VecDeque<W>,
}

impl<W> IdleThreads<W> {
    pub(super) fn new() -> IdleThreads<W> {
        let state = State { waiting: 0, given: VecDeque::new() };
        IdleThreads { state: Mutex::new(state), given: Condvar::new() }
    }

    /// Gives `work` to a thread that waits. Returns it if none does.
    pub(super) fn give(&self, work: W) -> Option<W> {
        let mut state = lock(&self.state);
        if state.given.len() >= state.waiting {
            return Some(work);
        }
        state.given.push_back(work);
        // The thread that wakes needs the lock.
        drop(state);
        self.given.notify_one();
        None
    }

    /// Blocks until there is work for the calling thread, for at most [`IDLE_TIME_MAX`]. Returns
    /// `None` at once if [`IDLE_MAX`] others wait.
    pub(super) fn wait(&self) -> Option<W> {
        let mut state = lock(&self.state);
        if state.waiting == IDLE_MAX {
            return None;
        }
        state.waiting += 1;
        let nothing = |state: &mut State<W>| state.given.is_empty();
        let waited = self.given.wait_timeout_while(state, IDLE_TIME_MAX, nothing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.waiting -= 1;
        state.given.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::{IDLE_MAX, IdleThreads};
    use crate::system::lock;
    use std::thread;

    #[test]
    fn one_thread_more_than_may_wait_takes_no_work_from_those_that_do() {
        let threads = IdleThreads::new();
        lock(&threads.state).waiting = IDLE_MAX;
        assert_eq!(threads.give(0), None);
        assert_eq!(threads.wait(), None);
        lock(&threads.state).waiting -= 1;
        assert_eq!(threads.wait(), Some(0));
    }

    #[test]
    fn work_is_given_only_to_a_thread_that_waits_and_all_of_it_is_done() {
        const WORK: u32 = 1000;
        let threads = IdleThreads::new();
        assert_eq!(threads.give(0), Some(0), "no thread waits");
        let mut done: Vec<u32> = thread::scope(|scope| {
            let wait = || {
                let mut done = Vec::new();
                while !done.contains(&WORK) {
                    done.extend(threads.wait());
                }
                done
            };
            let running = [scope.spawn(wait), scope.spawn(wait)];
            for work in (1..WORK).chain([WORK, WORK]) {
                let mut refused = Some(work);
                while let Some(work) = refused.take() {
                    refused = threads.give(work);
                    thread::yield_now();
                }
            }
            running.map(|thread| thread.join().expect("it does not panic")).concat()
        });
        done.sort_unstable();
        assert_eq!(done, (1..WORK).chain([WORK, WORK]).collect::<Vec<_>>());
    }
}
