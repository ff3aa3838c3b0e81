//! The client's open sockets, in a list that shuts them all when the program stops.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

/// The list of open sockets, until it is closed.
#[derive(Debug, Default)]
pub struct OpenSockets(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    closed: bool,
    sockets: HashMap<RawFd, Arc<TcpStream>>,
}

impl OpenSockets {
    /// Registers a socket until the returned guard is dropped. Returns `None` if the list is closed.
    pub fn register(&self, socket: &Arc<TcpStream>) -> Option<OpenSocket<'_>> {
        let mut list = self.lock();
        if list.closed {
            return None;
        }
        let descriptor = socket.as_raw_fd();
        list.sockets.insert(descriptor, Arc::clone(socket));
        Some(OpenSocket { list: self, descriptor })
    }

    /// Closes the list and shuts its sockets for reading, writing or both. Threads that are blocked on one wake up.
    pub fn close(&self, how: Shutdown) {
        let mut list = self.lock();
        list.closed = true;
        for socket in list.sockets.values() {
            // It fails if the peer has closed the socket, and then no thread is blocked on it.
            let _already_shut = socket.shutdown(how);
        }
    }

    /// Returns whether the list is closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, List> {
        // No statement under the lock panics, and the list is consistent between any two.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket on the list.
#[derive(Debug)]
pub struct OpenSocket<'l> {
    list: &'l OpenSockets,
    descriptor: RawFd,
}

impl Drop for OpenSocket<'_> {
    fn drop(&mut self) {
        self.list.lock().sockets.remove(&self.descriptor);
    }
}
