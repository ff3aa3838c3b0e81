//! The operating system: error numbers that the standard library has no kind for, calls that a signal interrupts, pipes in
//! the place of files, the user that a file is denied to, and the locks, the threads, the processors and the address space
//! of this process.

use log::info;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, available_parallelism};

/// The error number of accepting on a socket that does not listen, the same on all Unix systems.
pub(crate) const EINVAL: i32 = 22;
/// The error number of a system that has no file descriptor left, the same on all Unix systems.
pub(crate) const ENFILE: i32 = 23;
/// The error number of a process that has reached its limit of open files, the same on all Unix systems.
pub(crate) const EMFILE: i32 = 24;

/// Returns the end of a message for a file that may not be opened: the user that must be able to `access` it. The user
/// is a number, because a container may have no name for it. Returns an empty text for any other error.
pub(crate) fn if_denied(error: &io::Error, access: &str) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return String::new();
    }
    // The owner of `/proc/self` is the user of this process.
    std::fs::metadata("/proc/self")
        .map(|process| format!("; user {} must be able to {access}", process.uid()))
        .unwrap_or_default()
}

/// Fails if `path` leads to a pipe, a device or a directory, or to nothing. To be called before a file is opened, because
/// opening a pipe for reading blocks until somebody writes to it.
pub(crate) fn check_regular(path: &Path) -> io::Result<()> {
    let is_regular = std::fs::metadata(path)?.is_file();
    if is_regular { Ok(()) } else { Err(io::Error::other("not a regular file")) }
}

/// Calls `call` until no signal interrupts it.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Locks `mutex`, even if a thread panicked while it had the lock. Every value behind a lock here is consistent between any
/// two statements.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Logs that the calling thread ends.
pub(crate) fn log_thread_closed() {
    if let Some(name) = thread::current().name() {
        info!("action: close_thread | result: success | thread: {name}");
    }
}

/// Returns the number of processors that this process may use. Asks the system once, because the answer is in files.
pub(crate) fn processors() -> usize {
    static PROCESSORS: LazyLock<usize> =
        LazyLock::new(|| available_parallelism().map_or(1, NonZero::get));
    *PROCESSORS
}

/// Returns the limit of the address space of this process (`ulimit -v`), in bytes. Returns `None` if there is none, or
/// if `/proc` does not tell.
pub fn address_space_max() -> Option<u64> {
    number_in("/proc/self/limits", "Max address space")
}

/// Returns the address space that this process has, in bytes. Returns `None` if `/proc` does not tell.
pub(crate) fn address_space() -> Option<u64> {
    number_in("/proc/self/status", "VmSize:").map(|kib| kib << 10)
}

/// Returns the number that follows `name` at the beginning of a line.
fn number_in(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

// Both need `/proc`.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{address_space, if_denied};
    use std::io::{Error, ErrorKind};

    #[test]
    fn a_denied_file_is_told_with_the_user_by_number() {
        let told = if_denied(&Error::from(ErrorKind::PermissionDenied), "read it");
        let user = told.strip_prefix("; user ").and_then(|rest| rest.split(' ').next());
        assert!(user.is_some_and(|user| user.parse::<u32>().is_ok()), "{told}");
        assert_eq!(if_denied(&Error::from(ErrorKind::NotFound), "read it"), "");
    }

    #[test]
    fn the_address_space_of_this_process_is_known_in_bytes() {
        assert!(address_space().is_some_and(|bytes| bytes > 1 << 20));
    }
}
