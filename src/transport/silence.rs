//! How long a peer has left packets unacknowledged.

use std::time::Duration;

use super::LinkStats;

/// A peer that has been silent for longer than this is dead. QUIC's own idle timer depends on the round-trip estimate and
/// fires first while that is right; after an outage, the outage itself is taken for a long round trip.
#[cfg_attr(not(feature = "funnel"), allow(dead_code, reason = "the transport alone gives up no link for its silence"))]
const SILENCE_TIMEOUT: Duration = Duration::from_secs(8);

/// Measures a peer's silence from samples of its link's [`LinkStats`], taken once per tick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SilenceTimer {
    /// The time from one sample to the next. Silence is counted in samples, not by the clock, so that it does not grow while
    /// this process itself is suspended.
    tick: Duration,
    /// The stats when the last datagram was received.
    last: LinkStats,
    samples: u32,
    silent_samples: u32,
}

impl SilenceTimer {
    pub(crate) fn new(stats: LinkStats, tick: Duration) -> Self {
        Self { tick, last: stats, samples: 0, silent_samples: 0 }
    }

    /// Takes one sample. The peer is silent if it was sent something to acknowledge and no datagram has been received since.
    pub(crate) fn sample(&mut self, stats: LinkStats) {
        if stats.datagrams_received != self.last.datagrams_received {
            (self.last, self.samples, self.silent_samples) = (stats, 0, 0);
            return;
        }
        self.samples += 1;
        if stats.ack_eliciting_sent != self.last.ack_eliciting_sent {
            self.silent_samples += 1;
        }
    }

    /// Returns how long no datagram has been received, whether or not the peer owes an acknowledgement.
    pub(crate) fn since_received(&self) -> Duration {
        self.samples * self.tick
    }

    /// Returns how long the peer has been silent: zero if it owes no acknowledgement.
    pub(crate) fn elapsed(&self) -> Duration {
        self.silent_samples * self.tick
    }

    /// Returns whether the peer has been silent for so long that its link is dead.
    #[cfg_attr(
        not(feature = "funnel"),
        allow(dead_code, reason = "the transport alone gives up no link for its silence")
    )]
    pub(crate) fn is_expired(&self) -> bool {
        self.elapsed() > SILENCE_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_from_an_unacknowledged_packet_until_a_datagram_is_received() {
        const TICK: Duration = Duration::from_secs(1);
        let stats = |ack_eliciting_sent, datagrams_received| LinkStats { ack_eliciting_sent, datagrams_received };
        let mut timer = SilenceTimer::new(stats(1, 1), TICK);
        for _ in 0..20 {
            timer.sample(stats(1, 1));
        }
        assert_eq!(timer.elapsed(), Duration::ZERO, "nothing was sent to it");
        assert_eq!(timer.since_received(), 20 * TICK);
        for _ in 0..8 {
            timer.sample(stats(2, 1));
        }
        assert_eq!((timer.elapsed(), timer.is_expired()), (SILENCE_TIMEOUT, false));
        timer.sample(stats(3, 1));
        assert!(timer.is_expired());
        timer.sample(stats(3, 2));
        assert_eq!((timer.elapsed(), timer.since_received()), (Duration::ZERO, Duration::ZERO));
    }
}
