//! One line of the log.

use iroh::EndpointId;
use serde::Serialize;

use crate::{
    admission::{Timestamp, Verdict},
    protocol::{Api, Method},
};

/// A method that no Flower known here has; what it was is the peer's choice of words, too.
const UNKNOWN: &str = "unknown";

/// What a peer did or wanted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// To have a link.
    Link,
    /// To enrol with an invitation.
    Enrol,
    /// To call a method, as gRPC spells it whatever the wire: of one peer there are so many and not more.
    Call { api: &'static str, method: &'static str },
    /// To pass bytes through.
    Passthrough,
    /// A request that is no Flower call; what it was is the peer's choice of words, and not repeated here.
    Request,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Allowed,
    Denied,
    /// It had been allowed, and was ended because the roster changed.
    Ended,
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allowed => Self::Allowed,
            Verdict::Denied => Self::Denied,
        }
    }
}

impl Event {
    pub(crate) fn call(api: Api, method: Option<&Method>) -> Self {
        Self::Call { api: api.name(), method: method.map_or(UNKNOWN, Method::name) }
    }
}

/// What makes two events one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Key {
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    event: Event,
    outcome: Outcome,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    pub(super) at: Timestamp,
    #[serde(flatten)]
    pub(super) key: Key,
    pub(super) count: u64,
}

impl Entry {
    pub(super) fn new(peer: EndpointId, name: Option<String>, event: Event, outcome: Outcome) -> Self {
        let key = Key { peer: peer.to_string(), name, event, outcome };
        Self { at: Timestamp::now(), key, count: 1 }
    }

    /// Whether it tells of somebody who was turned away at the door, and may come back under any other key.
    pub(super) fn is_strangers(&self) -> bool {
        matches!(self.key.event, Event::Link | Event::Enrol) && self.key.outcome == Outcome::Denied
    }
}
