//! What a request handler learns about its caller.

use std::{fmt, sync::Arc, time::Duration};

use iroh::{EndpointId, TransportAddr, endpoint::Connection};

/// The remote end of a session, found in the extensions of every request received over it.
///
/// It is plain data, taken when the session began: it keeps no link open, and does not follow later path changes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The peer's public key, proven by the QUIC handshake.
    pub id: EndpointId,
    /// The ALPN of the link.
    pub alpn: Arc<[u8]>,
    /// The network path in use; `None` if there were several and none was selected yet.
    pub path: Option<Path>,
}

impl PeerInfo {
    pub(super) fn of(connection: &Connection) -> Self {
        Self { id: connection.remote_id(), alpn: connection.alpn().into(), path: Path::of(connection) }
    }
}

/// A network path of a link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Path {
    /// The peer's address, or the relay in between.
    pub remote: TransportAddr,
    /// The smoothed round-trip time.
    pub rtt: Duration,
}

impl Path {
    /// Returns the path that `connection` uses now.
    pub fn of(connection: &Connection) -> Option<Self> {
        let paths = connection.paths();
        // iroh 1.4 selects one path for all connections to a peer. When one of them ends, it selects none for the others
        // until one of their own paths changes. Upstream: <https://github.com/n0-computer/iroh/issues/4303>. The fallback
        // can go once each connection always has a selected path.
        let only = || paths.iter().next().filter(|_| paths.len() == 1);
        let path = paths.iter().find(|path| path.is_selected()).or_else(only)?;
        Some(Self { remote: path.remote_addr().clone(), rtt: path.rtt() })
    }

    /// Returns whether packets pass through a relay.
    pub fn is_relay(&self) -> bool {
        matches!(self.remote, TransportAddr::Relay(_))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.remote {
            TransportAddr::Ip(addr) => write!(f, "direct {addr}")?,
            TransportAddr::Relay(url) => write!(f, "relay {url}")?,
            other => write!(f, "{other:?}")?,
        }
        write!(f, ", round trip {:.1} ms", self.rtt.as_secs_f64() * 1e3)
    }
}
