//! Timestamps: RFC 3339, in UTC, to the second.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// The years that RFC 3339 can write, with four digits.
const YEARS: RangeInclusive<i32> = 0..=9999;

/// A point in time, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// Returns the present time by this machine's clock.
    pub fn now() -> Self {
        Self::to_the_second(OffsetDateTime::now_utc())
    }

    /// Returns the time `after` this one, at most the end of the calendar.
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
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|error| InvalidTimestamp(Kind::Format(error)))?;
        // In UTC, the year may be outside of what RFC 3339 can write.
        let at = at.checked_to_offset(UtcOffset::UTC).filter(|at| YEARS.contains(&at.year()));
        at.map(Self::to_the_second).ok_or(InvalidTimestamp(Kind::Year))
    }
}

/// A text that is not a valid timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct InvalidTimestamp(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Kind {
    #[error("{0}")]
    Format(#[source] time::error::Parse),
    #[error("in UTC it is not in the years 0 to 9999")]
    Year,
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

    #[test]
    fn a_moment_that_utc_cannot_write_is_refused() {
        for text in ["9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00+00:01"] {
            let error = text.parse::<Timestamp>().unwrap_err().to_string();
            assert!(error.contains("0 to 9999"), "{text}: {error}");
        }
        for text in ["9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_moment_is_printed_and_read_as_the_same(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]([.][0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-5][0-9])") {
            let Ok(at) = text.parse::<Timestamp>() else { return Ok(()) };
            let printed = at.to_string();
            prop_assert_eq!(printed.parse::<Timestamp>().unwrap(), at);
            prop_assert_eq!(printed.len(), "2026-01-31T12:00:00Z".len());
        }

        #[test]
        fn what_is_later_is_greater_and_is_written_later(first in 0..253_402_300_800_u64, second in 0..253_402_300_800_u64) {
            let epoch: Timestamp = "1970-01-01T00:00:00Z".parse().unwrap();
            let [one, other] = [first, second].map(|seconds| epoch.plus(Duration::from_secs(seconds)));
            prop_assert_eq!(one.cmp(&other), first.cmp(&second));
            prop_assert_eq!(one.to_string().cmp(&other.to_string()), first.cmp(&second));
        }
    }
}
