//! Parses `grpc-timeout`: up to eight digits and a unit.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::super::{CallError, Status};

/// The header of gRPC's deadline.
pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";
const MAX_DIGITS: usize = 8;

/// Returns how long the caller waits for the whole call; `None` if it waits indefinitely.
pub(super) fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, CallError> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else { return Ok(None) };
    parse(value).map(Some).ok_or_else(|| {
        CallError::new(
            Status::MALFORMED,
            format_args!("{GRPC_TIMEOUT} {value:?} is not up to 8 digits and one of HMSmun"),
        )
    })
}

fn parse(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_in_every_unit() {
        for (text, wanted) in [
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
            ("2M", Duration::from_secs(120)),
            ("5S", Duration::from_secs(5)),
            ("4999m", Duration::from_millis(4999)),
            ("7u", Duration::from_micros(7)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(parse(&HeaderValue::from_static(text)), Some(wanted), "{text}");
        }
        for text in ["", "S", "5", "5s", "-5S", "+5S", "123456789S", "5 S", "5SS"] {
            assert_eq!(parse(&HeaderValue::from_static(text)), None, "{text}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_has_the_grammars_form_and_nothing_else_is(text in vec(any::<u8>(), 0..12)) {
            let Ok(value) = HeaderValue::try_from(text.clone()) else { return Ok(()) };
            let is_timeout = match text.split_last() {
                Some((unit, digits)) => {
                    b"HMSmun".contains(unit) && (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
                }
                None => false,
            };
            prop_assert_eq!(parse(&value).is_some(), is_timeout);
        }

        #[test]
        fn every_number_is_read_in_its_unit(number in 0..100_000_000u32, (unit, nanos) in prop_oneof![
            Just(("H", 3_600_000_000_000u128)), Just(("M", 60_000_000_000)), Just(("S", 1_000_000_000)),
            Just(("m", 1_000_000)), Just(("u", 1_000)), Just(("n", 1)),
        ]) {
            let value = HeaderValue::try_from(format!("{number}{unit}")).unwrap();
            prop_assert_eq!(parse(&value).unwrap().as_nanos(), u128::from(number) * nanos);
        }
    }
}
