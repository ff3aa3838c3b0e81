//! Trying over as many connections as it takes, until there is no progress for too long.

use super::conversation::{Broken, Conversation, stream};
use super::dial::{Dials, pause};
use super::retry::Retry;
use super::{Failed, Settings};
use crate::bet::AgencyId;
use crate::connection::OpenSockets;
use crate::stop::Stop;
use crate::text::LogValue;
use log::{info, warn};
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

/// This process has as many files and sockets open as it may, in the numbers of all systems that have one.
const EMFILE: i32 = 24;

/// Whoever tries, and what ends it.
pub(super) struct Attempts<'a> {
    pub(super) id: AgencyId,
    pub(super) settings: &'a Settings,
    pub(super) stop: &'a Stop,
    /// Shut when the program stops.
    pub(super) sockets: &'a OpenSockets,
    /// Shared by all who connect.
    pub(super) dials: &'a Dials,
}

/// What is known to be on the server's disk.
pub(super) struct Progress {
    pub(super) retry: Retry,
    pub(super) confirmed: u64,
    /// Batches are on their way, or were when the connection was lost.
    pub(super) in_doubt: bool,
}

impl Attempts<'_> {
    /// Connects and calls `attempt` until it succeeds or trying again would not help.
    pub(super) fn run(
        &self,
        mut attempt: impl FnMut(
            &Arc<TcpStream>,
            &mut Conversation<'_>,
            &mut Progress,
        ) -> Result<(), Broken>,
    ) -> Result<(), Failed> {
        let Settings { retry_for, resume, .. } = *self.settings;
        let retry = Retry::new(retry_for);
        let mut progress = Progress { retry, confirmed: 0, in_doubt: false };
        loop {
            let outcome = self.connect(|stream, talk| attempt(stream, talk, &mut progress));
            let reason = match outcome {
                Ok(()) => return Ok(()),
                Err(_) if self.is_stopping() => return Err(Failed::Stopped),
                Err(Broken::Final(failed)) => return Err(failed),
                Err(Broken::Lost(reason)) => reason,
            };
            if progress.in_doubt && !resume {
                return Err(Failed::Unknown(reason));
            }
            let Some(time) = progress.retry.pause() else {
                return Err(Failed::GaveUp { after: retry_for, last: reason });
            };
            warn!(
                "action: connect | result: in_progress | client_id: {} | error: {} | \
                 next_try_ms: {}",
                self.id,
                LogValue(reason),
                time.as_millis()
            );
            if !pause(time, self.stop) {
                return Err(Failed::Stopped);
            }
        }
    }

    /// Calls `attempt` with one connection.
    fn connect(
        &self,
        attempt: impl FnOnce(&Arc<TcpStream>, &mut Conversation<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let address = &self.settings.server_address;
        let lost = |error: io::Error| match error.raw_os_error() {
            Some(EMFILE) => Failed::NoDescriptor(error).into(),
            _ => Broken::Lost(format!("{address}: {error}")),
        };
        let socket =
            Arc::new(self.dials.dial(address, self.stop).map_err(lost)?.ok_or(Failed::Stopped)?);
        let open = self.sockets.register(Arc::clone(&socket)).ok_or(Failed::Stopped)?;
        let outcome = stream(&open, self.settings).and_then(|stream| {
            let mut conversation = Conversation::new(&stream, self.settings.reply_timeout);
            let outcome = attempt(&socket, &mut conversation);
            stream.end();
            outcome
        });
        info!("action: close_socket | result: success | client_id: {}", self.id);
        outcome
    }

    fn is_stopping(&self) -> bool {
        self.stop.has_come()
    }
}
