//! The relay's decision about each client.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, header::AUTHORIZATION};
use iroh::EndpointId;
use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId, clients::Clients};
use tracing::{debug, info, warn};

use super::{access::RelayAccess, client_address};
use crate::{
    admission::{Verdict, roster::Roster},
    config::RelayToken,
    report::StrangerLog,
    transport::{ArrivalRate, RateLimit, Source},
};

/// The most connections of one client. It needs one; those of its earlier starts count until they are known to be lost.
const MAX_OF_CLIENT: usize = 8;

/// Admits or denies each client, and counts those that are connected.
#[derive(Debug)]
pub(super) struct RelayGate {
    max_clients: NonZeroUsize,
    state: Mutex<State>,
    rate: ArrivalRate,
    /// By the address of the client, if it is known.
    strangers: StrangerLog<Option<Source>>,
    full: RateLimit,
    too_many: RateLimit,
}

/// The connected clients, and what admitted them.
#[derive(Debug)]
struct State {
    access: RelayAccess,
    roster: Roster,
    clients: HashMap<ConnectionId, Client>,
    /// Connected clients that are no longer admitted.
    denied: HashMap<ConnectionId, EndpointId>,
}

/// A connected client, and the token that it presented.
#[derive(Debug)]
struct Client {
    peer: EndpointId,
    presented: Option<RelayToken>,
}

impl RelayGate {
    pub(super) fn new(access: RelayAccess, roster: Roster, max_clients: NonZeroUsize) -> Self {
        let state = State { access, roster, clients: HashMap::new(), denied: HashMap::new() };
        Self {
            max_clients,
            state: Mutex::new(state),
            rate: ArrivalRate::default(),
            strangers: StrangerLog::new("refused"),
            full: RateLimit::default(),
            too_many: RateLimit::default(),
        }
    }

    /// Returns the rate of handshakes of clients that are not admitted.
    pub(super) fn rate(&self) -> &ArrivalRate {
        &self.rate
    }

    /// Returns whether a request presents the token, where funnels do.
    pub(super) fn has_token(&self, headers: &HeaderMap) -> bool {
        let presented = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        presented.is_some_and(|presented| self.state().access.has_token(presented))
    }

    /// Replaces the roster. Connected clients that it denies are to be [disconnected](Self::disconnect_denied).
    pub(super) fn set_roster(&self, roster: Roster) {
        let mut state = self.state();
        state.roster = roster;
        state.find_denied();
    }

    /// Replaces the token. Connected clients that presented another one are to be [disconnected](Self::disconnect_denied).
    pub(super) fn set_token(&self, token: RelayToken) {
        let mut state = self.state();
        state.access = state.access.clone().token(token);
        state.find_denied();
    }

    /// Closes the connections of clients that are no longer admitted. One that is not registered yet stays: call this
    /// again when it is.
    pub(super) fn disconnect_denied(&self, clients: &Clients) {
        let denied = self.state().denied.clone();
        for (connection, peer) in denied {
            if clients.disconnect(peer, Some(connection)) {
                self.state().denied.remove(&connection);
                info!(%peer, "disconnected: it is no longer admitted");
            }
        }
    }

    /// Decides and counts the client in one step, so that the roster does not change in between.
    fn admit(&self, connection: ConnectionId, peer: EndpointId, token: Option<String>) -> Admission {
        let mut state = self.state();
        if state.access.admits(&state.roster, peer, token.as_deref()) == Verdict::Denied {
            return Admission::Refused(state.access.refusal(&state.roster, peer, token.as_deref()));
        }
        if state.clients.len() >= self.max_clients.get() {
            return Admission::Full;
        }
        if state.clients.values().filter(|client| client.peer == peer).count() >= MAX_OF_CLIENT {
            return Admission::TooMany;
        }
        let presented = token.and_then(|token| token.parse().ok());
        state.clients.insert(connection, Client { peer, presented });
        Admission::Admitted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find_denied(&mut self) {
        let is_denied = |client: &Client| {
            let presented = client.presented.as_ref().map(RelayToken::reveal);
            self.access.admits(&self.roster, client.peer, presented) == Verdict::Denied
        };
        let denied = self.clients.iter().filter(|(_, client)| is_denied(client));
        self.denied = denied.map(|(connection, client)| (*connection, client.peer)).collect();
    }
}

/// The decision about a client.
#[derive(Debug)]
#[must_use]
enum Admission {
    Admitted,
    /// The relay has too many clients.
    Full,
    /// This client has too many connections.
    TooMany,
    Refused(&'static str),
}

impl AccessControl for RelayGate {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let (peer, client) = (request.endpoint_id(), client_address::get(request.headers()));
        let address = client.map(tracing::field::display);
        let reason = match self.admit(request.connection_id(), peer, request.auth_token()) {
            Admission::Admitted => {
                debug!(%peer, address, "client admitted");
                client.inspect(|client| self.rate.succeeded(&(*client).into()));
                return Access::Allow;
            }
            Admission::Full => {
                let max_clients = self.max_clients;
                self.full.run(|| warn!(%peer, max_clients, "refused: the relay has no room for more clients"));
                "this relay has no room for more clients"
            }
            Admission::TooMany => {
                self.too_many.run(|| warn!(%peer, MAX_OF_CLIENT, "refused: this client has too many connections"));
                "this client has too many connections here"
            }
            Admission::Refused(reason) => {
                let remedy = || self.state().access.remedy(peer);
                let source = client.map(Source::from);
                self.strangers.run(
                    peer,
                    source,
                    || warn!(%peer, address, reason, "refused; to admit it, {}", remedy()),
                );
                reason
            }
        };
        Access::Deny { reason: Some(reason.to_owned()) }
    }

    fn on_disconnect(&self, peer: EndpointId, connection: ConnectionId) {
        let mut state = self.state();
        state.clients.remove(&connection);
        state.denied.remove(&connection);
        debug!(%peer, "client disconnected");
    }
}
