//! Who belongs: the peers that an operator let in or shut out, and the invitations that are open.
//!
//! The roster is a file that people read and edit as well (`peers.toml`). The command changes it, a running funnel follows
//! it, and an invitation that is used changes it from outside.

mod file;
mod find;
mod format;
mod name;
mod watch;

use std::{fmt, num::NonZeroU32};

use iroh::EndpointId;

#[cfg(fuzzing)]
pub(crate) use self::format::{read, write};
pub(crate) use self::watch::{Nudge, follow};
pub use self::{
    file::{RosterError, RosterFile},
    find::{UnknownName, names},
    name::{InvalidName, Name},
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
    /// What its operator is known as here.
    pub name: Option<Name>,
    /// Whether it is let in.
    pub standing: Standing,
    /// What it may call while it is let in.
    pub apis: ApiSet,
    /// When it was put on the roster.
    pub since: Timestamp,
    /// The invitation by which it came, while others may use it.
    invitation: Option<Digest>,
}

/// Whether a peer on the roster is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Allowed,
    /// It is shut out, whatever else lets it in.
    Denied,
}

/// An invitation that was made and may still be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pending {
    /// The name that who uses it gets; with more than one use, those after the first get a number as well. While some are
    /// left, it stands for the first peer and for the invitation.
    pub name: Name,
    /// What who uses it may call.
    pub apis: ApiSet,
    /// How often it may still be used.
    pub uses: NonZeroU32,
    /// When it ends.
    pub expires: Timestamp,
    secret: Digest,
}

/// Why an invitation is not taken. Who presents it learns no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotInvited {
    /// It was never made, or was used or withdrawn.
    Unknown,
    /// Its time is over.
    Expired,
    /// The peer was shut out by name.
    Denied,
}

impl Roster {
    /// The peers, in the order in which they came.
    pub fn peers(&self) -> &[Member] {
        &self.peers
    }

    /// The invitations that nobody has used up, those that have ended included.
    pub fn invitations(&self) -> &[Pending] {
        &self.invitations
    }

    /// The peer with this id.
    pub fn peer(&self, id: EndpointId) -> Option<&Member> {
        self.peers.iter().find(|peer| peer.id == id)
    }

    /// The peer that an operator means by an id or a name.
    pub fn find(&self, text: &str) -> Option<&Member> {
        match text.parse() {
            Ok(id) => self.peer(id),
            Err(_) => self.peers.iter().find(|peer| peer.name.as_ref().is_some_and(|name| name.as_str() == text)),
        }
    }

    /// Lets a peer in to exactly `apis`. A name replaces the one it had.
    ///
    /// # Errors
    /// Another has this name.
    pub fn allow(&mut self, id: EndpointId, name: Option<Name>, apis: ApiSet) -> Result<(), NameTaken> {
        self.put(id, name, |peer| (peer.standing, peer.apis) = (Standing::Allowed, apis))
    }

    /// Shuts a peer out, whatever else lets it in.
    pub fn deny(&mut self, id: EndpointId) {
        self.entry(id).standing = Standing::Denied;
    }

    /// Gives a peer on the roster a name.
    ///
    /// # Errors
    /// Another has this name.
    pub fn rename(&mut self, id: EndpointId, name: Name) -> Result<(), NameTaken> {
        self.put(id, Some(name), |_| {})
    }

    /// Takes a peer off the roster.
    pub fn remove(&mut self, id: EndpointId) {
        self.peers.retain(|peer| peer.id != id);
    }

    /// Opens an invitation, for `uses` peers. Of its secret only a digest is kept.
    ///
    /// # Errors
    /// The name is a peer's or another invitation's.
    pub fn invite(
        &mut self,
        invitation: &Invitation,
        name: Name,
        apis: ApiSet,
        uses: NonZeroU32,
        expires: Timestamp,
    ) -> Result<(), NameTaken> {
        if self.is_peers(&name) || self.is_invitations(&name) {
            return Err(NameTaken(name));
        }
        self.invitations.push(Pending { name, apis, uses, expires, secret: invitation.secret().digest() });
        Ok(())
    }

    /// Withdraws the invitations of this name, and says whether there was one.
    pub fn withdraw(&mut self, name: &str) -> bool {
        self.withdraw_where(|pending| pending.name.as_str() == name)
    }

