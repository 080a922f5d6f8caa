//! What is kept of the answers to each peer.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use iroh::EndpointId;
use tokio::time::Instant;

/// Longer than a SuperNode needs to find its way back; the SuperLink itself forgets a push after 180 s.
const KEEP: Duration = Duration::from_secs(600);
/// A message that a node asks for so often and never confirms is not what it wants.
const MAX_TIMES: u8 = 3;
/// Bytes of messages, for each peer. One takes some hundreds, and a hundred more for each piece of its model.
const MAX_HANDED: usize = 1 << 20;
/// Objects, for each peer. What is under way when a link breaks is a handful for each node.
const MAX_STORED: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Kept {
    peers: Mutex<HashMap<EndpointId, OfPeer>>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct OfPeer {
    /// The oldest first.
    handed: VecDeque<Handed>,
    stored: VecDeque<(u64, Instant)>,
}

/// A message that was handed out to a node and not confirmed.
#[derive(Debug)]
struct Handed {
    node: u64,
    answer: Bytes,
    at: Instant,
    times: u8,
}

/// An object of one push.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Object<'a> {
    pub(super) run: u64,
    pub(super) id: &'a [u8],
    pub(super) push: &'a [u8],
}

impl Kept {
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

    pub(super) fn stored(&self, peer: EndpointId, object: &Object<'_>) {
        let object = self.hasher.hash_one(object);
        self.with(peer, |of_peer| {
            of_peer.stored.push_back((object, Instant::now()));
            if of_peer.stored.len() > MAX_STORED {
                of_peer.stored.pop_front();
            }
        });
    }

    pub(super) fn was_stored(&self, peer: EndpointId, object: &Object<'_>) -> bool {
        let object = self.hasher.hash_one(object);
        self.with(peer, |of_peer| of_peer.stored.iter().any(|(stored, _)| *stored == object))
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
        while self.stored.front().is_some_and(|(_, at)| at.elapsed() > KEEP) {
            self.stored.pop_front();
        }
    }

    fn is_forgotten(&mut self) -> bool {
        self.forget_the_old();
        self.handed.is_empty() && self.stored.is_empty()
    }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test(start_paused = true)]
    async fn an_object_was_stored_for_its_push_and_peer() {
        let (kept, one, other) = (Kept::default(), peer(), peer());
        let object = |push| Object { run: 1, id: b"object", push };
        kept.stored(one, &object(b"push"));
        assert!(kept.was_stored(one, &object(b"push")));
        assert!(!kept.was_stored(one, &object(b"later push")) && !kept.was_stored(other, &object(b"push")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_and_forgotten() {
        let (kept, one) = (Kept::default(), peer());
        for number in 0..2 * MAX_STORED as u64 {
            kept.handed(one, number, vec![0; MAX_HANDED / 64].into());
            kept.stored(one, &Object { run: number, id: b"object", push: b"" });
        }
        let sizes = kept.with(one, |of_peer| (of_peer.handed.len(), of_peer.stored.len()));
        assert_eq!(sizes, (64, MAX_STORED));
        advance(KEEP + Duration::from_secs(1)).await;
        kept.arrived(peer(), 1);
        assert_eq!(kept.peers.lock().unwrap().len(), 1);
    }
}
