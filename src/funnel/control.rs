//! What a running funnel does for the commands that reach its control socket.

use std::path::PathBuf;

use iroh::EndpointId;
use tokio::runtime::Handle;
use tracing::{info, warn};

use super::{Inner, reload::reload_roster};
use crate::{
    admission::{Admission, roster::RosterFile},
    control::{self, ControlServer, Handler, Outcome, Request, Status},
};

/// Answers the commands.
struct FunnelControl {
    admission: Admission,
    endpoint_id: EndpointId,
    exposes: bool,
    roster: Option<OwnRoster>,
    /// The runtime of the funnel. It may be busy, so no answer waits for it, except those about the roster.
    funnel: Handle,
}

/// The roster in use. Its paths are resolved at the start: its disk may hang later.
struct OwnRoster {
    resolved: String,
    written: String,
}

impl Inner {
    /// Opens the control socket, if there is a key file beside which it belongs. Without one the funnel serves all the same: it may
    /// be that its folder cannot be written.
    pub(super) async fn open_control_socket(&self) -> Option<ControlServer> {
        let state_path = self.state_path.as_deref()?;
        let handler = FunnelControl {
            admission: self.admission.clone(),
            endpoint_id: self.endpoint.id(),
            exposes: self.inbound.is_some(),
            roster: self.roster.as_ref().map(OwnRoster::of),
            funnel: Handle::current(),
        };
        match ControlServer::start(state_path, handler).await {
            Ok(server) => Some(server),
            Err(error) => {
                warn!(
                    state = %state_path.display(), %error,
                    "no control socket beside the key file (--state-dir names another folder): commands cannot ask this \
                     funnel, and a change of the roster is in force when it is next read"
                );
                None
            }
        }
    }
}

impl Handler for FunnelControl {
    async fn handle(&self, request: &Request) -> Outcome {
        match request {
            Request::Deny { roster, .. } | Request::Undeny { roster, .. } | Request::Reload { roster }
                if !self.uses(roster) =>
            {
                self.refuse()
            }
            Request::Deny { peer, .. } => self.deny(peer),
            Request::Undeny { peer, .. } => {
                self.admission.undeny(*peer);
                self.reload().await
            }
            Request::Reload { .. } => self.reload().await,
            Request::Status => Outcome::Status(self.status()),
            Request::Unknown => Outcome::Invalid { reason: "this release does not know the request".to_owned() },
        }
    }
}

impl FunnelControl {
    /// Returns whether the roster of a command is that of this funnel.
    fn uses(&self, roster: &str) -> bool {
        self.exposes && self.roster.as_ref().is_some_and(|own| [&*own.resolved, &*own.written].contains(&roster))
    }

    /// Returns the answer to a command about another roster.
    fn refuse(&self) -> Outcome {
        if self.exposes { Outcome::OtherRoster { roster: self.roster_path() } } else { Outcome::AdmitsNoPeer }
    }

    fn roster_path(&self) -> Option<String> {
        self.roster.as_ref().map(|own| own.resolved.clone())
    }

    fn deny(&self, peer: &str) -> Outcome {
        let Some(peer) = self.admission.find(peer) else { return Outcome::UnknownPeer };
        let ended = self.admission.deny(peer);
        // Not here: whoever reads the log may have stopped reading.
        self.funnel.spawn(async move {
            info!(%peer, "denied by a command");
            for (peer, code) in ended {
                info!(peer = %peer.fmt_short(), %code, "link ended: the peer is denied");
            }
        });
        Outcome::InForce { peer: Some(peer) }
    }

    async fn reload(&self) -> Outcome {
        match reload_roster(&self.admission).await {
            Ok(()) => Outcome::InForce { peer: None },
            Err(reason) => Outcome::NotInForce { reason },
        }
    }

    fn status(&self) -> Status {
        Status {
            endpoint_id: self.endpoint_id,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            roster: self.roster_path(),
            roster_health: self
                .admission
                .roster_health()
                .and_then(|health| health.problem)
                .unwrap_or_else(|| "ok".to_owned()),
        }
    }
}

impl OwnRoster {
    fn of(file: &RosterFile) -> Self {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let written = std::path::absolute(file.path()).unwrap_or_else(|_| file.path().to_owned());
        let resolved = control::resolved(file.path()).unwrap_or_else(|_| written.clone());
        Self { resolved: text(resolved), written: text(written) }
    }
}
