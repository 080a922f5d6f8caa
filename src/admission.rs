//! Decides on a peer's link right after its handshake, and can end all links.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use iroh::{
    EndpointId,
    endpoint::{AfterHandshakeOutcome, Connection, EndpointHooks, Side, WeakConnectionHandle},
};
use tracing::warn;

use crate::{
    access::{AccessList, Verdict},
    inbound,
    transport::Code,
};

/// Strangers that were logged.
const MAX_STRANGERS: usize = 256;

/// The endpoint's door. A stranger costs a handshake and learns only that he is one.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    access: Arc<AccessList>,
    links: Arc<Mutex<Vec<WeakConnectionHandle>>>,
    strangers: Arc<Mutex<HashSet<EndpointId>>>,
}

impl Admission {
    pub(crate) fn new(access: Arc<AccessList>) -> Self {
        Self { access, links: Arc::default(), strangers: Arc::default() }
    }

    /// Closes every link of the endpoint.
    pub(crate) fn close_links(&self, code: Code, reason: &str) {
        let links = std::mem::take(&mut *self.links.lock().unwrap_or_else(PoisonError::into_inner));
        for link in links.iter().filter_map(WeakConnectionHandle::upgrade) {
            link.close(code.into(), reason.as_bytes());
        }
    }

    /// Logs each stranger once. One who comes with many names ends the logging, not the disk.
    fn notice(&self, peer: EndpointId) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.len() < MAX_STRANGERS && strangers.insert(peer) {
            warn!(%peer, "not admitted; to admit it, start this side with: --allow {peer}");
        }
    }

    fn remember(&self, connection: &Connection) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.upgrade().is_some_and(|link| link.close_reason().is_none()));
        links.push(connection.weak_handle());
    }
}

impl EndpointHooks for Admission {
    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        let peer = connection.remote_id();
        if connection.side() == Side::Server && self.access.admits(peer) == Verdict::Denied {
            self.notice(peer);
            let reason = inbound::not_admitted(peer).into_bytes();
            return AfterHandshakeOutcome::Reject { error_code: Code::REFUSED.into(), reason };
        }
        self.remember(connection);
        AfterHandshakeOutcome::Accept
    }
}
