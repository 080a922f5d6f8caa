//! A budget of abandoned calls.
//!
//! A call that its caller resets while an upstream handles it costs a connection over HTTP/1.1, whose local port stays in
//! use for a minute (TIME_WAIT). Some thousands a second would use up all ports.

use std::time::Duration;

use tokio::time::Instant;

/// Calls that a peer may abandon at once: all that it may have in progress, as when its link is lost.
const BURST: f64 = 256.0;
/// Further calls that it may abandon per second, without a delay.
const RATE: f64 = 16.0;

/// The calls that a peer has abandoned recently.
#[derive(Debug)]
pub(super) struct AbandonedCalls {
    count: f64,
    at: Instant,
}

impl Default for AbandonedCalls {
    fn default() -> Self {
        Self { count: 0.0, at: Instant::now() }
    }
}

impl AbandonedCalls {
    pub(super) fn record(&mut self) {
        self.decay();
        self.count += 1.0;
    }

    /// Returns how long the peer's next call must wait.
    pub(super) fn delay(&mut self) -> Option<Duration> {
        self.decay();
        let excess = self.count - BURST;
        (excess > 0.0).then(|| Duration::from_secs_f64(excess / RATE))
    }

    /// Returns whether none counts any more.
    pub(super) fn is_empty(&mut self) -> bool {
        self.decay();
        self.count <= 0.0
    }

    fn decay(&mut self) {
        let now = Instant::now();
        self.count = (self.count - RATE * (now - self.at).as_secs_f64()).max(0.0);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_abandons_calls_is_delayed_and_one_that_loses_its_link_is_not() {
        let mut abandoned = AbandonedCalls::default();
        (0..256).for_each(|_| abandoned.record());
        assert_eq!(abandoned.delay(), None);
        (0..32).for_each(|_| abandoned.record());
        assert_eq!(abandoned.delay(), Some(Duration::from_secs(2)));
        advance(Duration::from_secs(2)).await;
        assert!(abandoned.delay().is_none() && !abandoned.is_empty());
        advance(Duration::from_secs(16)).await;
        assert!(abandoned.is_empty());
    }
}
