//! The reason why there is no link to a peer.

use std::{error::Error, fmt};

use iroh::EndpointId;

use crate::{
    protocol::CallError,
    transport::{Code, LinkLost},
};

/// The kind of reason why there is no link to a peer, which determines whether waiting helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DownReason {
    /// The peer was not reached, or the link to it was lost. It is dialled again within seconds.
    Unreachable,
    /// The peer was reached and does not admit this funnel. It is dialled again every few seconds.
    NotAdmitted,
    /// The peer was reached and is at a limit of links: in most cases that of one peer, because several funnels use the same
    /// key. It is dialled again after at most 30 s.
    Overloaded,
    /// This funnel has stopped.
    Stopped,
}

/// The reason why there is no link to a peer.
///
/// Its text names the causes; [`source`](Error::source) returns the first one with its type, which is
/// [`ConnectError`](crate::transport::ConnectError) or [`LinkLost`] if the transport failed.
#[derive(Clone, Debug)]
pub struct PeerDown {
    peer: EndpointId,
    reason: DownReason,
    error: CallError,
}

impl PeerDown {
    pub(super) fn new(peer: EndpointId, reason: DownReason, error: CallError) -> Self {
        Self { peer, reason, error }
    }

    pub(super) fn unreachable(peer: EndpointId, error: CallError) -> Self {
        Self::new(peer, DownReason::Unreachable, error)
    }

    /// Distinguishes refusals from a loss by the code that the link was closed with.
    pub(super) fn of_lost(lost: LinkLost) -> Self {
        let peer = lost.peer();
        match (lost.code(), lost.peer_reason()) {
            (Some(Code::REFUSED), Some(reason)) => {
                let text = format!("peer {} does not admit this funnel: {reason}", peer.fmt_short());
                Self::new(peer, DownReason::NotAdmitted, CallError::unavailable(text).caused_by(lost))
            }
            (Some(Code::OVERLOADED), _) => {
                Self::new(peer, DownReason::Overloaded, CallError::unavailable(&lost).caused_by(lost))
            }
            _ => Self::unreachable(peer, CallError::unavailable(&lost).caused_by(lost)),
        }
    }

    /// Returns the peer.
    pub fn peer(&self) -> EndpointId {
        self.peer
    }

    /// Returns the kind of reason.
    pub fn reason(&self) -> DownReason {
        self.reason
    }

    /// Returns the error that calls to the peer end with.
    pub fn call_error(&self) -> &CallError {
        &self.error
    }

    /// Replaces the error by a more specific one.
    pub(super) fn with_error(self, error: CallError) -> Self {
        Self { error, ..self }
    }
}

impl fmt::Display for PeerDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for PeerDown {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}
