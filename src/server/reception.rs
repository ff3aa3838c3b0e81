//! The thread that accepts: gives each connection a place and a thread. That thread performs the TLS handshake, if
//! there is TLS, and then the conversation.

use super::idle::IdleThreads;
use crate::connection::{Acceptor, Stream, is_timeout};
use crate::ledger::Access;
use crate::places::{Place, Places};
use crate::protocol::ErrorCode;
use crate::session::{self, Office, Peer, REFUSAL_TIME_MAX, agencies_of, listed};
use crate::stop::Stopper;
use crate::system::{self, EINVAL};
use crate::text::LogValue;
use log::{error, info, warn};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{Builder, Scope};

/// The number of file descriptors that connections must leave free: for the draw's result and its directory, and for
/// files that the ledger may have to open again.
const SPARE_DESCRIPTORS: usize = 4;

/// The address space that connections must leave free if it is limited, in bytes.
const SPARE_ADDRESS_SPACE: u64 = 16 << 20;
/// The stack of the thread of a connection, in bytes. The deepest one, a TLS handshake without optimization, needs less
/// than 96 KiB.
const SESSION_STACK_BYTES: usize = 256 << 10;

/// The state of the thread that accepts.
pub(super) struct Reception<'r> {
    pub(super) listener: &'r TcpListener,
    pub(super) address: SocketAddr,
    pub(super) office: &'r Office<'r>,
    pub(super) tls: Option<&'r Acceptor>,
    pub(super) places: &'r Places,
    /// The threads that wait for a connection. It has its place already.
    pub(super) idle: IdleThreads<(Place<'r>, Peer, Access<'r>)>,
    /// The limit of the address space of the process, in bytes, if there is one: an allocation beyond it would end the
    /// process.
    pub(super) address_space_max: Option<u64>,
}

impl<'r> Reception<'r> {
    /// Accepts connections until the server is stopping. Every thread that it starts holds a clone of `running`, so that
    /// its stop comes when all have ended.
    ///
    /// # Errors
    ///
    /// The listening socket was destroyed, so that it never accepts again.
    pub(super) fn accept<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        running: &Stopper,
    ) -> io::Result<()> {
        for number in 1_u64.. {
            info!("action: accept_connections | result: in_progress | address: {}", self.address);
            let accepted = self.listener.accept();
            if self.office.stop.has_come() {
                break;
            }
            match accepted {
                Ok((socket, peer)) => self.receive(scope, number, socket, peer, running),
                Err(error) if error.raw_os_error() == Some(EINVAL) => {
                    let what = format!(
                        "the listening socket was destroyed: {error}; start the server again"
                    );
                    return Err(io::Error::new(error.kind(), what));
                }
                Err(error) => {
                    warn!("action: accept_connections | result: fail | error: {error}");
                    self.places.make_room();
                }
            }
        }
        Ok(())
    }

    /// Returns the resource that the server would lack for its own work beside one more connection. Returns `None` if it
    /// has enough.
    fn lack(&self) -> Option<&'static str> {
        // All are open at the same time, and are closed again.
        let spare: io::Result<Vec<_>> =
            (0..SPARE_DESCRIPTORS).map(|_| self.listener.try_clone()).collect();
        if spare.is_err() {
            return Some("no file descriptors left");
        }
        let is_full =
            |max| system::address_space().is_some_and(|bytes| bytes + SPARE_ADDRESS_SPACE > max);
        self.address_space_max.is_some_and(is_full).then_some("no address space left")
    }

    /// Gives a connection its place and its thread.
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
        let lack = self.lack().and_then(|_| {
            self.places.make_room();
            self.lack()
        });
        if let Some(error) = lack {
            warn!(
                "action: refuse_connection | result: success | told: nothing | error: {error} | {peer}"
            );
            return;
        }
        let access = self.office.ledger.access();
        let Some(place) = self.places.enter(socket) else {
            warn!("action: refuse_connection | result: success | told: nothing | {peer}");
            return;
        };
        let Some(connection) = self.idle.give((place, peer, access)) else { return };
        let running = running.clone();
        let started = Builder::new()
            .name(format!("session-{number}"))
            .stack_size(SESSION_STACK_BYTES)
            .spawn_scoped(scope, move || {
                let _running = running;
                let mut next = Some(connection);
                while let Some((place, peer, access)) = next {
                    self.serve(place, peer, access);
                    next = if self.office.stop.has_come() { None } else { self.idle.wait() };
                }
                system::log_thread_closed();
            });
        if let Err(error) = started {
            error!("action: start_thread | result: fail | error: {error}");
            self.places.make_room();
        }
    }

    /// Identifies a peer, has a conversation with it and closes its connection.
    fn serve(&self, mut place: Place<'_>, mut peer: Peer, access: Access<'_>) {
        let (socket, name) = (place.socket(), peer.to_string());
        // Answers are written whole, so that delaying small segments gains nothing. It fails if the peer has closed
        // the connection, which the conversation will notice.
        let _gone = socket.set_nodelay(true);
        if let Some(stream) = self.identify(&socket, &place, &mut peer) {
            session::converse(stream, &mut place, peer, access, self.office);
        }
        // The place is freed before the socket is closed, so that a peer that sees the end finds a free place.
        drop(place);
        drop(socket);
        self.places.note_left();
        info!("action: close_socket | result: success | {name}");
    }

    /// Performs the TLS handshake, if there is TLS, and notes the agencies that the peer may speak for.
    /// Returns `None` if it fails.
    fn identify<'s>(
        &self,
        socket: &'s TcpStream,
        place: &Place<'_>,
        peer: &mut Peer,
    ) -> Option<Stream<'s>> {
        let Some(acceptor) = self.tls else {
            return Some(Stream::plain(socket));
        };
        let is_refused = place.eviction().is_some();
        let time = if is_refused { REFUSAL_TIME_MAX } else { self.office.newcomer_timeout };
        match Stream::accept(socket, acceptor, time, &|| place.heard()) {
            Ok(Some(stream)) => {
                let agencies = agencies_of(&stream.peer_names());
                let names = listed(&agencies);
                info!("action: handshake | result: success | {peer} | agencies: {names}");
                peer.authorized = Some(agencies);
                Some(stream)
            }
            Ok(None) => {
                let error = "the peer does not speak TLS";
                info!("action: handshake | result: fail | {peer} | error: {error}");
                place.gives_way();
                let refusal =
                    ErrorCode::TlsRequired.with("this server speaks TLS and nothing else");
                session::turn_away(Stream::plain(socket), &refusal);
                None
            }
            Err(error) => {
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
