//! The pauses between attempts to reach a peer.

use std::{ops::Range, time::Duration};

use super::DownReason;
use crate::transport::Backoff;

/// The pause before the second attempt. It doubles with each attempt.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause between the first attempts, so that a network that recovers is used within a second.
const SOON: Duration = Duration::from_millis(400);
/// The number of first attempts: they last minutes if nothing answers, seconds if dialling fails immediately.
const FIRST_ATTEMPTS: u32 = 30;
/// The longest pause after the first attempts, or if the peer does not admit this funnel.
const MAX: Duration = Duration::from_secs(2);
/// The pause before the second attempt at a peer that is at a limit of links. It is short for the sake of a funnel that was
/// restarted, whose earlier links the peer still counts. It doubles with each attempt: other funnels may use the places for
/// days.
const OVERLOADED_FIRST: Duration = Duration::from_secs(1);
/// The longest pause between attempts at a peer that is at a limit of links.
const OVERLOADED_MAX: Duration = Duration::from_secs(30);
/// Jitter of up to half prevents the peers of a funnel that restarts from reconnecting in step.
const JITTER: Range<f64> = 0.5..1.0;

/// Counts attempts that have failed in a row, and draws the pause before the next one.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    /// The failures in a row at a limit of links.
    overloaded: u32,
}

impl Retry {
    /// Counts a failed attempt and returns the pause before the next one.
    pub(super) fn after_failure(&mut self, reason: DownReason) -> Duration {
        if reason == DownReason::Overloaded {
            let pause = Backoff::new(OVERLOADED_FIRST, OVERLOADED_MAX, JITTER).wait(self.overloaded);
            self.overloaded = self.overloaded.saturating_add(1);
            return pause;
        }
        let max = match reason {
            DownReason::Unreachable if self.failures < FIRST_ATTEMPTS => SOON,
            _ => MAX,
        };
        let pause = Backoff::new(FIRST, max, JITTER).wait(self.failures);
        (self.failures, self.overloaded) = (self.failures.saturating_add(1), 0);
        pause
    }

    /// Counts the end of a link, and returns the pause before the next attempt: none after a link that lasted for longer than
    /// a pause, unless the peer closed it at its limit.
    pub(super) fn after_link(&mut self, lasted: Duration, reason: DownReason) -> Duration {
        match reason {
            DownReason::Overloaded if lasted > OVERLOADED_MAX => self.overloaded = 0,
            DownReason::Overloaded => {}
            _ if lasted > MAX => {
                *self = Self::default();
                return Duration::ZERO;
            }
            _ => {}
        }
        self.after_failure(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a pause may have been drawn from a backoff that has reached `longest`.
    fn is_about(pause: Duration, longest: Duration) -> bool {
        (longest / 2..=longest).contains(&pause)
    }

    #[test]
    fn a_peer_at_a_limit_is_dialled_less_and_less_often() {
        let mut retry = Retry::default();
        for longest in [1, 2, 4, 8, 16, 30, 30] {
            let pause = retry.after_failure(DownReason::Overloaded);
            assert!(is_about(pause, Duration::from_secs(longest)), "{pause:?}");
        }
        assert!(
            retry.after_failure(DownReason::Unreachable) <= FIRST,
            "another reason starts from its own first pause"
        );
        assert!(retry.after_failure(DownReason::Overloaded) <= OVERLOADED_FIRST);
    }

    #[test]
    fn a_link_that_lasted_is_followed_by_an_attempt_at_once_unless_the_peer_closed_it_at_its_limit() {
        let (short, long) = (Duration::from_secs(10), Duration::from_secs(60));
        let mut retry = Retry::default();
        assert_eq!(retry.after_link(short, DownReason::Unreachable), Duration::ZERO);
        for longest in [1, 2, 4] {
            assert!(is_about(retry.after_link(short, DownReason::Overloaded), Duration::from_secs(longest)));
        }
        assert!(retry.after_link(long, DownReason::Overloaded) <= OVERLOADED_FIRST);
        assert_eq!(retry.after_link(long, DownReason::NotAdmitted), Duration::ZERO);
    }
}
