//! Errors of a funnel as a whole.

use std::{io, net::SocketAddr, path::PathBuf};

#[cfg(feature = "relay")]
use crate::admission::roster::RosterError;
use crate::{config::ConfigError, identity::KeyInUse, protocol::BoxError, tunnel::PeerDown};

/// A funnel that cannot start, or a peer that cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Kind);

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("cannot bind the iroh endpoint to {bind} (UDP)")]
    Endpoint { bind: SocketAddr, source: BoxError },
    #[error("cannot look up peers or publish as configured (--lookup, --publish)")]
    Lookup(#[source] BoxError),
    #[error("cannot listen on {addr}; choose another port, or stop the program that uses it")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error(transparent)]
    Config(ConfigError),
    #[error(transparent)]
    KeyInUse(KeyInUse),
    #[cfg(feature = "relay")]
    #[error(transparent)]
    Roster(RosterError),
    #[error("cannot write the audit log {path}; choose another file, or free disk space")]
    AuditLog { path: PathBuf, source: io::Error },
    #[error("this funnel is serving already, or has served: it can serve only once")]
    Serving,
    #[error("the last valid roster stays in force: {reason}; repair the roster")]
    Reload { reason: String },
    #[error("the iroh endpoint closed while the funnel served")]
    EndpointClosed,
    // Complete, as the text of its source is: a program that prints an error alone shows the reason.
    #[error("no tunnel to peer {peer}: {0}", peer = .0.peer().fmt_short())]
    Peer(#[source] PeerDown),
    #[cfg(feature = "relay")]
    #[error(
        "cannot run a relay at {listen}; choose other ports (--listen, --quic-port, --metrics), or stop the program that \
         uses them"
    )]
    Relay { listen: SocketAddr, source: BoxError },
    #[cfg(feature = "relay")]
    #[error("the certificate cannot be read again, and the one before stays in use: {reason}")]
    RelayCertificate { reason: String },
    #[cfg(feature = "relay")]
    #[error("the relay stopped unexpectedly")]
    RelayEnded { source: Option<BoxError> },
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

    pub(crate) fn key_in_use(error: KeyInUse) -> Self {
        Self(Kind::KeyInUse(error))
    }

    pub(crate) fn audit_log(path: PathBuf, source: io::Error) -> Self {
        Self(Kind::AuditLog { path, source })
    }

    pub(crate) fn reload(reason: String) -> Self {
        Self(Kind::Reload { reason })
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
    pub(crate) fn relay_certificate(reason: String) -> Self {
        Self(Kind::RelayCertificate { reason })
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

    /// Whether the configuration, or a file that it names, has a mistake. Every other error may be gone at the next attempt.
    pub fn is_mistake(&self) -> bool {
        match &self.0 {
            Kind::Config(error) => error.is_mistake(),
            #[cfg(feature = "relay")]
            Kind::Roster(error) => error.is_mistake(),
            _ => false,
        }
    }
}
