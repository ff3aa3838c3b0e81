//! The peer of a conversation, as every log line of it says.

use crate::bet::AgencyId;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where a peer is, and for which agency it speaks.
#[derive(Clone, Debug)]
pub struct Peer {
    ip: IpAddr,
    port: u16,
    agency: Option<AgencyId>,
    /// What log lines say behind the address.
    rest: String,
}

impl Peer {
    /// Returns the peer at `address`, of which nothing more is known.
    pub fn at(address: SocketAddr) -> Peer {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        Peer { ip, port, agency: None, rest: format!("port: {port}") }
    }

    /// Returns its address without the port.
    pub(super) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Returns its port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Returns what log lines say behind the address: its port, and its agency as soon as it is known.
    pub(super) fn rest(&self) -> &str {
        &self.rest
    }

    /// Returns the agency that it speaks for. `None` if it has named none.
    pub(super) fn agency(&self) -> Option<AgencyId> {
        self.agency
    }

    /// Takes note that it speaks for `agency`.
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
