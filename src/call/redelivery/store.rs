//! What is kept of the calls of each peer, and of the answers to them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use iroh::EndpointId;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    answers::{Answer, Answers, Of},
    pushes::{KnownPushes, Push, PushLog},
    turns::Turn,
};
use crate::transport::RateLimit;

/// Longer than a SuperNode needs to find its way back; the SuperLink itself forgets a push after 180 s.
pub(super) const KEEP: Duration = Duration::from_secs(600);
/// Replies of each peer that are read at a time, up to 256 KiB each: 50 nodes may end a round in one moment.
const MAX_READ_REPLIES: usize = 64;
/// Peers that anything is kept of: where everybody is admitted, anybody may come under any number of keys.
const MAX_PEERS: usize = 4096;
/// As many peers are not searched for those of whom nothing is left to keep.
const FEW_PEERS: usize = 64;

/// What one end of the tunnel keeps of the calls of all its peers.
#[derive(Debug, Default)]
pub(super) struct ReplayStore {
    peers: Mutex<Peers>,
    hasher: RandomState,
    turn: Turn,
    /// For what is logged of calls that came again: a peer may make them as often as it likes.
    pub(super) log_limit: RateLimit,
}

#[derive(Debug, Default)]
struct Peers {
    all: HashMap<EndpointId, OfPeer>,
    /// How many there were when those of whom nothing is left were last forgotten.
    left: usize,
    overall: Overall,
}

/// What is counted for all peers.
#[derive(Debug, Default)]
struct Overall {
    pushes: KnownPushes,
    answer_bytes: usize,
}

#[derive(Debug, Default)]
struct OfPeer {
    turn: Turn,
    reply_turns: HashMap<u64, Turn>,
    read_replies: Arc<()>,
    answers: Answers,
    pushes: PushLog,
}

/// A reply of a peer's that is being read, until it is dropped.
#[derive(Debug)]
pub(super) struct ReadReply(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl ReplayStore {
    /// `None` where too many of the peer's are being read.
    pub(super) fn read_reply(&self, peer: EndpointId) -> Option<ReadReply> {
        self.with(peer, |of_peer, _| {
            let read = Arc::clone(&of_peer.read_replies);
            (Arc::strong_count(&read) <= 1 + MAX_READ_REPLIES).then_some(ReadReply(read))
        })
    }

    /// Waits for the turn to be handed a message. Of each peer one call waits among those of others, however many it has.
    /// After a while it is `None`, and the call goes on without.
    pub(super) async fn turn(&self, peer: EndpointId) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = self.with(peer, |of_peer, _| of_peer.turn.clone());
        own.acquire_both(self.turn.clone()).await
    }

    /// Waits until the same reply is not being pushed already, so that the SuperLink's answer to it is known. After a while
    /// it is `None`, and the call goes on without.
    pub(super) async fn reply_turn(&self, by: EndpointId, node: u64, id: &str) -> Option<OwnedSemaphorePermit> {
        let reply = self.hasher.hash_one((node, id));
        let turn = self.with(by, |of_peer, _| {
            of_peer.reply_turns.retain(|_, turn| turn.is_wanted());
            of_peer.reply_turns.entry(reply).or_default().clone()
        });
        turn.acquire().await
    }

    /// A message was handed to a node in this answer.
    pub(super) fn record_delivery(&self, peer: EndpointId, node: u64, id: String, answer: Bytes) {
        self.keep(peer, Answer::new(node, id, Of::Message { times: 1 }, answer));
    }

    /// The answer that hands a node what it was handed and has not shown to have: of several messages, the one that it was
    /// given least often.
    pub(super) fn redeliver(&self, peer: EndpointId, node: u64) -> Option<Bytes> {
        self.with(peer, |of_peer, overall| of_peer.answers.redeliver(node, &mut overall.answer_bytes))
    }

    /// The node has this message.
    pub(super) fn acknowledge(&self, peer: EndpointId, node: u64, id: &str) {
        self.with(peer, |of_peer, overall| of_peer.answers.acknowledge(node, id, &mut overall.answer_bytes));
    }

    /// The SuperLink asked for objects of this reply, in this session.
    pub(super) fn record_request(&self, peer: EndpointId, node: u64, id: String, session: String, answer: Bytes) {
        self.keep(peer, Answer::new(node, id, Of::Reply { session }, answer));
    }

    /// The last answer to this reply that asked for objects of it, and the session that it named.
    pub(super) fn repeat_request(&self, peer: EndpointId, node: u64, id: &str) -> Option<(Bytes, String)> {
        self.with(peer, |of_peer, _| of_peer.answers.to_reply(node, id))
    }

    /// The node has the answer that named this session.
    pub(super) fn acknowledge_session(&self, peer: EndpointId, node: u64, session: &str) {
        self.with(peer, |of_peer, overall| {
            of_peer.answers.acknowledge_session(node, session, &mut overall.answer_bytes);
        });
    }

    pub(super) fn record_push(&self, peer: EndpointId, push: &Push<'_>) {
        let push = self.hasher.hash_one(push);
        self.with(peer, |of_peer, overall| of_peer.pushes.record(push, &mut overall.pushes));
    }

    pub(super) fn is_known(&self, push: &Push<'_>) -> bool {
        self.lock().overall.pushes.contains(self.hasher.hash_one(push))
    }

    fn keep(&self, peer: EndpointId, answer: Answer) {
        self.with(peer, |of_peer, overall| of_peer.answers.keep(answer, &mut overall.answer_bytes));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, peer: EndpointId, work: impl FnOnce(&mut OfPeer, &mut Overall) -> T) -> T {
        let peers = &mut *self.lock();
        if !peers.all.contains_key(&peer) && !peers.has_room() {
            let mut forgotten = OfPeer::default();
            let done = work(&mut forgotten, &mut peers.overall);
            forgotten.forget_all(&mut peers.overall);
            return done;
        }
        let of_peer = peers.all.entry(peer).or_default();
        of_peer.forget_old(&mut peers.overall);
        work(of_peer, &mut peers.overall)
    }
}

