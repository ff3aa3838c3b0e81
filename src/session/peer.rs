//! The peer of a conversation, as its log lines name it.

use crate::bet::AgencyId;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The address of a peer, and the agency that it speaks for.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(super) ip: IpAddr,
    pub(super) port: u16,
    /// The agency that it speaks for. `None` if it has named none.
    pub(super) agency: Option<AgencyId>,
    /// The text that log lines have after the IP address: the port, and the agency as soon as it is known.
    pub(super) rest: String,
}

impl Peer {
    /// Returns the peer at `address`, whose agency is not known yet.
    pub(crate) fn at(address: SocketAddr) -> Peer {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        Peer { ip, port, agency: None, rest: format!("port: {port}") }
    }

    pub(super) fn speaks_for(&mut self, agency: AgencyId) {
        self.agency = Some(agency);
        self.rest.push_str(&format!(" | agency: {agency}"));
    }
}

impl fmt::Display for Peer {
    /// As the last parts of a log line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ip: {} | {}", self.ip, self.rest)
    }
}
