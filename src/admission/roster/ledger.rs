//! The ledger: what was taken away, which no older copy of the roster brings back.
//!
//! The roster says what an operator wants, and may be edited, copied and restored. The ledger beside it keeps what must not
//! be undone by that: which peers are denied, and how often invitations were used. What is in force is the roster with the
//! ledger [applied](Ledger::apply). Copies of a ledger [merge](Ledger::merge) to the later state of each entry, so that an
//! older one loses nothing that a running funnel has seen.

mod file;
mod format;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, btree_map::Entry},
    num::NonZeroU32,
    time::{Duration, SystemTime},
};

use iroh::EndpointId;

pub(super) use self::file::LedgerFile;
#[cfg(feature = "fuzzing")]
pub(crate) use self::format::{read, write};
use super::{Member, Roster, Standing};
use crate::{address_lookup::Digest, admission::Timestamp, protocol::ApiSet};

/// How long an invitation is kept past its end: a clock that was wrong does not bring it back.
const KEPT_PAST_END: Duration = Duration::from_secs(7 * 86_400);
/// The highest revision: the highest number in TOML.
const MAX_REVISION: u64 = i64::MAX as u64;

/// Denied peers, and invitations that were used or revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    denials: BTreeMap<EndpointId, Denial>,
    /// By the bytes of their digests.
    invitations: BTreeMap<[u8; 32], UsedInvitation>,
}

/// A peer that is denied, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Denial {
    /// Grows with every change of this entry. It is the time in milliseconds, unless that would not be more than before.
    revision: u64,
    since: Timestamp,
    /// When it was lifted. The entry stays, to be told from a denial that an older copy lacks.
    lifted: Option<Timestamp>,
}

/// An invitation that was used or revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UsedInvitation {
    digest: Digest,
    /// How many more peers may use it.
    left: u32,
    expires: Timestamp,
}

/// What a roster would bring back, and the ledger does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Overruled {
    /// The peers that the roster does not deny any more.
    pub(super) denied: BTreeSet<EndpointId>,
    /// The names of the invitations that have more uses in the roster than they have left.
    pub(super) used: BTreeSet<String>,
}

impl Ledger {
    /// Returns whether it denies this peer.
    pub(super) fn denies(&self, id: EndpointId) -> bool {
        self.denials.get(&id).is_some_and(|denial| denial.lifted.is_none())
    }

    /// Returns how many peers it denies.
    pub(super) fn denied(&self) -> usize {
        self.denials.values().filter(|denial| denial.lifted.is_none()).count()
    }

    /// Adds what another copy has: the later state of each denial, and the fewer uses of each invitation.
    pub(super) fn merge(&mut self, other: &Self) {
        for (id, denial) in &other.denials {
            self.put_denial(*id, *denial);
        }
        for used in other.invitations.values() {
            self.put_invitation(*used);
        }
    }

    /// Returns whether merging `other` would change nothing.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let mut merged = self.clone();
        merged.merge(other);
        merged == *self
    }

    /// Adds the denials that only the roster has, which somebody wrote there by hand.
    pub(super) fn absorb(&mut self, roster: &Roster) {
        for member in roster.peers.iter().filter(|member| member.standing == Standing::Denied) {
            self.deny(member.id, member.since);
        }
    }

    /// Applies it to a roster as it is in its file: the result is what is in force.
    pub(super) fn apply(&self, roster: &mut Roster) {
        for member in roster.peers.iter_mut().filter(|member| self.denies(member.id)) {
            member.standing = Standing::Denied;
        }
        let listed: HashSet<_> = roster.peers.iter().map(|member| member.id).collect();
        let missing = self.denials.iter().filter(|(id, denial)| denial.lifted.is_none() && !listed.contains(*id));
        roster.peers.extend(missing.map(|(id, denial)| Member::denied(*id, denial.since)));
        roster.invitations.retain_mut(|pending| {
            let Some(used) = self.invitations.get(&pending.secret.bytes()) else { return true };
            let Some(left) = NonZeroU32::new(used.left) else { return false };
            pending.uses = pending.uses.min(left);
            true
        });
        roster.forget_gone_invitations();
    }

    /// Returns what a roster as it is in its file would bring back.
    pub(super) fn overruled(&self, roster: &Roster) -> Overruled {
        let is_denied = denied(roster);
        let denied = self.denials.keys().copied().filter(|id| self.denies(*id) && !is_denied.contains(id));
        let is_used = |digest: &Digest, uses: NonZeroU32| {
            self.invitations.get(&digest.bytes()).is_some_and(|used| used.left < uses.get())
        };
        let used = roster.invitations.iter().filter(|pending| is_used(&pending.secret, pending.uses));
        Overruled { denied: denied.collect(), used: used.map(|pending| pending.name.to_string()).collect() }
    }

    /// Records what a change of the roster took away: denials, and uses of invitations.
    pub(super) fn take_away(&mut self, before: &Roster, after: &Roster, now: Timestamp) {
        for member in after.peers.iter().filter(|member| member.standing == Standing::Denied) {
            self.deny(member.id, now);
        }
        for pending in before.invitations.iter().filter(|pending| pending.expires > now) {
            let left = after.invitations.iter().find(|left| left.secret == pending.secret);
            let left = left.map_or(0, |left| left.uses.get());
            if left < pending.uses.get() {
                self.put_invitation(UsedInvitation { digest: pending.secret, left, expires: pending.expires });
            }
        }
    }

    /// Lifts the denials of the peers that a change of the roster has allowed or removed.
    pub(super) fn give_back(&mut self, after: &Roster, now: Timestamp) {
        let is_denied = denied(after);
        for (id, denial) in self.denials.iter_mut().filter(|(_, denial)| denial.lifted.is_none()) {
            if !is_denied.contains(id) {
                *denial = Denial { revision: next_revision(denial.revision), lifted: Some(now), ..*denial };
            }
        }
    }

    /// Removes the invitations that expired so long ago that they need no entry.
    pub(super) fn prune(&mut self, now: Timestamp) {
        self.invitations.retain(|_, used| used.expires.plus(KEPT_PAST_END) > now);
    }

    /// Returns this ledger with the invitations of another one.
    pub(super) fn with_invitations_of(self, other: &Self) -> Self {
        Self { invitations: other.invitations.clone(), ..self }
    }

    fn deny(&mut self, id: EndpointId, since: Timestamp) {
        if !self.denies(id) {
            let before = self.denials.get(&id).map_or(0, |denial| denial.revision);
            self.denials.insert(id, Denial { revision: next_revision(before), since, lifted: None });
        }
    }

    fn put_denial(&mut self, id: EndpointId, denial: Denial) {
        match self.denials.entry(id) {
            Entry::Vacant(entry) => drop(entry.insert(denial)),
            Entry::Occupied(mut entry) if denial.is_above(entry.get()) => drop(entry.insert(denial)),
            Entry::Occupied(_) => {}
        }
    }

    fn put_invitation(&mut self, used: UsedInvitation) {
        let entry = self.invitations.entry(used.digest.bytes()).or_insert(used);
        entry.left = entry.left.min(used.left);
        entry.expires = entry.expires.max(used.expires);
    }
}

