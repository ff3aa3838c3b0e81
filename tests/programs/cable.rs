//! A network that tests can disturb: a proxy between an address of its own and a server. Bytes are never changed or
//! lost within a connection: they come late, or the connection ends.

use crate::support::random::Random;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Forwards connections to a server.
pub(crate) struct Cable {
    /// The address that leads to the server.
    pub(crate) address: String,
    network: Arc<Network>,
    accepting: Option<JoinHandle<()>>,
}

struct Network {
    server: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_over: bool,
    /// New connections are closed at once.
    is_cut: bool,
    /// Nothing arrives, and nothing ends.
    is_silent: bool,
    /// The longest delay of some bytes, in microseconds.
    delay: usize,
    /// Draws each delay.
    random: Option<Random>,
    /// In the order in which they were made.
    connections: BTreeMap<u64, Connection>,
    made: u64,
}

struct Connection {
    ends: Arc<Ends>,
    /// The client's bytes wait until a later connection has had a reply.
    is_held: bool,
    /// The client's side is closed, and the server's side stays open.
    is_lost: bool,
    /// Both sides are closed, and bytes in flight are lost.
    is_reset: bool,
}

/// Closed when both threads that forward between them have ended.
struct Ends {
    client: TcpStream,
    server: TcpStream,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

/// The fate of some bytes.
enum Passage {
    /// They arrive after so many microseconds.
    After(usize),
    /// They are lost, and their sender does not notice.
    Lost,
    /// The connection is closed.
    Reset,
}

impl Cable {
    /// Leads to `server`, `HOST:PORT`, which need not be there yet.
    pub(crate) fn to(server: &str) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address").to_string();
        let network = Arc::new(Network {
            server: server.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = thread::spawn({
            let network = Arc::clone(&network);
            move || network.accept(&listener)
        });
        Cable { address, network, accepting: Some(accepting) }
    }

    /// Closes every connection at the client's side, and those that are made from now on. The server does not
    /// notice: its side stays open.
    pub(crate) fn cut(&self) {
        let mut state = self.network.lock();
        state.is_cut = true;
        for connection in state.connections.values_mut() {
            connection.is_lost = true;
            connection.ends.shut(Some(Way::ToClient), Shutdown::Both);
        }
        self.network.changed.notify_all();
    }

    /// Forwards new connections again.
    pub(crate) fn mend(&self) {
        self.network.lock().is_cut = false;
    }

    /// Holds the bytes of the client on its open connections until a later connection has had a reply, so that they
    /// arrive after that one's.
    pub(crate) fn hold(&self) {
        let mut state = self.network.lock();
        state.connections.values_mut().for_each(|connection| connection.is_held = true);
    }

    /// Disturbs the open connections in one of six ways: delays, silence, a reset, a cut, a half-close of either side.
    pub(crate) fn disturb(&self, random: &mut Random) {
        self.calm();
        let mut state = self.network.lock();
        match random.below(6) {
            0 => {
                state.delay = random.one_of(&[500, 3_000, 20_000]);
                state.random = Some(random.another());
            }
            1 => state.is_silent = true,
            // Bytes that were not forwarded make the system reset the connection instead of ending it.
            2 => state.close_all(),
            3 => {
                drop(state);
                self.cut();
            }
            // A half-close that neither side asked for.
            4 => state.end_all(Way::ToServer),
            _ => state.end_all(Way::ToClient),
        }
        self.network.changed.notify_all();
    }

    /// Forwards everything at once again, except for connections that are held.
    fn calm(&self) {
        let mut state = self.network.lock();
        (state.is_cut, state.is_silent, state.delay) = (false, false, 0);
        self.network.changed.notify_all();
    }

    /// Ends every disturbance.
    pub(crate) fn heal(&self) {
        self.calm();
        let mut state = self.network.lock();
        state.connections.values_mut().for_each(|connection| connection.is_held = false);
        self.network.changed.notify_all();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        state.is_over = true;
        state.close_all();
        drop(state);
        self.network.changed.notify_all();
        let _knock = TcpStream::connect(&self.address);
        let joined = self.accepting.take().expect("it is joined once").join();
        assert!(thread::panicking() || joined.is_ok(), "the cable found something wrong");
    }
}

impl State {
    fn close_all(&mut self) {
        for connection in self.connections.values_mut() {
            connection.is_reset = true;
            connection.ends.shut(None, Shutdown::Both);
        }
    }

    fn end_all(&mut self, way: Way) {
        self.connections
            .values()
            .for_each(|connection| connection.ends.shut(Some(way), Shutdown::Write));
    }
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(&self, listener: &TcpListener) {
        thread::scope(|scope| {
            loop {
                let (client, _) = listener.accept().expect("a connection");
                let state = self.lock();
                if state.is_over {
                    return;
                }
                if state.is_cut {
                    continue;
                }
                drop(state);
                // Without a server the client is closed at once, as by a network that leads nowhere.
                let Ok(server) = TcpStream::connect(&self.server) else { continue };
                let no_delay = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
                no_delay.expect("no delay but the cable's own");
                let ends = Arc::new(Ends { client, server });
                let again = Arc::clone(&ends);
                let mut state = self.lock();
                state.made += 1;
                let number = state.made;
                let connection =
                    Connection { ends, is_held: false, is_lost: false, is_reset: state.is_over };
                state.connections.insert(number, connection);
                drop(state);
                scope.spawn(move || {
                    thread::scope(|scope| {
                        scope.spawn(|| self.forward(number, &again, Way::ToServer));
                        self.forward(number, &again, Way::ToClient);
                    });
                    self.lock().connections.remove(&number);
                });
            }
        });
    }

    /// Copies one way until either side ends, and passes the end on.
    fn forward(&self, number: u64, ends: &Ends, way: Way) {
        let (mut from, mut to) = match way {
            Way::ToServer => (&ends.client, &ends.server),
            Way::ToClient => (&ends.server, &ends.client),
        };
        let mut bytes = [0; 16 << 10];
        loop {
            let count = from.read(&mut bytes).unwrap_or(0);
            match self.passage(number, way, count) {
                Passage::After(micros) => {
                    let micros = micros.try_into().expect("a small number");
                    thread::sleep(Duration::from_micros(micros));
                }
                Passage::Lost if count > 0 => continue,
                Passage::Lost | Passage::Reset => return,
            }
            if count == 0 || to.write_all(&bytes[..count]).is_err() {
                let _closed_already = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }

    /// Waits until bytes, or the end if there are none, may arrive.
    fn passage(&self, number: u64, way: Way, count: usize) -> Passage {
        let mut state = self.lock();
        loop {
            let connection = &state.connections[&number];
            if connection.is_reset {
                return Passage::Reset;
            }
            if connection.is_lost {
                return Passage::Lost;
            }
            let waits = state.is_silent || (connection.is_held && way == Way::ToServer);
            if !waits {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if way == Way::ToClient && count > 0 {
            for (_, earlier) in state.connections.range_mut(..number) {
                earlier.is_held = false;
            }
            self.changed.notify_all();
        }
        let delay = state.delay;
        Passage::After(match &mut state.random {
            Some(random) if delay > 0 => random.below(delay),
            _ => 0,
        })
    }
}

impl Ends {
    /// Shuts the socket of one side, or of both.
    fn shut(&self, way: Option<Way>, how: Shutdown) {
        if way != Some(Way::ToServer) {
            let _closed_already = self.client.shutdown(how);
        }
        if way != Some(Way::ToClient) {
            let _closed_already = self.server.shutdown(how);
        }
    }
}
