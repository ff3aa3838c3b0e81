//! Limits the connections of the server, and chooses the one that is closed when there is no room for another.
//! Knows sockets, but does not interpret their bytes.
//!
//! A connection has a *holder*, with which its limit is counted: its agency, or, if its certificate names several and it
//! has named none of them yet, the list of these. Until the holder is known, the connection is a *newcomer*. A connection
//! that is closed for another is *leaving*: it is shut for reading, so that its own thread wakes, sends the error to its
//! peer, and ends. The thread that accepts waits for it only if too many are leaving, or if the system
//! has no room for another connection.

use crate::bet::AgencyId;
use crate::system::lock;
use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The most connections of an agency.
pub const CONNECTIONS_PER_AGENCY_MAX: usize = 4;
/// The least limit of newcomers, whatever the limit of connections is.
pub const NEWCOMERS_MIN: usize = 16;
/// The most connections that may be leaving when one more is accepted.
const LEAVING_MAX: usize = 64;
/// The longest time that the thread that accepts waits for one of them to end.
const LEAVING_TIME_MAX: Duration = Duration::from_millis(50);

/// The connections of a server, within their limits.
#[derive(Debug)]
pub struct Places {
    connections_max: usize,
    start: Instant,
    table: Mutex<Table>,
    /// A connection that was leaving has ended, or all are closed.
    left: Condvar,
}

/// The reason why a connection has to leave, with the limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// That of newcomers, and this one was silent longest.
    Newcomers(usize),
    /// That of connections, and other connections take precedence.
    Connections(usize),
    /// That of connections of its agency, and this one was idle longest.
    Agency(usize),
}

/// Connections that share a limit. Certificates are the first in their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    /// Those whose certificates have these agencies, several or none, and that have named none of them yet.
    Certificate(Vec<AgencyId>),
    Agency(AgencyId),
    Newcomers,
}

#[derive(Debug, Default)]
struct Table {
    closed: bool,
    /// The connections of each holder, and the newcomers. No list is empty.
    connections: BTreeMap<Holder, Vec<Arc<Connection>>>,
    /// The number of all of these, to find it without counting.
    count: usize,
    /// In the order of their evictions.
    leaving: Vec<Arc<Connection>>,
}

/// A connection, shared between its own thread and those that evict it.
#[derive(Debug)]
struct Connection {
    socket: Arc<TcpStream>,
    /// The time of the last bytes from its peer, in microseconds since the server began.
    heard: AtomicU64,
    /// Whether it waits for the draw, and must not be closed.
    waits: AtomicBool,
    eviction: OnceLock<Eviction>,
}

impl Places {
    /// Returns a table without connections, for at most `connections_max` at a time.
    pub fn new(connections_max: usize) -> Places {
        let (table, left) = (Mutex::default(), Condvar::new());
        Places { connections_max, start: Instant::now(), table, left }
    }

