//! The records of all peers, and what gives way if there are too many.

use std::{collections::HashMap, sync::Arc};

use iroh::EndpointId;

use super::{
    answers::{Answer, Answers, MAX_ANSWER_BYTES_OVERALL},
    pushes::{KnownPushes, MAX_PUSHES_OVERALL, PushLog},
    shares::Shares,
    turns::Turn,
};

/// The most peers with records. If every peer is admitted, one machine can use any number of keys. Peers that have records
/// keep them; those that come later have none until others have expired.
const MAX_PEERS: usize = 4096;
/// Up to this many peers, those without records are not removed.
const FEW_PEERS: usize = 64;

/// The records of all peers.
#[derive(Debug)]
pub(super) struct Peers {
    all: HashMap<EndpointId, PeerRecords>,
    /// The number of peers after those without records were last removed.
    after_cleanup: usize,
    known: KnownPushes,
    /// What the peers use of each [`Limit`].
    shares: [Shares; 2],
}

/// The records of one peer.
#[derive(Debug, Default)]
pub(super) struct PeerRecords {
    pub(super) turn: Turn,
    pub(super) reply_turns: HashMap<u64, Turn>,
    pub(super) read_replies: Arc<()>,
    pub(super) answers: Answers,
    pushes: PushLog,
}

/// A limit that all peers share.
#[derive(Clone, Copy, Debug)]
enum Limit {
    AnswerBytes,
    Pushes,
}

impl Default for Peers {
    fn default() -> Self {
        Self::with_limits(MAX_ANSWER_BYTES_OVERALL, MAX_PUSHES_OVERALL)
    }
}

impl Peers {
    fn with_limits(answer_bytes: usize, pushes: usize) -> Self {
        let shares = [Shares::new(answer_bytes), Shares::new(pushes)];
        Self { all: HashMap::new(), after_cleanup: 0, known: KnownPushes::default(), shares }
    }

    /// Stores an answer. If there are too many of the same peer, its oldest are removed. If there are too many of all peers,
    /// the oldest of the peer with the most are, never those of a peer with less.
    pub(super) fn record_answer(&mut self, peer: EndpointId, answer: Answer) {
        let has_place = self.with(peer, |records, _| records.answers.make_room(&answer)).is_some();
        if has_place && self.make_room(Limit::AnswerBytes, peer, answer.size()) {
            self.with(peer, |records, _| records.answers.insert(answer));
        }
    }

    /// Stores a push, as [`record_answer`](Self::record_answer) does an answer.
    pub(super) fn record_push(&mut self, peer: EndpointId, push: u64) {
        let has_place = self.with(peer, |records, known| records.pushes.make_room(known)).is_some();
        if has_place && self.make_room(Limit::Pushes, peer, 1) {
            self.with(peer, |records, known| records.pushes.insert(push, known));
        }
    }

    pub(super) fn is_known(&self, push: u64) -> bool {
        self.known.contains(push)
    }

    /// Works on the records of a peer, without those that have expired. Returns `None` if there are too many peers.
    pub(super) fn with<T>(
        &mut self,
        peer: EndpointId,
        work: impl FnOnce(&mut PeerRecords, &mut KnownPushes) -> T,
    ) -> Option<T> {
        if !self.has_place(peer) {
            return None;
        }
        let Self { all, known, shares, .. } = self;
        let records = all.entry(peer).or_default();
        Some(records.update(peer, shares, |records| {
            records.remove_expired(known);
            work(records, known)
        }))
    }

    /// Removes the oldest records of the peers with the most, until `peer` may use `more`. Returns whether it may.
    fn make_room(&mut self, limit: Limit, peer: EndpointId, more: usize) -> bool {
        loop {
            let used = self.all.get(&peer).map_or(0, |records| records.used(limit));
            let Some(largest) = self.shares[limit as usize].gives_way(peer, used, more) else { return true };
            let is_removed = self.with(largest, |records, known| records.remove_oldest(limit, known));
            if largest == peer && is_removed != Some(true) {
                return false;
            }
        }
    }

    /// Whether the peer has records, or there is room for one more peer. Peers without records are removed each time their
    /// number has doubled, so that the amortized cost is low.
    fn has_place(&mut self, peer: EndpointId) -> bool {
        if self.all.contains_key(&peer) {
            return true;
        }
        if self.all.len() >= (2 * self.after_cleanup).clamp(FEW_PEERS, MAX_PEERS) {
            self.remove_unused();
            self.after_cleanup = self.all.len();
        }
        self.all.len() < MAX_PEERS
    }

    fn remove_unused(&mut self) {
        let Self { all, known, shares, .. } = self;
        all.retain(|peer, records| {
            records.update(*peer, shares, |records| records.remove_expired(known));
            records.is_in_use() || Limit::ALL.iter().any(|limit| records.used(*limit) > 0)
        });
    }
}

impl Limit {
    const ALL: [Self; 2] = [Self::AnswerBytes, Self::Pushes];
}

impl PeerRecords {
    /// Does `work`, and records what the peer uses then.
    fn update<T>(&mut self, peer: EndpointId, shares: &mut [Shares; 2], work: impl FnOnce(&mut Self) -> T) -> T {
        let before = Limit::ALL.map(|limit| self.used(limit));
        let result = work(self);
        for (limit, before) in Limit::ALL.into_iter().zip(before) {
            shares[limit as usize].change(peer, before, self.used(limit));
        }
        result
    }

    fn used(&self, limit: Limit) -> usize {
        match limit {
            Limit::AnswerBytes => self.answers.bytes(),
            Limit::Pushes => self.pushes.len(),
        }
    }

