//! Who may have a connection, and which one is closed when there is no room for another. Knows sockets, and
//! not what travels over them.
//!
//! A connection is a *newcomer* until it is known which agencies it belongs to, its *holder*. One that is
//! closed for another's sake is *leaving*: it is shut for reading, so that its own thread wakes, tells its peer
//! why, and ends. Nobody waits for it, but for the thread that accepts if too many are leaving.

use crate::bet::AgencyId;
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How many connections an agency may have.
pub const CONNECTIONS_PER_AGENCY_MAX: usize = 4;
/// How many newcomers there may be at least, whatever the most connections are.
pub const NEWCOMERS_MIN: usize = 16;
/// How many connections may be leaving when one more is accepted.
const LEAVING_MAX: usize = 64;
/// How long the thread that accepts waits for one of them to end.
const LEAVING_TIME_MAX: Duration = Duration::from_millis(50);

/// The connections of a server, within their bounds.
#[derive(Debug)]
pub struct Places {
    connections_max: usize,
    start: Instant,
    table: Mutex<Table>,
    /// A connection that was leaving has ended, or all are closed.
    left: Condvar,
}

/// Why a connection has to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// There are as many newcomers as there may be, and this one was silent longest.
    Newcomers {
        /// How many there may be.
        max: usize,
    },
    /// There are as many connections as there may be, and others need the place more.
    Connections {
        /// How many there may be.
        max: usize,
    },
    /// Its agency has as many connections as it may have, and this one was idle longest.
    Agency {
        /// How many it may have.
        max: usize,
    },
}

#[derive(Debug, Default)]
struct Table {
    closed: bool,
    newcomers: Vec<Arc<Guest>>,
    holders: BTreeMap<Vec<AgencyId>, Vec<Arc<Guest>>>,
    /// How many connections the holders have together.
    held: usize,
    /// In the order in which they were told to leave.
    leaving: VecDeque<Arc<Guest>>,
}

/// A connection, as every thread sees it.
#[derive(Debug)]
struct Guest {
    socket: Arc<TcpStream>,
    /// When something came from its peer last, in microseconds since the server began.
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

    /// Gives a connection a place for as long as the answer lives. If there is no room, another connection is
    /// closed for it: the newcomer that has been silent longest if there are too many newcomers; otherwise
    /// one that its agency can do without; otherwise a newcomer. If there is none either, the place is one of a
    /// connection that is leaving, so that its peer is told.
    ///
    /// Returns `None` if all are closed, or too many are leaving and do not end.
    pub fn enter(&self, socket: TcpStream) -> Option<Place<'_>> {
        let guest = Arc::new(Guest {
            socket: Arc::new(socket),
            heard: AtomicU64::new(self.now()),
            waits: AtomicBool::new(false),
            eviction: OnceLock::new(),
        });
        let mut table = self.table_with_few_leaving()?;
        let newcomers_max = NEWCOMERS_MIN.max(self.connections_max / 4);
        if table.newcomers.len() >= newcomers_max {
            table.evict_newcomer(Eviction::Newcomers { max: newcomers_max });
        } else if table.newcomers.len() + table.held >= self.connections_max {
            let why = Eviction::Connections { max: self.connections_max };
            if !table.evict_surplus(why) && !table.evict_newcomer(why) {
                table.refuse(Arc::clone(&guest), why);
                return Some(Place { places: self, guest, holder: None });
            }
        }
        table.newcomers.push(Arc::clone(&guest));
        Some(Place { places: self, guest, holder: None })
    }

    /// Closes the newcomer that has been silent longest, because the system has no room for another connection,
    /// and waits for a moment until one has ended.
    pub fn make_room(&self) {
        let mut table = self.lock();
        let max = table.newcomers.len() + table.held;
        table.evict_newcomer(Eviction::Connections { max });
        let _ended = self.left.wait_timeout(table, LEAVING_TIME_MAX);
    }

    /// Takes note that a connection has ended and its socket is closed.
    pub fn note_end(&self) {
        self.left.notify_all();
    }

    /// Gives no more places, and shuts every connection for reading or for more: a thread that is blocked on
    /// one is woken.
    pub fn close(&self, how: Shutdown) {
        let mut table = self.lock();
        table.closed = true;
        let held = table.holders.values().flatten();
        for guest in table.newcomers.iter().chain(held).chain(&table.leaving) {
            guest.shut(how);
        }
        self.left.notify_all();
    }

    /// Makes one that is leaving end if there are many. Returns `None` if it does not, or all are closed.
    fn table_with_few_leaving(&self) -> Option<MutexGuard<'_, Table>> {
        let mut table = self.lock();
        if table.leaving.len() >= LEAVING_MAX {
            // Its thread had its time, or waits for a peer that does not read.
            table.leaving.iter().take(1).for_each(|guest| guest.shut(Shutdown::Both));
            let too_many = |table: &mut Table| !table.closed && table.leaving.len() >= LEAVING_MAX;
            let waited = self.left.wait_timeout_while(table, LEAVING_TIME_MAX, too_many);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        (!table.closed && table.leaving.len() < LEAVING_MAX).then_some(table)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it is held, and a table is whole between any two statements.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Closes a connection that was taken off its list: it is woken, so that its own thread tells the peer.
    fn evict(&mut self, guest: Arc<Guest>, why: Eviction) {
        self.refuse(Arc::clone(&guest), why);
        guest.shut(Shutdown::Read);
    }

    /// Makes a connection that is on no list leave.
    fn refuse(&mut self, guest: Arc<Guest>, why: Eviction) {
        let first = guest.eviction.set(why).is_ok();
        debug_assert!(first, "one that is leaving is on no other list");
        self.leaving.push_back(guest);
    }

    /// Returns whether there was a newcomer.
    fn evict_newcomer(&mut self, why: Eviction) -> bool {
        let silent = idle_longest(&self.newcomers);
        if let Some(place) = silent {
            let guest = self.newcomers.swap_remove(place);
            self.evict(guest, why);
        }
        silent.is_some()
    }

    /// Closes the connection that has been idle longest of those whose agency has another. Returns whether
    /// there was one.
    fn evict_surplus(&mut self, why: Eviction) -> bool {
        let surplus =
            self.holders.iter().filter(|(holder, guests)| guests.len() > holder.len().max(1));
        let idle = surplus.filter_map(|(holder, guests)| {
            let place = idle_longest(guests)?;
            Some((guests[place].heard.load(Ordering::Relaxed), holder.clone(), place))
        });
        let Some((_, holder, place)) = idle.min() else { return false };
        let guest = self.holders.get_mut(&holder).map(|guests| guests.swap_remove(place));
        self.held -= 1;
        guest.into_iter().for_each(|guest| self.evict(guest, why));
        true
    }

    /// Takes a connection off the list that it is on.
    fn remove(&mut self, guest: &Arc<Guest>, holder: Option<&[AgencyId]>) {
        if guest.eviction.get().is_some() {
            self.leaving.retain(|other| !Arc::ptr_eq(other, guest));
        } else if let Some(holder) = holder {
            if let Some(guests) = self.holders.get_mut(holder) {
                guests.retain(|other| !Arc::ptr_eq(other, guest));
                if guests.is_empty() {
                    self.holders.remove(holder);
                }
            }
            self.held -= 1;
        } else {
            self.newcomers.retain(|other| !Arc::ptr_eq(other, guest));
        }
    }
}