    /// Gives a connection a place until the returned guard is dropped. If there is no room, another connection is
    /// closed: the newcomer that has been silent longest if there are too many newcomers; otherwise one whose agency
    /// has others, or that has named no agency of its certificate; otherwise a newcomer. If there is none, the new
    /// connection itself is leaving, so that its peer is told why.
    ///
    /// Returns `None` after `Places::close`, or if too many connections are leaving and do not end.
    pub fn enter(&self, socket: TcpStream) -> Option<Place<'_>> {
        let connection = Arc::new(Connection {
            socket: Arc::new(socket),
            heard: AtomicU64::new(self.now()),
            waits: AtomicBool::new(false),
            eviction: OnceLock::new(),
        });
        let mut table = self.table_with_few_leaving()?;
        let newcomers_max = NEWCOMERS_MIN.max(self.connections_max / 4);
        let why = Eviction::Connections(self.connections_max);
        let holder = Holder::Newcomers;
        let has_room = if table.of(&holder).len() >= newcomers_max {
            table.evict(&holder, Eviction::Newcomers(newcomers_max))
        } else {
            table.count < self.connections_max
                || table.evict_surplus(why)
                || table.evict(&holder, why)
        };
        if has_room {
            table.add(Arc::clone(&connection), holder.clone());
        } else {
            table.make_leave(Arc::clone(&connection), why);
        }
        Some(Place { places: self, connection, holder })
    }

    /// Closes the newcomer that has been silent longest, because the system has no room for another connection. Shuts the
    /// one that has been leaving longest, because its peer may not read. Blocks until a connection has ended, for at most
    /// `LEAVING_TIME_MAX`.
    pub fn make_room(&self) {
        let mut table = lock(&self.table);
        table.leaving.first().into_iter().for_each(|oldest| oldest.shut(Shutdown::Both));
        let why = Eviction::Connections(table.count);
        table.evict(&Holder::Newcomers, why);
        let _ended = self.left.wait_timeout(table, LEAVING_TIME_MAX);
    }

    /// Notes that a connection has ended and its socket is closed.
    pub(crate) fn note_left(&self) {
        self.left.notify_all();
    }

    /// Gives no more places, and shuts every connection for reading, writing or both. Threads that are blocked on one
    /// wake up.
    pub(crate) fn close(&self, how: Shutdown) {
        let mut table = lock(&self.table);
        table.closed = true;
        let connections = table.connections.values().flatten().chain(&table.leaving);
        let connections: Vec<_> = connections.cloned().collect();
        // The threads that wake need the table.
        drop(table);
        for connection in connections {
            connection.shut(how);
        }
        self.left.notify_all();
    }

    /// Returns the table. If too many connections are leaving, first shuts the oldest of them, and waits for their ends.
    /// Returns `None` if they do not end in time, or after `Places::close`.
    fn table_with_few_leaving(&self) -> Option<MutexGuard<'_, Table>> {
        let table = lock(&self.table);
        // The threads of the oldest had most time to tell their peers, or wait for ones that do not read.
        let surplus = (table.leaving.len() + 1).saturating_sub(LEAVING_MAX);
        table.leaving[..surplus].iter().for_each(|oldest| oldest.shut(Shutdown::Both));
        let too_many = |table: &mut Table| !table.closed && table.leaving.len() >= LEAVING_MAX;
        let waited = self.left.wait_timeout_while(table, LEAVING_TIME_MAX, too_many);
        let table = waited.unwrap_or_else(PoisonError::into_inner).0;
        (!table.closed && table.leaving.len() < LEAVING_MAX).then_some(table)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Table {
    /// Returns the connections of `holder`.
    fn of(&self, holder: &Holder) -> &[Arc<Connection>] {
        self.connections.get(holder).map_or(&[], Vec::as_slice)
    }

    /// Makes a connection that is on no list leave. Its own thread tells the peer, as soon as it is shut for reading.
    fn make_leave(&mut self, connection: Arc<Connection>, why: Eviction) {
        let first = connection.eviction.set(why).is_ok();
        debug_assert!(first, "one that is leaving is on no other list");
        self.leaving.push(connection);
    }

    /// Makes the connection of `holder` leave that has been idle longest. Returns `false` if there is none, or if all wait
    /// for the draw.
    fn evict(&mut self, holder: &Holder, why: Eviction) -> bool {
        let Some(connection) = idle_longest(self.of(holder)).cloned() else { return false };
        self.remove(&connection, holder);
        self.make_leave(Arc::clone(&connection), why);
        connection.shut(Shutdown::Read);
        true
    }

    /// Makes the connection leave that has been idle longest of those that no agency needs: it has others, or the connection
    /// has named none. Returns `false` if there is none.
    fn evict_surplus(&mut self, why: Eviction) -> bool {
        let newcomers = self.of(&Holder::Newcomers).len();
        let has_certificates =
            matches!(self.connections.keys().next(), Some(Holder::Certificate(_)));
        let agencies = self.connections.len() - usize::from(newcomers > 0);
        if !has_certificates && self.count - newcomers == agencies {
            // Each agency has one. A flood asks for every connection, and there may be thousands of agencies.
            return false;
        }
        let surplus = self.connections.iter().filter(|(holder, connections)| match holder {
            Holder::Newcomers => false,
            Holder::Certificate(_) => true,
            Holder::Agency(_) => connections.len() > 1,
        });
        let idle =
            surplus.filter_map(|(holder, connections)| Some((idle_longest(connections)?, holder)));
        let longest = idle.min_by_key(|(connection, _)| connection.heard.load(Ordering::Relaxed));
        let holder = longest.map(|(_, holder)| holder.clone());
        holder.is_some_and(|holder| self.evict(&holder, why))
    }

    fn add(&mut self, connection: Arc<Connection>, holder: Holder) {
        self.connections.entry(holder).or_default().push(connection);
        self.count += 1;
    }

    /// Removes a connection from its list.
    fn remove(&mut self, connection: &Arc<Connection>, holder: &Holder) {
        if connection.eviction.get().is_some() {
            self.leaving.retain(|other| !Arc::ptr_eq(other, connection));
        } else if let Some(connections) = self.connections.get_mut(holder) {
            connections.retain(|other| !Arc::ptr_eq(other, connection));
            if connections.is_empty() {
                self.connections.remove(holder);
            }
            self.count -= 1;
        }
    }
}

