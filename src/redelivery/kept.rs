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
    time::Instant,
};

/// Longer than a SuperNode needs to find its way back; the SuperLink itself forgets a push after 180 s.
const KEEP: Duration = Duration::from_secs(600);
/// A message that a node asks for so often and never confirms is not what it wants.
const MAX_TIMES: u8 = 3;
/// Bytes of messages, for each peer. One takes some hundreds, and a hundred more for each piece of its model.
const MAX_HANDED: usize = 1 << 20;
/// Replies of each peer that are read at a time, up to 256 KiB each.
const MAX_READ_REPLIES: usize = 16;
/// Pushes, for each peer. What is under way when a link breaks is a handful for each node.
const MAX_TRIED: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Kept {
    peers: Mutex<HashMap<EndpointId, OfPeer>>,
    hasher: RandomState,
    turn: One,
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

    /// Waits for the turn to be handed something. Of each peer one waits among those of others, however many it has.
    pub(super) async fn turn(&self, peer: EndpointId) -> impl Send + use<> {
        let own = self.with(peer, |of_peer| of_peer.turn.clone());
        let own = own.acquire().await;
        (self.turn.clone().acquire().await, own)
    }

    pub(super) fn handed(&self, peer: EndpointId, node: u64, answer: Bytes) {
        self.with(peer, |of_peer| {
            of_peer.handed.push_back(Handed { node, answer, at: Instant::now(), times: 1 });
            while of_peer.handed.iter().map(|handed| handed.answer.len()).sum::<usize>() > MAX_HANDED {
                of_peer.handed.pop_front();
            }
        });
    }

    /// What a node was handed out and has not shown to have.
    pub(super) fn again(&self, peer: EndpointId, node: u64) -> Option<Bytes> {
        self.with(peer, |of_peer| {
            let handed = of_peer.handed.iter_mut().find(|handed| handed.node == node)?;
            handed.times += 1;
            let answer = handed.answer.clone();
            if handed.times > MAX_TIMES {
                of_peer.handed.retain(|handed| handed.node != node);
            }
            Some(answer)
        })
    }

    /// The node has what it was handed.
    pub(super) fn arrived(&self, peer: EndpointId, node: u64) {
        self.with(peer, |of_peer| of_peer.handed.retain(|handed| handed.node != node));
    }

    pub(super) fn tried(&self, peer: EndpointId, push: &Push<'_>) {
        let push = self.hasher.hash_one(push);
        self.with(peer, |of_peer| {
            of_peer.tried.push_back((push, Instant::now()));
            if of_peer.tried.len() > MAX_TRIED {
                of_peer.tried.pop_front();
            }
        });
    }

    pub(super) fn was_tried(&self, peer: EndpointId, push: &Push<'_>) -> bool {
        let push = self.hasher.hash_one(push);
        self.with(peer, |of_peer| of_peer.tried.iter().any(|(tried, _)| *tried == push))
    }

    fn with<T>(&self, peer: EndpointId, work: impl FnOnce(&mut OfPeer) -> T) -> T {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if !peers.contains_key(&peer) {
            peers.retain(|_, of_peer| !of_peer.is_forgotten());
        }
        let of_peer = peers.entry(peer).or_default();
        of_peer.forget_the_old();
        work(of_peer)
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
        self.handed.is_empty() && self.tried.is_empty() && Arc::strong_count(&self.read_replies) == 1
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
        kept.handed(one, 7, "message".into());
        assert_eq!((kept.again(other, 7), kept.again(one, 8)), (None, None));
        assert_eq!(kept.again(one, 7).unwrap(), "message");
        kept.arrived(one, 7);
        assert_eq!(kept.again(one, 7), None);

        kept.handed(one, 7, "message".into());
        advance(KEEP + Duration::from_secs(1)).await;
        assert_eq!(kept.again(one, 7), None);
        kept.handed(one, 7, "message".into());
        let times = std::iter::from_fn(|| kept.again(one, 7)).count();
        assert_eq!(times, usize::from(MAX_TIMES));
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
            kept.handed(one, number, vec![0; MAX_HANDED / 64].into());
            kept.tried(one, &Push::Object { run: number, id: b"object", session: b"" });
        }
        let sizes = kept.with(one, |of_peer| (of_peer.handed.len(), of_peer.tried.len()));
        assert_eq!(sizes, (64, MAX_TRIED));
        advance(KEEP + Duration::from_secs(1)).await;
        kept.arrived(peer(), 1);
        assert_eq!(kept.peers.lock().unwrap().len(), 1);
    }
}
