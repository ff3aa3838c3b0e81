//! The threads and locks of the model checker, under the names that `src/draw.rs` uses.

pub use shuttle::sync::{Barrier, Condvar, Mutex, MutexGuard};
pub use std::sync::PoisonError;

/// A cell that is written once, whose readers can wait for it. The checker has none.
#[derive(Debug)]
pub struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    /// Held over every use of the value, so that each is a moment at which others may come first.
    is_set: Mutex<bool>,
    set: Condvar,
}

impl<T> OnceLock<T> {
    pub fn new() -> OnceLock<T> {
        OnceLock {
            value: std::sync::OnceLock::new(),
            is_set: Mutex::new(false),
            set: Condvar::new(),
        }
    }

    pub fn get(&self) -> Option<&T> {
        let _held = self.is_set.lock().expect("nothing panics while it is held");
        self.value.get()
    }

    pub fn set(&self, value: T) -> Result<(), T> {
        let mut is_set = self.is_set.lock().expect("nothing panics while it is held");
        self.value.set(value)?;
        *is_set = true;
        self.set.notify_all();
        Ok(())
    }

    pub fn wait(&self) -> &T {
        let mut is_set = self.is_set.lock().expect("nothing panics while it is held");
        while !*is_set {
            is_set = self.set.wait(is_set).expect("nothing panics while it is held");
        }
        self.value.get().expect("it is set")
    }
}

pub mod thread {
    pub use shuttle::thread::scope;
}
