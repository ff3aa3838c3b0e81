//! Errors of the operating system: numbers that the standard library has no kind for, and the user that a file is
//! denied to.

use std::io;
use std::os::unix::fs::MetadataExt;

/// The error number of a system that has no file descriptor left, the same on all Unix systems.
pub const ENFILE: i32 = 23;
/// The error number of a process that has reached its limit of open files, the same on all Unix systems.
pub const EMFILE: i32 = 24;

/// Returns the end of a message for a file that may not be opened: the user that must be able to `access` it. The user
/// is a number, because a container may have no name for it. Returns an empty text for any other error.
pub fn if_denied(error: &io::Error, access: &str) -> String {
    // The owner of `/proc/self` is the user of this process.
    match std::fs::metadata("/proc/self") {
        Ok(process) if error.kind() == io::ErrorKind::PermissionDenied => {
            format!("; user {} must be able to {access}", process.uid())
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::if_denied;
    use std::io::{Error, ErrorKind};

    #[test]
    fn a_denied_file_is_told_with_the_user_by_number() {
        let told = if_denied(&Error::from(ErrorKind::PermissionDenied), "read it");
        let user = told.strip_prefix("; user ").and_then(|rest| rest.split(' ').next());
        assert!(user.is_some_and(|user| user.parse::<u32>().is_ok()), "{told}");
        assert_eq!(if_denied(&Error::from(ErrorKind::NotFound), "read it"), "");
    }
}
