//! The roster: the peers that an operator has allowed or denied, and the open invitations.
//!
//! It is a file (`peers.toml`) that people may read and edit too. The command changes it, and so does a running funnel when
//! an invitation is used; a running funnel watches it. A second file, the ledger, keeps what was taken away.

mod error;
mod file;
mod file_thread;
mod find;
mod format;
mod health;
mod ledger;
mod name;
mod watch;

use std::num::NonZeroU32;

use iroh::EndpointId;

pub use self::{
    error::RosterError,
    file::RosterFile,
    find::{UnknownName, names},
    health::RosterHealth,
    name::{InvalidName, Name},
};
pub(crate) use self::{
    file_thread::FileThread,
    watch::{WatchHandle, watch},
};
#[cfg(feature = "fuzzing")]
pub(crate) use self::{
    format::{read, write},
    ledger::{read as read_ledger, write as write_ledger},
};
use super::Timestamp;
use crate::{
    address_lookup::{Digest, Invitation, Secret},
    protocol::ApiSet,
};

/// The peers and the open invitations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    peers: Vec<Member>,
    invitations: Vec<Pending>,
}

/// A peer on the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its public key.
    pub id: EndpointId,
    /// The name that this side's operator gave it.
    pub name: Option<Name>,
    /// Whether it is admitted.
    pub standing: Standing,
    /// The APIs that it may call while it is allowed.
    pub apis: ApiSet,
    /// When it was added to the roster.
    pub since: Timestamp,
    /// The invitation with which it enrolled, while other peers may use it.
    invitation: Option<Digest>,
}

/// Whether a peer on the roster is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is admitted.
    Allowed,
    /// It is not admitted, whatever else would admit it.
    Denied,
}

/// An open invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// The name that a peer gets which uses it; of several peers, those after the first get a number as well. While uses are
    /// left, the name means both the first peer and the invitation.
    pub name: Name,
    /// The APIs that a peer may call which uses it.
    pub apis: ApiSet,
    /// How many more peers may use it.
    pub uses: NonZeroU32,
    /// When it expires.
    pub expires: Timestamp,
    secret: Digest,
}

/// Why an invitation is refused. The peer that presents it is not told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotInvited {
    /// There is no such invitation, or it was used or revoked.
    Unknown,
    /// It has expired.
    Expired,
    /// The peer is denied.
    Denied,
}

impl Roster {
    /// Returns the peers, in the order in which they were added.
    pub fn peers(&self) -> &[Member] {
        &self.peers
    }

    /// Returns the invitations that have uses left, expired ones included.
    pub fn invitations(&self) -> &[Pending] {
        &self.invitations
    }

    /// Returns the peer with this id.
    pub fn peer(&self, id: EndpointId) -> Option<&Member> {
        self.peers.iter().find(|peer| peer.id == id)
    }

    /// Returns the peer with this id or name.
    pub fn find(&self, text: &str) -> Option<&Member> {
        match text.parse() {
            Ok(id) => self.peer(id),
            Err(_) => self.peers.iter().find(|peer| peer.name.as_ref().is_some_and(|name| name.as_str() == text)),
        }
    }

    /// Admits a peer to exactly `apis`. A name replaces the one it had.
    ///
    /// # Errors
    /// [`NameTaken`] if another peer or an invitation has this name.
    pub fn allow(&mut self, id: EndpointId, name: Option<Name>, apis: ApiSet) -> Result<(), NameTaken> {
        self.put(id, name, |peer| (peer.standing, peer.apis) = (Standing::Allowed, apis))
    }

    /// Denies a peer, whatever else would admit it.
    pub fn deny(&mut self, id: EndpointId) {
        self.entry(id).standing = Standing::Denied;
    }

    /// Gives a peer on the roster a name.
    ///
    /// # Errors
    /// [`NameTaken`] if another peer or an invitation has this name.
    pub fn rename(&mut self, id: EndpointId, name: Name) -> Result<(), NameTaken> {
        self.put(id, Some(name), |_| {})
    }

    /// Removes a peer from the roster.
    pub fn remove(&mut self, id: EndpointId) {
        self.peers.retain(|peer| peer.id != id);
    }

    /// Opens an invitation for `uses` peers. Of its secret only a digest is stored.
    ///
    /// # Errors
    /// [`NameTaken`] if a peer or another invitation has this name.
    pub fn invite(
        &mut self,
        invitation: &Invitation,
        name: Name,
        apis: ApiSet,
        uses: NonZeroU32,
        expires: Timestamp,
    ) -> Result<(), NameTaken> {
        if self.is_name_of_peer(&name) || self.is_name_of_invitation(&name) {
            return Err(NameTaken(name));
        }
        self.invitations.push(Pending { name, apis, uses, expires, secret: invitation.secret().digest() });
        Ok(())
    }

    /// Revokes the invitation with this name, and returns whether there was one.
    pub fn withdraw(&mut self, name: &str) -> bool {
        self.withdraw_where(|pending| pending.name.as_str() == name)
    }