impl Denial {
    /// Whether it is the later state of two. Of two with one revision, the one that denies counts.
    fn is_above(&self, other: &Self) -> bool {
        let order = |denial: &Self| (denial.revision, denial.lifted.is_none(), denial.since, denial.lifted);
        order(self) > order(other)
    }
}

impl Member {
    /// A peer that the roster does not list, and the ledger denies.
    fn denied(id: EndpointId, since: Timestamp) -> Self {
        Self { id, name: None, standing: Standing::Denied, apis: ApiSet::EMPTY, since, invitation: None }
    }
}

/// Returns the peers that a roster denies.
fn denied(roster: &Roster) -> HashSet<EndpointId> {
    roster.peers.iter().filter(|member| member.standing == Standing::Denied).map(|member| member.id).collect()
}

/// Returns the revision after `before`.
fn next_revision(before: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(MAX_REVISION).max(before.saturating_add(1)).min(MAX_REVISION)
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    fn peer() -> EndpointId {
        SecretKey::generate().public()
    }

    fn denying(peer: EndpointId) -> Roster {
        let mut roster = Roster::default();
        roster.deny(peer);
        roster
    }

    #[test]
    fn an_older_copy_loses_neither_a_denial_nor_its_end() {
        let (peer, now) = (peer(), Timestamp::now());
        let nothing = Ledger::default();
        let mut denied = nothing.clone();
        denied.absorb(&denying(peer));
        let mut lifted = denied.clone();
        lifted.give_back(&Roster::default(), now);
        let mut denied_again = lifted.clone();
        denied_again.take_away(&Roster::default(), &denying(peer), now);
        let states = [nothing, denied, lifted, denied_again];
        for (number, one) in states.iter().enumerate() {
            for (other_number, other) in states.iter().enumerate() {
                let mut merged = one.clone();
                merged.merge(other);
                assert_eq!(merged, states[number.max(other_number)], "{number} {other_number}");
                assert_eq!(one.covers(other), number >= other_number);
            }
        }
        assert_eq!(states.map(|ledger| ledger.denies(peer)), [false, true, false, true]);
    }

    #[test]
    fn a_revision_grows_whatever_the_clock_says() {
        assert!(next_revision(0) > 1_700_000_000_000);
        let future = 9_000_000_000_000_000;
        assert_eq!(next_revision(future), future + 1);
        assert_eq!(next_revision(u64::MAX), MAX_REVISION);
    }

    #[test]
    fn an_invitation_is_kept_past_its_end_for_a_week() {
        let now = Timestamp::now();
        let digest = crate::address_lookup::Invitation::new(peer().into()).secret().digest();
        let mut ledger = Ledger::default();
        ledger.put_invitation(UsedInvitation { digest, left: 0, expires: now });
        ledger.prune(now.plus(KEPT_PAST_END / 2));
        assert_eq!(ledger.invitations.len(), 1);
        ledger.prune(now.plus(KEPT_PAST_END));
        assert_eq!(ledger, Ledger::default());
    }
}
