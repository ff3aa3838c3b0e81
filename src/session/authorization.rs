//! The agencies that a peer may speak for.

use crate::bet::AgencyId;
use crate::text::list_of;
use std::collections::BTreeSet;
use std::fmt;

/// The prefix of an agency's name in a certificate. The agency's number follows it.
const AGENCY_NAME: &str = "agency-";

/// The most agencies that the text of an authorization names.
const AGENCIES_NAMED_MAX: usize = 10;

/// The agencies that a peer may speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// Any, because the peer has no certificate.
    Any,
    /// These, in ascending order and each once: connections with the same ones have one holder of places.
    Only(Vec<AgencyId>),
}

impl Authorization {
    /// Returns the authorization of a peer whose certificate has these names: `agency-3` is agency 3.
    pub(crate) fn of_certificate(names: &[String]) -> Authorization {
        let agency = |name: &String| AgencyId::parse(name.strip_prefix(AGENCY_NAME)?);
        let agencies: BTreeSet<AgencyId> = names.iter().filter_map(agency).collect();
        Authorization::Only(agencies.into_iter().collect())
    }

    pub(super) fn covers(&self, agency: AgencyId) -> bool {
        match self {
            Authorization::Any => true,
            Authorization::Only(agencies) => agencies.contains(&agency),
        }
    }
}

impl fmt::Display for Authorization {
    /// As a part of a log line: the first few agencies, and how many more.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Authorization::Any => formatter.write_str("any"),
            Authorization::Only(agencies) if agencies.is_empty() => formatter.write_str("none"),
            Authorization::Only(agencies) => {
                formatter.write_str(&list_of(agencies, AGENCIES_NAMED_MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Authorization;

    #[test]
    fn certificates_with_the_same_agencies_are_of_one_holder_however_they_name_them() {
        let of = |names: &[&str]| {
            Authorization::of_certificate(
                &names.iter().copied().map(str::to_owned).collect::<Vec<_>>(),
            )
        };
        let once = of(&["agency-1", "agency-2"]);
        assert_eq!(of(&["agency-2", "localhost", "agency-1", "agency-2", "agency-02"]), once);
        assert_eq!(once.to_string(), "1, 2");
    }
}
