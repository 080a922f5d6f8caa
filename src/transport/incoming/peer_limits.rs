//! The links and sessions that each peer has open at a server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use iroh::{
    EndpointId,
    endpoint::{Connection, WeakConnectionHandle},
};
use tokio::sync::Semaphore;

use super::{
    super::stream::MemoryBudget,
    Code,
    limits::{self, IncomingLimits},
};

/// The peers that have open links.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerLimits(Arc<Mutex<HashMap<EndpointId, Peer>>>);

#[derive(Debug)]
struct Peer {
    /// Each with its stable id, oldest first.
    links: Vec<(usize, WeakConnectionHandle)>,
    shared: PeerShare,
}

/// What the links of one peer share.
#[derive(Clone, Debug)]
pub(super) struct PeerShare {
    pub(super) memory_budget: MemoryBudget,
    pub(super) free_sessions: Arc<Semaphore>,
}

/// Counts one link of a peer. Dropping it releases the count.
#[derive(Debug)]
pub(super) struct LinkPermit {
    peers: PeerLimits,
    peer: EndpointId,
    link: usize,
    pub(super) shared: PeerShare,
}

impl PeerLimits {
    /// Counts a new link. If its peer then has too many, the oldest is closed.
    pub(super) fn admit(&self, connection: &Connection, limits: &IncomingLimits) -> LinkPermit {
        let (peer, link) = (connection.remote_id(), connection.stable_id());
        let mut peers = self.lock();
        let entry = peers.entry(peer).or_insert_with(|| Peer::new(limits));
        entry.links.push((link, connection.weak_handle()));
        while entry.links.len() > limits.max_links_per_peer {
            let (_, oldest) = entry.links.remove(0);
            if let Some(oldest) = oldest.upgrade() {
                oldest.close(Code::OVERLOADED.into(), b"too many links of one peer: its oldest gives way");
            }
        }
        LinkPermit { peers: self.clone(), peer, link, shared: entry.shared.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointId, Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn new(limits: &IncomingLimits) -> Self {
        let free_sessions = limits::semaphore(limits.max_sessions_per_peer);
        Self { links: Vec::new(), shared: PeerShare { memory_budget: MemoryBudget::default(), free_sessions } }
    }
}

impl Drop for LinkPermit {
    fn drop(&mut self) {
        let mut peers = self.peers.lock();
        let Some(entry) = peers.get_mut(&self.peer) else { return };
        entry.links.retain(|(link, _)| *link != self.link);
        if entry.links.is_empty() {
            peers.remove(&self.peer);
        }
    }
}
