//! Numbers of the command line, each with its range, which its errors name.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

/// Peers that may use one invitation: more than a roster holds.
const MAX_USES: u32 = 10_000;
/// A year: an invitation is a secret that somebody has to keep.
const MAX_HOURS: u32 = 8760;
/// More connections than a process may have descriptors.
const MAX_CLIENTS: usize = 1_000_000;
/// In MiB/s: from 10 KiB/s, below which no handshake is completed in time, to what 32 bits count.
const MIN_RATE: f64 = 0.01;
const MAX_RATE: f64 = 4095.0;
/// The unit of rates.
const MIB: f64 = 1_048_576.0;

/// Parses `--uses`.
pub(crate) fn uses(text: &str) -> Result<NonZeroU32, String> {
    let uses = text.parse().ok().filter(|uses: &NonZeroU32| uses.get() <= MAX_USES);
    uses.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_USES}"))
}

/// Parses `--hours`.
pub(crate) fn hours(text: &str) -> Result<Duration, String> {
    let hours = text.parse().ok().filter(|hours| (1..=MAX_HOURS).contains(hours));
    let hours = hours.ok_or_else(|| format!("it must be a whole number of hours from 1 to {MAX_HOURS}, a year"))?;
    Ok(Duration::from_secs(3600) * hours)
}

/// Parses `--max-clients`.
pub(crate) fn clients(text: &str) -> Result<NonZeroUsize, String> {
    let clients = text.parse().ok().filter(|clients: &NonZeroUsize| clients.get() <= MAX_CLIENTS);
    clients.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_CLIENTS}"))
}

/// Parses `--client-rate`, in MiB/s, to bytes per second.
pub(crate) fn rate(text: &str) -> Result<NonZeroU32, String> {
    let rate: Option<f64> = text.parse().ok().filter(|rate| (MIN_RATE..=MAX_RATE).contains(rate));
    let bytes = rate.and_then(|rate| NonZeroU32::new((rate * MIB) as u32));
    bytes.ok_or_else(|| format!("it must be from {MIN_RATE} to {MAX_RATE} MiB/s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_refused_outside_of_their_ranges_which_the_error_names() {
        fn check<T>(parse: impl Fn(&str) -> Result<T, String>, good: &[&str], bad: &[&str], range: &str) {
            for text in good {
                assert!(parse(text).is_ok(), "{text}");
            }
            let nonsense = ["", "0", "-1", "-0", "1e99", "NaN", "nan", "inf", "-inf", "infinity", "1,5", " 1", "0x10"];
            for text in bad.iter().chain(&nonsense).chain(&["99999999999999999999999", "٣"]) {
                assert!(parse(text).is_err_and(|error| error.contains(range)), "{text}");
            }
        }
        check(uses, &["1", "10000"], &["10001", "4294967295", "1.5"], "from 1 to 10000");
        check(hours, &["1", "24", "8760"], &["8761", "4294967295", "0.5"], "from 1 to 8760");
        check(clients, &["1", "1000000"], &["1000001", "18446744073709551615", "1.5"], "from 1 to 1000000");
        check(rate, &["0.01", "0.5", "4095"], &["0.009", "4096", "1e-300", "0.0"], "from 0.01 to 4095 MiB/s");
        assert_eq!(hours("8760"), Ok(Duration::from_secs(8760 * 3600)));
        assert_eq!(rate("4095").unwrap().get(), 4095 << 20);
    }
}