    fn remove_oldest(&mut self, limit: Limit, known: &mut KnownPushes) -> bool {
        match limit {
            Limit::AnswerBytes => self.answers.remove_oldest(),
            Limit::Pushes => self.pushes.remove_oldest(known),
        }
    }

    fn remove_expired(&mut self, known: &mut KnownPushes) {
        self.answers.remove_expired();
        self.pushes.remove_expired(known);
    }

    /// Whether a call of the peer has a turn or waits for it, or a reply is being read.
    fn is_in_use(&self) -> bool {
        self.turn.is_wanted()
            || self.reply_turns.values().any(Turn::is_wanted)
            || Arc::strong_count(&self.read_replies) > 1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use iroh::SecretKey;
    use tokio::time::advance;

    use super::*;
    use crate::call::redelivery::{
        answers::{AnswerKind, MAX_ANSWER_BYTES},
        pushes::MAX_PUSHES,
        store::RETENTION,
    };

    fn peers<const N: usize>() -> [EndpointId; N] {
        std::array::from_fn(|_| SecretKey::generate().public())
    }

    fn message(length: usize) -> Answer {
        Answer::new(7, "message".into(), AnswerKind::Message { times: 1 }, Bytes::from(vec![0; length]))
    }

    impl Peers {
        fn redeliver(&mut self, peer: EndpointId) -> Option<Bytes> {
            self.with(peer, |records, _| records.answers.redeliver(7)).flatten()
        }

        pub(in super::super) fn len(&self) -> usize {
            self.all.len()
        }

        fn totals(&self) -> [usize; 2] {
            let used = Limit::ALL.map(|limit| self.all.values().map(|records| records.used(limit)).sum());
            assert_eq!(used, [self.shares[0].total(), self.shares[1].total()]);
            used
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_peers_at_their_limit_give_way_to_those_of_a_peer_with_less() {
        let (mut store, many, [late, small]) = (Peers::default(), peers::<40>(), peers());
        store.record_answer(small, message(1000));
        for peer in many {
            for _ in 0..MAX_ANSWER_BYTES / (256 << 10) {
                store.record_answer(peer, message(255 << 10));
            }
        }
        let [before, _] = store.totals();
        assert!(before > MAX_ANSWER_BYTES_OVERALL - (256 << 10) && before <= MAX_ANSWER_BYTES_OVERALL);
        for _ in 0..20 {
            store.record_answer(late, message(200 << 10));
        }
        let used = |peer| store.all[&peer].answers.bytes();
        assert!(used(late) >= 20 * (200 << 10), "all of them are stored");
        let largest = many.map(used).into_iter().max();
        assert!(largest.is_some_and(|largest| largest < MAX_ANSWER_BYTES), "the largest have given way: {largest:?}");
        assert!(store.redeliver(small).is_some_and(|answer| answer.len() == 1000));
        assert!(store.totals()[0] <= MAX_ANSWER_BYTES_OVERALL);
    }

    #[tokio::test(start_paused = true)]
    async fn pushes_of_peers_at_their_limit_give_way_until_all_peers_have_equal_shares() {
        let limit = 4 * MAX_PUSHES;
        let mut store = Peers::with_limits(MAX_ANSWER_BYTES_OVERALL, limit);
        let all: Vec<_> = (0..MAX_PEERS).map(|_| SecretKey::generate().public()).collect();
        let (first, later) = all.split_at(4);
        let mut pushes = 0..;
        for peer in first.iter().flat_map(|peer| std::iter::repeat_n(peer, MAX_PUSHES)) {
            store.record_push(*peer, pushes.next().unwrap());
        }
        let share = limit / MAX_PEERS;
        for peer in later {
            let own: Vec<_> = pushes.by_ref().take(share).collect();
            own.iter().for_each(|push| store.record_push(*peer, *push));
            assert!(own.iter().all(|push| store.is_known(*push)));
        }
        assert!(all.iter().all(|peer| store.all[peer].used(Limit::Pushes) == share));
        assert_eq!((store.totals()[1], store.all.len()), (limit, MAX_PEERS));
        let own: Vec<_> = pushes.by_ref().take(share).collect();
        own.iter().for_each(|push| store.record_push(all[0], *push));
        assert!(all.iter().all(|peer| store.all[peer].used(Limit::Pushes) == share), "each has replaced its own");
        assert!(own.iter().all(|push| store.is_known(*push)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_only_peers_with_less_could_give_way_to_is_not_stored() {
        let mut store = Peers::default();
        let share = MAX_ANSWER_BYTES_OVERALL / MAX_PEERS;
        let many: Vec<_> = (0..MAX_PEERS).map(|_| SecretKey::generate().public()).collect();
        for peer in &many {
            store.record_answer(*peer, message(share - 1000));
        }
        store.record_answer(many[0], message(MAX_PEERS * 1000));
        assert!(many[1..].iter().all(|peer| store.all[peer].used(Limit::AnswerBytes) > 0));
        assert!(store.totals()[0] <= MAX_ANSWER_BYTES_OVERALL);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_peers_is_bounded_and_their_records_expire() {
        let (mut store, [one, late]) = (Peers::default(), peers());
        store.record_push(one, 1);
        for push in 0..(MAX_PEERS + FEW_PEERS) as u64 {
            store.record_push(SecretKey::generate().public(), push << 8);
        }
        assert_eq!(store.all.len(), MAX_PEERS);
        store.record_answer(late, message(10));
        store.record_push(late, 2);
        assert!(store.redeliver(late).is_none() && !store.is_known(2) && store.is_known(1));
        advance(RETENTION + Duration::from_secs(1)).await;
        store.record_answer(late, message(10));
        assert!(store.redeliver(late).is_some() && !store.is_known(1));
        assert_eq!((store.all.len(), store.totals()[1]), (1, 0));
    }
}
