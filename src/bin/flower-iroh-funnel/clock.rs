//! Refuses a clock that cannot be true: certificates, invitations and Flower's signatures would be judged by it.

use std::ops::Range;

use flower_iroh_funnel::Timestamp;

use crate::commands::ExitError;

/// From the release of this version until long after certificates of today have expired.
const POSSIBLE: Range<&str> = "2026-11-01T00:00:00Z".."2100-01-01T00:00:00Z";

/// Checks this machine's clock.
///
/// # Errors
/// What it says, and what to do.
pub(crate) fn check() -> Result<(), ExitError> {
    check_at(Timestamp::now()).map_err(ExitError::world)
}

fn check_at(now: Timestamp) -> Result<(), String> {
    let parse = |text: &str| text.parse::<Timestamp>().expect("the constants are timestamps");
    let problem = if now < parse(POSSIBLE.start) {
        format!("before this program was released ({})", POSSIBLE.start)
    } else if now >= parse(POSSIBLE.end) {
        format!("after {}", POSSIBLE.end)
    } else {
        return Ok(());
    };
    Err(format!(
        "this machine's clock says {now}, which is {problem}: certificates and invitations would be refused; set the clock, \
         by NTP for instance (timedatectl set-ntp true), and start again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_refused_before_the_release_and_after_the_century() {
        for (text, is_possible) in [
            ("1970-01-01T00:00:00Z", false),
            ("2026-10-31T23:59:59Z", false),
            ("2026-11-01T00:00:00Z", true),
            ("2099-12-31T23:59:59Z", true),
            ("2100-01-01T00:00:00Z", false),
        ] {
            let checked = check_at(text.parse().unwrap());
            assert_eq!(checked.is_ok(), is_possible, "{text}");
            assert!(checked.err().is_none_or(|error| error.contains(text) && error.contains("NTP")), "{text}");
        }
    }
}
