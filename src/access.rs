//! Which peer may call which API.

use std::collections::HashMap;

use iroh::EndpointId;

use crate::protocol::{Api, ApiSet, Route};

/// Who is admitted, and to what. Empty, it admits nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccessList {
    peers: HashMap<EndpointId, ApiSet>,
    anybody: ApiSet,
}

/// The answer to a peer's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    /// It may.
    Allowed,
    /// It may not.
    Denied,
}

impl AccessList {
    /// Adds to what `peer` may call.
    pub(crate) fn allow(&mut self, peer: EndpointId, apis: impl Into<ApiSet>) {
        let entry = self.peers.entry(peer).or_default();
        *entry = entry.union(apis.into());
    }

    /// Adds to what every peer may call, known or not.
    pub(crate) fn allow_any(&mut self, apis: impl Into<ApiSet>) {
        self.anybody = self.anybody.union(apis.into());
    }

    /// What `peer` may call.
    pub(crate) fn apis(&self, peer: EndpointId) -> ApiSet {
        self.peers.get(&peer).copied().unwrap_or_default().union(self.anybody)
    }

    /// Whether `peer` may have a link at all.
    pub(crate) fn admits(&self, peer: EndpointId) -> Verdict {
        Verdict::from(!self.apis(peer).is_empty())
    }

    /// Whether `peer` may make this request. Health and hello are open to whoever is admitted.
    pub(crate) fn permits(&self, peer: EndpointId, route: &Route) -> Verdict {
        match route {
            Route::Call { api, .. } => Verdict::from(self.apis(peer).contains(*api)),
            Route::Health | Route::Hello => self.admits(peer),
        }
    }

    /// Whether it admits nobody.
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.anybody.is_empty()
    }

    /// The APIs open to somebody.
    pub(crate) fn offered(&self) -> ApiSet {
        self.peers.values().fold(self.anybody, |all, apis| all.union(*apis))
    }

    /// Those of them that trust whoever reaches them.
    pub(crate) fn trusting_apis(&self) -> ApiSet {
        self.offered().iter().filter(|api: &Api| api.trusts_its_callers()).collect()
    }
}

impl From<bool> for Verdict {
    fn from(allowed: bool) -> Self {
        if allowed { Self::Allowed } else { Self::Denied }
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;
    use crate::protocol::Wire;

    fn call(api: Api) -> Route {
        Route::Call { api, wire: Wire::Http, method: "any".into() }
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
    fn apis_that_trust_their_callers_are_told_apart() {
        let mut list = AccessList::default();
        list.allow_any(Api::Fleet);
        assert!(list.trusting_apis().is_empty());
        list.allow(SecretKey::generate().public(), Api::Runtime);
        assert_eq!(list.trusting_apis(), Api::Runtime.into());
    }
}
