//! The summary of a lottery as the fields of a reply to `ESTADO`.

use super::{FIELD_SEPARATOR, parse_count, word};
use crate::bet::AgencyId;
use crate::summary::{AgencyState, AgencySummary, Summary};
use std::fmt;

/// Separates the parts of a field of a status.
const SEPARATOR: char = ',';

const STATES: [(AgencyState, &str); 3] = [
    (AgencyState::Open, word::OPEN),
    (AgencyState::Finished, word::FINISHED),
    (AgencyState::Waiting, word::WAITING),
];

/// Parses the fields after the word of the reply. Returns `None` if they are no summary.
pub(super) fn parse<'a>(mut fields: impl Iterator<Item = &'a str>) -> Option<Summary> {
    let draw = fields.next()?;
    let winners = match draw.split_once(SEPARATOR) {
        None if draw == word::PENDING => None,
        Some((word::HELD, winners)) => Some(parse_count(winners)?),
        _ => return None,
    };
    let mut agencies = Vec::new();
    for (place, field) in (1..).zip(fields) {
        let mut parts = field.split(SEPARATOR);
        let agency = AgencyId::parse(parts.next()?)?;
        let bets = parse_count(parts.next()?)?;
        let state = parts.next()?;
        let (state, _) = STATES.into_iter().find(|(_, word)| *word == state)?;
        if agency.get() != place || parts.next().is_some() {
            return None;
        }
        agencies.push(AgencySummary { bets, state });
    }
    Some(Summary { winners, agencies })
}

pub(super) fn write(summary: &Summary, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(formatter, "{}{FIELD_SEPARATOR}", word::STATUS)?;
    match summary.winners {
        None => formatter.write_str(word::PENDING)?,
        Some(winners) => write!(formatter, "{}{SEPARATOR}{winners}", word::HELD)?,
    }
    for (agency, AgencySummary { bets, state }) in (1_u32..).zip(&summary.agencies) {
        let word = STATES.iter().find(|(known, _)| known == state).map_or("", |(_, word)| word);
        write!(formatter, "{FIELD_SEPARATOR}{agency}{SEPARATOR}{bets}{SEPARATOR}{word}")?;
    }
    Ok(())
}
