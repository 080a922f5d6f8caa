//! For how long a peer has owed an acknowledgement.

use std::time::Duration;

use super::Traffic;

/// After this long a peer is lost. QUIC's own idle timer is as good as the round trip that it knows, and comes first where
/// that is sound: after an outage, a round trip is thought to take as long as that.
const LOST: Duration = Duration::from_secs(8);

/// What is known of it from looks at the link's traffic, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owing {
    /// Between two looks. No time counts in which there is none: this process may stand still as well.
    tick: Duration,
    /// As of when the peer was last heard.
    heard: Traffic,
    looks: u32,
}

impl Owing {
    pub(crate) fn of(traffic: Traffic, tick: Duration) -> Self {
        Self { tick, heard: traffic, looks: 0 }
    }

    pub(crate) fn look(&mut self, traffic: Traffic) {
        if traffic.received != self.heard.received {
            (self.heard, self.looks) = (traffic, 0);
        } else if traffic.asking != self.heard.asking {
            self.looks += 1;
        }
    }

    /// For how long it has owed one; not at all if it was heard since the last that it owes.
    pub(crate) fn since(&self) -> Duration {
        self.looks * self.tick
    }

    /// Whether it has for so long that the link is of no use.
    pub(crate) fn is_lost(&self) -> bool {
        self.since() > LOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_owes_from_what_it_was_asked_until_it_is_heard() {
        const TICK: Duration = Duration::from_secs(1);
        let traffic = |asking, received| Traffic { asking, received };
        let mut owing = Owing::of(traffic(1, 1), TICK);
        for _ in 0..20 {
            owing.look(traffic(1, 1));
        }
        assert_eq!(owing.since(), Duration::ZERO, "it was asked nothing");
        for _ in 0..8 {
            owing.look(traffic(2, 1));
        }
        assert_eq!((owing.since(), owing.is_lost()), (LOST, false));
        owing.look(traffic(3, 1));
        assert!(owing.is_lost());
        owing.look(traffic(3, 2));
        assert_eq!(owing.since(), Duration::ZERO);
    }
}
