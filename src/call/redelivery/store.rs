//! The records of the calls of each peer, and of the answers to them.

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
    answers::{Answer, AnswerKind, Answers},
    pushes::{KnownPushes, Push, PushLog},
    turns::Turn,
};
use crate::transport::RateLimit;

/// How long records are kept: longer than a SuperNode needs to reconnect. The SuperLink itself forgets a push after 180 s.
pub(super) const RETENTION: Duration = Duration::from_secs(600);
/// The most replies of each peer that are read at a time, up to 256 KiB each: 50 nodes may end a round at the same moment.
const MAX_READ_REPLIES: usize = 64;
/// The most peers with records. If every peer is admitted, one machine can use any number of keys.
const MAX_PEERS: usize = 4096;
/// Up to this many peers, those without records are not removed.
const FEW_PEERS: usize = 64;

/// The records of all peers, at one end of the tunnel.
#[derive(Debug, Default)]
pub(super) struct ReplayStore {
    peers: Mutex<Peers>,
    hasher: RandomState,
    turn: Turn,
    /// Limits the log lines about repeated calls, which a peer can make at any rate.
    pub(super) log_limit: RateLimit,
}

#[derive(Debug, Default)]
struct Peers {
    all: HashMap<EndpointId, PeerRecords>,
    /// The number of peers after those without records were last removed.
    after_cleanup: usize,
    overall: Totals,
}

/// The counts for all peers.
#[derive(Debug, Default)]
struct Totals {
    pushes: KnownPushes,
    answer_bytes: usize,
}

/// The records of one peer.
#[derive(Debug, Default)]
struct PeerRecords {
    turn: Turn,
    reply_turns: HashMap<u64, Turn>,
    read_replies: Arc<()>,
    answers: Answers,
    pushes: PushLog,
}

/// A permit to read a reply of a peer, until it is dropped.
#[derive(Debug)]
pub(super) struct ReadReply(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl ReplayStore {
    /// Returns a permit to read a reply; `None` if too many of the peer's are being read.
    pub(super) fn read_reply(&self, peer: EndpointId) -> Option<ReadReply> {
        self.with(peer, |records, _| {
            let read = Arc::clone(&records.read_replies);
            (Arc::strong_count(&read) <= 1 + MAX_READ_REPLIES).then_some(ReadReply(read))
        })
    }

    /// Waits for the turn to pull a message. Only one call of each peer competes with those of other peers. Returns `None`
    /// after a timeout, and the call continues without its turn.
    pub(super) async fn turn(&self, peer: EndpointId) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = self.with(peer, |records, _| records.turn.clone());
        own.acquire_both(self.turn.clone()).await
    }

    /// Waits while another call pushes the same reply, so that the SuperLink's answer to it is known. Returns `None` after a
    /// timeout, and the call continues without its turn.
    pub(super) async fn reply_turn(&self, by: EndpointId, node: u64, id: &str) -> Option<OwnedSemaphorePermit> {
        let reply = self.hasher.hash_one((node, id));
        let turn = self.with(by, |records, _| {
            records.reply_turns.retain(|_, turn| turn.is_wanted());
            records.reply_turns.entry(reply).or_default().clone()
        });
        turn.acquire().await
    }

    /// Records the answer that delivered a message to a node.
    pub(super) fn record_delivery(&self, peer: EndpointId, node: u64, id: String, answer: Bytes) {
        self.insert(peer, Answer::new(node, id, AnswerKind::Message { times: 1 }, answer));
    }

    /// Returns the answer with a message that the node has not acknowledged: of several, the one that was delivered least
    /// often.
    pub(super) fn redeliver(&self, peer: EndpointId, node: u64) -> Option<Bytes> {
        self.with(peer, |records, overall| records.answers.redeliver(node, &mut overall.answer_bytes))
    }

    /// Records that the node has received this message.
    pub(super) fn acknowledge(&self, peer: EndpointId, node: u64, id: &str) {
        self.with(peer, |records, overall| records.answers.acknowledge(node, id, &mut overall.answer_bytes));
    }

    /// Records the answer in which the SuperLink asked for objects of this reply, in this session.
    pub(super) fn record_request(&self, peer: EndpointId, node: u64, id: String, session: String, answer: Bytes) {
        self.insert(peer, Answer::new(node, id, AnswerKind::Reply { session }, answer));
    }

    /// Returns the last answer that asked for objects of this reply, and the session that it named.
    pub(super) fn repeat_request(&self, peer: EndpointId, node: u64, id: &str) -> Option<(Bytes, String)> {
        self.with(peer, |records, _| records.answers.to_reply(node, id))
    }

    /// Records that the node has received the answer that named this session.
    pub(super) fn acknowledge_session(&self, peer: EndpointId, node: u64, session: &str) {
        self.with(peer, |records, overall| {
            records.answers.acknowledge_session(node, session, &mut overall.answer_bytes);
        });
    }

    pub(super) fn record_push(&self, peer: EndpointId, push: &Push<'_>) {
        let push = self.hasher.hash_one(push);
        self.with(peer, |records, overall| records.pushes.record(push, &mut overall.pushes));
    }

    pub(super) fn is_known(&self, push: &Push<'_>) -> bool {
        self.lock().overall.pushes.contains(self.hasher.hash_one(push))
    }

    fn insert(&self, peer: EndpointId, answer: Answer) {
        self.with(peer, |records, overall| records.answers.insert(answer, &mut overall.answer_bytes));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, peer: EndpointId, work: impl FnOnce(&mut PeerRecords, &mut Totals) -> T) -> T {
        let peers = &mut *self.lock();
        if !peers.all.contains_key(&peer) && !peers.has_room() {
            let mut temporary = PeerRecords::default();
            let result = work(&mut temporary, &mut peers.overall);
            temporary.clear(&mut peers.overall);
            return result;
        }
        let records = peers.all.entry(peer).or_default();
        records.remove_expired(&mut peers.overall);
        work(records, &mut peers.overall)
    }
}

impl Peers {
    /// Whether there is room for one more peer. Peers without records are removed each time their number has doubled, so that
    /// the amortized cost is low.
    fn has_room(&mut self) -> bool {
        if self.all.len() >= (2 * self.after_cleanup).clamp(FEW_PEERS, MAX_PEERS) {
            let overall = &mut self.overall;
            self.all.retain(|_, records| !records.is_removable(overall));
            self.after_cleanup = self.all.len();
        }
        self.all.len() < MAX_PEERS
    }
}

impl PeerRecords {
    fn remove_expired(&mut self, overall: &mut Totals) {
        self.answers.remove_expired(&mut overall.answer_bytes);
        self.pushes.remove_expired(&mut overall.pushes);
    }

    fn clear(&mut self, overall: &mut Totals) {
        self.answers.clear(&mut overall.answer_bytes);
        self.pushes.clear(&mut overall.pushes);
    }

    fn is_removable(&mut self, overall: &mut Totals) -> bool {
        self.remove_expired(overall);
        let is_in_use = self.turn.is_wanted()
            || self.reply_turns.values().any(Turn::is_wanted)
            || Arc::strong_count(&self.read_replies) > 1;
        self.answers.is_empty() && self.pushes.is_empty() && !is_in_use
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
        assert_eq!(store.lock().all.len(), 2);
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
        assert_eq!(store.lock().all[&peer].reply_turns.len(), 1);
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

    #[tokio::test(start_paused = true)]
    async fn records_are_bounded_and_expire() {
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
        advance(RETENTION + Duration::from_secs(1)).await;
        store.acknowledge(peer(), 1, "");
        assert_eq!(store.lock().all.len(), 1);
    }
}