    /// Revokes the invitation with which a peer enrolled, if it has uses left: with another key, the peer would be admitted
    /// again. Returns whether there was one.
    pub fn withdraw_invitation_of(&mut self, id: EndpointId) -> bool {
        let Some(invitation) = self.peer(id).and_then(|peer| peer.invitation) else { return false };
        self.withdraw_where(|pending| pending.secret == invitation)
    }

    fn withdraw_where(&mut self, is_meant: impl Fn(&Pending) -> bool) -> bool {
        let before = self.invitations.len();
        self.invitations.retain(|pending| !is_meant(pending));
        self.forget_gone_invitations();
        self.invitations.len() < before
    }

    /// Forgets with which invitation peers enrolled, where it is used up or revoked.
    fn forget_gone_invitations(&mut self) {
        let Self { peers, invitations } = self;
        let is_gone = |invitation: &mut Digest| !invitations.iter().any(|pending| pending.secret == *invitation);
        for peer in peers {
            let _ = peer.invitation.take_if(is_gone);
        }
    }

    /// Checks whether [`redeem`](Self::redeem) would succeed.
    pub(crate) fn check_invitation(&self, id: EndpointId, secret: &Secret, now: Timestamp) -> Result<(), NotInvited> {
        self.find_invitation(id, secret, now).map(drop)
    }

    /// Finds the invitation with this secret, which is compared with that of every invitation, in constant time.
    fn find_invitation(&self, id: EndpointId, secret: &Secret, now: Timestamp) -> Result<usize, NotInvited> {
        let digest = secret.digest();
        let matches: Vec<_> = self.invitations.iter().map(|pending| pending.secret == digest).collect();
        let position = matches.iter().position(|is_match| *is_match).ok_or(NotInvited::Unknown)?;
        if self.peer(id).is_some_and(|peer| peer.standing == Standing::Denied) {
            return Err(NotInvited::Denied);
        }
        if now >= self.invitations[position].expires {
            return Err(NotInvited::Expired);
        }
        Ok(position)
    }

    /// Redeems an invitation: adds `id` to the roster and uses the invitation once.
    pub(crate) fn redeem(&mut self, id: EndpointId, secret: &Secret, now: Timestamp) -> Result<Member, NotInvited> {
        let position = self.find_invitation(id, secret, now)?;
        let pending = &mut self.invitations[position];
        let (digest, name, apis) = (pending.secret, pending.name.clone(), pending.apis);
        match NonZeroU32::new(pending.uses.get() - 1) {
            Some(left) => pending.uses = left,
            None => drop(self.invitations.remove(position)),
        }
        let name = self.free_name(name);
        let peer = self.entry(id);
        peer.name.get_or_insert(name);
        peer.apis = peer.apis.union(apis);
        peer.invitation = Some(digest);
        let peer = peer.clone();
        self.forget_gone_invitations();
        Ok(peer)
    }

    /// Removes the invitations that have expired.
    pub fn forget_expired(&mut self, now: Timestamp) {
        self.withdraw_where(|pending| pending.expires <= now);
    }

    fn put(&mut self, id: EndpointId, name: Option<Name>, set: impl FnOnce(&mut Member)) -> Result<(), NameTaken> {
        if let Some(name) = &name {
            let is_own = self.peer(id).is_some_and(|peer| peer.name.as_ref() == Some(name));
            if !is_own && (self.is_name_of_peer(name) || self.is_name_of_invitation(name)) {
                return Err(NameTaken(name.clone()));
            }
        }
        let peer = self.entry(id);
        peer.name = name.or(peer.name.take());
        set(peer);
        Ok(())
    }

    fn entry(&mut self, id: EndpointId) -> &mut Member {
        let position = self.peers.iter().position(|peer| peer.id == id).unwrap_or_else(|| {
            let (standing, apis, since) = (Standing::Allowed, ApiSet::EMPTY, Timestamp::now());
            self.peers.push(Member { id, name: None, standing, apis, since, invitation: None });
            self.peers.len() - 1
        });
        &mut self.peers[position]
    }

    fn is_name_of_peer(&self, name: &Name) -> bool {
        self.peers.iter().any(|peer| peer.name.as_ref() == Some(name))
    }

    fn is_name_of_invitation(&self, name: &Name) -> bool {
        self.invitations.iter().any(|pending| pending.name == *name)
    }

    /// Returns the name of an invitation, with the first number that makes it free if a peer has it already.
    fn free_name(&self, name: Name) -> Name {
        let is_free = |name: &Name| !self.is_name_of_peer(name) && !self.is_name_of_invitation(name);
        if !self.is_name_of_peer(&name) {
            return name;
        }
        (2..).map(|number| name.numbered(number)).find(is_free).expect("numbers do not end")
    }
}

impl Member {
    /// Returns the APIs that it may call now.
    pub fn may_call(&self) -> ApiSet {
        match self.standing {
            Standing::Allowed => self.apis,
            Standing::Denied => ApiSet::EMPTY,
        }
    }
}

impl Standing {
    /// Returns its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }
}

