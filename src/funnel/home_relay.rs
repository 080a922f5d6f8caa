//! Logs the state of this funnel's home relays, and makes iroh look for another one when the connection is lost.

use std::collections::{HashMap, HashSet};

use iroh::{Endpoint, RelayMap, RelayUrl, Watcher, endpoint::RelayStatus};
use tracing::{info, warn};

use crate::report::OnChange;

/// The state of a relay, as far as it is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RelayState {
    Connected,
    Refused(String),
    Unreachable,
}

/// What is known of the relays.
#[derive(Default)]
struct Relays {
    reported: HashMap<RelayUrl, OnChange<RelayState>>,
    connected: HashSet<RelayUrl>,
}

/// What happened to a connection to a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
enum Connection {
    Lost,
    Unchanged,
}

/// Logs each change, until the endpoint is closed.
///
/// By itself, iroh 1.4 looks for another home relay only with its next network report, every 20 to 26 s, and the first of
/// them may probe the lost relay alone (48 s were observed). Until then, peers that know no direct address cannot reach
/// this endpoint. Any change to the list of relays, even one that changes nothing, makes iroh probe all of them at once.
pub(crate) async fn watch_home_relay(endpoint: Endpoint, map: RelayMap) {
    let mut statuses = endpoint.home_relay_status();
    let mut relays = Relays::default();
    loop {
        for status in statuses.get() {
            if relays.update(&status) == Connection::Lost
                && let Some(same) = map.get(status.url())
            {
                endpoint.insert_relay(status.url().clone(), same).await;
            }
        }
        if statuses.updated().await.is_err() {
            return;
        }
    }
}

impl Relays {
    /// Records the status of a relay, and logs it if it has changed.
    fn update(&mut self, status: &RelayStatus) -> Connection {
        let Some(state) = RelayState::of(status) else { return Connection::Unchanged };
        let url = status.url();
        let is_connected = state == RelayState::Connected;
        self.reported.entry(url.clone()).or_default().run(state, |state| state.log(status));
        if is_connected {
            self.connected.insert(url.clone());
            return Connection::Unchanged;
        }
        if self.connected.remove(url) { Connection::Lost } else { Connection::Unchanged }
    }
}

impl RelayState {
    /// Returns `None` while the first attempt is in progress.
    fn of(status: &RelayStatus) -> Option<Self> {
        if status.is_connected() {
            return Some(Self::Connected);
        }
        match status.auth_denied_reason() {
            Some(reason) => Some(Self::Refused(reason.to_owned())),
            None => status.last_error().map(|_| Self::Unreachable),
        }
    }

    fn log(&self, status: &RelayStatus) {
        let relay = status.url();
        match self {
            Self::Connected => info!(%relay, "relay connected"),
            Self::Refused(reason) => warn!(
                %relay,
                ?reason,
                "the relay refuses this funnel: unless it is full, give its token (--relay URL,@FILE), or have this \
                 funnel's id allowed there"
            ),
            Self::Unreachable => {
                let error = status.last_error().map(|error| format!("{error:#}"));
                warn!(%relay, error, "the relay is unreachable; retrying");
            }
        }
    }
}
