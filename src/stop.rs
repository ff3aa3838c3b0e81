//! A stop: one side announces it by dropping a [`Stopper`], the others poll or wait for it.
//!
//! It is a channel whose last sender has been dropped, so that a thread can wait for it without polling.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, never, select};
use std::convert::Infallible;
use std::io;
use std::thread::{self, Builder};
use std::time::Duration;

/// Announces a stop by being dropped. If it was cloned, the stop comes with the last one.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<Infallible>);

impl Stopper {
    /// Returns a stopper and the stop that it announces.
    pub fn new() -> (Stopper, Stop) {
        // Nothing is sent. One without capacity would take a lock whenever it is polled, which sessions do at each command.
        let (sender, receiver) = bounded(1);
        (Stopper(sender), Stop(receiver))
    }

    /// Announces the stop, unless a clone is left. Does the same as dropping it, but is easier to see.
    pub fn stop(self) {
        drop(self.0);
    }
}

/// A stop that may come. Every clone sees the same one.
#[derive(Clone, Debug)]
pub struct Stop(Receiver<Infallible>);

impl Stop {
    /// Returns a stop that never comes.
    pub fn never() -> Stop {
        Stop(never())
    }

    /// Returns whether it has come.
    pub fn has_come(&self) -> bool {
        self.0.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Blocks until it comes, for at most `time`. Returns whether it has come.
    pub fn wait_for(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }

    /// Returns the channel behind it, for `select!`: nothing is ever received, and it is disconnected
    /// when the stop comes.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.0
    }
}

/// Calls `work`, and `companion` meanwhile in a thread called `name`, with a stop that comes when `work` has ended. Blocks
/// until both have ended.
///
/// # Errors
///
/// The thread cannot be started. `work` is not called then.
pub fn beside<O>(
    name: &str,
    companion: impl FnOnce(&Stop) + Send,
    work: impl FnOnce() -> O,
) -> io::Result<O> {
    let (working, over) = Stopper::new();
    thread::scope(|scope| {
        Builder::new().name(name.into()).spawn_scoped(scope, || companion(&over))?;
        let outcome = work();
        working.stop();
        Ok(outcome)
    })
}

/// Calls `work`, which itself does not end at a stop, in a thread called `name`. Returns its outcome, or `None` if it takes
/// longer than `grace` after `stop` has come. Nobody joins the thread.
///
/// # Errors
///
/// The thread cannot be started, or panicked.
pub fn interruptible<O: Send + 'static>(
    name: &str,
    stop: &Stop,
    grace: Duration,
    work: impl FnOnce() -> O + Send + 'static,
) -> io::Result<Option<O>> {
    let (done, outcome) = bounded(1);
    let thread = Builder::new().name(name.into()).spawn(move || {
        // The receiver is dropped after a stop.
        let _stopped = done.send(work());
    });
    thread.map_err(|error| io::Error::new(error.kind(), format!("no thread {name}: {error}")))?;
    select! {
        recv(stop.channel()) -> _ => Ok(outcome.recv_timeout(grace).ok()),
        recv(outcome) -> outcome => {
            outcome.map(Some).map_err(|_| io::Error::other("the thread panicked"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Stop, Stopper, beside};
    use std::time::Duration;

    #[test]
    fn a_stop_comes_with_the_last_stopper() {
        let (stopper, stop) = Stopper::new();
        let (clone, seen) = (stopper.clone(), stop.clone());
        stopper.stop();
        assert!(!stop.has_come() && !seen.wait_for(Duration::from_millis(1)));
        clone.stop();
        assert!(stop.has_come() && seen.wait_for(Duration::MAX));
        assert!(!Stop::never().has_come());
    }

    #[test]
    fn a_thread_beside_some_work_is_stopped_after_it() {
        let mut stopped = false;
        let wait = |over: &Stop| {
            stopped = over.wait_for(Duration::MAX);
        };
        assert_eq!(beside("test", wait, || 7).ok(), Some(7));
        assert!(stopped);
    }
}
