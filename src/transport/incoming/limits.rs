//! What a server accepts at most.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

/// Bounds of an [`IrohIncoming`](super::IrohIncoming).
///
/// Past a bound, the newcomer is refused with [`Code::OVERLOADED`](super::Code::OVERLOADED) and those who are
/// already in go on; only past `max_links_per_peer`, the peer's oldest link gives way. The bi-streams of one link are
/// bounded by QUIC itself (`max_concurrent_bidi_streams`, 100 by default): a peer at that bound waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IncomingLimits {
    /// Links open at once. Default 1,024: about 160 MiB in idle links (157 KiB each, measured with iroh 1.4).
    pub max_links: usize,
    /// Links open at once of one peer. Default 4: it needs one, a second while it doubts the first, and those of its last
    /// start count until they are known lost (6 to 11 s). The oldest is closed for the newest, which alone may be the one
    /// in use.
    pub max_links_per_peer: usize,
    /// Handshakes under way at once; newcomers are refused before any cryptography. Default 128. While half of them are
    /// under way, newcomers first prove their address, which costs them a round trip: forged ones take no place.
    pub max_handshakes: usize,
    /// Time a peer has for its handshake. Default 10 s; a relayed handshake takes about four round trips.
    pub handshake_timeout: Duration,
    /// Sessions (bi-streams) open at once over all links. Default 8,192.
    pub max_sessions: usize,
    /// Sessions open at once over the links of one peer. Default 128: all that QUIC lets one link have, and some of a
    /// second. What waits in one session is a few MiB at most.
    pub max_sessions_per_peer: usize,
}

impl Default for IncomingLimits {
    fn default() -> Self {
        Self {
            max_links: 1024,
            max_links_per_peer: 4,
            max_handshakes: 128,
            handshake_timeout: Duration::from_secs(10),
            max_sessions: 8192,
            max_sessions_per_peer: 128,
        }
    }
}

/// As many places as a limit says. A limit that is past all that can be counted is none.
pub(super) fn places(limit: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)))
}
