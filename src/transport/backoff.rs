//! How long to wait before another attempt.

use std::{ops::Range, time::Duration};

/// Waits that double with each retry, from `first` up to `max`.
///
/// `jitter` is the part of a wait from which it is drawn at random: `0.5..1.0` waits for half of it or more. It keeps
/// those that failed together from coming back together.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    jitter: Range<f64>,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, max: Duration, jitter: Range<f64>) -> Self {
        Self { first, max, jitter }
    }

    /// Draws the wait before the next retry, after this many retries in a row.
    pub(crate) fn wait(&self, retries: u32) -> Duration {
        let full = self.first.saturating_mul(2_u32.saturating_pow(retries)).min(self.max);
        let Range { start, end } = self.jitter;
        full.mul_f64(start + (end - start) * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff::new(SECOND, 5 * SECOND, 1.0..1.0);
        for (retries, wait) in [(0, 1), (1, 2), (2, 4), (3, 5), (4, 5), (u32::MAX, 5)] {
            assert_eq!(backoff.wait(retries), wait * SECOND);
        }
        assert_eq!(Backoff::new(7 * SECOND, SECOND, 1.0..1.0).wait(0), SECOND);
    }

    #[test]
    fn a_wait_is_drawn_from_its_jitter() {
        let backoff = Backoff::new(SECOND, SECOND, 0.5..1.0);
        let waits: Vec<_> = (0..1000).map(|_| backoff.wait(3)).collect();
        assert!(waits.iter().all(|wait| (SECOND / 2..=SECOND).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < SECOND * 6 / 10) && waits.iter().any(|wait| *wait > SECOND * 9 / 10));
    }
}
