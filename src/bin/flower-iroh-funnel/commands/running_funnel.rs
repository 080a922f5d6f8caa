//! The running funnel that a command manages.

use std::path::PathBuf;

use flower_iroh_funnel::{
    EndpointId, FunnelConfigBuilder,
    control::{Answer, ControlError, ControlSocket, Outcome},
    roster::RosterFile,
};

use super::{ExitError, no_home_directory, print};

/// The funnel with the key, and the roster that the command changes.
pub(super) struct RunningFunnel {
    socket: ControlSocket,
    roster: PathBuf,
}

/// Whether a change is in force in the running funnel.
pub(super) enum Effect {
    /// It is, perhaps about this peer.
    InForce { pid: u32, peer: Option<EndpointId> },
    /// There is nothing in which it could be in force.
    NothingRuns(String),
    /// The funnel knows no peer with this name.
    UnknownPeer,
    /// It is not, with the reason and what to do.
    NotInForce(String),
}

impl RunningFunnel {
    pub(super) fn of(config: &FunnelConfigBuilder, roster: &RosterFile) -> Result<Self, ExitError> {
        let state_path = config.state_path();
        let state_path = state_path.ok_or_else(|| ExitError::usage(no_home_directory("the key", "--key-file")))?;
        Ok(Self { socket: ControlSocket::of_key_file(state_path), roster: roster.path().to_owned() })
    }

    /// Denies a peer at once.
    pub(super) async fn deny(&self, peer: &str) -> Effect {
        self.effect(self.socket.deny(peer, &self.roster).await)
    }

    /// Lifts the denial of a peer, and puts the roster in force.
    pub(super) async fn undeny(&self, peer: EndpointId) -> Effect {
        self.effect(self.socket.undeny(peer, &self.roster).await)
    }

    /// Puts the roster in force.
    pub(super) async fn reload(&self) -> Effect {
        self.effect(self.socket.reload(&self.roster).await)
    }

    fn effect(&self, answer: Result<Answer, ControlError>) -> Effect {
        let Answer { pid, outcome, .. } = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_not_running() => {
                return Effect::NothingRuns(
                    "no funnel with this key is running: it will be in force when it starts".to_owned(),
                );
            }
            Err(error) => return Effect::NotInForce(error.to_string()),
        };
        match outcome {
            Outcome::InForce { peer } => Effect::InForce { pid, peer },
            Outcome::UnknownPeer => Effect::UnknownPeer,
            Outcome::AdmitsNoPeer => Effect::NothingRuns(format!(
                "the running funnel (pid {pid}) exposes nothing: it will be in force when one starts that does"
            )),
            Outcome::NotInForce { reason } => Effect::NotInForce(format!(
                "the running funnel (pid {pid}) keeps the last valid roster: {reason}; repair the roster, or end that process"
            )),
            Outcome::OtherRoster { roster: Some(roster) } => Effect::NotInForce(format!(
                "the running funnel (pid {pid}) uses the roster {roster}, not {}: name its roster with --roster, or its \
                 configuration with --config",
                self.roster.display()
            )),
            Outcome::OtherRoster { roster: None } => Effect::NotInForce(format!(
                "the running funnel (pid {pid}) uses no roster; start it with --roster {}",
                self.roster.display()
            )),
            Outcome::Invalid { reason } => Effect::NotInForce(format!(
                "the running funnel (pid {pid}) does not understand this command: {reason}; start it again with this release"
            )),
            _ => Effect::NotInForce(format!(
                "this command does not understand the running funnel (pid {pid}); use the release of that funnel"
            )),
        }
    }
}

impl Effect {
    /// Prints whether the change is in force.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn print(&self) -> Result<(), ExitError> {
        match self {
            Self::InForce { pid, .. } => print(format_args!("in force in the running funnel (pid {pid})")),
            Self::NothingRuns(text) => print(text),
            Self::UnknownPeer => return Err(ExitError::not_in_force("the running funnel does not know this peer")),
            Self::NotInForce(reason) => return Err(ExitError::not_in_force(reason)),
        }
        Ok(())
    }
}
