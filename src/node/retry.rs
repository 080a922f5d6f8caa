//! When to try a call again.

use std::{error::Error, time::Duration};

use tonic::{Code, Status};

/// The longest wait before the first retry; it doubles up to the longest of all.
const FIRST: Duration = Duration::from_secs(1);

/// Waits with full jitter: somewhere between nothing and a limit that grows.
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(max: Duration) -> Self {
        Self { next: FIRST.min(max), max }
    }

    /// How long to wait this time.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.next.mul_f64(fastrand::f64());
        self.next = (self.next * 2).min(self.max);
        wait
    }
}

/// Whether the call did not get through, or its answer did not: nothing is wrong with the call itself.
///
/// A status that was made on this side has a source. tonic calls a connection that broke `UNKNOWN`.
pub(super) fn is_unavailable(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown => status.source().is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit() {
        let mut backoff = Backoff::new(Duration::from_secs(3));
        for limit in [1, 2, 3, 3] {
            assert!(backoff.next() <= Duration::from_secs(limit));
        }
    }

    #[test]
    fn only_what_did_not_get_through_is_tried_again() {
        let broken = Status::from_error("connection reset".into());
        assert!(is_unavailable(&Status::unavailable("")) && is_unavailable(&broken));
        assert!(!is_unavailable(&Status::unknown("")) && !is_unavailable(&Status::permission_denied("")));
    }
}
