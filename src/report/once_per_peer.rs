//! Reports that are made once for each peer.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use iroh::EndpointId;

/// The most peers that are reported on: one that comes with many keys ends the reports and does not fill the disk.
const MAX_PEERS: usize = 256;

/// The peers that were reported on. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct OncePerPeer(Arc<Mutex<HashSet<EndpointId>>>);

impl OncePerPeer {
    /// Runs `report`, unless it ran for `peer` before or there are too many peers.
    pub(crate) fn run(&self, peer: EndpointId, report: impl FnOnce()) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_PEERS && known.insert(peer) {
            report();
        }
    }
}
