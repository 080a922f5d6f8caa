//! The links and sessions that each peer has open at a server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use iroh::{EndpointId, endpoint::Connection};
use tokio::{sync::Semaphore, time::sleep};
use tracing::warn;

use super::{
    super::{rate_limit::RateLimit, stream::MemoryBudget},
    Code,
    limits::{self, IncomingLimits},
    open_links::{OpenLinks, TICK},
};

/// The longest wait of a new link for a place: less than the 5 s after which a dialler that waits for an answer gives up.
const WAIT_TIMEOUT: Duration = Duration::from_secs(4);

/// The peers that have open links.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerLimits(Arc<Mutex<HashMap<EndpointId, Peer>>>);

#[derive(Debug)]
struct Peer {
    links: OpenLinks,
    /// The stable id of the newest link that waits for a place; the others no longer do.
    waiting: Option<usize>,
    warnings: RateLimit,
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

/// The decision on a new link.
enum Decision {
    Admitted(PeerShare),
    /// No link of its peer is known to be dead, and not all are known to be alive.
    Undecided,
    Refused {
        /// Whether to log it.
        warn: bool,
    },
}

impl PeerLimits {
    /// Counts a new link. If its peer has as many as it may have, the new one takes the place of one that has been silent for
    /// 3 s. If all of them are alive, which shows within about 2 s, the new one is closed, and `None` returned.
    ///
    /// Only the newest link of a peer waits for a place: of a process that is killed and restarted repeatedly, it is the only
    /// one alive.
    pub(super) async fn admit(&self, connection: &Connection, limits: &IncomingLimits) -> Option<LinkPermit> {
        let (peer, link) = (connection.remote_id(), connection.stable_id());
        let mut arrival = None;
        loop {
            match self.decide(connection, &mut arrival, limits) {
                Decision::Admitted(shared) => {
                    return Some(LinkPermit { peers: self.clone(), peer, link, shared });
                }
                Decision::Undecided => {}
                Decision::Refused { warn } => {
                    refuse(connection, limits, warn);
                    return None;
                }
            }
            tokio::select! {
                _ = connection.closed() => return None,
                () = sleep(TICK) => {}
            }
        }
    }

    /// Decides on a new link, for which `arrival` is the number of the sample that was taken when it came; `None` at first.
    fn decide(&self, connection: &Connection, arrival: &mut Option<u32>, limits: &IncomingLimits) -> Decision {
        let (peer, link) = (connection.remote_id(), connection.stable_id());
        let mut peers = self.lock();
        let entry = peers.entry(peer).or_insert_with(|| Peer::new(limits));
        if entry.links.count() < limits.max_links_per_peer {
            return entry.admit(connection);
        }
        if arrival.is_none() {
            entry.waiting = Some(link);
        }
        let sample = entry.links.sample();
        let waited = sample.wrapping_sub(*arrival.get_or_insert(sample));
        if entry.waiting == Some(link) && entry.links.close_silent() {
            return entry.admit(connection);
        }
        // The sample at the arrival may have been taken up to a tick earlier.
        let all_alive = entry.links.all_received_within(waited.saturating_sub(1));
        if entry.waiting == Some(link) && !all_alive && TICK * waited < WAIT_TIMEOUT {
            return Decision::Undecided;
        }
        let warn = entry.warnings.allow();
        if entry.links.is_empty() {
            peers.remove(&peer);
        }
        Decision::Refused { warn }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointId, Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes a link past the limit of its peer.
fn refuse(connection: &Connection, limits: &IncomingLimits, warn: bool) {
    let max = limits.max_links_per_peer;
    let reason = format!("too many links of one peer: {max} others have its key; give each process a key of its own");
    connection.close(Code::OVERLOADED.into(), reason.as_bytes());
    if warn {
        let peer = connection.remote_id().fmt_short();
        warn!(%peer, ?limits, "link refused: its peer has {max} others that are in use; processes that share a key need one each");
    }
}

impl Peer {
    fn new(limits: &IncomingLimits) -> Self {
        let free_sessions = limits::semaphore(limits.max_sessions_per_peer);
        Self {
            links: OpenLinks::default(),
            waiting: None,
            warnings: RateLimit::default(),
            shared: PeerShare { memory_budget: MemoryBudget::default(), free_sessions },
        }
    }

    fn admit(&mut self, connection: &Connection) -> Decision {
        self.links.add(connection);
        Decision::Admitted(self.shared.clone())
    }
}

impl Drop for LinkPermit {
    fn drop(&mut self) {
        let mut peers = self.peers.lock();
        let Some(entry) = peers.get_mut(&self.peer) else { return };
        entry.links.remove(self.link);
        if entry.links.is_empty() {
            peers.remove(&self.peer);
        }
    }
}
