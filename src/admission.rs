//! Decides which peers may have a link and which APIs they may call, and closes links when a decision changes.
//!
//! ```text
//! a peer dials ─► hook ─► access ◄─ access_list (command line, configuration)
//!                   │       ▲
//!                   │       └────── roster (a file that is watched)
//!                   ├─► enrolment (an invitation is redeemed: the roster changes)
//!                   └─► connections, audit, peer_status (what was decided, and what was seen)
//! ```

mod access;
mod access_list;
pub(crate) mod audit;
mod connections;
pub(crate) mod enrolment;
mod hook;
pub(crate) mod peer_status;
mod pending;
pub mod roster;
mod timestamp;

use std::sync::Arc;

use iroh::EndpointId;
use tracing::info;

pub(crate) use self::{
    access::{Access, Change},
    access_list::{AccessList, Verdict, warn_of_trust},
    connections::LinkReport,
};
use self::{
    audit::{Audit, Event, Outcome},
    connections::Connections,
    enrolment::EnrolmentServer,
    roster::{Roster, RosterFile, RosterHealth},
};
pub use self::{
    peer_status::{FunnelStatus, PeerStatus, StatusFile},
    timestamp::{InvalidTimestamp, Timestamp},
};
use crate::{
    report::StrangerLog,
    transport::{Code, Source},
};

/// Admits peers to the endpoint, as its hook, and keeps track of their links. Clones share their state.
///
/// A denied peer costs a handshake and learns only that it is denied.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    access: Access,
    audit: Audit,
    enrolments: Option<Arc<EnrolmentServer>>,
    connections: Connections,
    denied: StrangerLog<Source>,
}

impl Admission {
    pub(crate) fn new(access: Access, audit: Audit) -> Self {
        let denied = StrangerLog::new("not admitted");
        Self { access, audit, enrolments: None, connections: Connections::default(), denied }
    }

    /// Redeems invitations on links for `alpn`, and adds the peers that present them to `roster`.
    pub(crate) fn enrolling(self, alpn: Vec<u8>, roster: RosterFile) -> Self {
        Self { enrolments: Some(Arc::new(EnrolmentServer::new(alpn, roster))), ..self }
    }

    /// Watches the roster, if there is one, indefinitely.
    pub(crate) async fn watch_roster(self) {
        if let Some(enrolments) = &self.enrolments {
            let in_force = Roster::clone(&self.access.roster());
            enrolments.watch_roster(in_force, |roster| self.set_roster(roster)).await;
        }
    }

    /// Returns whether the roster can be followed; `None` if there is none.
    pub(crate) fn roster_health(&self) -> Option<RosterHealth> {
        self.enrolments.as_ref().map(|enrolments| enrolments.roster_health())
    }

    /// Puts another roster in force, and ends the links of peers that lose access by it.
    fn set_roster(&self, roster: Roster) {
        let trusting = self.access.list().trusting_apis();
        if self.access.set_roster(roster) == Change::None {
            return;
        }
        info!("the roster has changed");
        self.access.list().trusting_apis().iter().filter(|api| !trusting.contains(*api)).for_each(warn_of_trust);
        for (peer, code) in self.end_links() {
            info!(peer = %peer.fmt_short(), %code, "link ended: the roster has changed");
        }
    }

    /// Denies a peer above configuration and roster until [`undeny`](Self::undeny), and ends its links, which are returned. Waits
    /// for nothing, so it does not log either.
    pub(crate) fn deny(&self, peer: EndpointId) -> Vec<(EndpointId, Code)> {
        self.access.deny(peer);
        self.audit.record(peer, || self.access.name(peer), Event::Standing, Outcome::Denied);
        self.end_links()
    }

    /// Lifts a denial by [`deny`](Self::deny).
    pub(crate) fn undeny(&self, peer: EndpointId) {
        self.access.undeny(peer);
        self.audit.record(peer, || self.access.name(peer), Event::Standing, Outcome::Allowed);
    }

    /// Puts the roster as it is in the file in force. Waits until it is, without a deadline.
    ///
    /// # Errors
    /// Why the roster cannot be used; the last valid one stays in force.
    pub(crate) async fn reload_roster(&self) -> Result<(), String> {
        match &self.enrolments {
            Some(enrolments) => enrolments.reload_roster().await,
            None => Ok(()),
        }
    }

    /// Returns the peer with this endpoint id, on the roster or not, or with this name on the roster.
    pub(crate) fn find(&self, peer: &str) -> Option<EndpointId> {
        self.access.find(peer)
    }

    /// Ends the links of peers that lost access, and returns their peers.
    fn end_links(&self) -> Vec<(EndpointId, Code)> {
        let ended = self.connections.enforce(&self.access);
        for (peer, _) in &ended {
            self.audit.record(*peer, || self.access.name(*peer), Event::Link, Outcome::Ended);
        }
        ended
    }

    /// Closes the links of peers that dialled and have fallen silent, indefinitely.
    pub(crate) async fn close_silent_links(self) {
        self.connections.close_silent().await;
    }

    /// Closes every link of the endpoint.
    pub(crate) fn close_links(&self, code: Code, reason: &str) {
        self.connections.close_all(code, reason);
    }

    /// Returns a report on each link that a peer dialled.
    pub(crate) fn reports(&self) -> Vec<LinkReport> {
        self.connections.reports()
    }

    /// Returns whether the peer may have a link.
    pub(crate) fn admits(&self, peer: EndpointId) -> bool {
        self.access.list().admits(peer) == Verdict::Allowed
    }

    pub(crate) fn is_on_roster(&self, peer: EndpointId) -> bool {
        self.access.is_on_roster(peer)
    }
}

/// The reason that a denied peer receives. Its operator passes it on to the operator of this funnel.
pub(crate) fn not_admitted(peer: EndpointId) -> String {
    format!(
        "it is not on the list there; to admit it, the other side runs: flower-iroh-funnel peers allow {peer}, or starts \
         with: --allow {peer}"
    )
}
