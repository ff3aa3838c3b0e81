//! The sockets that are open, so that whoever stops the program can shut them all.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

/// The list of open sockets, until it is closed.
#[derive(Debug)]
pub struct OpenSockets(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    closed: bool,
    next: u64,
    sockets: BTreeMap<u64, Arc<TcpStream>>,
}

impl OpenSockets {
    /// An empty list.
    pub fn new() -> OpenSockets {
        OpenSockets(Mutex::default())
    }

    /// Puts a socket on the list for as long as the answer lives; `None` where the list is closed.
    pub fn register(&self, socket: Arc<TcpStream>) -> Option<OpenSocket<'_>> {
        let mut list = self.lock();
        if list.closed {
            return None;
        }
        let number = list.next;
        list.next += 1;
        list.sockets.insert(number, Arc::clone(&socket));
        Some(OpenSocket { list: self, number, socket })
    }

    /// Takes no more sockets, and shuts those on the list for reading or for more: whoever is blocked
    /// on one is woken.
    pub fn close(&self, how: Shutdown) {
        let mut list = self.lock();
        list.closed = true;
        for socket in list.sockets.values() {
            // It fails where the peer was faster, and then nobody is blocked on it.
            let _already_shut = socket.shutdown(how);
        }
    }

    /// Whether it takes no more sockets.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, List> {
        // Nothing panics while it is held, and a list is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for OpenSockets {
    fn default() -> OpenSockets {
        OpenSockets::new()
    }
}

/// A socket on the list.
#[derive(Debug)]
pub struct OpenSocket<'l> {
    list: &'l OpenSockets,
    number: u64,
    socket: Arc<TcpStream>,
}

impl OpenSocket<'_> {
    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

impl Drop for OpenSocket<'_> {
    fn drop(&mut self) {
        self.list.lock().sockets.remove(&self.number);
    }
}
