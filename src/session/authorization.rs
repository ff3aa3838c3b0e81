//! The agencies that a peer may speak for.

use crate::bet::AgencyId;
use crate::text::Listed;
use std::fmt;

/// What a name in a certificate begins with that names an agency, before the agency's number.
const AGENCY_NAME: &str = "agency-";

/// How many agencies an authorization names where it is written out.
const AGENCIES_NAMED_MAX: usize = 10;

/// Which agencies a peer may speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Any, because nobody knows who it is.
    Any,
    /// These.
    Only(Vec<AgencyId>),
}

impl Authorization {
    /// Returns the authorization of a peer whose certificate has these names: `agency-3` is agency 3.
    pub fn of_certificate(names: &[String]) -> Authorization {
        let agency = |name: &String| AgencyId::parse(name.strip_prefix(AGENCY_NAME)?);
        Authorization::Only(names.iter().filter_map(agency).collect())
    }

    /// Returns whether `agency` is one of them.
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
            Authorization::Only(agencies) => Listed(agencies, AGENCIES_NAMED_MAX).fmt(formatter),
        }
    }
}