/// Returns the connection that has been idle longest, except those that wait for the draw.
fn idle_longest(connections: &[Arc<Connection>]) -> Option<&Arc<Connection>> {
    let idle = connections.iter().filter(|connection| !connection.waits.load(Ordering::Relaxed));
    idle.min_by_key(|connection| connection.heard.load(Ordering::Relaxed))
}

impl Connection {
    fn shut(&self, how: Shutdown) {
        // It fails if the peer has closed the socket, and then no thread is blocked on it.
        let _already_shut = self.socket.shutdown(how);
    }
}

/// The place of a connection.
#[derive(Debug)]
pub struct Place<'p> {
    places: &'p Places,
    connection: Arc<Connection>,
    holder: Holder,
}

impl Place<'_> {
    pub(crate) fn socket(&self) -> Arc<TcpStream> {
        Arc::clone(&self.connection.socket)
    }

    /// Returns whether the holder is not known yet.
    pub(crate) fn is_newcomer(&self) -> bool {
        self.holder == Holder::Newcomers
    }

    /// Returns why the connection has to leave. `None` if it may stay.
    pub(crate) fn eviction(&self) -> Option<Eviction> {
        self.connection.eviction.get().copied()
    }

    /// Notes that bytes came from the peer.
    pub(crate) fn heard(&self) {
        self.connection.heard.store(self.places.now(), Ordering::Relaxed);
    }

    /// Notes that the connection ends as soon as its peer has read why. From now on it is the first that is closed for
    /// another, as if it had been idle longest.
    pub(crate) fn gives_way(&self) {
        self.connection.heard.store(0, Ordering::Relaxed);
    }

    /// Makes the connection one of the agency that it has named, or of the agencies in its certificate, which may be none.
    /// If its holder has too many then, the one that has been idle longest is closed.
    ///
    /// # Errors
    ///
    /// The connection has to leave: it was evicted before, or all others of its holder wait for the draw.
    pub fn belongs_to(&mut self, agencies: Vec<AgencyId>) -> Result<(), Eviction> {
        let max = CONNECTIONS_PER_AGENCY_MAX * agencies.len().max(1);
        let holder = match agencies[..] {
            [agency] => Holder::Agency(agency),
            _ => Holder::Certificate(agencies),
        };
        if self.holder == holder {
            return Ok(());
        }
        let mut table = lock(&self.places.table);
        if let Some(why) = self.eviction() {
            return Err(why);
        }
        table.remove(&self.connection, &self.holder);
        let why = Eviction::Agency(max);
        if table.of(&holder).len() >= max && !table.evict(&holder, why) {
            table.make_leave(Arc::clone(&self.connection), why);
            return Err(why);
        }
        table.add(Arc::clone(&self.connection), holder.clone());
        self.holder = holder;
        Ok(())
    }

    /// Calls `wait`, which waits for the draw. The connection is not closed for another meanwhile.
    ///
    /// # Errors
    ///
    /// The connection has to leave.
    pub(crate) fn while_it_waits<T>(&self, wait: impl FnOnce() -> T) -> Result<T, Eviction> {
        let table = lock(&self.places.table);
        if let Some(why) = self.eviction() {
            return Err(why);
        }
        self.connection.waits.store(true, Ordering::Relaxed);
        drop(table);
        let waited = wait();
        self.heard();
        self.connection.waits.store(false, Ordering::Relaxed);
        Ok(waited)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.places.table).remove(&self.connection, &self.holder);
    }
}

#[cfg(test)]
mod tests {
    use super::Places;
    use crate::bet::AgencyId;
    use std::io::Read;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn a_stop_wakes_the_threads_of_all_connections_those_that_are_drained_and_that_leave_too() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let places = Places::new(3);
        let enter = || {
            let peer = TcpStream::connect(address).expect("it listens");
            let place = places.enter(listener.accept().expect("one connects").0);
            (place.expect("a place"), peer)
        };
        let mut held = [enter(), enter(), enter()];
        held[0].0.belongs_to(vec![AgencyId::new(1).expect("an agency")]).expect("its first");
        held[1].0.gives_way();
        let another = enter();
        assert!(held[1].0.eviction().is_some(), "it has given way");
        another.0.gives_way();
        // Of one that was only told to leave the peer sees no end.
        places.close(Shutdown::Both);
        for (_, mut peer) in held.into_iter().chain([another]) {
            peer.set_read_timeout(Some(Duration::from_secs(30))).expect("a bound for reads");
            assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
        }
    }
}
