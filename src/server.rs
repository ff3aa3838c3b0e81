//! The server's life: starts the thread that accepts, waits for a reason to stop, and stops and joins all threads.
//! Does not interpret commands.

mod idle;
mod reception;

use crate::bet::{AgencyId, PerAgency};
use crate::connection::Acceptor;
use crate::draw::Draw;
use crate::ledger::{DrawResult, Ledger};
use crate::lines::GrowthBudget;
use crate::places::Places;
use crate::session::Office;
use crate::stop::{Stop, Stopper};
use crate::system;
use crossbeam_channel::{Receiver, after, bounded, never, select};
use idle::IdleThreads;
use log::warn;
use reception::Reception;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::thread::Builder;
use std::time::Duration;

/// The memory by which the buffers of all connections may grow together, in bytes.
const BUFFER_BYTES_MAX: usize = 4 << 20;
/// The capacity of the channel through which sessions report agencies that have been told their winners.
const TOLD_MAX: usize = 256;
/// The time that conversations have to end by themselves when the server stops.
pub const STOP_GRACE: Duration = Duration::from_millis(500);

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most connections at a time, from 1.
    pub max_connections: usize,
    /// The longest time to complete a message, or to take an answer.
    pub message_timeout: Duration,
    /// The longest time until a connection has named its agency.
    pub newcomer_timeout: Duration,
    /// Whether to stop when every agency has been told its winners, or [`Settings::message_timeout`] after the draw.
    pub exit_after_draw: bool,
    /// The TLS server. A peer may then speak only for the agencies in its certificate. `None` means plain TCP.
    pub tls: Option<Acceptor>,
}

/// Serves the peers that connect to `listener` until `stop` has come, the ledger has ended, the system has destroyed the
/// listening socket, or the draw is over and [`Settings::exit_after_draw`] is set. When it returns, every thread that it
/// started has ended, and the listener accepts no more.
///
/// # Errors
///
/// The system gives no thread to accept connections with, no address, or no second name for the listener; or it has
/// destroyed the listening socket.
pub fn run(
    listener: &TcpListener,
    ledger: &Ledger,
    draw: &Draw<DrawResult>,
    settings: &Settings,
    stop: &Stop,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    // Shutting a listening socket ends a blocked `accept`, but `TcpListener` has no method for it. The copy is made
    // now, because a stop must not need a file descriptor.
    let listening_socket = TcpStream::from(OwnedFd::from(listener.try_clone()?));
    let (told, told_agencies) = bounded(TOLD_MAX);
    let buffers = GrowthBudget::new(BUFFER_BYTES_MAX);
    let (stopper, stopping) = Stopper::new();
    let office = &Office {
        ledger,
        draw,
        told,
        message_timeout: settings.message_timeout,
        newcomer_timeout: settings.newcomer_timeout,
        buffers: &buffers,
        stop: stopping,
    };
    let places = &Places::new(settings.max_connections);
    let (running, ended) = Stopper::new();
    let (accepting, accepts_no_more) = Stopper::new();
    let tls = settings.tls.as_ref();
    let address_space_max = system::address_space_max();
    let idle = IdleThreads::new();
    let reception = &Reception { listener, address, office, tls, places, idle, address_space_max };
    std::thread::scope(|scope| {
        let accept = Builder::new().name("accept".into()).spawn_scoped(scope, move || {
            // Dropped by a panic too, so that no server goes on that accepts no more.
            let _accepting = accepting;
            let outcome = reception.accept(scope, &running);
            system::log_thread_closed();
            outcome
        });
        let accept = accept.map_err(|error| {
            io::Error::new(error.kind(), format!("no thread to accept connections: {error}"))
        })?;

        wait_for_the_end(office, told_agencies, settings, stop, &accepts_no_more);
        stopper.stop();
        draw.cancel();
        places.close(Shutdown::Read);
        // If the system does not shut a listening socket down, as macOS, a connection ends `accept`. The copy is dropped,
        // because a connection needs a file descriptor.
        if listening_socket.shutdown(Shutdown::Both).is_err() {
            drop(listening_socket);
            // It fails if the listening socket was destroyed. Then `accept` has ended.
            let _destroyed = TcpStream::connect_timeout(&address, STOP_GRACE);
        }
        if !ended.wait_for(STOP_GRACE) {
            // The remaining peers do not read their answers.
            places.close(Shutdown::Both);
        }
        accept.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn wait_for_the_end(
    office: &Office<'_>,
    told_agencies: Receiver<AgencyId>,
    settings: &Settings,
    stop: &Stop,
    accepts_no_more: &Stop,
) {
    let ledger = office.ledger.ended();
    let mut untold = PerAgency::new(office.draw.agencies(), |_| true);
    let mut deadline = never();
    let mut decided =
        if settings.exit_after_draw { office.draw.decided().clone() } else { Stop::never() };
    while !settings.exit_after_draw || untold.values().any(|untold| *untold) {
        select! {
            recv(stop.channel()) -> _ => return,
            recv(ledger.channel()) -> _ => return,
            recv(accepts_no_more.channel()) -> _ => return,
            recv(told_agencies) -> agency => untold[agency.expect("the office holds a sender")] = false,
            recv(decided.channel()) -> _ => {
                (decided, deadline) = (Stop::never(), after(settings.message_timeout));
            }
            recv(deadline) -> _ => {
                warn!("action: exit_after_draw | result: success | told: not every agency");
                return;
            }
        }
    }
}