impl Peers {
    /// Whether there is room for one more. Those of whom nothing is left are forgotten when there are twice as many as then,
    /// so that it costs little for each.
    fn has_room(&mut self) -> bool {
        if self.all.len() >= (2 * self.left).clamp(FEW_PEERS, MAX_PEERS) {
            let overall = &mut self.overall;
            self.all.retain(|_, of_peer| !of_peer.is_forgotten(overall));
            self.left = self.all.len();
        }
        self.all.len() < MAX_PEERS
    }
}

impl OfPeer {
    fn forget_old(&mut self, overall: &mut Overall) {
        self.answers.forget_old(&mut overall.answer_bytes);
        self.pushes.forget_old(&mut overall.pushes);
    }

    fn forget_all(&mut self, overall: &mut Overall) {
        self.answers.forget_all(&mut overall.answer_bytes);
        self.pushes.forget_all(&mut overall.pushes);
    }

    fn is_forgotten(&mut self, overall: &mut Overall) -> bool {
        self.forget_old(overall);
        let is_waited_for = self.turn.is_wanted()
            || self.reply_turns.values().any(Turn::is_wanted)
            || Arc::strong_count(&self.read_replies) > 1;
        self.answers.is_empty() && self.pushes.is_empty() && !is_waited_for
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use iroh::SecretKey;
    use tokio::time::advance;

    use super::*;
    use crate::call::redelivery::pushes::MAX_PUSHES;

    fn peer() -> EndpointId {
        SecretKey::generate().public()
    }

    #[tokio::test]
    async fn an_answer_is_given_again_to_its_peer_only() {
        let (store, one, other) = (ReplayStore::default(), peer(), peer());
        store.record_delivery(one, 7, "message".into(), "message".into());
        store.record_request(one, 7, "reply".into(), "session".into(), "answer".into());
        store.acknowledge(other, 7, "message");
        store.acknowledge_session(other, 7, "session");
        assert_eq!((store.redeliver(other, 7), store.repeat_request(other, 7, "reply")), (None, None));
        assert_eq!(store.redeliver(one, 7).unwrap(), "message");
        assert_eq!(store.repeat_request(one, 7, "reply").unwrap(), ("answer".into(), "session".into()));
    }

    #[tokio::test]
    async fn a_turn_is_remembered_while_others_come_and_go() {
        let (store, many) = (ReplayStore::default(), peer());
        let first = store.turn(many).await;
        let mut second = Box::pin(store.turn(many));
        assert!(poll!(&mut second).is_pending());
        let mut other = Box::pin(store.turn(peer()));
        assert!(poll!(&mut other).is_pending());
        let mut third = Box::pin(store.turn(many));
        assert!(poll!(&mut third).is_pending());
        drop(first);
        drop(other.await);
        drop(second.await);
        drop(third.await);
        assert_eq!(store.lock().all.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_is_pushed_again_waits_for_the_first_time() {
        let (store, peer) = (ReplayStore::default(), peer());
        let first = store.reply_turn(peer, 7, "reply").await;
        assert!(first.is_some() && store.reply_turn(peer, 7, "other").await.is_some());
        assert!(store.reply_turn(peer, 8, "reply").await.is_some());
        let mut second = Box::pin(store.reply_turn(peer, 7, "reply"));
        assert!(poll!(&mut second).is_pending());
        drop(first);
        let second = second.await;
        assert!(second.is_some() && store.reply_turn(peer, 7, "reply").await.is_none(), "after a while, without");
        assert_eq!(store.lock().all[&peer].reply_turns.len(), 1);
    }

    #[tokio::test]
    async fn not_all_replies_of_a_peer_are_read_at_a_time() {
        let (store, many, one) = (ReplayStore::default(), peer(), peer());
        let read: Vec<_> = std::iter::from_fn(|| store.read_reply(many)).collect();
        assert_eq!(read.len(), MAX_READ_REPLIES);
        assert!(store.read_reply(one).is_some() && store.read_reply(many).is_none());
        drop(read);
        assert!(store.read_reply(many).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_was_made_by_its_peer_in_its_session() {
        let (store, one, other) = (ReplayStore::default(), peer(), peer());
        let object = |by, session| Push::Object { by, run: 1, id: "object", session };
        store.record_push(one, &object(one, "session"));
        assert!(store.is_known(&object(one, "session")));
        assert!(!store.is_known(&object(one, "later session")) && !store.is_known(&object(other, "session")));
        assert!(!store.is_known(&Push::Stored { at: None, run: 1, id: "object" }), "the SuperLink did not say so");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_and_forgotten() {
        let (store, one) = (ReplayStore::default(), peer());
        let push = |by, run| Push::Object { by, run, id: "object", session: "" };
        for run in 0..2 * MAX_PUSHES as u64 {
            store.record_push(one, &push(one, run));
        }
        assert!(store.is_known(&push(one, MAX_PUSHES as u64)) && !store.is_known(&push(one, MAX_PUSHES as u64 - 1)));
        for _ in 0..MAX_PEERS + FEW_PEERS {
            let peer = peer();
            store.record_push(peer, &Push::Objects { by: peer, node: 1, run: 1 });
        }
        assert_eq!(store.lock().all.len(), MAX_PEERS);
        let late = peer();
        store.record_delivery(late, 7, "message".into(), "message".into());
        store.record_push(late, &push(late, 1));
        assert!(store.redeliver(late, 7).is_none() && !store.is_known(&push(late, 1)));
        assert_eq!(store.lock().overall.answer_bytes, 0);
        assert!(store.is_known(&push(one, 2 * MAX_PUSHES as u64 - 1)));
        advance(KEEP + Duration::from_secs(1)).await;
        store.acknowledge(peer(), 1, "");
        assert_eq!(store.lock().all.len(), 1);
    }
}
