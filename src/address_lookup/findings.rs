//! What the lookups of an endpoint said of each peer, for whoever has to know why it was not reached.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use iroh::{EndpointId, TransportAddr};

use crate::transport::ConnectError;

/// What each lookup said last. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    said: Arc<Mutex<HashMap<EndpointId, Said>>>,
    asking: bool,
}

type Said = Vec<(Arc<str>, Finding)>;

/// What one lookup said of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    At(Vec<TransportAddr>),
    Nothing(String),
}

impl Findings {
    /// Of lookups, if there are any.
    pub(super) fn of(lookups: usize) -> Self {
        Self { asking: lookups > 0, ..Self::default() }
    }

    pub(super) fn note(&self, peer: EndpointId, lookup: &Arc<str>, finding: Finding) {
        let mut said = self.said();
        let said = said.entry(peer).or_default();
        match said.iter_mut().find(|(other, _)| other == lookup) {
            Some((_, before)) => *before = finding,
            None => {
                said.push((Arc::clone(lookup), finding));
                // Whoever was first this time may be last the next: the message is to be the same.
                said.sort_by(|(one, _), (other, _)| one.cmp(other));
            }
        }
    }

    /// Why `peer` was not reached, with what the lookups had to do with it, in one line.
    pub(crate) fn explain(&self, peer: EndpointId, error: &ConnectError) -> String {
        let said = self.said().get(&peer).map(list).unwrap_or_default();
        if error.is_no_address() {
            let peer = peer.fmt_short();
            return match (self.asking, said.as_str()) {
                (false, _) => format!(
                    "cannot reach peer {peer}: no address of it is known; give its ticket, or say who is to be asked \
                     (--lookup)"
                ),
                (true, "") => format!("{error}"),
                (true, said) => format!(
                    "cannot reach peer {peer}: no address of it is known: {said}; is it running, and does it publish \
                     there (--publish)? or give its ticket"
                ),
            };
        }
        let is_of_address = error.is_timeout() || error.is_wrong_id();
        if is_of_address && !said.is_empty() { format!("{error} ({said})") } else { error.to_string() }
    }

    fn said(&self) -> MutexGuard<'_, HashMap<EndpointId, Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list(said: &Said) -> String {
    said.iter().map(|(lookup, finding)| format!("{lookup} {finding}")).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(addrs) => {
                let addrs: Vec<_> = addrs.iter().map(plain).collect();
                write!(f, "says it is at {}", addrs.join(", "))
            }
            Self::Nothing(reason) => f.write_str(reason),
        }
    }
}

fn plain(addr: &TransportAddr) -> String {
    match addr {
        TransportAddr::Relay(url) => url.to_string(),
        TransportAddr::Ip(addr) => addr.to_string(),
        other => other.to_string(),
    }
}
