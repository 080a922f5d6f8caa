//! The connections of the endpoint, held by weak handles.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use iroh::{
    EndpointId,
    endpoint::{Connection, WeakConnectionHandle},
};
use tokio::time::sleep;
use tracing::debug;

use super::Access;
use crate::{
    protocol::ApiSet,
    transport::{Code, LinkStats, Path, SilenceTimer},
};

/// The interval between two samples of the links' silence.
const TICK: Duration = Duration::from_secs(1);

/// The endpoint's connections. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next_number: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    connection: WeakConnectionHandle,
    direction: Direction,
    silence: SilenceTimer,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Outgoing,
    /// With the APIs that the peer was granted so far; none while the peer is denied.
    Incoming(ApiSet),
}

/// The present state of one peer's link.
#[derive(Clone, Debug)]
pub(crate) struct LinkReport {
    /// Counts the links of the endpoint since its start.
    pub(crate) number: u64,
    pub(crate) peer: EndpointId,
    pub(crate) path: Option<String>,
    /// UDP payload sent, in bytes.
    pub(crate) sent: u64,
    /// UDP payload received, in bytes.
    pub(crate) received: u64,
}

impl Connections {
    /// Adds a connection that this side dialled.
    pub(super) fn add_outgoing(&self, connection: &Connection) {
        self.add(connection, Direction::Outgoing);
    }

    /// Adds a connection whose peer dialled, with the APIs that it is granted.
    pub(super) fn add_incoming(&self, connection: &Connection, apis: ApiSet) {
        self.add(connection, Direction::Incoming(apis));
    }

    /// Closes the incoming connections of peers that lost an API, and returns which peers and with which code.
    ///
    /// The connection of a peer that was granted nothing is left to the hook, which is rejecting it.
    pub(super) fn enforce(&self, access: &Access) -> Vec<(EndpointId, Code)> {
        let mut ended = Vec::new();
        self.lock().entries.retain_mut(|entry| {
            let Direction::Incoming(granted) = &mut entry.direction else { return true };
            let Some(connection) = open(&entry.connection) else { return false };
            let peer = connection.remote_id();
            let apis = access.apis(peer);
            if granted.iter().all(|api| apis.contains(api)) {
                *granted = apis;
                return true;
            }
            let (code, reason) = if apis.is_empty() {
                (Code::REFUSED, super::not_admitted(peer))
            } else {
                (Code::RECONNECT, format!("it may now call: {apis}"))
            };
            connection.close(code.into(), reason.as_bytes());
            ended.push((peer, code));
            false
        });
        ended
    }

    /// Closes the incoming connections of peers that have fallen silent, indefinitely. A connection that this side dialled is
    /// watched by its tunnel.
    pub(super) async fn close_silent(&self) {
        loop {
            sleep(TICK).await;
            // Dropping a handle may close its connection, which may need this lock: the handles outlive the guard.
            let sampled: Vec<_> = self.lock().entries.iter_mut().filter_map(Entry::sample_silence).collect();
            for (connection, _) in sampled.iter().filter(|(_, is_silent)| *is_silent) {
                debug!(peer = %connection.remote_id().fmt_short(), "link closed: the peer fell silent");
                connection.close(Code::CANCELLED.into(), b"no answer");
            }
        }
    }

    pub(super) fn close_all(&self, code: Code, reason: &str) {
        let entries = std::mem::take(&mut self.lock().entries);
        for connection in entries.iter().filter_map(|entry| open(&entry.connection)) {
            connection.close(code.into(), reason.as_bytes());
        }
    }

    /// Returns a report on each open incoming connection.
    pub(super) fn reports(&self) -> Vec<LinkReport> {
        let incoming = |entry: &Entry| match entry.direction {
            Direction::Incoming(_) => Some((entry.number, open(&entry.connection)?)),
            Direction::Outgoing => None,
        };
        // Dropping a handle may close its connection, which may need this lock: the handles outlive the guard.
        let connections: Vec<_> = self.lock().entries.iter().filter_map(incoming).collect();
        connections.iter().map(|(number, connection)| LinkReport::of(*number, connection)).collect()
    }

