//! What can go wrong with a funnel as a whole.

use std::{error::Error as StdError, fmt, io, net::SocketAddr, path::PathBuf};

use iroh::EndpointId;

use crate::{
    admission::roster::RosterError,
    protocol::{BoxError, Failure},
};

/// A funnel that cannot start, or a peer that cannot be reached.
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
enum Kind {
    Endpoint {
        bind: SocketAddr,
        source: BoxError,
    },
    Lookup(BoxError),
    Listen {
        addr: SocketAddr,
        source: io::Error,
    },
    Roster(RosterError),
    AuditLog {
        path: PathBuf,
        source: io::Error,
    },
    Serving,
    EndpointClosed,
    Peer {
        peer: EndpointId,
        failure: Failure,
    },
    #[cfg(feature = "relay")]
    Relay {
        listen: SocketAddr,
        source: BoxError,
    },
    #[cfg(feature = "relay")]
    RelayEnded {
        source: Option<BoxError>,
    },
}

impl Error {
    pub(crate) fn endpoint(bind: SocketAddr, source: impl Into<BoxError>) -> Self {
        Self(Kind::Endpoint { bind, source: source.into() })
    }

    pub(crate) fn lookup(error: impl Into<BoxError>) -> Self {
        Self(Kind::Lookup(error.into()))
    }

    pub(crate) fn listen(addr: SocketAddr, source: io::Error) -> Self {
        Self(Kind::Listen { addr, source })
    }

    pub(crate) fn roster(error: RosterError) -> Self {
        Self(Kind::Roster(error))
    }

    pub(crate) fn audit_log(path: PathBuf, source: io::Error) -> Self {
        Self(Kind::AuditLog { path, source })
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

    #[cfg(feature = "relay")]
    pub(crate) fn relay(listen: SocketAddr, source: impl Into<BoxError>) -> Self {
        Self(Kind::Relay { listen, source: source.into() })
    }

    #[cfg(feature = "relay")]
    pub(crate) fn relay_ended(source: Option<BoxError>) -> Self {
        Self(Kind::RelayEnded { source })
    }

    /// Whether a peer could not be reached or did not admit this funnel.
    pub fn is_peer(&self) -> bool {
        matches!(self.0, Kind::Peer { .. })
    }

    /// Whether an address to listen on is taken or not of this machine.
    pub fn is_listen(&self) -> bool {
        matches!(self.0, Kind::Listen { .. } | Kind::Endpoint { .. })
    }

    /// Whether what is written in the roster is wrong.
    pub fn is_mistake(&self) -> bool {
        matches!(&self.0, Kind::Roster(error) if error.is_mistake())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Endpoint { bind, .. } => write!(f, "cannot bind the iroh endpoint to {bind} (UDP)"),
            Kind::Lookup(_) => f.write_str("cannot look up peers or publish as configured (--lookup, --publish)"),
            Kind::Listen { addr, .. } => {
                write!(f, "cannot listen on {addr}; choose another port, or end what listens there")
            }
            Kind::Roster(error) => write!(f, "{error}"),
            Kind::AuditLog { path, .. } => {
                write!(f, "cannot write the audit log {}; name another file, or make room", path.display())
            }
            Kind::Serving => f.write_str("this funnel serves already, or has served: a funnel serves once"),
            Kind::EndpointClosed => f.write_str("the iroh endpoint closed while the funnel served"),
            Kind::Peer { peer, failure } => write!(f, "no tunnel to peer {}: {failure}", peer.fmt_short()),
            #[cfg(feature = "relay")]
            Kind::Relay { listen, .. } => write!(
                f,
                "cannot run a relay at {listen}; choose other ports (--listen, --quic-port, --metrics), or end what listens \
                 there"
            ),
            #[cfg(feature = "relay")]
            Kind::RelayEnded { .. } => f.write_str("the relay ended by itself"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0 {
            Kind::Endpoint { source, .. } | Kind::Lookup(source) => Some(&**source),
            Kind::Listen { source, .. } | Kind::AuditLog { source, .. } => Some(source),
            Kind::Roster(error) => error.source(),
            #[cfg(feature = "relay")]
            Kind::Relay { source, .. } => Some(&**source),
            #[cfg(feature = "relay")]
            Kind::RelayEnded { source } => source.as_ref().map(|source| &**source as &(dyn StdError + 'static)),
            Kind::Serving | Kind::EndpointClosed | Kind::Peer { .. } => None,
        }
    }
}
