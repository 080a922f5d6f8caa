//! Access while the funnel runs: what was said at its start, and the roster as it is now.

use std::sync::Arc;

use iroh::EndpointId;
use tokio::sync::watch;

use super::{AccessList, Verdict, roster::Roster};
use crate::protocol::{Api, ApiSet, Route};

/// Who may call what, right now. Clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// From command line and configuration.
    named: Arc<AccessList>,
    now: watch::Sender<InForce>,
}

#[derive(Clone, Debug)]
struct InForce {
    roster: Arc<Roster>,
    list: Arc<AccessList>,
}

impl Access {
    pub(crate) fn new(named: AccessList, roster: Roster) -> Self {
        let now = watch::Sender::new(InForce::of(&named, roster));
        Self { named: Arc::new(named), now }
    }

    /// Puts another roster in force, and says whether it is another.
    pub(crate) fn follow(&self, roster: Roster) -> Change {
        let changed = self.now.send_if_modified(|now| {
            let is_new = *now.roster != roster;
            if is_new {
                *now = InForce::of(&self.named, roster);
            }
            is_new
        });
        if changed { Change::Some } else { Change::None }
    }

    /// As it is in this moment.
    pub(crate) fn list(&self) -> Arc<AccessList> {
        Arc::clone(&self.now.borrow().list)
    }

    pub(crate) fn apis(&self, peer: EndpointId) -> ApiSet {
        self.list().apis(peer)
    }

    pub(crate) fn permits(&self, peer: EndpointId, route: &Route) -> Verdict {
        self.list().permits(peer, route)
    }

    /// The APIs that somebody may call, or could after an enrolment; Fleet, which all of this is for, in any case.
    pub(crate) fn offered(&self) -> ApiSet {
        let now = self.now.borrow();
        let invited = now.roster.invitations().iter().map(|pending| pending.apis);
        invited.fold(now.list.offered().union(Api::Fleet.into()), ApiSet::union)
    }

    pub(crate) fn is_on_roster(&self, peer: EndpointId) -> bool {
        self.now.borrow().roster.peer(peer).is_some()
    }

    /// What the operator calls this peer.
    pub(crate) fn name(&self, peer: EndpointId) -> Option<String> {
        self.now.borrow().roster.peer(peer)?.name.as_ref().map(ToString::to_string)
    }
}

/// Whether something is different from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Change {
    None,
    Some,
}

impl InForce {
    fn of(named: &AccessList, roster: Roster) -> Self {
        Self { list: Arc::new(named.with(&roster)), roster: Arc::new(roster) }
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    #[test]
    fn the_roster_adds_to_what_was_named_and_takes_away_whom_it_denies() {
        let (named, member) = (SecretKey::generate().public(), SecretKey::generate().public());
        let mut list = AccessList::default();
        list.allow(named, Api::Fleet);
        list.allow_any(Api::Fleet);
        let access = Access::new(list, Roster::default());
        let mut roster = Roster::default();
        roster.allow(member, None, Api::Control.into()).unwrap();
        assert_eq!(access.follow(roster.clone()), Change::Some);
        assert_eq!(access.follow(roster.clone()), Change::None);
        assert_eq!(access.apis(member), [Api::Fleet, Api::Control].into_iter().collect());
        roster.deny(named);
        roster.deny(member);
        assert_eq!(access.follow(roster), Change::Some);
        assert!(access.apis(named).is_empty() && access.apis(member).is_empty());
        assert_eq!(access.follow(Roster::default()), Change::Some);
        assert_eq!(access.apis(named), Api::Fleet.into());
    }
}
