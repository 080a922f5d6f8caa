//! What is kept of the calls of each peer, and of the answers to them.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use iroh::EndpointId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::transport::RateLimit;

/// Longer than a SuperNode needs to find its way back; the SuperLink itself forgets a push after 180 s.
const KEEP: Duration = Duration::from_secs(600);
/// A message that a node asks for so often and never confirms is not what it wants.
const MAX_TIMES: u8 = 3;
/// Bytes of messages, for each peer. One takes some hundreds, and a hundred and some more for each array of its model: 50
/// nodes behind one funnel, each with a model of a thousand.
const MAX_HANDED: usize = 8 << 20;
/// Replies of each peer that are read at a time, up to 256 KiB each: 50 nodes may end a round in one moment.
const MAX_READ_REPLIES: usize = 64;
/// Pushes, for each peer, of 24 bytes each: of 50 nodes, all that they push in a round.
const MAX_TRIED: usize = 16_384;
/// Peers that anything is kept of: where everybody is let in, anybody may come under any number of keys.
const MAX_PEERS: usize = 4096;
/// As many peers are not looked through for those of whom nothing is left to keep.
const FEW_PEERS: usize = 64;
/// For a turn. A SuperLink that hands out in time never lets anybody wait so long; a SuperNode over HTTP waits for 30 s in
/// all.
const MAX_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Kept {
    peers: Mutex<Peers>,
    hasher: RandomState,
    turn: One,
    /// What is said of calls that came again: a peer may make them as often as it likes.
    pub(super) told: RateLimit,
}

#[derive(Debug, Default)]
struct Peers {
    all: HashMap<EndpointId, OfPeer>,
    /// How many there were when those of whom nothing is left were last forgotten.
    left: usize,
}

/// One at a time.
#[derive(Clone, Debug)]
struct One(Arc<Semaphore>);

impl Default for One {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl One {
    async fn acquire(self) -> OwnedSemaphorePermit {
        self.0.acquire_owned().await.expect("it is never closed")
    }
}

#[derive(Debug, Default)]
struct OfPeer {
    turn: One,
    read_replies: Arc<()>,
    /// The oldest first.
    handed: VecDeque<Handed>,
    tried: VecDeque<(u64, Instant)>,
}

/// A message that was handed out to a node and not confirmed.
#[derive(Debug)]
struct Handed {
    node: u64,
    id: Vec<u8>,
    answer: Bytes,
    at: Instant,
    times: u8,
}

/// What was asked of the SuperLink, whatever became of it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Push<'a> {
    Reply {
        node: u64,
        id: &'a [u8],
    },
    Object {
        run: u64,
        id: &'a [u8],
        session: &'a [u8],
    },
    /// Whatever of the run's objects the SuperLink lacks.
    Objects {
        node: u64,
        run: u64,
    },
}

