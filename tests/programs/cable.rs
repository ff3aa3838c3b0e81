//! A network that tests can cut: between an address of its own and a server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Forwards connections to a server until it is cut. A server does not notice a cut: its side stays open.
pub(crate) struct Cable {
    /// The address that leads to the server.
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    is_over: bool,
    clients: Vec<TcpStream>,
    servers: Vec<TcpStream>,
}

impl Cable {
    /// Leads to `server`, `HOST:PORT`, which need not be there yet.
    pub(crate) fn to(server: &str) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address").to_string();
        let state = Arc::<Mutex<State>>::default();
        let accepting = thread::spawn({
            let (state, server) = (Arc::clone(&state), server.to_owned());
            move || accept(&listener, &state, &server)
        });
        Cable { address, state, accepting: Some(accepting) }
    }

    /// Resets every connection at the client's side, and those that are made from now on.
    pub(crate) fn cut(&self) {
        let mut state = locked(&self.state);
        state.is_cut = true;
        for client in state.clients.drain(..) {
            let _closed_already = client.shutdown(Shutdown::Both);
        }
    }

    /// Forwards new connections again.
    pub(crate) fn mend(&self) {
        locked(&self.state).is_cut = false;
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.cut();
        locked(&self.state).is_over = true;
        let _knock = TcpStream::connect(&self.address);
        for server in &locked(&self.state).servers {
            let _closed_already = server.shutdown(Shutdown::Both);
        }
        let joined = self.accepting.take().expect("it is joined once").join();
        assert!(thread::panicking() || joined.is_ok(), "the cable found something wrong");
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, state: &Arc<Mutex<State>>, server: &str) {
    let again = |stream: &TcpStream| stream.try_clone().expect("a second handle");
    thread::scope(|scope| {
        loop {
            let (client, _) = listener.accept().expect("a connection");
            let mut list = locked(state);
            if list.is_over {
                return;
            }
            if list.is_cut {
                continue;
            }
            // Without a server the client is closed at once, as by a network that leads nowhere.
            let Ok(server) = TcpStream::connect(server) else { continue };
            list.clients.push(again(&client));
            list.servers.push(again(&server));
            drop(list);
            let (from_client, to_server) = (again(&client), again(&server));
            scope.spawn(move || forward(from_client, to_server, state));
            scope.spawn(move || forward(server, client, state));
        }
    });
}

/// Copies until either side ends, and passes the end on unless the cable is cut.
fn forward(mut from: TcpStream, mut to: TcpStream, state: &Mutex<State>) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let state = locked(state);
    if !state.is_cut || state.is_over {
        let _closed_already = to.shutdown(Shutdown::Write);
    }
}
