//! The peers that may use a relay. By default there are none.

use std::{collections::HashSet, fmt};

use iroh::EndpointId;

use crate::{
    admission::{
        Verdict,
        roster::{Roster, RosterFile, Standing},
    },
    config::{Match, RelayToken},
};

const NOT_ALLOWED: &str = "this endpoint id is not allowed here";

/// The peers that may use a relay: those on a list or a roster, those with the token, or all; but none that the roster
/// denies.
#[derive(Clone, Default)]
pub struct RelayAccess {
    peers: HashSet<EndpointId>,
    token: Option<RelayToken>,
    everybody: bool,
    roster: Option<RosterFile>,
}

impl RelayAccess {
    /// Admits no peer.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// Admits a peer by its endpoint id, which it proves.
    #[must_use]
    pub fn peer(mut self, peer: EndpointId) -> Self {
        self.peers.insert(peer);
        self
    }

    /// Admits every peer that has the token.
    #[must_use]
    pub fn token(mut self, token: RelayToken) -> Self {
        self.token = Some(token);
        self
    }

    /// Admits the peers that the roster admits, and follows the file: a peer that is removed or denied is disconnected
    /// within a second.
    #[must_use]
    pub fn roster(mut self, roster: RosterFile) -> Self {
        self.roster = Some(roster);
        self
    }

    pub(super) fn roster_file(&self) -> Option<&RosterFile> {
        self.roster.as_ref()
    }

    /// Admits every peer.
    #[must_use]
    pub fn everybody(mut self) -> Self {
        self.everybody = true;
        self
    }

    /// Whether no peer may use it.
    pub fn is_nobody(&self) -> bool {
        self.peers.is_empty() && self.token.is_none() && !self.everybody && self.roster.is_none()
    }

    /// Whether every peer may use it.
    pub fn is_everybody(&self) -> bool {
        self.everybody
    }

    pub(super) fn admits(&self, roster: &Roster, peer: EndpointId, presented: Option<&str>) -> Verdict {
        let is_member = match roster.peer(peer).map(|member| member.standing) {
            Some(Standing::Denied) => return Verdict::Denied,
            Some(Standing::Allowed) => true,
            None => false,
        };
        let has_token = presented.is_some_and(|presented| self.has_token(presented));
        Verdict::from(self.everybody || has_token || is_member || self.peers.contains(&peer))
    }

    /// Returns whether `presented` is the token.
    pub(super) fn has_token(&self, presented: &str) -> bool {
        self.token.as_ref().is_some_and(|token| token.matches(presented) == Match::Same)
    }

    /// The reason that a denied client receives. A client that the roster denies learns nothing about the token.
    pub(super) fn refusal(&self, roster: &Roster, peer: EndpointId, presented: Option<&str>) -> &'static str {
        let is_denied = roster.peer(peer).is_some_and(|member| member.standing == Standing::Denied);
        match (&self.token, presented) {
            _ if is_denied => NOT_ALLOWED,
            (Some(_), None) => "this relay requires a token, and none was sent",
            (Some(_), Some(_)) => "the token is not the one of this relay",
            (None, _) => NOT_ALLOWED,
        }
    }

    /// What the operator has to run to admit `peer`.
    pub(super) fn remedy(&self, peer: EndpointId) -> String {
        match &self.roster {
            Some(file) => format!("run: flower-iroh-funnel peers --roster {} allow {peer}", file.path().display()),
            None => format!("start it with: --allow {peer}"),
        }
    }
}

impl fmt::Debug for RelayAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayAccess")
            .field("peers", &self.peers.len())
            .field("token", &self.token)
            .field("everybody", &self.everybody)
            .field("roster", &self.roster)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;
    use crate::protocol::ApiSet;

    #[test]
    fn no_peer_is_admitted_by_default() {
        let peer = SecretKey::generate().public();
        let roster = Roster::default();
        assert_eq!(RelayAccess::nobody().admits(&roster, peer, None), Verdict::Denied);
        assert_eq!(RelayAccess::nobody().admits(&roster, peer, Some("")), Verdict::Denied);
        assert_eq!(RelayAccess::nobody().everybody().admits(&roster, peer, None), Verdict::Allowed);
    }

    #[test]
    fn an_id_or_the_token_is_enough_and_nothing_else_is() {
        let (listed, stranger) = (SecretKey::generate().public(), SecretKey::generate().public());
        let access = RelayAccess::nobody().peer(listed).token("opensesame".parse().unwrap());
        let mut roster = Roster::default();
        assert_eq!(access.admits(&roster, listed, None), Verdict::Allowed);
        assert_eq!(access.admits(&roster, stranger, Some("opensesame")), Verdict::Allowed);
        assert_eq!(access.admits(&roster, stranger, Some("opensesam")), Verdict::Denied);
        assert_eq!(access.admits(&roster, stranger, None), Verdict::Denied);
        assert!(!format!("{access:?}").contains("opensesame"));
        roster.allow(stranger, None, ApiSet::EMPTY).unwrap();
        assert_eq!(access.admits(&roster, stranger, None), Verdict::Allowed);
        roster.deny(stranger);
        assert_eq!(access.everybody().admits(&roster, stranger, Some("opensesame")), Verdict::Denied);
    }

    #[test]
    fn a_refusal_gives_its_reason_and_reveals_nothing_about_the_token_to_a_denied_peer() {
        let (denied, stranger) = (SecretKey::generate().public(), SecretKey::generate().public());
        let access = RelayAccess::nobody().token("opensesame".parse().unwrap());
        let mut roster = Roster::default();
        roster.deny(denied);
        for presented in [None, Some("opensesame"), Some("opensesam")] {
            assert_eq!(access.refusal(&roster, denied, presented), NOT_ALLOWED);
        }
        assert!(access.refusal(&roster, stranger, None).contains("requires a token"));
        assert!(access.refusal(&roster, stranger, Some("opensesam")).contains("the token is not"));
        assert_eq!(RelayAccess::nobody().refusal(&roster, stranger, Some("opensesame")), NOT_ALLOWED);
        assert_eq!(access.remedy(stranger), format!("start it with: --allow {stranger}"));
        let remedy = access.roster(RosterFile::new("peers.toml")).remedy(stranger);
        assert_eq!(remedy, format!("run: flower-iroh-funnel peers --roster peers.toml allow {stranger}"));
    }
}
