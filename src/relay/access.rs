//! Who may use the relay. Nobody may until told so.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use iroh::EndpointId;
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId, clients::Clients};
use tracing::{debug, info, warn};

use crate::{
    admission::{
        Verdict,
        roster::{Roster, RosterFile, Standing},
    },
    config::{Match, RelayToken},
    report::OncePerPeer,
    transport::RateLimit,
};

/// Connections of one client: it needs one, and those of its last starts count until they are known lost.
const MAX_OF_CLIENT: usize = 8;
const NOT_ALLOWED: &str = "this endpoint id is not allowed here";

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

    /// What a client that is not let in is told. Whom the roster denies learns nothing of the token.
    fn refusal(&self, roster: &Roster, peer: EndpointId, presented: Option<&str>) -> &'static str {
        let is_denied = roster.peer(peer).is_some_and(|member| member.standing == Standing::Denied);
        match (&self.token, presented) {
            _ if is_denied => NOT_ALLOWED,
            (Some(_), None) => "this relay wants a token, and none came",
            (Some(_), Some(_)) => "the token is not the one of this relay",
            (None, _) => NOT_ALLOWED,
        }
    }

    /// What the operator has to run to let `peer` in.
    fn remedy(&self, peer: EndpointId) -> String {
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

/// Decides on each client, and counts those inside.
#[derive(Debug)]
pub(super) struct Door {
    access: RelayAccess,
    max_clients: NonZeroUsize,
    room: Mutex<Room>,
    strangers: OncePerPeer,
    full: RateLimit,
}

/// Who is inside, and by which roster.
#[derive(Debug, Default)]
struct Room {
    roster: Roster,
    inside: HashMap<ConnectionId, Client>,
    /// Those inside whom the roster does not let in any more.
    outcasts: HashMap<ConnectionId, EndpointId>,
}

/// A client inside, and what it showed.
#[derive(Debug)]
struct Client {
    peer: EndpointId,
    presented: Option<RelayToken>,
}

impl Door {
    pub(super) fn new(access: RelayAccess, roster: Roster, max_clients: NonZeroUsize) -> Self {
        let room = Mutex::new(Room { roster, ..Room::default() });
        Self { access, max_clients, room, strangers: OncePerPeer::default(), full: RateLimit::default() }
    }

    /// Puts another roster in force. Who is inside and not let in by it is to be [`cut`](Self::cut).
    pub(super) fn follow(&self, roster: Roster) {
        let mut room = self.room();
        let denied = |client: &Client| {
            let presented = client.presented.as_ref().map(RelayToken::reveal);
            self.access.admits(&roster, client.peer, presented) == Verdict::Denied
        };
        let outcasts = room.inside.iter().filter(|(_, client)| denied(client));
        room.outcasts = outcasts.map(|(connection, client)| (*connection, client.peer)).collect();
        room.roster = roster;
    }

    /// Ends the connections of those whom the roster does not let in any more. One that is not registered yet stays: it is
    /// to be tried again when it is.
    pub(super) fn cut(&self, clients: &Clients) {
        let outcasts = self.room().outcasts.clone();
        for (connection, peer) in outcasts {
            if clients.disconnect(peer, Some(connection)) {
                self.room().outcasts.remove(&connection);
                info!(%peer, "cut: the roster does not let it in any more");
            }
        }
    }

    /// Decides and enters at once, so that no change of the roster falls in between.
    fn enter(&self, connection: ConnectionId, peer: EndpointId, token: Option<String>) -> Entry {
        let mut room = self.room();
        if self.access.admits(&room.roster, peer, token.as_deref()) == Verdict::Denied {
            return Entry::Refused(self.access.refusal(&room.roster, peer, token.as_deref()));
        }
        if room.inside.len() >= self.max_clients.get() {
            return Entry::Full;
        }
        if room.inside.values().filter(|client| client.peer == peer).count() >= MAX_OF_CLIENT {
            return Entry::TooMany;
        }
        let presented = token.and_then(|token| token.parse().ok());
        room.inside.insert(connection, Client { peer, presented });
        Entry::Inside
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has come of a client that wants to enter.
#[derive(Debug)]
#[must_use]
enum Entry {
    Inside,
    Full,
    /// Of this one.
    TooMany,
    Refused(&'static str),
}

impl AccessControl for Door {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let peer = request.endpoint_id();
        let reason = match self.enter(request.connection_id(), peer, request.auth_token()) {
            Entry::Inside => {
                debug!(%peer, "client let in");
                return Access::Allow;
            }
            Entry::Full => {
                let max_clients = self.max_clients;
                self.full.run(|| warn!(%peer, max_clients, "refused: the relay has no room for more clients"));
                "this relay has no room for more clients"
            }
            Entry::TooMany => {
                self.full.run(|| warn!(%peer, MAX_OF_CLIENT, "refused: this client has too many connections"));
                "this client has too many connections here"
            }
            Entry::Refused(reason) => {
                let remedy = || self.access.remedy(peer);
                self.strangers.run(peer, || warn!(%peer, reason, "refused; to let it use this relay, {}", remedy()));
                reason
            }
        };
        Access::Deny { reason: Some(reason.to_owned()) }
    }

    fn on_disconnect(&self, peer: EndpointId, connection: ConnectionId) {
        let mut room = self.room();
        room.inside.remove(&connection);
        room.outcasts.remove(&connection);
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

    #[test]
    fn a_refusal_says_what_is_true_and_tells_whom_the_roster_denies_nothing_of_the_token() {
        let (denied, stranger) = (SecretKey::generate().public(), SecretKey::generate().public());
        let access = RelayAccess::nobody().token("opensesame".parse().unwrap());
        let mut roster = Roster::default();
        roster.deny(denied);
        for presented in [None, Some("opensesame"), Some("opensesam")] {
            assert_eq!(access.refusal(&roster, denied, presented), NOT_ALLOWED);
        }
        assert!(access.refusal(&roster, stranger, None).contains("wants a token"));
        assert!(access.refusal(&roster, stranger, Some("opensesam")).contains("the token is not"));
        assert_eq!(RelayAccess::nobody().refusal(&roster, stranger, Some("opensesame")), NOT_ALLOWED);
        assert_eq!(access.remedy(stranger), format!("start it with: --allow {stranger}"));
        let remedy = access.roster(RosterFile::new("peers.toml")).remedy(stranger);
        assert_eq!(remedy, format!("run: flower-iroh-funnel peers --roster peers.toml allow {stranger}"));
    }
}
