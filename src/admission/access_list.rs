//! Which peer may call which API.

use std::collections::{HashMap, HashSet};

use iroh::EndpointId;
use tracing::warn;

use super::roster::{Roster, Standing};
use crate::protocol::{Api, ApiSet, Route};

/// The admitted peers and the APIs that each may call. An empty list admits no peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccessList {
    peers: HashMap<EndpointId, ApiSet>,
    any_peer: ApiSet,
    denied: HashSet<EndpointId>,
    passthrough: HashSet<EndpointId>,
}

/// Whether a peer may do what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    /// The peer may.
    Allowed,
    /// The peer may not.
    Denied,
}

impl AccessList {
    /// Adds to the APIs that `peer` may call.
    pub(crate) fn allow(&mut self, peer: EndpointId, apis: impl Into<ApiSet>) {
        let entry = self.peers.entry(peer).or_default();
        *entry = entry.union(apis.into());
    }

    /// Adds to the APIs that every peer may call, known or not.
    pub(crate) fn allow_any(&mut self, apis: impl Into<ApiSet>) {
        self.any_peer = self.any_peer.union(apis.into());
    }

    /// Lets `peer` pass bytes through. This implies Fleet, which it reaches through the bytes in any case, and a link.
    pub(crate) fn allow_passthrough(&mut self, peer: EndpointId) {
        self.allow(peer, Api::Fleet);
        self.passthrough.insert(peer);
    }

    /// Returns this list together with the roster. A peer that the roster denies is denied whatever else admits it.
    pub(super) fn with(&self, roster: &Roster) -> Self {
        let mut list = self.clone();
        for member in roster.peers() {
            match member.standing {
                Standing::Allowed => list.allow(member.id, member.apis),
                Standing::Denied => drop(list.denied.insert(member.id)),
            }
        }
        list
    }

    /// Returns this list without these peers, which are denied whatever admits them.
    pub(super) fn without(mut self, denied: &HashSet<EndpointId>) -> Self {
        self.denied.extend(denied);
        self
    }

    /// Returns whether `peer` is denied, rather than unknown.
    pub(super) fn denies(&self, peer: EndpointId) -> bool {
        self.denied.contains(&peer)
    }

    /// Returns the APIs that `peer` may call.
    pub(crate) fn apis(&self, peer: EndpointId) -> ApiSet {
        if self.denies(peer) {
            return ApiSet::EMPTY;
        }
        self.peers.get(&peer).copied().unwrap_or_default().union(self.any_peer)
    }

    /// Returns whether `peer` may have a link.
    pub(crate) fn admits(&self, peer: EndpointId) -> Verdict {
        Verdict::from(!self.apis(peer).is_empty())
    }

    /// Returns whether `peer` may make this request. Health and hello are open to every admitted peer.
    pub(crate) fn permits(&self, peer: EndpointId, route: &Route) -> Verdict {
        match route {
            Route::Call { api, .. } => Verdict::from(self.apis(peer).contains(*api)),
            Route::Health | Route::Hello => self.admits(peer),
            Route::Passthrough => {
                Verdict::from(self.passthrough.contains(&peer) && self.admits(peer) == Verdict::Allowed)
            }
        }
    }

    /// Returns whether no peer is admitted.
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.any_peer.is_empty()
    }

    /// Returns how many peers may pass bytes through.
    pub(crate) fn passthroughs(&self) -> usize {
        self.passthrough.len()
    }

    /// Returns the APIs that some peer may call.
    pub(crate) fn offered(&self) -> ApiSet {
        self.peers.values().fold(self.any_peer, |all, apis| all.union(*apis))
    }

    /// Returns those of the offered APIs that trust their callers.
    pub(crate) fn trusting_apis(&self) -> ApiSet {
        self.offered().iter().filter(|api: &Api| api.trusts_its_callers()).collect()
    }
}

/// Warns that an API which trusts its callers is open to a peer.
pub(crate) fn warn_of_trust(api: Api) {
    warn!(
        %api,
        "this API is open to a peer: Flower gives every caller of it all runs, messages and models of this SuperLink"
    );
}

impl From<bool> for Verdict {
    fn from(allowed: bool) -> Self {
        if allowed { Self::Allowed } else { Self::Denied }
    }
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;
    use iroh::SecretKey;

    use super::*;
    use crate::protocol::Wire;

    fn call(api: Api) -> Route {
        Route::Call { api, wire: Wire::Http, method: None, path: PathAndQuery::from_static("/v1/any/any") }
    }

    #[test]
    fn an_empty_list_admits_nobody() {
        let peer = SecretKey::generate().public();
        let list = AccessList::default();
        assert_eq!(list.admits(peer), Verdict::Denied);
        assert_eq!(list.permits(peer, &Route::Health), Verdict::Denied);
        assert_eq!(list.permits(peer, &call(Api::Fleet)), Verdict::Denied);
    }

    #[test]
    fn a_peer_may_call_what_is_named_for_it_and_nothing_else() {
        let (site, stranger) = (SecretKey::generate().public(), SecretKey::generate().public());
        let mut list = AccessList::default();
        list.allow(site, Api::Fleet);
        for api in Api::ALL {
            assert_eq!(list.permits(site, &call(api)), Verdict::from(api == Api::Fleet), "{api}");
            assert_eq!(list.permits(stranger, &call(api)), Verdict::Denied, "{api}");
        }
        list.allow(site, Api::Control);
        assert_eq!(list.apis(site), [Api::Fleet, Api::Control].into_iter().collect());
    }

    #[test]
    fn no_api_and_no_roster_grants_pass_through_and_a_denial_ends_it() {
        let (site, other) = (SecretKey::generate().public(), SecretKey::generate().public());
        let mut list = AccessList::default();
        list.allow(other, Api::ALL.into_iter().collect::<ApiSet>());
        list.allow_passthrough(site);
        assert_eq!(list.permits(other, &Route::Passthrough), Verdict::Denied);
        assert_eq!(list.permits(site, &Route::Passthrough), Verdict::Allowed);
        let mut roster = Roster::default();
        assert_eq!(list.with(&roster).permits(site, &Route::Passthrough), Verdict::Allowed);
        roster.deny(site);
        assert_eq!(list.with(&roster).permits(site, &Route::Passthrough), Verdict::Denied);
    }

    #[test]
    fn offered_apis_that_trust_their_callers_are_listed() {
        let mut list = AccessList::default();
        list.allow_any(Api::Fleet);
        assert!(list.trusting_apis().is_empty());
        list.allow(SecretKey::generate().public(), Api::Runtime);
        assert_eq!(list.trusting_apis(), Api::Runtime.into());
    }
}
