//! Records of pushes, as hashes: in order for each peer, and as a set for all peers.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use iroh::EndpointId;
use tokio::time::Instant;

use super::store::RETENTION;

/// The most pushes of one peer, about 70 bytes each: all that 50 nodes push in a round.
pub(super) const MAX_PUSHES: usize = 16_384;
/// The most pushes of all peers, about 70 MiB, of which each of the most peers always has 256.
pub(super) const MAX_PUSHES_OVERALL: usize = 1 << 20;

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
pub(super) struct KnownPushes(HashMap<u64, Known>);

#[derive(Debug)]
struct Known {
    in_logs: u32,
    last: Instant,
}

impl KnownPushes {
    pub(super) fn contains(&self, push: u64) -> bool {
        self.0.get(&push).is_some_and(|known| known.last.elapsed() <= RETENTION)
    }
}

impl PushLog {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Removes the oldest pushes if there are too many of one peer for another.
    pub(super) fn make_room(&mut self, all: &mut KnownPushes) {
        while self.len() >= MAX_PUSHES && self.remove_oldest(all) {}
    }

    pub(super) fn insert(&mut self, push: u64, all: &mut KnownPushes) {
        let last = Instant::now();
        self.0.push_back((push, last));
        let known = all.0.entry(push).or_insert(Known { in_logs: 0, last });
        *known = Known { in_logs: known.in_logs + 1, last };
    }

    /// Removes the oldest push, and returns whether there was one.
    pub(super) fn remove_oldest(&mut self, all: &mut KnownPushes) -> bool {
        let Some((push, _)) = self.0.pop_front() else { return false };
        if let Entry::Occupied(mut known) = all.0.entry(push) {
            known.get_mut().in_logs -= 1;
            if known.get().in_logs == 0 {
                known.remove();
            }
        }
        true
    }

    /// Removes the pushes that are older than [`RETENTION`].
    pub(super) fn remove_expired(&mut self, all: &mut KnownPushes) {
        while self.0.front().is_some_and(|(_, at)| at.elapsed() > RETENTION) {
            self.remove_oldest(all);
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
        one.insert(7, &mut all);
        other.insert(7, &mut all);
        assert!(one.remove_oldest(&mut all) && !one.remove_oldest(&mut all));
        assert!(all.contains(7) && one.len() == 0);
        advance(RETENTION + Duration::from_secs(1)).await;
        assert!(!all.contains(7), "it has expired, though it has not been removed yet");
        other.remove_expired(&mut all);
        assert!(all.0.is_empty() && other.len() == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_with_many_pushes_loses_its_oldest() {
        let (mut many, mut all) = (PushLog::default(), KnownPushes::default());
        for push in 0..2 * MAX_PUSHES as u64 {
            many.make_room(&mut all);
            many.insert(push, &mut all);
        }
        assert!(all.contains(MAX_PUSHES as u64) && !all.contains(MAX_PUSHES as u64 - 1));
        assert_eq!((many.len(), all.0.len()), (MAX_PUSHES, MAX_PUSHES));
    }
}
