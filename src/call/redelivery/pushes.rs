//! Records of pushes, as hashes: in order for each peer, and as a set for all peers.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use iroh::EndpointId;
use tokio::time::Instant;

use super::store::RETENTION;

/// The most pushes of one peer, about 70 bytes each: all that 50 nodes push in a round.
pub(super) const MAX_PUSHES: usize = 16_384;
/// The most pushes of all peers, about 70 MiB.
const MAX_PUSHES_OVERALL: usize = 1 << 20;

/// A push to a SuperLink, whatever its outcome, except [`Stored`](Self::Stored), which the SuperLink has confirmed.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Push<'a> {
    Reply {
        by: EndpointId,
        node: u64,
        id: &'a str,
    },
    Object {
        by: EndpointId,
        run: u64,
        id: &'a str,
        session: &'a str,
    },
    /// Any objects of the run that the SuperLink does not have.
    Objects {
        by: EndpointId,
        node: u64,
        run: u64,
    },
    /// An object that the SuperLink reported as stored. The peer does not matter: the id is the hash of the content.
    Stored {
        /// The peer beside the SuperLink; `None` at the inbound end, which has a single SuperLink.
        at: Option<EndpointId>,
        run: u64,
        id: &'a str,
    },
}

/// The pushes of one peer, the oldest first.
#[derive(Debug, Default)]
pub(super) struct PushLog(VecDeque<(u64, Instant)>);

/// The pushes of all peers.
#[derive(Debug, Default)]
pub(super) struct KnownPushes {
    known: HashMap<u64, Known>,
    /// The number of entries in all logs.
    total: usize,
}

#[derive(Debug)]
struct Known {
    in_logs: u32,
    last: Instant,
}

impl KnownPushes {
    pub(super) fn contains(&self, push: u64) -> bool {
        self.known.get(&push).is_some_and(|known| known.last.elapsed() <= RETENTION)
    }
}

impl PushLog {
    /// Records a push. If there are too many, the oldest of the same peer are removed, never those of other peers.
    pub(super) fn record(&mut self, push: u64, all: &mut KnownPushes) {
        if all.total - self.0.len() >= MAX_PUSHES_OVERALL {
            return;
        }
        while self.0.len() >= MAX_PUSHES || all.total >= MAX_PUSHES_OVERALL {
            self.remove_oldest(all);
        }
        let last = Instant::now();
        self.0.push_back((push, last));
        all.total += 1;
        let known = all.known.entry(push).or_insert(Known { in_logs: 0, last });
        *known = Known { in_logs: known.in_logs + 1, last };
    }

    /// Removes the pushes that are older than [`RETENTION`].
    pub(super) fn remove_expired(&mut self, all: &mut KnownPushes) {
        while self.0.front().is_some_and(|(_, at)| at.elapsed() > RETENTION) {
            self.remove_oldest(all);
        }
    }

    pub(super) fn clear(&mut self, all: &mut KnownPushes) {
        while !self.0.is_empty() {
            self.remove_oldest(all);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn remove_oldest(&mut self, all: &mut KnownPushes) {
        let Some((push, _)) = self.0.pop_front() else { return };
        all.total -= 1;
        if let Entry::Occupied(mut known) = all.known.entry(push) {
            known.get_mut().in_logs -= 1;
            if known.get().in_logs == 0 {
                known.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_push_is_known_while_it_is_in_the_log_of_any_peer() {
        let (mut one, mut other, mut all) = (PushLog::default(), PushLog::default(), KnownPushes::default());
        one.record(7, &mut all);
        other.record(7, &mut all);
        one.clear(&mut all);
        assert!(all.contains(7) && one.is_empty());
        advance(RETENTION + Duration::from_secs(1)).await;
        assert!(!all.contains(7), "it has expired, though it has not been removed yet");
        other.remove_expired(&mut all);
        assert!(all.known.is_empty() && all.total == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_with_many_pushes_loses_its_own_and_none_of_other_peers() {
        let (mut one, mut many, mut all) = (PushLog::default(), PushLog::default(), KnownPushes::default());
        one.record(u64::MAX, &mut all);
        for push in 0..2 * MAX_PUSHES as u64 {
            many.record(push, &mut all);
        }
        assert!(all.contains(u64::MAX) && all.contains(MAX_PUSHES as u64) && !all.contains(MAX_PUSHES as u64 - 1));
        all.total = MAX_PUSHES_OVERALL;
        let mut late = PushLog::default();
        late.record(1 << 40, &mut all);
        assert!(late.is_empty() && !all.contains(1 << 40));
        many.record(1 << 41, &mut all);
        assert!(all.contains(1 << 41) && !all.contains(MAX_PUSHES as u64), "it replaces the peer's own oldest");
        assert_eq!(all.total, MAX_PUSHES_OVERALL);
    }
}
