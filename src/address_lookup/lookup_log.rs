//! What the lookups of an endpoint said of each peer, for whoever has to know why it was not reached.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use iroh::{EndpointId, TransportAddr};
use tokio::time::Instant;

use crate::transport::ConnectError;

/// Of one lookup for one peer at a time, so that a lie sends packets to so many strangers and not more.
const MAX_ADDRS: usize = 32;
/// For so long iroh goes on trying an address that it was given.
const TRIED_FOR: Duration = Duration::from_secs(60);

/// What each lookup said last. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct LookupLog {
    said: Arc<Mutex<HashMap<EndpointId, Said>>>,
    asking: bool,
}

type Said = Vec<(Arc<str>, OfLookup)>;

/// What is known of one lookup and one peer.
#[derive(Debug, Default)]
struct OfLookup {
    last: Option<LookupResult>,
    /// Addresses that are tried, and when each was last given.
    given: Vec<(TransportAddr, Instant)>,
}

/// What one lookup said of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupResult {
    At(Vec<TransportAddr>),
    Nothing(String),
}

impl LookupLog {
    /// Of lookups, if there are any.
    pub(super) fn of(lookups: usize) -> Self {
        Self { asking: lookups > 0, ..Self::default() }
    }

    pub(super) fn note(&self, peer: EndpointId, lookup: &Arc<str>, finding: LookupResult) {
        self.with(peer, lookup, |of_lookup| of_lookup.last = Some(finding));
    }

    /// Those of the addresses that may be tried: one that says others each time makes nobody try them all.
    pub(super) fn bounded(
        &self,
        peer: EndpointId,
        lookup: &Arc<str>,
        addrs: impl IntoIterator<Item = TransportAddr>,
    ) -> Vec<TransportAddr> {
        self.with(peer, lookup, |OfLookup { given, .. }| {
            given.retain(|(_, at)| at.elapsed() < TRIED_FOR);
            let mut may_be_tried = |addr: &TransportAddr| {
                let now = Instant::now();
                match given.iter().position(|(other, _)| other == addr) {
                    Some(place) => given[place].1 = now,
                    None if given.len() < MAX_ADDRS => given.push((addr.clone(), now)),
                    None => return false,
                }
                true
            };
            // An answer may be long; what it gives is not.
            addrs.into_iter().filter(|addr| may_be_tried(addr)).take(MAX_ADDRS).collect()
        })
    }

    fn with<T>(&self, peer: EndpointId, lookup: &Arc<str>, work: impl FnOnce(&mut OfLookup) -> T) -> T {
        let mut said = self.said();
        let said = said.entry(peer).or_default();
        let place = said.iter().position(|(other, _)| other == lookup).unwrap_or_else(|| {
            // Whoever was first this time may be last the next: the message is to be the same.
            let place = said.partition_point(|(other, _)| other < lookup);
            said.insert(place, (Arc::clone(lookup), OfLookup::default()));
            place
        });
        work(&mut said[place].1)
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
    let told = said.iter().filter_map(|(lookup, of_lookup)| Some(format!("{lookup} {}", of_lookup.last.as_ref()?)));
    told.collect::<Vec<_>>().join("; ")
}

impl fmt::Display for LookupResult {
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

#[cfg(test)]
mod tests {
    use iroh::SecretKey;
    use tokio::time::advance;

    use super::*;

    fn addrs(ports: std::ops::Range<u16>) -> Vec<TransportAddr> {
        ports.map(|port| TransportAddr::Ip(([192, 0, 2, 1], port).into())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_lies_each_time_anew_sends_nobody_to_more_addresses() {
        let (findings, peer) = (LookupLog::of(1), SecretKey::generate().public());
        let (lookup, other) = (Arc::from("dns"), Arc::from("mdns"));
        let given = |lookup, ports| findings.bounded(peer, lookup, addrs(ports)).len();
        assert_eq!(given(&lookup, 1..1000), MAX_ADDRS);
        assert_eq!(given(&lookup, 1000..2000), 0);
        assert_eq!(given(&lookup, 1..3), 2, "they are tried already");
        assert_eq!(given(&other, 5000..5010), 10, "another lookup may tell the truth");
        advance(TRIED_FOR).await;
        assert_eq!(given(&lookup, 1000..1010), 10);
    }
}
