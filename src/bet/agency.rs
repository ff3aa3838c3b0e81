//! The agencies of a lottery, and a value for each of them.

use super::{InvalidBet, Reason};
use std::fmt;
use std::num::NonZeroU16;
use std::ops::{Index, IndexMut};

/// The most agencies that a lottery can have.
pub const AGENCIES_MAX: u16 = 10_000;
/// The digits of the last of them.
pub(super) const AGENCY_DIGITS_MAX: usize = 5;

/// The agencies of a lottery, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agencies(NonZeroU16);

impl Agencies {
    /// Returns a lottery of `count` agencies. Returns `None` unless it is 1 to [`AGENCIES_MAX`].
    pub fn new(count: u16) -> Option<Agencies> {
        NonZeroU16::new(count).filter(|count| count.get() <= AGENCIES_MAX).map(Agencies)
    }

    /// Returns their number.
    pub fn count(self) -> u16 {
        self.0.get()
    }

    /// Iterates over every agency, in order.
    pub fn iter(self) -> impl Iterator<Item = AgencyId> {
        (1..=self.count()).filter_map(NonZeroU16::new).map(AgencyId)
    }

    /// Parses an agency: a number from 1 to [`Agencies::count`] in plain decimal digits, with no sign
    /// and no leading zero.
    ///
    /// # Errors
    ///
    /// `text` is anything else.
    pub fn parse(self, text: &str) -> Result<AgencyId, InvalidBet> {
        AgencyId::parse(text)
            .filter(|agency| agency.0 <= self.0)
            .ok_or_else(|| InvalidBet::new("agency", Reason::Agency(self.count()), text))
    }
}

/// An agency's number, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgencyId(NonZeroU16);

impl AgencyId {
    /// Returns the agency numbered `number`. Returns `None` unless it is 1 to [`AGENCIES_MAX`].
    pub fn new(number: u16) -> Option<AgencyId> {
        Agencies::new(number).map(|agencies| AgencyId(agencies.0))
    }

    /// Parses an agency in plain decimal digits, whatever the lottery's size.
    pub fn parse(text: impl AsRef<[u8]>) -> Option<AgencyId> {
        let digits = text.as_ref();
        let add_digit = |number: u16, byte: &u8| {
            let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        };
        let number = digits.iter().try_fold(0, add_digit)?;
        AgencyId::new(number).filter(|_| digits[0] != b'0')
    }

    /// Returns the number.
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// Returns its place in a table of all agencies, from 0.
    fn index(self) -> usize {
        usize::from(self.get()) - 1
    }
}

impl fmt::Display for AgencyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A value for each agency of a lottery.
///
/// Indexing panics for an agency that is not of the lottery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerAgency<T>(Box<[T]>);

impl<T> PerAgency<T> {
    /// Makes a value for each of `agencies`, in order.
    pub fn new(agencies: Agencies, make: impl FnMut(AgencyId) -> T) -> PerAgency<T> {
        PerAgency(agencies.iter().map(make).collect())
    }

    /// Iterates over the agencies and their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (AgencyId, &T)> {
        self.agencies().iter().zip(&self.0)
    }

    /// Iterates over the values, in the order of the agencies.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    /// Iterates over the values, in the order of the agencies.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Returns the lottery's agencies.
    pub fn agencies(&self) -> Agencies {
        let count = u16::try_from(self.0.len()).ok().and_then(Agencies::new);
        count.expect("it was made with a value for each agency of a lottery")
    }
}

impl<T> IntoIterator for PerAgency<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    /// Iterates over the values, in the order of the agencies.
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_vec().into_iter()
    }
}

impl<T> Index<AgencyId> for PerAgency<T> {
    type Output = T;

    fn index(&self, agency: AgencyId) -> &T {
        &self.0[agency.index()]
    }
}

impl<T> IndexMut<AgencyId> for PerAgency<T> {
    fn index_mut(&mut self, agency: AgencyId) -> &mut T {
        &mut self.0[agency.index()]
    }
}
