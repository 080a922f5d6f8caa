//! What each peer holds of a server.

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
    super::stream::Budget,
    Code,
    limits::{self, IncomingLimits},
};

/// The peers that have links.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<EndpointId, Peer>>>);

#[derive(Debug)]
struct Peer {
    /// The oldest first.
    links: Vec<(usize, WeakConnectionHandle)>,
    shared: Shared,
}

/// What the links of one peer share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) budget: Budget,
    pub(super) free_sessions: Arc<Semaphore>,
}

/// One link's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    peer: EndpointId,
    link: usize,
    pub(super) shared: Shared,
}

impl Places {
    /// Takes a place for a new link. Where its peer has too many, the oldest one is closed.
    pub(super) fn take(&self, connection: &Connection, limits: &IncomingLimits) -> Place {
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
        Place { places: self.clone(), peer, link, shared: entry.shared.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointId, Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn new(limits: &IncomingLimits) -> Self {
        let free_sessions = limits::places(limits.max_sessions_per_peer);
        Self { links: Vec::new(), shared: Shared { budget: Budget::default(), free_sessions } }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.places.lock();
        let Some(entry) = peers.get_mut(&self.peer) else { return };
        entry.links.retain(|(link, _)| *link != self.link);
        if entry.links.is_empty() {
            peers.remove(&self.peer);
        }
    }
}
