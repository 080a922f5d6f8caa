//! Where the configured peers come from: the invitations to them, and their ticket files.

use std::collections::HashMap;

use iroh::{Endpoint, EndpointAddr, EndpointId};

use crate::{
    address_lookup::{Invitation, PeerAddr, PeerRelays},
    admission::enrolment::{self, Enrolment},
    config::{FunnelConfig, PeerConfig},
    transport::IrohConnector,
    tunnel::PeerSource,
};

/// Returns the source of each configured peer.
pub(super) fn of(config: &FunnelConfig, endpoint: &Endpoint) -> HashMap<EndpointId, PeerSource> {
    let maker =
        Maker { endpoint: endpoint.clone(), alpn: enrolment::alpn_of(&config.alpn), peer_relays: config.peer_relays() };
    config.peers.iter().map(|peer| (peer.addr.id, maker.source(peer))).collect()
}

#[derive(Clone)]
struct Maker {
    endpoint: Endpoint,
    alpn: Vec<u8>,
    peer_relays: PeerRelays,
}

impl Maker {
    fn source(&self, peer: &PeerConfig) -> PeerSource {
        let source = PeerSource::new(self.enrolment(&peer.addr, peer.invitation.as_ref()));
        match peer.ticket_file() {
            None => source,
            Some(file) => {
                let maker = self.clone();
                source.following(file, Box::new(move |peer| maker.accept(peer)))
            }
        }
    }

    /// Checks a peer that was read again as the configuration is checked.
    fn accept(&self, peer: &PeerAddr) -> Result<Option<Enrolment>, String> {
        if peer.addr().id == self.endpoint.id() {
            return Err("that is this funnel itself".to_owned());
        }
        self.peer_relays.check(peer.addr()).map_err(|refused| refused.to_string())?;
        Ok(self.enrolment(peer.addr(), peer.invitation()))
    }

    fn enrolment(&self, addr: &EndpointAddr, invitation: Option<&Invitation>) -> Option<Enrolment> {
        let connector = IrohConnector::new(self.endpoint.clone(), self.alpn.clone());
        connector.add_peer(addr.clone());
        Some(Enrolment::new(connector, invitation?))
    }
}
