//! A limit on how often something is done, for log lines that a peer or a fault could repeat at will.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The default interval: a fault that repeats endlessly does not fill the disk with log lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Allows one run per interval. The first one is allowed at once.
#[derive(Debug)]
pub(crate) struct RateLimit {
    interval: Duration,
    last: Mutex<Option<Instant>>,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { interval: INTERVAL, last: Mutex::new(None) }
    }
}

impl RateLimit {
    /// Creates a limit of one run per `interval`.
    #[cfg_attr(not(feature = "funnel"), allow(dead_code, reason = "the transport alone has one interval"))]
    pub(crate) const fn every(interval: Duration) -> Self {
        Self { interval, last: Mutex::new(None) }
    }

    /// Runs `action` if the limit allows it, and does nothing otherwise.
    pub(crate) fn run(&self, action: impl FnOnce()) {
        if self.allow() {
            action();
        }
    }

    /// Returns whether a run is allowed now, and counts it as done if so.
    pub(crate) fn allow(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_allowed = last.is_none_or(|at| at.elapsed() >= self.interval);
        if is_allowed {
            *last = Some(Instant::now());
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_action_repeated_within_one_interval_runs_once() {
        let (limit, mut runs) = (RateLimit::default(), 0);
        for _ in 0..3 {
            limit.run(|| runs += 1);
        }
        assert_eq!(runs, 1);
        *limit.last.lock().unwrap() = Some(Instant::now() - INTERVAL);
        limit.run(|| runs += 1);
        assert_eq!(runs, 2);
    }
}
