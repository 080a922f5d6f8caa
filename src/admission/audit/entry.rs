//! One line of the audit log.

use iroh::EndpointId;
use serde::Serialize;

use crate::{
    admission::{Timestamp, Verdict},
    protocol::{Api, Method},
};

/// The name of a method that is not in the table. Its own name is not logged, since the peer chose it.
const UNKNOWN: &str = "unknown";

/// What a peer asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// A link.
    Link,
    /// An enrolment with an invitation.
    Enrol,
    /// A call, with the method as gRPC spells it in either wire, so that one peer causes a bounded number of lines.
    Call { api: &'static str, method: &'static str },
    /// Pass-through of bytes.
    Passthrough,
    /// A command that denied the peer, or lifted that denial.
    Standing,
    /// A request that is not a Flower call. Its path is not logged, since the peer chose it.
    Request,
}

/// The decision on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Allowed,
    Denied,
    /// It was allowed, and ended later because the roster changed.
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

/// Events with equal keys are counted as one.
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

    /// Returns whether it reports a denied peer, which may return with any number of keys.
    pub(super) fn is_denied_peer(&self) -> bool {
        matches!(self.key.event, Event::Link | Event::Enrol) && self.key.outcome == Outcome::Denied
    }
}
