//! Tells the operator how this funnel stands with its home relay, and looks for another one when it is lost.

use std::collections::HashMap;

use iroh::{Endpoint, RelayMap, RelayUrl, Watcher, endpoint::RelayStatus};
use tracing::{info, warn};

/// What was last said of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Connected,
    Refused(String),
    Lost,
}

/// What a change of standing asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
enum Look {
    Around,
    Not,
}

/// Logs each change, until the endpoint is gone.
///
/// By itself iroh 1.4 looks for another home only with its next report of the network, each 20 to 26 s, and the first one
/// may measure the lost relay alone (48 s were seen). DeadlineBody then peers that know no direct way find nobody. A change of
/// the list of relays, be it none, makes it measure them all at once.
pub(crate) async fn watch_home_relay(endpoint: Endpoint, relays: RelayMap) {
    let mut statuses = endpoint.home_relay_status();
    let mut told = HashMap::new();
    loop {
        for status in statuses.get() {
            if tell(&status, &mut told) == Look::Around
                && let Some(same) = relays.get(status.url())
            {
                endpoint.insert_relay(status.url().clone(), same).await;
            }
        }
        if statuses.updated().await.is_err() {
            return;
        }
    }
}

fn tell(status: &RelayStatus, told: &mut HashMap<RelayUrl, Standing>) -> Look {
    let Some(standing) = standing(status) else { return Look::Not };
    let before = told.insert(status.url().clone(), standing.clone());
    if before.as_ref() == Some(&standing) {
        return Look::Not;
    }
    let relay = status.url();
    let look = if before == Some(Standing::Connected) { Look::Around } else { Look::Not };
    match standing {
        Standing::Connected => info!(%relay, "relay connected"),
        Standing::Refused(reason) => warn!(
            %relay,
            ?reason,
            "the relay refuses this funnel: unless it is full, give its token (--relay URL,@FILE), or have this funnel's id \
             allowed there"
        ),
        Standing::Lost => {
            let error = status.last_error().map(|error| format!("{error:#}"));
            warn!(%relay, error, "the relay is not reached; it is tried again");
        }
    }
    look
}

fn standing(status: &RelayStatus) -> Option<Standing> {
    if status.is_connected() {
        return Some(Standing::Connected);
    }
    match status.auth_denied_reason() {
        Some(reason) => Some(Standing::Refused(reason.to_owned())),
        None => status.last_error().map(|_| Standing::Lost),
    }
}
