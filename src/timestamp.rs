//! Moments as people and programs both read them: RFC 3339, in UTC, to the second.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// A moment, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// By this machine's clock.
    pub fn now() -> Self {
        Self::to_the_second(OffsetDateTime::now_utc())
    }

    /// `after` this moment, at most the end of the calendar.
    #[must_use]
    pub fn plus(self, after: Duration) -> Self {
        let after = time::Duration::try_from(after).unwrap_or(time::Duration::MAX);
        Self::to_the_second(self.0.saturating_add(after).to_offset(UtcOffset::UTC))
    }

    fn to_the_second(at: OffsetDateTime) -> Self {
        Self(at.replace_nanosecond(0).expect("zero is a nanosecond"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Timestamp {
    type Err = time::error::Parse;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OffsetDateTime::parse(text, &Rfc3339).map(|at| Self::to_the_second(at.to_offset(UtcOffset::UTC)))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = |error| D::Error::custom(format_args!("{text:?}: {error}; write it like 2026-01-31T12:00:00Z"));
        text.parse().map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_it_is_read() {
        let at: Timestamp = "2026-01-31T13:00:00.5+01:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-01-31T12:00:00Z");
        assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        assert_eq!(at.plus(Duration::from_secs(86_400)).to_string(), "2026-02-01T12:00:00Z");
        assert!(at.plus(Duration::MAX).to_string().starts_with("9999-"));
    }
}