/// A name that another peer or invitation has already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is another peer's or invitation's name; choose another, or remove that one first")]
pub struct NameTaken(Name);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use iroh::SecretKey;

    use super::*;
    use crate::protocol::Api;

    const DAY: Duration = Duration::from_secs(86_400);

    fn peer() -> EndpointId {
        SecretKey::generate().public()
    }

    fn invitation() -> Invitation {
        Invitation::new(peer().into())
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// A roster with an invitation for `uses` peers, and its secret.
    fn inviting(uses: u32) -> (Roster, Secret) {
        let (mut roster, invitation) = (Roster::default(), invitation());
        let uses = NonZeroU32::new(uses).unwrap();
        roster.invite(&invitation, name("site"), Api::Fleet.into(), uses, Timestamp::now().plus(DAY)).unwrap();
        (roster, invitation.secret().clone())
    }

    #[test]
    fn an_invitation_is_worth_its_uses_and_nothing_afterwards() {
        let now = Timestamp::now();
        let (mut roster, secret) = inviting(2);
        let (first, second) =
            (roster.redeem(peer(), &secret, now).unwrap(), roster.redeem(peer(), &secret, now).unwrap());
        assert_eq!((first.name, second.name), (Some(name("site")), Some(name("site-2"))));
        assert_eq!(second.apis, Api::Fleet.into());
        assert!(roster.invitations().is_empty());
        assert_eq!(roster.redeem(peer(), &secret, now), Err(NotInvited::Unknown));
        assert_eq!(roster.peers().len(), 2);
    }

    #[test]
    fn the_name_of_an_invitation_in_use_is_its_first_peers_and_nobody_elses() {
        let now = Timestamp::now();
        let (mut roster, secret) = inviting(3);
        let first = roster.redeem(peer(), &secret, now).unwrap().id;
        roster.allow(first, Some(name("site")), Api::Control.into()).unwrap();
        assert!(roster.rename(peer(), name("site")).is_err());
        let (expires, second) = (now.plus(DAY), name("site-2"));
        assert!(roster.invite(&invitation(), name("site"), Api::Fleet.into(), NonZeroU32::MIN, expires).is_err());
        roster.invite(&invitation(), second, Api::Fleet.into(), NonZeroU32::MIN, expires).unwrap();
        let third = roster.redeem(peer(), &secret, now).unwrap();
        assert_eq!(third.name, Some(name("site-3")));

        let other = peer();
        roster.allow(other, Some(name("site-x")), Api::Fleet.into()).unwrap();
        assert!(!roster.withdraw_invitation_of(other) && !roster.withdraw_invitation_of(peer()));
        roster.invite(&invitation(), name("side"), Api::Fleet.into(), NonZeroU32::MIN, expires).unwrap();
        roster.rename(third.id, name("north")).unwrap();
        assert!(roster.withdraw_invitation_of(third.id) && !roster.withdraw_invitation_of(first));
        assert_eq!(
            roster.invitations().iter().map(|pending| pending.name.as_str()).collect::<Vec<_>>(),
            ["site-2", "side"]
        );
    }

    #[test]
    fn another_secret_or_another_day_enrols_nobody() {
        let (mut roster, own) = inviting(1);
        let before = roster.clone();
        assert_eq!(roster.redeem(peer(), invitation().secret(), Timestamp::now()), Err(NotInvited::Unknown));
        assert_eq!(roster.redeem(peer(), &own, Timestamp::now().plus(DAY)), Err(NotInvited::Expired));
        assert_eq!(roster, before);
    }

    #[test]
    fn a_denied_peer_is_not_admitted_by_an_invitation() {
        let peer = peer();
        let (mut roster, secret) = inviting(1);
        roster.deny(peer);
        assert_eq!(roster.redeem(peer, &secret, Timestamp::now()), Err(NotInvited::Denied));
        assert!(roster.peer(peer).unwrap().may_call().is_empty());
    }

    #[test]
    fn a_withdrawn_invitation_is_worth_nothing() {
        let (mut roster, secret) = inviting(1);
        assert!(roster.withdraw("site") && !roster.withdraw("site"));
        assert_eq!(roster.redeem(peer(), &secret, Timestamp::now()), Err(NotInvited::Unknown));
    }

    #[test]
    fn a_name_stands_for_one() {
        let (one, other) = (peer(), peer());
        let mut roster = Roster::default();
        roster.allow(one, Some(name("one")), Api::Fleet.into()).unwrap();
        roster.allow(one, Some(name("one")), Api::Control.into()).unwrap();
        assert!(roster.allow(other, Some(name("one")), Api::Fleet.into()).is_err());
        assert!(
            roster.invite(&invitation(), name("one"), Api::Fleet.into(), NonZeroU32::MIN, Timestamp::now()).is_err()
        );
        roster.allow(other, Some(name("other")), Api::Fleet.into()).unwrap();
        assert!(roster.rename(other, name("one")).is_err());
        let longest = name(&"x".repeat(64));
        assert_eq!(longest.numbered(2).as_str(), "x".repeat(62) + "-2");
        assert_eq!(roster.find("one").unwrap().id, one);
        assert_eq!(roster.find(&other.to_string()).unwrap().name, Some(name("other")));
        for text in ["", "a\nb", &"x".repeat(65), &one.to_string()] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
