//! The peer of a conversation: its name in log lines, and the agencies that its certificate names.

use crate::bet::AgencyId;
use crate::text::list_of;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The prefix of an agency's name in a certificate. The agency's number follows it.
const AGENCY_NAME: &str = "agency-";
/// The most agencies that a log line names.
const AGENCIES_NAMED_MAX: usize = 10;

/// The address of a peer, and its agencies.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(super) ip: IpAddr,
    pub(super) port: u16,
    /// The agencies that it may speak for. `None` means any, because it has no certificate.
    pub(crate) authorized: Option<Vec<AgencyId>>,
    /// The agency that it speaks for. `None` if it has named none.
    pub(super) agency: Option<AgencyId>,
    /// The text that log lines have after the IP address: the port, and the agency as soon as it is known.
    pub(super) rest: String,
}

impl Peer {
    /// Returns the peer at `address`, whose agency is not known yet.
    pub(crate) fn at(address: SocketAddr) -> Peer {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        Peer { ip, port, authorized: None, agency: None, rest: format!("port: {port}") }
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

/// Returns the agencies that the names in a certificate mean: `agency-3` is agency 3. They are in ascending order and each
/// once, because connections with the same ones have one holder of places.
pub(crate) fn agencies_of(names: &[String]) -> Vec<AgencyId> {
    let agency = |name: &String| AgencyId::parse(name.strip_prefix(AGENCY_NAME)?);
    let agencies: BTreeSet<AgencyId> = names.iter().filter_map(agency).collect();
    agencies.into_iter().collect()
}

/// Returns agencies as a part of a log line: the first few, and how many more.
pub(crate) fn listed(agencies: &[AgencyId]) -> String {
    if agencies.is_empty() { "none".into() } else { list_of(agencies, AGENCIES_NAMED_MAX) }
}

#[cfg(test)]
mod tests {
    use super::{agencies_of, listed};

    #[test]
    fn certificates_with_the_same_agencies_are_of_one_holder_however_they_name_them() {
        let of = |names: &[&str]| {
            agencies_of(&names.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let once = of(&["agency-1", "agency-2"]);
        assert_eq!(of(&["agency-2", "localhost", "agency-1", "agency-2", "agency-02"]), once);
        assert_eq!(listed(&once), "1, 2");
    }
}
