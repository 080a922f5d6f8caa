//! What can go wrong with a funnel as a whole.

use std::{error::Error as StdError, fmt, io, net::SocketAddr};

use iroh::EndpointId;

use crate::protocol::{BoxError, Failure};

/// A funnel that cannot start, or a peer that cannot be reached.
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
enum Kind {
    Endpoint { bind: SocketAddr, source: BoxError },
    Listen { addr: SocketAddr, source: io::Error },
    Serving,
    EndpointClosed,
    Peer { peer: EndpointId, failure: Failure },
}

impl Error {
    pub(crate) fn endpoint(bind: SocketAddr, source: impl Into<BoxError>) -> Self {
        Self(Kind::Endpoint { bind, source: source.into() })
    }

    pub(crate) fn listen(addr: SocketAddr, source: io::Error) -> Self {
        Self(Kind::Listen { addr, source })
    }

    pub(crate) fn serving() -> Self {
        Self(Kind::Serving)
    }

    pub(crate) fn endpoint_closed() -> Self {
        Self(Kind::EndpointClosed)
    }

    pub(crate) fn peer(peer: EndpointId, failure: Failure) -> Self {
        Self(Kind::Peer { peer, failure })
    }

    /// Whether a peer could not be reached or did not admit this funnel.
    pub fn is_peer(&self) -> bool {
        matches!(self.0, Kind::Peer { .. })
    }

    /// Whether an address to listen on is taken or not of this machine.
    pub fn is_listen(&self) -> bool {
        matches!(self.0, Kind::Listen { .. } | Kind::Endpoint { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Endpoint { bind, .. } => write!(f, "cannot bind the iroh endpoint to {bind} (UDP)"),
            Kind::Listen { addr, .. } => {
                write!(f, "cannot listen on {addr}; choose another port, or end what listens there")
            }
            Kind::Serving => f.write_str("this funnel serves already, or has served: a funnel serves once"),
            Kind::EndpointClosed => f.write_str("the iroh endpoint closed while the funnel served"),
            Kind::Peer { peer, failure } => write!(f, "no tunnel to peer {}: {failure}", peer.fmt_short()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0 {
            Kind::Endpoint { source, .. } => Some(&**source),
            Kind::Listen { source, .. } => Some(source),
            Kind::Serving | Kind::EndpointClosed | Kind::Peer { .. } => None,
        }
    }
}