/// A reply of a peer's that is read while it passes, until it is dropped.
#[derive(Debug)]
pub(super) struct ReadReply(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl Kept {
    /// `None` where too many of the peer's are being read.
    pub(super) fn read_reply(&self, peer: EndpointId) -> Option<ReadReply> {
        self.with(peer, |of_peer| {
            let read = Arc::clone(&of_peer.read_replies);
            (Arc::strong_count(&read) <= 1 + MAX_READ_REPLIES).then_some(ReadReply(read))
        })
    }

    /// Waits for the turn to be handed something. Of each peer one waits among those of others, however many it has. After
    /// a while it is `None`, and goes on without.
    pub(super) async fn turn(&self, peer: EndpointId) -> Option<impl Send + use<>> {
        let own = self.with(peer, |of_peer| of_peer.turn.clone());
        let all = self.turn.clone();
        let both = async move {
            let own = own.acquire().await;
            (all.acquire().await, own)
        };
        timeout(MAX_WAIT, both).await.ok()
    }

    /// A message was handed out in this answer.
    pub(super) fn handed(&self, peer: EndpointId, node: u64, id: Vec<u8>, answer: Bytes) {
        self.with(peer, |of_peer| {
            of_peer.handed.push_back(Handed { node, id, answer, at: Instant::now(), times: 1 });
            while of_peer.handed.iter().map(|handed| handed.answer.len()).sum::<usize>() > MAX_HANDED {
                of_peer.handed.pop_front();
            }
        });
    }

    /// What a node was handed out and has not shown to have: of several messages, the one that it was given least often.
    pub(super) fn again(&self, peer: EndpointId, node: u64) -> Option<Bytes> {
        self.with(peer, |of_peer| {
            let of_node = of_peer.handed.iter_mut().enumerate().filter(|(_, handed)| handed.node == node);
            let (place, handed) = of_node.min_by_key(|(_, handed)| handed.times)?;
            handed.times += 1;
            let (answer, is_last) = (handed.answer.clone(), handed.times > MAX_TIMES);
            if is_last {
                of_peer.handed.remove(place);
            }
            Some(answer)
        })
    }

    /// The node has this message.
    pub(super) fn arrived(&self, peer: EndpointId, node: u64, id: &[u8]) {
        self.with(peer, |of_peer| of_peer.handed.retain(|handed| handed.node != node || handed.id != id));
    }

    pub(super) fn tried(&self, peer: EndpointId, push: &Push<'_>) {
        let push = self.hasher.hash_one(push);
        self.with(peer, |of_peer| {
            if of_peer.tried.len() >= MAX_TRIED {
                of_peer.tried.pop_front();
            }
            of_peer.tried.push_back((push, Instant::now()));
        });
    }

    pub(super) fn was_tried(&self, peer: EndpointId, push: &Push<'_>) -> bool {
        let push = self.hasher.hash_one(push);
        self.with(peer, |of_peer| of_peer.tried.iter().any(|(tried, _)| *tried == push))
    }

    fn with<T>(&self, peer: EndpointId, work: impl FnOnce(&mut OfPeer) -> T) -> T {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if !peers.all.contains_key(&peer) && !peers.has_room() {
            return work(&mut OfPeer::default());
        }
        let of_peer = peers.all.entry(peer).or_default();
        of_peer.forget_the_old();
        work(of_peer)
    }
}

impl Peers {
    /// Whether there is room for one more. Those of whom nothing is left are forgotten when there are twice as many as then,
    /// so that it costs little for each.
    fn has_room(&mut self) -> bool {
        if self.all.len() >= (2 * self.left).clamp(FEW_PEERS, MAX_PEERS) {
            self.all.retain(|_, of_peer| !of_peer.is_forgotten());
            self.left = self.all.len();
        }
        self.all.len() < MAX_PEERS
    }
}

impl OfPeer {
    fn forget_the_old(&mut self) {
        while self.handed.front().is_some_and(|handed| handed.at.elapsed() > KEEP) {
            self.handed.pop_front();
        }
        while self.tried.front().is_some_and(|(_, at)| at.elapsed() > KEEP) {
            self.tried.pop_front();
        }
    }

    fn is_forgotten(&mut self) -> bool {
        self.forget_the_old();
        let is_waited_for = Arc::strong_count(&self.turn.0) > 1 || Arc::strong_count(&self.read_replies) > 1;
        self.handed.is_empty() && self.tried.is_empty() && !is_waited_for
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use iroh::SecretKey;
    use tokio::time::advance;

    use super::*;

    fn peer() -> EndpointId {
        SecretKey::generate().public()
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_given_again_to_its_node_and_peer_until_it_has_it() {
        let (kept, one, other) = (Kept::default(), peer(), peer());
        let handed = |id: &'static str| kept.handed(one, 7, id.into(), id.into());
        handed("message");
        assert_eq!((kept.again(other, 7), kept.again(one, 8)), (None, None));
        assert_eq!(kept.again(one, 7).unwrap(), "message");
        kept.arrived(one, 7, b"message");
        assert_eq!(kept.again(one, 7), None);

        handed("message");
        advance(KEEP + Duration::from_secs(1)).await;
        assert_eq!(kept.again(one, 7), None);
        handed("message");
        let times = std::iter::from_fn(|| kept.again(one, 7)).count();
        assert_eq!(times, usize::from(MAX_TIMES));
    }

    #[tokio::test]
    async fn each_message_of_a_node_is_kept_until_that_one_has_arrived() {
        let (kept, peer) = (Kept::default(), peer());
        for id in ["first", "second"] {
            kept.handed(peer, 7, id.into(), id.into());
        }
        assert_eq!([kept.again(peer, 7).unwrap(), kept.again(peer, 7).unwrap()], ["first", "second"]);
        kept.arrived(peer, 7, b"second");
        assert_eq!(kept.again(peer, 7).unwrap(), "first");
    }

    #[tokio::test]
    async fn a_peer_with_many_calls_has_one_turn_among_those_of_others() {
        let (kept, many, one) = (Kept::default(), peer(), peer());
        let first = kept.turn(many).await;
        let [mut second, mut third, mut other] = [many, many, one].map(|peer| Box::pin(kept.turn(peer)));
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending() && poll!(&mut other).is_pending());
        drop(first);
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        drop(other.await);
        drop(second.await);
        drop(third.await);
    }

    #[tokio::test]
    async fn a_turn_is_remembered_while_others_come_and_go() {
        let (kept, many) = (Kept::default(), peer());
        let first = kept.turn(many).await;
        let mut second = Box::pin(kept.turn(many));
        assert!(poll!(&mut second).is_pending());
        let mut other = Box::pin(kept.turn(peer()));
        assert!(poll!(&mut other).is_pending());
        let mut third = Box::pin(kept.turn(many));
        assert!(poll!(&mut third).is_pending());
        drop(first);
        drop(other.await);
        drop(second.await);
        drop(third.await);
        assert_eq!(kept.peers.lock().unwrap().all.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_for_long_goes_on_without_a_turn() {
        let (kept, one, other) = (Kept::default(), peer(), peer());
        let turn = kept.turn(one).await;
        assert!(turn.is_some());
        let (own, others) = tokio::join!(kept.turn(one), kept.turn(other));
        assert!(own.is_none() && others.is_none());
        drop(turn);
        assert!(kept.turn(other).await.is_some());
    }

    #[tokio::test]
    async fn not_all_replies_of_a_peer_are_read_at_a_time() {
        let (kept, many, one) = (Kept::default(), peer(), peer());
        let read: Vec<_> = std::iter::from_fn(|| kept.read_reply(many)).collect();
        assert_eq!(read.len(), MAX_READ_REPLIES);
        assert!(kept.read_reply(one).is_some() && kept.read_reply(many).is_none());
        drop(read);
        assert!(kept.read_reply(many).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_was_tried_by_its_peer_in_its_session() {
        let (kept, one, other) = (Kept::default(), peer(), peer());
        let object = |session| Push::Object { run: 1, id: b"object", session };
        kept.tried(one, &object(b"session"));
        assert!(kept.was_tried(one, &object(b"session")));
        assert!(!kept.was_tried(one, &object(b"later session")) && !kept.was_tried(other, &object(b"session")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_and_forgotten() {
        let (kept, one) = (Kept::default(), peer());
        for number in 0..2 * MAX_TRIED as u64 {
            kept.handed(one, number, Vec::new(), vec![0; MAX_HANDED / 64].into());
            kept.tried(one, &Push::Object { run: number, id: b"object", session: b"" });
        }
        let sizes = kept.with(one, |of_peer| (of_peer.handed.len(), of_peer.tried.len()));
        assert_eq!(sizes, (64, MAX_TRIED));
        for _ in 0..2 * MAX_PEERS {
            kept.tried(peer(), &Push::Objects { node: 1, run: 1 });
        }
        assert_eq!(kept.peers.lock().unwrap().all.len(), MAX_PEERS);
        assert!(kept.was_tried(one, &Push::Object { run: 2 * MAX_TRIED as u64 - 1, id: b"object", session: b"" }));
        advance(KEEP + Duration::from_secs(1)).await;
        kept.arrived(peer(), 1, b"");
        assert_eq!(kept.peers.lock().unwrap().all.len(), 1);
    }
}
