//! The open links of the endpoint, held weakly.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iroh::{
    EndpointId,
    endpoint::{Connection, WeakConnectionHandle},
};

use crate::{
    access::Access,
    inbound,
    protocol::ApiSet,
    transport::{Code, Path},
};

#[derive(Clone, Debug, Default)]
pub(super) struct Links(Arc<Mutex<Vec<Known>>>);

#[derive(Debug)]
struct Known {
    link: WeakConnectionHandle,
    direction: Direction,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Outgoing,
    /// The peer could call these when it came.
    Incoming(ApiSet),
}

/// One peer's link as it is now.
#[derive(Clone, Debug)]
pub(crate) struct LinkReport {
    /// Among the links that are open.
    pub(crate) id: usize,
    pub(crate) peer: EndpointId,
    pub(crate) path: Option<String>,
    /// UDP payload, in bytes.
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Links {
    pub(super) fn remember_outgoing(&self, connection: &Connection) {
        self.remember(connection, Direction::Outgoing);
    }

    pub(super) fn remember_incoming(&self, connection: &Connection, apis: ApiSet) {
        self.remember(connection, Direction::Incoming(apis));
    }

    /// Closes the incoming links of peers that lost something, and tells which and how.
    pub(super) fn enforce(&self, access: &Access) -> Vec<(EndpointId, Code)> {
        let mut ended = Vec::new();
        self.known().retain_mut(|known| {
            let Direction::Incoming(granted) = &mut known.direction else { return true };
            let Some(link) = known.link.upgrade() else { return false };
            let peer = link.remote_id();
            let apis = access.apis(peer);
            let (code, reason) = if apis.is_empty() {
                (Code::REFUSED, inbound::not_admitted(peer))
            } else if granted.iter().any(|api| !apis.contains(api)) {
                (Code::RECONNECT, format!("it may now call: {apis}"))
            } else {
                *granted = apis;
                return true;
            };
            link.close(code.into(), reason.as_bytes());
            ended.push((peer, code));
            false
        });
        ended
    }

    pub(super) fn close_all(&self, code: Code, reason: &str) {
        let links = std::mem::take(&mut *self.known());
        for link in links.iter().filter_map(|known| known.link.upgrade()) {
            link.close(code.into(), reason.as_bytes());
        }
    }

    pub(super) fn reports(&self) -> Vec<LinkReport> {
        let incoming = |known: &Known| match known.direction {
            Direction::Incoming(_) => known.link.upgrade().filter(|link| link.close_reason().is_none()),
            Direction::Outgoing => None,
        };
        // A handle that is dropped may close its link, which may ask for this lock.
        let links: Vec<_> = self.known().iter().filter_map(incoming).collect();
        links.iter().map(LinkReport::of).collect()
    }

    fn remember(&self, connection: &Connection, direction: Direction) {
        let mut known = self.known();
        known.retain(|known| known.link.upgrade().is_some_and(|link| link.close_reason().is_none()));
        known.push(Known { link: connection.weak_handle(), direction });
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkReport {
    fn of(link: &Connection) -> Self {
        let stats = link.stats();
        Self {
            id: link.stable_id(),
            peer: link.remote_id(),
            path: Path::of(link).map(|path| path.to_string()),
            sent: stats.udp_tx.bytes,
            received: stats.udp_rx.bytes,
        }
    }
}
