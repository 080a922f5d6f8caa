//! Where the address of a peer, and the invitation to it, come from.

use std::fmt;

use iroh::EndpointAddr;
use tracing::{info, warn};

use crate::{
    address_lookup::{PeerAddr, TicketFile},
    admission::enrolment::Enrolment,
};

/// Checks a peer that was read again, and makes the enrolment with it if there is an invitation.
type Accept = Box<dyn Fn(&PeerAddr) -> Result<Option<Enrolment>, String> + Send + Sync>;

/// The invitation to a peer, and the file that its operator may replace.
#[derive(Default)]
pub(crate) struct PeerSource {
    /// `None` once the peer has accepted or refused it.
    pub(super) enrolment: Option<Enrolment>,
    file: Option<(TicketFile, Accept)>,
}

impl PeerSource {
    pub(crate) fn new(enrolment: Option<Enrolment>) -> Self {
        Self { enrolment, file: None }
    }

    /// Follows the file, whose later contents `accept` checks.
    pub(crate) fn following(self, file: TicketFile, accept: Accept) -> Self {
        Self { file: Some((file, accept)), ..self }
    }

    /// Reads the file again, and returns the address in it if the file has changed.
    pub(super) async fn changed(&mut self) -> Option<EndpointAddr> {
        let (file, accept) = self.file.as_mut()?;
        let peer = file.changed().await?;
        let path = file.path().display();
        let id = peer.addr().id.fmt_short();
        match accept(&peer) {
            Ok(enrolment) => {
                info!("the ticket file {path} has changed: dialling {id} as it says now");
                self.enrolment = enrolment;
                Some(peer.addr().clone())
            }
            Err(reason) => {
                warn!("the ticket file {path} has changed, and is not followed: {reason}");
                None
            }
        }
    }
}

impl fmt::Debug for PeerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerSource").field("file", &self.file.as_ref().map(|(file, _)| file)).finish_non_exhaustive()
    }
}