/// Returns the place of the connection that has been idle longest, but for those that wait for the draw.
fn idle_longest(guests: &[Arc<Guest>]) -> Option<usize> {
    let idle = guests.iter().enumerate().filter(|(_, guest)| !guest.waits.load(Ordering::Relaxed));
    idle.min_by_key(|(_, guest)| guest.heard.load(Ordering::Relaxed)).map(|(place, _)| place)
}

impl Guest {
    fn shut(&self, how: Shutdown) {
        // It fails if the peer was faster, and then no thread is blocked on it.
        let _already_shut = self.socket.shutdown(how);
    }
}

/// The place of a connection.
#[derive(Debug)]
pub struct Place<'p> {
    places: &'p Places,
    guest: Arc<Guest>,
    /// `None` for a newcomer.
    holder: Option<Vec<AgencyId>>,
}

impl Place<'_> {
    /// Returns the connection.
    pub fn socket(&self) -> Arc<TcpStream> {
        Arc::clone(&self.guest.socket)
    }

    /// Returns whether it is not known yet which agencies it belongs to.
    pub fn is_newcomer(&self) -> bool {
        self.holder.is_none()
    }

    /// Returns why the connection has to leave. `None` if it may stay.
    pub fn eviction(&self) -> Option<Eviction> {
        self.guest.eviction.get().copied()
    }

    /// Takes note that something came from the peer.
    pub fn heard(&self) {
        self.guest.heard.store(self.places.now(), Ordering::Relaxed);
    }

    /// Makes the connection one of `holder`: an agency, or the agencies in a certificate, or none of them. The
    /// holder's connection that has been idle longest is closed if there are too many.
    ///
    /// # Errors
    ///
    /// The connection has to leave: it was told so before, or all others of its holder wait for the draw.
    pub fn belongs_to(&mut self, holder: &[AgencyId]) -> Result<(), Eviction> {
        if self.holder.as_deref() == Some(holder) {
            return Ok(());
        }
        let mut table = self.places.lock();
        if let Some(why) = self.eviction() {
            return Err(why);
        }
        table.remove(&self.guest, self.holder.as_deref());
        let max = CONNECTIONS_PER_AGENCY_MAX * holder.len().max(1);
        let guests = table.holders.entry(holder.to_vec()).or_default();
        let mut idle = None;
        if guests.len() >= max {
            let Some(place) = idle_longest(guests) else {
                let why = Eviction::Agency { max };
                table.refuse(Arc::clone(&self.guest), why);
                return Err(why);
            };
            idle = Some(guests.swap_remove(place));
            table.held -= 1;
        }
        table.holders.entry(holder.to_vec()).or_default().push(Arc::clone(&self.guest));
        table.held += 1;
        idle.into_iter().for_each(|idle| table.evict(idle, Eviction::Agency { max }));
        self.holder = Some(holder.to_vec());
        Ok(())
    }

    /// Waits for the draw: the connection is not closed for another's sake meanwhile.
    ///
    /// # Errors
    ///
    /// The connection has to leave.
    pub fn while_it_waits<T>(&self, wait: impl FnOnce() -> T) -> Result<T, Eviction> {
        let table = self.places.lock();
        if let Some(why) = self.eviction() {
            return Err(why);
        }
        self.guest.waits.store(true, Ordering::Relaxed);
        drop(table);
        let waited = wait();
        self.heard();
        self.guest.waits.store(false, Ordering::Relaxed);
        Ok(waited)
    }

    /// Returns whether nothing of the peer is there that was not read, its end included.
    pub fn is_quiet(&self) -> bool {
        let socket = &self.guest.socket;
        let peeked = socket.set_nonblocking(true).and_then(|()| socket.peek(&mut [0]));
        let blocks_again = socket.set_nonblocking(false).is_ok();
        blocks_again && peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Returns whether the connection is not known to be broken.
    pub fn is_sound(&self) -> bool {
        matches!(self.guest.socket.take_error(), Ok(None))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.places.lock().remove(&self.guest, self.holder.as_deref());
    }
}