    /// Withdraws what is left of the invitation by which a peer came: with another key it would be let in again. Says
    /// whether there was one.
    pub fn withdraw_invitation_of(&mut self, id: EndpointId) -> bool {
        let Some(invitation) = self.peer(id).and_then(|peer| peer.invitation) else { return false };
        self.withdraw_where(|pending| pending.secret == invitation)
    }

    fn withdraw_where(&mut self, is_it: impl Fn(&Pending) -> bool) -> bool {
        let before = self.invitations.len();
        self.invitations.retain(|pending| !is_it(pending));
        self.forget_gone();
        self.invitations.len() < before
    }

    /// Forgets by which invitation peers came, where it is gone.
    fn forget_gone(&mut self) {
        let Self { peers, invitations } = self;
        let is_gone = |invitation: &mut Digest| !invitations.iter().any(|pending| pending.secret == *invitation);
        for peer in peers {
            let _ = peer.invitation.take_if(is_gone);
        }
    }

    /// Takes an invitation: puts `id` on the roster and uses it once. Every invitation is compared, in constant time.
    pub(crate) fn redeem(&mut self, id: EndpointId, secret: &Secret, now: Timestamp) -> Result<Member, NotInvited> {
        let digest = secret.digest();
        let places: Vec<_> = self.invitations.iter().map(|pending| pending.secret == digest).collect();
        let place = places.iter().position(|is_it| *is_it).ok_or(NotInvited::Unknown)?;
        if self.peer(id).is_some_and(|peer| peer.standing == Standing::Denied) {
            return Err(NotInvited::Denied);
        }
        let pending = &mut self.invitations[place];
        if now >= pending.expires {
            return Err(NotInvited::Expired);
        }
        let (name, apis) = (pending.name.clone(), pending.apis);
        match NonZeroU32::new(pending.uses.get() - 1) {
            Some(left) => pending.uses = left,
            None => drop(self.invitations.remove(place)),
        }
        let name = self.free_name(name);
        let peer = self.entry(id);
        peer.name.get_or_insert(name);
        peer.apis = peer.apis.union(apis);
        peer.invitation = Some(digest);
        let peer = peer.clone();
        self.forget_gone();
        Ok(peer)
    }

    /// Forgets the invitations that have ended.
    pub fn forget_expired(&mut self, now: Timestamp) {
        self.withdraw_where(|pending| pending.expires <= now);
    }

    fn put(&mut self, id: EndpointId, name: Option<Name>, set: impl FnOnce(&mut Member)) -> Result<(), NameTaken> {
        if let Some(name) = &name {
            let is_own = self.peer(id).is_some_and(|peer| peer.name.as_ref() == Some(name));
            if !is_own && (self.is_peers(name) || self.is_invitations(name)) {
                return Err(NameTaken(name.clone()));
            }
        }
        let peer = self.entry(id);
        peer.name = name.or(peer.name.take());
        set(peer);
        Ok(())
    }

    fn entry(&mut self, id: EndpointId) -> &mut Member {
        let place = self.peers.iter().position(|peer| peer.id == id).unwrap_or_else(|| {
            let (standing, apis, since) = (Standing::Allowed, ApiSet::EMPTY, Timestamp::now());
            self.peers.push(Member { id, name: None, standing, apis, since, invitation: None });
            self.peers.len() - 1
        });
        &mut self.peers[place]
    }

    fn is_peers(&self, name: &Name) -> bool {
        self.peers.iter().any(|peer| peer.name.as_ref() == Some(name))
    }

    fn is_invitations(&self, name: &Name) -> bool {
        self.invitations.iter().any(|pending| pending.name == *name)
    }

    /// The name of an invitation itself, or with the first number that makes it free.
    fn free_name(&self, name: Name) -> Name {
        let is_free = |name: &Name| !self.is_peers(name) && !self.is_invitations(name);
        if !self.is_peers(&name) {
            return name;
        }
        (2..).map(|number| name.numbered(number)).find(is_free).expect("numbers do not end")
    }
}

impl Member {
    /// What it may call now.
    pub fn may_call(&self) -> ApiSet {
        match self.standing {
            Standing::Allowed => self.apis,
            Standing::Denied => ApiSet::EMPTY,
        }
    }
}

impl Standing {
    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }
}

/// The name stands for somebody else already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTaken(Name);

impl fmt::Display for NameTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is another peer's or invitation's name; choose another, or remove that one first", self.0)
    }
}

impl std::error::Error for NameTaken {}

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
    fn who_was_shut_out_comes_back_by_no_invitation() {
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
