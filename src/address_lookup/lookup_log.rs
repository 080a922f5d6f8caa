//! The last answer of each lookup service for each peer, which explains why a peer was not reached.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use iroh::{EndpointId, RelayUrl, TransportAddr};
use tokio::time::Instant;
use tracing::info;

use super::peer_relays::shown_relay;
use crate::transport::ConnectError;

/// The most addresses of one lookup that are tried for one peer at a time, so that a false answer sends packets to a bounded
/// number of strangers.
const MAX_ADDRS: usize = 32;
/// How long iroh 1.4 goes on trying an address that it was given.
const TRIED_FOR: Duration = Duration::from_secs(60);

/// The last result of each lookup for each peer. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LookupLog {
    peers: Arc<Mutex<HashMap<EndpointId, LookupStates>>>,
    has_lookups: bool,
}

/// The states of one peer's lookups, sorted by their labels.
type LookupStates = Vec<(Arc<str>, LookupState)>;

/// The state of one lookup for one peer.
#[derive(Debug, Default)]
struct LookupState {
    last: Option<LookupResult>,
    /// The addresses that iroh tries, each with the time at which it was last given.
    given: Vec<(TransportAddr, Instant)>,
}

/// The answer of one lookup for a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupResult {
    Found(Vec<TransportAddr>),
    /// No address, with the reason.
    NotFound(String),
}

impl LookupResult {
    fn relays(&self) -> impl Iterator<Item = &RelayUrl> {
        let addrs = match self {
            Self::Found(addrs) => addrs.as_slice(),
            Self::NotFound(_) => &[],
        };
        addrs.iter().filter_map(|addr| match addr {
            TransportAddr::Relay(relay) => Some(relay),
            _ => None,
        })
    }
}

impl LookupLog {
    /// Creates the log of this number of lookups.
    pub(super) fn of(lookups: usize) -> Self {
        Self { has_lookups: lookups > 0, ..Self::default() }
    }

    /// Records the last result of a lookup, and logs the relays in it that the one before did not have: they are dialled next.
    pub(super) fn record(&self, peer: EndpointId, lookup: &Arc<str>, result: LookupResult) {
        self.with_state(peer, lookup, |state| {
            let known: Vec<_> = state.last.iter().flat_map(LookupResult::relays).collect();
            for relay in result.relays().filter(|relay| !known.contains(relay)) {
                info!(peer = %peer.fmt_short(), "the peer's relay, from {lookup}: {}", shown_relay(relay));
            }
            state.last = Some(result);
        });
    }

    /// Returns those of the addresses that may be tried: a lookup that gives other addresses each time does not make this endpoint
    /// try them all.
    pub(super) fn limit_addrs(
        &self,
        peer: EndpointId,
        lookup: &Arc<str>,
        addrs: impl IntoIterator<Item = TransportAddr>,
    ) -> Vec<TransportAddr> {
        self.with_state(peer, lookup, |LookupState { given, .. }| {
            given.retain(|(_, at)| at.elapsed() < TRIED_FOR);
            let mut may_be_tried = |addr: &TransportAddr| {
                let now = Instant::now();
                match given.iter().position(|(other, _)| other == addr) {
                    Some(position) => given[position].1 = now,
                    None if given.len() < MAX_ADDRS => given.push((addr.clone(), now)),
                    None => return false,
                }
                true
            };
            // However long the answer is, the result is short.
            addrs.into_iter().filter(|addr| may_be_tried(addr)).take(MAX_ADDRS).collect()
        })
    }

    fn with_state<T>(&self, peer: EndpointId, lookup: &Arc<str>, work: impl FnOnce(&mut LookupState) -> T) -> T {
        let mut peers = self.peers();
        let states = peers.entry(peer).or_default();
        let position = states.iter().position(|(other, _)| other == lookup).unwrap_or_else(|| {
            // Sorted, so that the message does not depend on which lookup answers first.
            let position = states.partition_point(|(other, _)| other < lookup);
            states.insert(position, (Arc::clone(lookup), LookupState::default()));
            position
        });
        work(&mut states[position].1)
    }

    /// Explains in one line why `peer` was not reached, with the answers of the lookups where they matter.
    pub(crate) fn explain(&self, peer: EndpointId, error: &ConnectError) -> String {
        let results = self.peers().get(&peer).map(list).unwrap_or_default();
        if error.is_no_address() {
            let peer = peer.fmt_short();
            return match (self.has_lookups, results.as_str()) {
                (false, _) => format!(
                    "cannot reach peer {peer}: no address of it is known; give its ticket, or an address lookup service \
                     (--lookup)"
                ),
                (true, "") => format!("{error}"),
                (true, results) => format!(
                    "cannot reach peer {peer}: no address of it is known: {results}; is it running, and does it publish \
                     there (--publish)? or give its ticket"
                ),
            };
        }
        let may_be_wrong_addr = error.is_timeout() || error.is_wrong_id();
        if may_be_wrong_addr && !results.is_empty() { format!("{error} ({results})") } else { error.to_string() }
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<EndpointId, LookupStates>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list(states: &LookupStates) -> String {
    let results = states.iter().filter_map(|(lookup, state)| Some(format!("{lookup} {}", state.last.as_ref()?)));
    results.collect::<Vec<_>>().join("; ")
}

impl fmt::Display for LookupResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(addrs) => {
                let addrs: Vec<_> = addrs.iter().map(plain).collect();
                write!(f, "says it is at {}", addrs.join(", "))
            }
            Self::NotFound(reason) => f.write_str(reason),
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

#[cfg(test)]
mod tests {
    use iroh::SecretKey;
    use tokio::time::advance;

    use super::*;

    fn addrs(ports: std::ops::Range<u16>) -> Vec<TransportAddr> {
        ports.map(|port| TransportAddr::Ip(([192, 0, 2, 1], port).into())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_with_other_false_addresses_each_time_does_not_raise_the_number_that_is_tried() {
        let (log, peer) = (LookupLog::of(1), SecretKey::generate().public());
        let (lookup, other) = (Arc::from("dns"), Arc::from("mdns"));
        let given = |lookup, ports| log.limit_addrs(peer, lookup, addrs(ports)).len();
        assert_eq!(given(&lookup, 1..1000), MAX_ADDRS);
        assert_eq!(given(&lookup, 1000..2000), 0);
        assert_eq!(given(&lookup, 1..3), 2, "they are tried already");
        assert_eq!(given(&other, 5000..5010), 10, "another lookup may tell the truth");
        advance(TRIED_FOR).await;
        assert_eq!(given(&lookup, 1000..1010), 10);
    }
}
