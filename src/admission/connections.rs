//! The open links of the endpoint, held weakly.

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

/// Between two looks at whether peers have fallen silent.
const TICK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    came: u64,
    links: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    number: u64,
    link: WeakConnectionHandle,
    direction: Direction,
    silence: SilenceTimer,
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
    /// Among all links that there were.
    pub(crate) number: u64,
    pub(crate) peer: EndpointId,
    pub(crate) path: Option<String>,
    /// UDP payload, in bytes.
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Connections {
    pub(super) fn remember_outgoing(&self, connection: &Connection) {
        self.remember(connection, Direction::Outgoing);
    }

    pub(super) fn remember_incoming(&self, connection: &Connection, apis: ApiSet) {
        self.remember(connection, Direction::Incoming(apis));
    }

    /// Closes the incoming links of peers that lost something, and tells which and how.
    pub(super) fn enforce(&self, access: &Access) -> Vec<(EndpointId, Code)> {
        let mut ended = Vec::new();
        self.open().links.retain_mut(|known| {
            let Direction::Incoming(granted) = &mut known.direction else { return true };
            let Some(link) = known.link.upgrade() else { return false };
            let peer = link.remote_id();
            let apis = access.apis(peer);
            let (code, reason) = if apis.is_empty() {
                (Code::REFUSED, super::not_admitted(peer))
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

    /// Closes the incoming links of peers that have fallen silent, for ever. Connections that this side dialled have who cares for
    /// them.
    pub(super) async fn give_up_silent(&self) {
        loop {
            sleep(TICK).await;
            // A handle that is dropped may close its link, which may ask for this lock.
            let links: Vec<_> = self.open().links.iter_mut().filter_map(Known::listen).collect();
            for (link, _) in links.iter().filter(|(link, is_lost)| *is_lost && link.close_reason().is_none()) {
                debug!(peer = %link.remote_id().fmt_short(), "link given up: the peer fell silent");
                link.close(Code::CANCELLED.into(), b"no answer");
            }
        }
    }

    pub(super) fn close_all(&self, code: Code, reason: &str) {
        let links = std::mem::take(&mut self.open().links);
        for link in links.iter().filter_map(|known| known.link.upgrade()) {
            link.close(code.into(), reason.as_bytes());
        }
    }

    pub(super) fn reports(&self) -> Vec<LinkReport> {
        let incoming = |known: &Known| match known.direction {
            Direction::Incoming(_) => Some((known.number, known.link.upgrade()?)),
            Direction::Outgoing => None,
        };
        // A handle that is dropped may close its link, which may ask for this lock.
        let links: Vec<_> = self.open().links.iter().filter_map(incoming).collect();
        let open = links.iter().filter(|(_, link)| link.close_reason().is_none());
        open.map(|(number, link)| LinkReport::of(*number, link)).collect()
    }

    fn remember(&self, connection: &Connection, direction: Direction) {
        let mut open = self.open();
        open.links.retain(|known| known.link.upgrade().is_some_and(|link| link.close_reason().is_none()));
        open.came += 1;
        let number = open.came;
        let silence = SilenceTimer::new(LinkStats::of(connection), TICK);
        open.links.push(Known { number, link: connection.weak_handle(), direction, silence });
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The link, if its peer dialled, and whether that has fallen silent.
    fn listen(&mut self) -> Option<(Connection, bool)> {
        let Direction::Incoming(_) = self.direction else { return None };
        let link = self.link.upgrade()?;
        self.silence.sample(LinkStats::of(&link));
        Some((link, self.silence.is_expired()))
    }
}

impl LinkReport {
    fn of(number: u64, link: &Connection) -> Self {
        let stats = link.stats();
        Self {
            number,
            peer: link.remote_id(),
            path: Path::of(link).map(|path| path.to_string()),
            sent: stats.udp_tx.bytes,
            received: stats.udp_rx.bytes,
        }
    }
}
