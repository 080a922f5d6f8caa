//! `grpc-timeout`: up to eight digits and a unit.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::super::{Failure, Status};

const MAX_DIGITS: usize = 8;

/// How long the caller waits for the whole call, `None` if for ever.
pub(super) fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    parse(value).map(Some).ok_or_else(|| {
        Failure::new(Status::MALFORMED, format_args!("grpc-timeout {value:?} is not up to 8 digits and one of HMSmun"))
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
