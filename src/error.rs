//! Errors of a funnel as a whole.

use std::{error::Error as StdError, fmt, io, net::SocketAddr, path::PathBuf};

#[cfg(feature = "relay")]
use crate::admission::roster::RosterError;
use crate::{config::ConfigError, protocol::BoxError, tunnel::PeerDown};

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
    Config(ConfigError),
    #[cfg(feature = "relay")]
    Roster(RosterError),
    AuditLog {
        path: PathBuf,
        source: io::Error,
    },
    Serving,
    EndpointClosed,
    Peer(PeerDown),
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

    #[cfg(feature = "relay")]
    pub(crate) fn roster(error: RosterError) -> Self {
        Self(Kind::Roster(error))
    }

    pub(crate) fn config(error: ConfigError) -> Self {
        Self(Kind::Config(error))
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

    pub(crate) fn peer(down: PeerDown) -> Self {
        Self(Kind::Peer(down))
    }

    #[cfg(feature = "relay")]
    pub(crate) fn relay(listen: SocketAddr, source: impl Into<BoxError>) -> Self {
        Self(Kind::Relay { listen, source: source.into() })
    }

    #[cfg(feature = "relay")]
    pub(crate) fn relay_ended(source: Option<BoxError>) -> Self {
        Self(Kind::RelayEnded { source })
    }

    /// Returns why there is no tunnel to a peer: it could not be reached, or does not admit this funnel. `None` for any other
    /// error.
    pub fn peer_down(&self) -> Option<&PeerDown> {
        match &self.0 {
            Kind::Peer(down) => Some(down),
            _ => None,
        }
    }

    /// Whether an address could not be bound: another program uses it, or it does not belong to this machine.
    pub fn is_listen(&self) -> bool {
        matches!(self.0, Kind::Listen { .. } | Kind::Endpoint { .. })
    }

    /// Whether the configuration, or a file that it names, has a mistake.
    pub fn is_mistake(&self) -> bool {
        match &self.0 {
            Kind::Config(_) => true,
            #[cfg(feature = "relay")]
            Kind::Roster(error) => error.is_mistake(),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Endpoint { bind, .. } => write!(f, "cannot bind the iroh endpoint to {bind} (UDP)"),
            Kind::Lookup(_) => f.write_str("cannot look up peers or publish as configured (--lookup, --publish)"),
            Kind::Listen { addr, .. } => {
                write!(f, "cannot listen on {addr}; choose another port, or stop the program that uses it")
            }
            Kind::Config(error) => write!(f, "{error}"),
            #[cfg(feature = "relay")]
            Kind::Roster(error) => write!(f, "{error}"),
            Kind::AuditLog { path, .. } => {
                write!(f, "cannot write the audit log {}; choose another file, or free disk space", path.display())
            }
            Kind::Serving => f.write_str("this funnel is serving already, or has served: it can serve only once"),
            Kind::EndpointClosed => f.write_str("the iroh endpoint closed while the funnel served"),
            Kind::Peer(down) => write!(f, "no tunnel to peer {}: {down}", down.peer().fmt_short()),
            #[cfg(feature = "relay")]
            Kind::Relay { listen, .. } => write!(
                f,
                "cannot run a relay at {listen}; choose other ports (--listen, --quic-port, --metrics), or stop the program \
                 that uses them"
            ),
            #[cfg(feature = "relay")]
            Kind::RelayEnded { .. } => f.write_str("the relay stopped unexpectedly"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0 {
            Kind::Endpoint { source, .. } | Kind::Lookup(source) => Some(&**source),
            Kind::Listen { source, .. } | Kind::AuditLog { source, .. } => Some(source),
            Kind::Config(error) => error.source(),
            #[cfg(feature = "relay")]
            Kind::Roster(error) => error.source(),
            #[cfg(feature = "relay")]
            Kind::Relay { source, .. } => Some(&**source),
            #[cfg(feature = "relay")]
            Kind::RelayEnded { source } => source.as_ref().map(|source| &**source as &(dyn StdError + 'static)),
            Kind::Peer(down) => down.source(),
            Kind::Serving | Kind::EndpointClosed => None,
        }
    }
}
