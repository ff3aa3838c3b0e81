//! Whom a peer may speak for. Knows not how that is found out.

use crate::bet::AgencyId;
use std::fmt;

/// How many agencies an authorization names where it is written out.
const AGENCIES_NAMED_MAX: usize = 10;

/// Which agencies a peer may speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Any, for nobody knows who it is.
    Any,
    /// These.
    Only(Vec<AgencyId>),
}

impl Authorization {
    /// Whether `agency` is one of them.
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
        let agencies = match self {
            Authorization::Any => return formatter.write_str("any"),
            Authorization::Only(agencies) if agencies.is_empty() => {
                return formatter.write_str("none");
            }
            Authorization::Only(agencies) => agencies,
        };
        let named = agencies.iter().take(AGENCIES_NAMED_MAX);
        let named: Vec<String> = named.map(AgencyId::to_string).collect();
        formatter.write_str(&named.join(" "))?;
        match agencies.len().saturating_sub(AGENCIES_NAMED_MAX) {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}
