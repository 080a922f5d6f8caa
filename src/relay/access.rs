//! Who may use the relay. Nobody may until told so.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use iroh::EndpointId;
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId};
use tracing::{debug, warn};

use crate::{
    access::Verdict,
    address_lookup::{Match, RelayToken},
    roster::{Roster, RosterFile, Standing},
    strangers::Strangers,
};

/// Who may use a relay: those on a list or a roster, those with the token, or everybody; but nobody whom the roster denies.
#[derive(Clone, Default)]
pub struct RelayAccess {
    peers: HashSet<EndpointId>,
    token: Option<RelayToken>,
    everybody: bool,
    roster: Option<RosterFile>,
}

impl RelayAccess {
    /// Nobody.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// Lets an endpoint in by its id, which it proves.
    #[must_use]
    pub fn peer(mut self, peer: EndpointId) -> Self {
        self.peers.insert(peer);
        self
    }

    /// Lets in whoever has the token.
    #[must_use]
    pub fn token(mut self, token: RelayToken) -> Self {
        self.token = Some(token);
        self
    }

    /// Lets in whom the roster lets in, and follows it: who is taken off it, or denied, is cut within a second.
    #[must_use]
    pub fn roster(mut self, roster: RosterFile) -> Self {
        self.roster = Some(roster);
        self
    }

    pub(super) fn roster_file(&self) -> Option<&RosterFile> {
        self.roster.as_ref()
    }

    /// Lets everybody in.
    #[must_use]
    pub fn everybody(mut self) -> Self {
        self.everybody = true;
        self
    }

    /// Whether nobody may use it.
    pub fn is_nobody(&self) -> bool {
        self.peers.is_empty() && self.token.is_none() && !self.everybody && self.roster.is_none()
    }

    /// Whether everybody may use it.
    pub fn is_everybody(&self) -> bool {
        self.everybody
    }

    fn admits(&self, roster: &Roster, peer: EndpointId, presented: Option<&str>) -> Verdict {
        let is_member = match roster.peer(peer).map(|member| member.standing) {
            Some(Standing::Denied) => return Verdict::Denied,
            Some(Standing::Allowed) => true,
            None => false,
        };
        let has_token = match (&self.token, presented) {
            (Some(token), Some(presented)) => token.matches(presented) == Match::Same,
            (None, _) | (_, None) => false,
        };
        Verdict::from(self.everybody || has_token || is_member || self.peers.contains(&peer))
    }

    /// What a client that is not let in has to do.
    fn refusal(&self, presented: Option<&str>) -> &'static str {
        match (&self.token, presented) {
            (Some(_), None) => "this relay wants a token, and none came",
            (Some(_), Some(_)) => "the token is not the one of this relay",
            (None, _) => "this endpoint id is not allowed here",
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

/// Decides on each client, and counts those inside.
#[derive(Debug)]
pub(super) struct Door {
    access: RelayAccess,
    roster: Mutex<Roster>,
    max_clients: NonZeroUsize,
    inside: Mutex<HashMap<ConnectionId, Client>>,
    strangers: Strangers,
}

/// A client inside, and what it showed.
#[derive(Debug)]
struct Client {
    peer: EndpointId,
    presented: Option<RelayToken>,
}

impl Door {
    pub(super) fn new(access: RelayAccess, roster: Roster, max_clients: NonZeroUsize) -> Self {
        let roster = Mutex::new(roster);
        Self { access, roster, max_clients, inside: Mutex::default(), strangers: Strangers::default() }
    }

    /// Puts another roster in force, and tells who inside is not let in by it.
    pub(super) fn follow(&self, roster: Roster) -> HashSet<EndpointId> {
        *self.roster.lock().unwrap_or_else(PoisonError::into_inner) = roster;
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let denied = |client: &&Client| {
            self.admits(client.peer, client.presented.as_ref().map(RelayToken::reveal)) == Verdict::Denied
        };
        inside.values().filter(denied).map(|client| client.peer).collect()
    }

    fn admits(&self, peer: EndpointId, presented: Option<&str>) -> Verdict {
        self.access.admits(&self.roster.lock().unwrap_or_else(PoisonError::into_inner), peer, presented)
    }

    fn enter(&self, connection: ConnectionId, client: Client) -> Verdict {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = inside.len() < self.max_clients.get();
        if has_room {
            inside.insert(connection, client);
        }
        Verdict::from(has_room)
    }
}

impl AccessControl for Door {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let (peer, token) = (request.endpoint_id(), request.auth_token());
        if self.admits(peer, token.as_deref()) == Verdict::Denied {
            let reason = self.access.refusal(token.as_deref());
            self.strangers.notice(peer, || {
                warn!(%peer, reason, "refused; to let it use this relay, start it with: --allow {peer}");
            });
            return Access::Deny { reason: Some(reason.to_owned()) };
        }
        let client = Client { peer, presented: token.and_then(|token| token.parse().ok()) };
        if self.enter(request.connection_id(), client) == Verdict::Denied {
            warn!(%peer, max_clients = self.max_clients, "refused: the relay has no room for more clients");
            return Access::Deny { reason: Some("this relay has no room for more clients".to_owned()) };
        }
        debug!(%peer, "client let in");
        Access::Allow
    }

    fn on_disconnect(&self, peer: EndpointId, connection: ConnectionId) {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).remove(&connection);
        debug!(%peer, "client gone");
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;
    use crate::protocol::ApiSet;

    #[test]
    fn nobody_is_let_in_until_told_so() {
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
}
