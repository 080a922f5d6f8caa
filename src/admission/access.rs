//! The access rules in force: those given at the start, and those of the current roster.

use std::sync::Arc;

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
    list: Arc<AccessList>,
}

impl Access {
    pub(crate) fn new(configured: AccessList, roster: Roster) -> Self {
        let in_force = watch::Sender::new(InForce::of(&configured, roster));
        Self { configured: Arc::new(configured), in_force }
    }

    /// Puts a roster in force, and returns whether it differs from the one before.
    pub(crate) fn set_roster(&self, roster: Roster) -> Change {
        let changed = self.in_force.send_if_modified(|in_force| {
            let differs = *in_force.roster != roster;
            if differs {
                *in_force = InForce::of(&self.configured, roster);
            }
            differs
        });
        if changed { Change::Some } else { Change::None }
    }

    /// Returns the roster in force at this moment.
    pub(crate) fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.in_force.borrow().roster)
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
    fn of(configured: &AccessList, roster: Roster) -> Self {
        Self { list: Arc::new(configured.with(&roster)), roster: Arc::new(roster) }
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
}
