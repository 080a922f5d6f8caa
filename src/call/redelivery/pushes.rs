//! What was pushed, as hashes: by one peer after the other, and by all of them.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use iroh::EndpointId;
use tokio::time::Instant;

use super::store::KEEP;

/// Pushes of one peer, of some 70 bytes each: of 50 nodes, all that they push in a round.
pub(super) const MAX_PUSHES: usize = 16_384;
/// Pushes of all peers, some 70 MiB.
const MAX_PUSHES_OVERALL: usize = 1 << 20;

/// What was asked of a SuperLink, whatever became of it; but an object that is stored is so because the SuperLink said it.
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
    /// Whatever of the run's objects the SuperLink lacks.
    Objects {
        by: EndpointId,
        node: u64,
        run: u64,
    },
    /// An object of which the SuperLink said that it is stored. Whoever pushed it: its id is the hash of its content.
    Stored {
        /// The peer that leads to the SuperLink, unless there is but one SuperLink.
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
    /// How many there are in all logs.
    total: usize,
}

#[derive(Debug)]
struct Known {
    in_logs: u32,
    last: Instant,
}

impl KnownPushes {
    pub(super) fn contains(&self, push: u64) -> bool {
        self.known.get(&push).is_some_and(|known| known.last.elapsed() <= KEEP)
    }
}

impl PushLog {
    /// Records a push. Where there are too many, the peer's own oldest are forgotten, and nobody else's.
    pub(super) fn record(&mut self, push: u64, all: &mut KnownPushes) {
        while self.0.len() >= MAX_PUSHES || (all.total >= MAX_PUSHES_OVERALL && !self.0.is_empty()) {
            self.forget_oldest(all);
        }
        if all.total >= MAX_PUSHES_OVERALL {
            return;
        }
        let last = Instant::now();
        self.0.push_back((push, last));
        all.total += 1;
        let known = all.known.entry(push).or_insert(Known { in_logs: 0, last });
        *known = Known { in_logs: known.in_logs + 1, last };
    }

    /// Forgets what is older than [`KEEP`].
    pub(super) fn forget_old(&mut self, all: &mut KnownPushes) {
        while self.0.front().is_some_and(|(_, at)| at.elapsed() > KEEP) {
            self.forget_oldest(all);
        }
    }

    pub(super) fn forget_all(&mut self, all: &mut KnownPushes) {
        while !self.0.is_empty() {
            self.forget_oldest(all);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn forget_oldest(&mut self, all: &mut KnownPushes) {
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
    async fn a_push_is_known_as_long_as_one_of_those_who_made_it_is_remembered() {
        let (mut one, mut other, mut all) = (PushLog::default(), PushLog::default(), KnownPushes::default());
        one.record(7, &mut all);
        other.record(7, &mut all);
        one.forget_all(&mut all);
        assert!(all.contains(7) && one.is_empty());
        advance(KEEP + Duration::from_secs(1)).await;
        assert!(!all.contains(7), "too old, though nobody has forgotten it yet");
        other.forget_old(&mut all);
        assert!(all.known.is_empty() && all.total == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_with_many_pushes_loses_its_own_and_none_of_others() {
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
        assert!(all.contains(1 << 41) && !all.contains(MAX_PUSHES as u64), "in the place of its own oldest");
        assert_eq!(all.total, MAX_PUSHES_OVERALL);
    }
}
