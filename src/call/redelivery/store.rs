//! The records of the calls of each peer, and of the answers to them.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use iroh::EndpointId;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    answers::{Answer, AnswerKind},
    peers::{PeerRecords, Peers},
    pushes::Push,
    turns::Turn,
};
use crate::transport::RateLimit;

/// How long records are kept: longer than a SuperNode needs to reconnect. The SuperLink itself forgets a push after 180 s.
pub(super) const RETENTION: Duration = Duration::from_secs(600);
/// The most replies of each peer that are read at a time, up to 256 KiB each: 50 nodes may end a round at the same moment.
const MAX_READ_REPLIES: usize = 64;

/// The records of all peers, at one end of the tunnel.
#[derive(Debug, Default)]
pub(super) struct ReplayStore {
    peers: Mutex<Peers>,
    hasher: RandomState,
    turn: Turn,
    /// Limits the log lines about repeated calls, which a peer can make at any rate.
    pub(super) log_limit: RateLimit,
}

/// A permit to read a reply of a peer, until it is dropped.
#[derive(Debug)]
pub(super) struct ReadReply(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl ReplayStore {
    /// Returns a permit to read a reply; `None` if too many of the peer's are being read, or if there are too many peers.
    pub(super) fn read_reply(&self, peer: EndpointId) -> Option<ReadReply> {
        self.with(peer, |records| {
            let read = Arc::clone(&records.read_replies);
            (Arc::strong_count(&read) <= 1 + MAX_READ_REPLIES).then_some(ReadReply(read))
        })?
    }

    /// Waits for the turn to pull a message. Only one call of each peer competes with those of other peers. Returns `None`
    /// after a timeout, and the call continues without its turn.
    pub(super) async fn turn(&self, peer: EndpointId) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = self.with(peer, |records| records.turn.clone()).unwrap_or_default();
        own.acquire_both(self.turn.clone()).await
    }

    /// Waits while another call pushes the same reply, so that the SuperLink's answer to it is known. Returns `None` after a
    /// timeout, and the call continues without its turn.
    pub(super) async fn reply_turn(&self, by: EndpointId, node: u64, id: &str) -> Option<OwnedSemaphorePermit> {
        let reply = self.hasher.hash_one((node, id));
        let turn = self.with(by, |records| {
            records.reply_turns.retain(|_, turn| turn.is_wanted());
            records.reply_turns.entry(reply).or_default().clone()
        });
        turn?.acquire().await
    }

    /// Records the answer that delivered a message to a node.
    pub(super) fn record_delivery(&self, peer: EndpointId, node: u64, id: String, answer: Bytes) {
        self.insert(peer, Answer::new(node, id, AnswerKind::Message { times: 1 }, answer));
    }

    /// Returns the answer with a message that the node has not acknowledged: of several, the one that was delivered least
    /// often.
    pub(super) fn redeliver(&self, peer: EndpointId, node: u64) -> Option<Bytes> {
        self.with(peer, |records| records.answers.redeliver(node))?
    }

    /// Records that the node has received this message.
    pub(super) fn acknowledge(&self, peer: EndpointId, node: u64, id: &str) {
        self.with(peer, |records| records.answers.acknowledge(node, id));
    }

    /// Records the answer in which the SuperLink asked for objects of this reply, in this session.
    pub(super) fn record_request(&self, peer: EndpointId, node: u64, id: String, session: String, answer: Bytes) {
        self.insert(peer, Answer::new(node, id, AnswerKind::Reply { session }, answer));
    }

    /// Returns the last answer that asked for objects of this reply, and the session that it named.
    pub(super) fn repeat_request(&self, peer: EndpointId, node: u64, id: &str) -> Option<(Bytes, String)> {
        self.with(peer, |records| records.answers.to_reply(node, id))?
    }

    /// Records that the node has received the answer that named this session.
    pub(super) fn acknowledge_session(&self, peer: EndpointId, node: u64, session: &str) {
        self.with(peer, |records| records.answers.acknowledge_session(node, session));
    }

    pub(super) fn record_push(&self, peer: EndpointId, push: &Push<'_>) {
        self.lock().record_push(peer, self.hasher.hash_one(push));
    }

    pub(super) fn is_known(&self, push: &Push<'_>) -> bool {
        self.lock().is_known(self.hasher.hash_one(push))
    }

    fn insert(&self, peer: EndpointId, answer: Answer) {
        self.lock().record_answer(peer, answer);
    }

    fn lock(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, peer: EndpointId, work: impl FnOnce(&mut PeerRecords) -> T) -> Option<T> {
        self.lock().with(peer, |records, _| work(records))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use iroh::SecretKey;

    use super::*;

    fn peer() -> EndpointId {
        SecretKey::generate().public()
    }

    #[tokio::test]
    async fn an_answer_is_redelivered_to_its_peer_only() {
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
    async fn a_turn_is_kept_while_other_peers_come_and_go() {
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
        assert_eq!(store.lock().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_reply_waits_for_the_first_push() {
        let (store, peer) = (ReplayStore::default(), peer());
        let first = store.reply_turn(peer, 7, "reply").await;
        assert!(first.is_some() && store.reply_turn(peer, 7, "other").await.is_some());
        assert!(store.reply_turn(peer, 8, "reply").await.is_some());
        let mut second = Box::pin(store.reply_turn(peer, 7, "reply"));
        assert!(poll!(&mut second).is_pending());
        drop(first);
        let second = second.await;
        assert!(
            second.is_some() && store.reply_turn(peer, 7, "reply").await.is_none(),
            "after the timeout, it continues without a turn"
        );
        store.with(peer, |records| assert_eq!(records.reply_turns.len(), 1));
    }

    #[tokio::test]
    async fn the_replies_of_a_peer_that_are_read_at_a_time_are_limited() {
        let (store, many, one) = (ReplayStore::default(), peer(), peer());
        let read: Vec<_> = std::iter::from_fn(|| store.read_reply(many)).collect();
        assert_eq!(read.len(), MAX_READ_REPLIES);
        assert!(store.read_reply(one).is_some() && store.read_reply(many).is_none());
        drop(read);
        assert!(store.read_reply(many).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_is_known_for_its_peer_and_session_only() {
        let (store, one, other) = (ReplayStore::default(), peer(), peer());
        let object = |by, session| Push::Object { by, run: 1, id: "object", session };
        store.record_push(one, &object(one, "session"));
        assert!(store.is_known(&object(one, "session")));
        assert!(!store.is_known(&object(one, "later session")) && !store.is_known(&object(other, "session")));
        assert!(!store.is_known(&Push::Stored { at: None, run: 1, id: "object" }), "the SuperLink did not report it");
    }
}
