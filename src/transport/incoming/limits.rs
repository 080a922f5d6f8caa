//! The limits of a server.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

/// The limits of an [`IrohIncoming`](super::IrohIncoming).
///
/// Past a limit, a new link or session is refused with [`Code::OVERLOADED`](super::Code::OVERLOADED) and the open ones go
/// on, except that past `max_handshakes` another one gives way. The bi-streams of one link are limited by QUIC itself
/// (`max_concurrent_bidi_streams`, 100 by default): a peer at that limit waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IncomingLimits {
    /// Open links, over all peers. Default 1,024: about 160 MiB if all are idle (157 KiB each, measured with iroh 1.4).
    pub max_links: usize,
    /// Open links of one peer. Default 4: a peer needs one, and a second while it checks whether the first is still alive;
    /// those from before a restart count until they are known to be lost. Past the limit, a new link takes the place of one
    /// that has been silent for 3 s. Where none is, it is refused after about 2 s, since several processes use one key. Until
    /// then it waits, and only the newest does. With a keep-alive longer than that of
    /// [`quic_config`](super::super::quic_config), a silent link may be known later.
    pub max_links_per_peer: usize,
    /// Handshakes in progress. Default 128. Past the limit, a new one takes the place of another: of the oldest of the
    /// address with the most (an IPv4 address, an IPv6 network of 64 bits, or a relay), so that a crowd from one address
    /// displaces only itself. While at least half of them are in progress, a new client must first prove its address, which
    /// costs it a round trip: forged addresses cannot use up the limit.
    ///
    /// Handshakes of one address that fail, or whose peer is not admitted, are limited to 20 per second after the first 64;
    /// further ones wait, before any cryptography.
    pub max_handshakes: usize,
    /// The time that a handshake may take. Default 10 s; a relayed handshake takes about four round trips.
    pub handshake_timeout: Duration,
    /// Open sessions (bi-streams), over all links. Default 8,192.
    pub max_sessions: usize,
    /// Open sessions over all links of one peer. Default 128: all that QUIC allows on one link, and some on a second. One
    /// session buffers a few MiB at most.
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

/// Creates a semaphore of `limit` permits, or of as many as can be counted.
pub(super) fn semaphore(limit: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)))
}
