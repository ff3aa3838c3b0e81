//! The listening side: accepts connections, gives each a thread of its own, and at the end stops and
//! joins them all. Knows not what a command is.

use crate::bet::{AgencyId, PerAgency};
use crate::connection::{AcceptError, Acceptor, OpenSockets, Stream, is_timeout};
use crate::draw::Draw;
use crate::ledger::{Access, DrawResult, Ledger};
use crate::lines::GrowthBudget;
use crate::protocol::ErrorCode;
use crate::session::{self, Authorization, Office, Peer, REFUSAL_TIME_MAX};
use crate::stop::{Stop, Stopper};
use crate::text::LogValue;
use crossbeam_channel::{Receiver, after, bounded, never, select};
use log::{error, info, warn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, Scope};
use std::time::Duration;

/// What the buffers of all connections may grow by together, in bytes.
const BUFFER_BYTES_MAX: usize = 6 << 20;
/// How many agencies that have been told may wait to be counted before their sessions wait.
const TOLD_MAX: usize = 256;
/// How many connections more than are allowed may be hearing so at the same time.
pub const REFUSALS_MAX: usize = 64;
/// How many file descriptors are kept from peers: for the draw's result, its directory, and the
/// server's own connection by which it stops.
const SPARE_DESCRIPTORS: usize = 4;
/// How long nobody is accepted after accepting failed: for want of file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long conversations have to end by themselves once the server stops.
const STOP_GRACE: Duration = Duration::from_millis(500);
/// How long one knock on the server's own door may take.
const KNOCK_TIME_MAX: Duration = Duration::from_millis(100);

/// How a server runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many conversations there may be at a time, from 1.
    pub max_connections: usize,
    /// How long a peer may take to complete a message, or to take an answer.
    pub message_timeout: Duration,
    /// How long a connection may take to name its agency.
    pub newcomer_timeout: Duration,
    /// Whether to stop when every agency has been told the draw's result, or has had
    /// [`Settings::message_timeout`] to ask for it.
    pub exit_after_draw: bool,
    /// Where it is there, conversations are in TLS, and a peer speaks for the agencies in its
    /// certificate: `agency-3`.
    pub tls: Option<Acceptor>,
}

/// Serves those who connect to `listener` until `stop` is closed, the ledger has ended, or the draw
/// is over and that was asked for. Every conversation and every thread has ended then.
///
/// # Errors
///
/// The system gives no thread to accept connections with, or no address.
pub fn run(
    listener: &TcpListener,
    ledger: &Ledger,
    draw: &Draw<DrawResult>,
    settings: &Settings,
    stop: &Stop,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let (told, tidings) = bounded(TOLD_MAX);
    let buffers = GrowthBudget::new(BUFFER_BYTES_MAX);
    let message_timeout = settings.message_timeout;
    let office = Office { ledger, draw, told, message_timeout, buffers: &buffers };
    let sockets = OpenSockets::new();
    let (stopper, stopping) = Stopper::new();
    let (running, ended) = Stopper::new();
    let reception = Reception {
        listener,
        address,
        office: &office,
        settings,
        sockets: &sockets,
        taken: AtomicUsize::new(0),
        refusals: AtomicUsize::new(0),
        stopping,
    };
    std::thread::scope(|scope| {
        let accepting = Builder::new().name("accept".into());
        let (accepts, accept_ended) = Stopper::new();
        let reception = &reception;
        accepting.spawn_scoped(scope, move || {
            reception.accept(scope, &running);
            log_thread_closed("accept");
            drop(accepts);
        })?;

        wait_for_the_end(&office, tidings, settings, stop);
        stopper.stop();
        draw.cancel();
        sockets.close(Shutdown::Read);
        knock(address, &accept_ended);
        if !ended.wait_for(STOP_GRACE) {
            // Who is left does not read its answers.
            sockets.close(Shutdown::Both);
        }
        Ok(())
    })
}