    fn add(&self, connection: &Connection, direction: Direction) {
        let mut table = self.lock();
        table.entries.retain(|entry| open(&entry.connection).is_some());
        table.next_number += 1;
        let number = table.next_number;
        let silence = SilenceTimer::new(LinkStats::of(connection), TICK);
        table.entries.push(Entry { number, connection: connection.weak_handle(), direction, silence });
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the connection if it is neither dropped nor closed.
fn open(connection: &WeakConnectionHandle) -> Option<Connection> {
    connection.upgrade().filter(|connection| connection.close_reason().is_none())
}

impl Entry {
    /// Takes a sample of an incoming connection; returns it and whether its peer has fallen silent.
    fn sample_silence(&mut self) -> Option<(Connection, bool)> {
        let Direction::Incoming(_) = self.direction else { return None };
        let connection = open(&self.connection)?;
        self.silence.sample(LinkStats::of(&connection));
        Some((connection, self.silence.is_expired()))
    }
}

impl LinkReport {
    fn of(number: u64, connection: &Connection) -> Self {
        let stats = connection.stats();
        Self {
            number,
            peer: connection.remote_id(),
            path: Path::of(connection).map(|path| path.to_string()),
            sent: stats.udp_tx.bytes,
            received: stats.udp_rx.bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use iroh::{Endpoint, endpoint::presets};

    use super::*;
    use crate::{
        admission::{AccessList, roster::Roster},
        protocol::Api,
    };

    const ALPN: &[u8] = b"test";

    async fn endpoint() -> Endpoint {
        let builder = Endpoint::builder(presets::Minimal).alpns(vec![ALPN.to_vec()]).clear_ip_transports();
        builder.bind_addr("127.0.0.1:0").unwrap().bind().await.unwrap()
    }

    /// Both ends of one link: the inbound one first.
    async fn link(inbound: &Endpoint, outbound: &Endpoint) -> (Connection, Connection) {
        let (accepted, dialled) = tokio::join!(async { inbound.accept().await.unwrap().await.unwrap() }, async {
            outbound.connect(inbound.addr(), ALPN).await.unwrap()
        },);
        (accepted, dialled)
    }

    fn granting(peer: EndpointId, api: Api) -> Roster {
        let mut roster = Roster::default();
        roster.allow(peer, None, api.into()).unwrap();
        roster
    }

    #[tokio::test]
    async fn only_an_open_link_that_was_granted_something_is_ended_by_the_roster_and_once() {
        let (inbound, outbound) = (endpoint().await, endpoint().await);
        let access = Access::new(AccessList::default(), Roster::default());
        let links = [link(&inbound, &outbound).await, link(&inbound, &outbound).await, link(&inbound, &outbound).await];
        let [(denied, _denied), (closed, _closed), (granted, dialled)] = links;
        let connections = Connections::default();
        connections.add_incoming(&denied, ApiSet::EMPTY);
        connections.add_incoming(&closed, Api::Fleet.into());
        connections.add_incoming(&granted, Api::Fleet.into());
        closed.close(Code::DONE.into(), b"");
        assert_eq!(connections.enforce(&access), [(outbound.id(), Code::REFUSED)]);
        assert!(denied.close_reason().is_none(), "the hook rejects it");
        dialled.closed().await;
        assert_eq!(connections.enforce(&access), []);
    }

    #[tokio::test]
    async fn a_link_that_is_granted_apis_after_it_was_added_is_ended_when_it_loses_one() {
        let (inbound, outbound) = (endpoint().await, endpoint().await);
        let access = Access::new(AccessList::default(), granting(outbound.id(), Api::Fleet));
        let (accepted, _dialled) = link(&inbound, &outbound).await;
        let connections = Connections::default();
        connections.add_incoming(&accepted, ApiSet::EMPTY);
        assert_eq!(connections.enforce(&access), []);
        let _ = access.set_roster(granting(outbound.id(), Api::Control));
        assert_eq!(connections.enforce(&access), [(outbound.id(), Code::RECONNECT)]);
        assert_eq!(connections.reports().len(), 0);
    }
}
