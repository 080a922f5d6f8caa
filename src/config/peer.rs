//! The peers that local Flower clients reach.

use std::{net::SocketAddr, path::PathBuf};

use iroh::{EndpointAddr, EndpointId};

use crate::address_lookup::{Invitation, PeerAddr, TicketFile};

/// A peer that local Flower clients reach.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    pub(crate) name: Option<String>,
    pub(crate) addr: EndpointAddr,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) invitation: Option<Invitation>,
    pub(super) is_passthrough: bool,
    ticket_file: Option<PathBuf>,
}

impl From<PeerAddr> for PeerConfig {
    fn from(peer: PeerAddr) -> Self {
        Self { invitation: peer.invitation, ticket_file: peer.file, ..Self::new(peer.addr) }
    }
}

impl PeerConfig {
    /// Creates the configuration of the peer at `addr`. If it is an id without addresses, it is looked up when it is dialled.
    pub fn new(addr: impl Into<EndpointAddr>) -> Self {
        let addr = addr.into();
        Self { name: None, addr, listen: None, invitation: None, is_passthrough: false, ticket_file: None }
    }

    /// Creates the configuration of the peer that made an invitation. The invitation is presented to it if it does not admit
    /// this funnel.
    pub fn invited(invitation: Invitation) -> Self {
        PeerAddr::from(invitation).into()
    }

    /// Sets its name in the configuration.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the address where local Flower clients reach it. Default:
    /// [`FunnelConfig::flower_grpc_addr`](super::FunnelConfig::flower_grpc_addr).
    #[must_use]
    pub fn listen(mut self, listen: SocketAddr) -> Self {
        self.listen = Some(listen);
        self
    }

    /// Forwards bytes to it instead of calls, for TLS from Flower to Flower. The peer must grant it:
    /// [`Exposed::allow_passthrough`](super::Exposed::allow_passthrough).
    #[must_use]
    pub fn passthrough(mut self) -> Self {
        self.is_passthrough = true;
        self
    }

    /// Whether bytes are forwarded to it instead of calls.
    pub fn is_passthrough(&self) -> bool {
        self.is_passthrough
    }

    /// Returns the same peer without a local address of its own, so that it is reached at
    /// [`FunnelConfig::flower_grpc_addr`](super::FunnelConfig::flower_grpc_addr).
    #[must_use]
    pub fn without_listen(&self) -> Self {
        Self { listen: None, ..self.clone() }
    }

    /// Returns the peer's id.
    pub fn id(&self) -> EndpointId {
        self.addr.id
    }

    /// Returns the peer's address.
    pub fn addr(&self) -> &EndpointAddr {
        &self.addr
    }

    /// Returns its name in the configuration, if it has one.
    pub fn given_name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether it has this name in the configuration.
    pub fn has_name(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }

    /// Returns the file to read again when the peer is not reached, if it was read from one.
    pub(crate) fn ticket_file(&self) -> Option<TicketFile> {
        let (addr, invitation) = (self.addr.clone(), self.invitation.clone());
        TicketFile::of(PeerAddr { addr, invitation, file: self.ticket_file.clone() })
    }

    pub(super) fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.addr.id.fmt_short().to_string())
    }
}