/// Blocks until there is a reason to stop.
fn wait_for_the_end(
    office: &Office<'_>,
    tidings: Receiver<AgencyId>,
    settings: &Settings,
    stop: &Stop,
) {
    let ledger = office.ledger.ended();
    if !settings.exit_after_draw {
        drop(tidings);
        select! {
            recv(stop.channel()) -> _ => {}
            recv(ledger.channel()) -> _ => {}
        }
        return;
    }
    let mut untold = PerAgency::new(office.draw.agencies(), |_| true);
    let mut deadline = never();
    let mut decided = office.draw.decided().clone();
    while untold.values().any(|untold| *untold) {
        select! {
            recv(stop.channel()) -> _ => return,
            recv(ledger.channel()) -> _ => return,
            recv(tidings) -> agency => untold[agency.expect("the office holds a sender")] = false,
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

/// Connects to the server itself until the thread that accepts has noticed that it is to end.
fn knock(address: SocketAddr, accept_ended: &Stop) {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let door = SocketAddr::new(ip, address.port());
    loop {
        // A knock fails where nobody accepts any more, or where there is no file descriptor for it:
        // then one is freed as the conversations end.
        let _knock = TcpStream::connect_timeout(&door, KNOCK_TIME_MAX);
        if accept_ended.wait_for(KNOCK_TIME_MAX) {
            return;
        }
    }
}

/// What the thread that accepts works with.
struct Reception<'r> {
    listener: &'r TcpListener,
    address: SocketAddr,
    office: &'r Office<'r>,
    settings: &'r Settings,
    sockets: &'r OpenSockets,
    /// Places that conversations have taken.
    taken: AtomicUsize,
    /// Places of those who hear that none is free.
    refusals: AtomicUsize,
    stopping: Stop,
}

impl Reception<'_> {
    /// Accepts connections until the server is stopping. Every thread that is started holds `running`.
    fn accept<'s>(&'s self, scope: &'s Scope<'s, '_>, running: &Stopper) {
        for number in 1_u64.. {
            info!("action: accept_connections | result: in_progress | address: {}", self.address);
            let accepted = self.listener.accept();
            if self.stopping.has_come() {
                return;
            }
            match accepted {
                Ok((socket, peer)) => self.receive(scope, number, socket, peer, running),
                Err(error) => {
                    warn!("action: accept_connections | result: fail | error: {error}");
                    if self.stopping.wait_for(ACCEPT_PAUSE) {
                        return;
                    }
                }
            }
        }
    }

    /// Whether the server could still open files of its own.
    fn has_spare_descriptors(&self) -> bool {
        let mut spare = [const { None }; SPARE_DESCRIPTORS];
        spare.iter_mut().all(|spare| {
            *spare = self.listener.try_clone().ok();
            spare.is_some()
        })
    }

    /// Gives a connection its thread.
    fn receive<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        number: u64,
        socket: TcpStream,
        peer: SocketAddr,
        running: &Stopper,
    ) {
        let peer = Peer::at(peer);
        info!("action: accept_connections | result: success | {peer}");
        if !self.has_spare_descriptors() {
            warn!(
                "action: refuse_connection | result: success | {peer} | told: nothing | error: \
                 no file descriptors left"
            );
            return;
        }
        // Answers are written whole, so there is nothing to wait for. It fails where the peer is gone
        // already, which its conversation finds out.
        let _gone = socket.set_nodelay(true);
        let place = Place::take(&self.taken, self.settings.max_connections);
        let refusal =
            if place.is_some() { None } else { Place::take(&self.refusals, REFUSALS_MAX) };
        if place.is_none() && refusal.is_none() {
            warn!("action: refuse_connection | result: success | {peer} | told: nothing");
            return;
        }
        let access = self.office.ledger.access();
        let Some(open) = self.sockets.register(Arc::new(socket)) else { return };
        let running = running.clone();
        let name = format!("session-{number}");
        let started = Builder::new().name(name.clone()).spawn_scoped(scope, move || {
            let _running = running;
            self.attend(open.socket(), &peer, access, place.is_some());
            // First its place is free, then its peer can see that it is.
            drop((place, refusal));
            drop(open);
            info!("action: close_socket | result: success | {peer}");
            log_thread_closed(&name);
        });
        if let Err(error) = started {
            error!("action: start_thread | result: fail | error: {error}");
        }
    }

    /// Talks with a peer, or tells it that there is no place for it.
    fn attend(&self, socket: &TcpStream, peer: &Peer, access: Access<'_>, has_place: bool) {
        if !has_place {
            warn!("action: refuse_connection | result: success | {peer}");
        }
        let time = if has_place { self.office.message_timeout } else { REFUSAL_TIME_MAX };
        let Some((mut stream, authorization)) = self.identify(socket, peer, time) else { return };
        if has_place {
            let peer = peer.clone();
            session::converse(
                &mut stream,
                peer,
                authorization,
                access,
                self.office,
                &self.stopping,
            );
        } else {
            let max = self.settings.max_connections;
            let detail = format_args!("{max} connections are open, which is all there may be");
            session::refuse(&mut stream, &ErrorCode::TooManyConnections.with(detail));
        }
    }

    /// Lets a peer show who it is, within `time`, where it has to.
    fn identify<'s>(
        &self,
        socket: &'s TcpStream,
        peer: &Peer,
        time: Duration,
    ) -> Option<(Stream<'s>, Authorization)> {
        let Some(acceptor) = &self.settings.tls else {
            return Some((Stream::plain(socket), Authorization::Any));
        };
        match Stream::accept(socket, acceptor, time) {
            Ok(stream) => {
                let authorization = Authorization::of_certificate(&stream.peer_names());
                info!("action: handshake | result: success | {peer} | agencies: {authorization}");
                Some((stream, authorization))
            }
            Err(AcceptError::NotTls) => {
                info!(
                    "action: handshake | result: fail | {peer} | error: the peer does not speak TLS"
                );
                let refusal =
                    ErrorCode::TlsRequired.with("this server speaks TLS and nothing else");
                session::refuse(&mut Stream::plain(socket), &refusal);
                None
            }
            Err(AcceptError::Failed(error)) => {
                let why = if is_timeout(&error) {
                    format!("not over within {} ms", time.as_millis())
                } else {
                    error.to_string()
                };
                let why = LogValue(why);
                warn!("action: handshake | result: fail | {peer} | error: {why}");
                None
            }
        }
    }
}

/// One of a number of places, for as long as it lives.
struct Place<'t>(&'t AtomicUsize);

impl<'t> Place<'t> {
    /// Takes one of `max` places, if one is free.
    fn take(taken: &'t AtomicUsize, max: usize) -> Option<Place<'t>> {
        let one_more = |count| (count < max).then_some(count + 1);
        let counted = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.ok().map(|_| Place(taken))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn log_thread_closed(name: &str) {
    info!("action: close_thread | result: success | thread: {name}");
}
