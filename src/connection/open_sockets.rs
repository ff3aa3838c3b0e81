//! The client's open sockets, in a list that shuts them all when the program stops.

use crate::system::lock;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, Weak};

/// The list of open sockets, until it is closed.
#[derive(Debug, Default)]
pub(crate) struct OpenSockets(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    closed: bool,
    /// Those that are not open any more are removed when there is no room for another.
    sockets: Vec<Weak<TcpStream>>,
}

impl OpenSockets {
    /// Registers a socket for as long as it is open. Returns whether it could: not if the list is closed.
    pub(crate) fn register(&self, socket: &Arc<TcpStream>) -> bool {
        let List { closed, sockets } = &mut *lock(&self.0);
        if sockets.len() == sockets.capacity() {
            sockets.retain(|socket| socket.strong_count() > 0);
        }
        sockets.push(Arc::downgrade(socket));
        !*closed
    }

    /// Closes the list and shuts its sockets. Threads that are blocked on one wake up.
    pub(crate) fn close(&self) {
        let mut list = lock(&self.0);
        list.closed = true;
        for socket in list.sockets.iter().filter_map(Weak::upgrade) {
            // It fails if the peer has closed the socket, and then no thread is blocked on it.
            let _already_shut = socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.0).closed
    }
}

#[cfg(test)]
mod tests {
    use super::OpenSockets;
    use crate::system::lock;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    #[test]
    fn a_list_shuts_the_sockets_that_are_open_and_forgets_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let connect = || Arc::new(TcpStream::connect(address).expect("it listens"));
        let sockets = OpenSockets::default();
        for _ in 0..50 {
            assert!(sockets.register(&connect()));
        }
        assert!(lock(&sockets.0).sockets.len() < 10, "they are closed");
        let open = connect();
        assert!(sockets.register(&open));
        sockets.close();
        assert_eq!((&*open).read(&mut [0]).expect("it is shut"), 0);
        assert!(sockets.is_closed() && !sockets.register(&open));
    }
}
