//! The access rules in force: those given at the start, and those of the current roster.

use std::{collections::HashSet, sync::Arc};

use iroh::EndpointId;
use tokio::sync::watch;

use super::{AccessList, Verdict, roster::Roster};
use crate::protocol::{Api, ApiSet, Route};

/// The access rules in force. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// From command line and configuration.
    configured: Arc<AccessList>,
    in_force: watch::Sender<InForce>,
}

#[derive(Clone, Debug)]
struct InForce {
    roster: Arc<Roster>,
    /// Peers that a command has denied in this process, whatever the roster is.
    denied: HashSet<EndpointId>,
    list: Arc<AccessList>,
}

impl Access {
    pub(crate) fn new(configured: AccessList, roster: Roster) -> Self {
        let in_force = watch::Sender::new(InForce::of(&configured, Arc::new(roster), HashSet::new()));
        Self { configured: Arc::new(configured), in_force }
    }

    /// Puts a roster in force, and returns whether it differs from the one before.
    pub(crate) fn set_roster(&self, roster: Roster) -> Change {
        let changed = self.in_force.send_if_modified(|in_force| {
            let differs = *in_force.roster != roster;
            if differs {
                *in_force = InForce::of(&self.configured, Arc::new(roster), std::mem::take(&mut in_force.denied));
            }
            differs
        });
        if changed { Change::Some } else { Change::None }
    }

    /// Returns the roster in force at this moment.
    pub(crate) fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.in_force.borrow().roster)
    }

    /// Denies a peer above configuration and every roster, until [`undeny`](Self::undeny).
    pub(crate) fn deny(&self, peer: EndpointId) {
        self.change_denied(|denied| denied.insert(peer));
    }

    /// Lifts a denial by [`deny`](Self::deny), not one of the roster.
    pub(crate) fn undeny(&self, peer: EndpointId) {
        self.change_denied(|denied| denied.remove(&peer));
    }

    fn change_denied(&self, change: impl FnOnce(&mut HashSet<EndpointId>) -> bool) {
        self.in_force.send_if_modified(|in_force| {
            let changed = change(&mut in_force.denied);
            if changed {
                let (roster, denied) = (Arc::clone(&in_force.roster), std::mem::take(&mut in_force.denied));
                *in_force = InForce::of(&self.configured, roster, denied);
            }
            changed
        });
    }

    /// Returns the list in force at this moment.
    pub(crate) fn list(&self) -> Arc<AccessList> {
        Arc::clone(&self.in_force.borrow().list)
    }

    pub(crate) fn apis(&self, peer: EndpointId) -> ApiSet {
        self.list().apis(peer)
    }

    pub(crate) fn permits(&self, peer: EndpointId, route: &Route) -> Verdict {
        self.list().permits(peer, route)
    }

    /// Returns the APIs that some peer may call now or after an enrolment, and Fleet in any case, which a funnel is for.
    pub(crate) fn offered(&self) -> ApiSet {
        let in_force = self.in_force.borrow();
        let invited = in_force.roster.invitations().iter().map(|pending| pending.apis);
        invited.fold(in_force.list.offered().union(Api::Fleet.into()), ApiSet::union)
    }

    pub(crate) fn is_on_roster(&self, peer: EndpointId) -> bool {
        self.in_force.borrow().roster.peer(peer).is_some()
    }

    /// Returns the peer with this endpoint id, on the roster or not, or with this name on the roster.
    pub(crate) fn find(&self, peer: &str) -> Option<EndpointId> {
        peer.parse().ok().or_else(|| Some(self.in_force.borrow().roster.find(peer)?.id))
    }

    /// Returns the name that the operator gave this peer.
    pub(crate) fn name(&self, peer: EndpointId) -> Option<String> {
        self.in_force.borrow().roster.peer(peer)?.name.as_ref().map(ToString::to_string)
    }
}

/// Whether something differs from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Change {
    None,
    Some,
}

impl InForce {
    fn of(configured: &AccessList, roster: Arc<Roster>, denied: HashSet<EndpointId>) -> Self {
        Self { list: Arc::new(configured.with(&roster).without(&denied)), roster, denied }
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    #[test]
    fn the_roster_adds_to_what_was_configured_and_denies_peers_whatever_admits_them() {
        let (configured, member) = (SecretKey::generate().public(), SecretKey::generate().public());
        let mut list = AccessList::default();
        list.allow(configured, Api::Fleet);
        list.allow_any(Api::Fleet);
        let access = Access::new(list, Roster::default());
        let mut roster = Roster::default();
        roster.allow(member, None, Api::Control.into()).unwrap();
        assert_eq!(access.set_roster(roster.clone()), Change::Some);
        assert_eq!(access.set_roster(roster.clone()), Change::None);
        assert_eq!(access.apis(member), [Api::Fleet, Api::Control].into_iter().collect());
        roster.deny(configured);
        roster.deny(member);
        assert_eq!(access.set_roster(roster), Change::Some);
        assert!(access.apis(configured).is_empty() && access.apis(member).is_empty());
        assert_eq!(access.set_roster(Roster::default()), Change::Some);
        assert_eq!(access.apis(configured), Api::Fleet.into());
    }

    #[test]
    fn a_denial_by_a_command_is_above_every_roster_until_it_is_lifted() {
        let [configured, member] = [(); 2].map(|()| SecretKey::generate().public());
        let mut list = AccessList::default();
        list.allow(configured, Api::Fleet);
        let access = Access::new(list, Roster::default());
        let mut roster = Roster::default();
        roster.allow(member, "st. mary".parse().ok(), Api::Fleet.into()).unwrap();
        assert_eq!(access.set_roster(roster.clone()), Change::Some);
        assert_eq!(access.find("st. mary"), Some(member));
        assert_eq!(access.find(&configured.to_string()), Some(configured));
        assert_eq!(access.find("nobody"), None);
        for peer in [configured, member] {
            access.deny(peer);
            access.deny(peer);
        }
        for roster in [Roster::default(), roster] {
            assert_eq!(access.set_roster(roster), Change::Some);
            assert!(access.apis(configured).is_empty() && access.apis(member).is_empty());
            assert!(access.list().denies(member));
        }
        access.undeny(member);
        assert_eq!(access.apis(member), Api::Fleet.into());
        assert!(access.apis(configured).is_empty());
    }
}
