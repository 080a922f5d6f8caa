//! A relay of one's own: where peers find no direct path, it hands on their packets, which it cannot read.
//!
//! The server is `iroh-relay`; here is what makes it one's own: who may use it, its certificate, its limits. It asks
//! nothing of anybody outside.

mod access;
mod config;
mod tls;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use iroh::RelayUrl;
use iroh_relay::server::{
    CertConfig, ClientRateLimit, QuicConfig, RelayConfig, Server, ServerConfig, TlsConfig as ServerTls,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use self::{access::Door, tls::Certificate};
pub use self::{
    access::RelayAccess,
    config::{DEFAULT_MAX_CLIENTS, DEFAULT_QUIC_PORT, RelayServerConfig, RelayServerConfigBuilder, RelayTls},
};
use crate::{
    error::Error,
    roster::{self, Roster, RosterFile},
};

/// A running relay. Dropped, it ends at once.
#[derive(Debug)]
pub struct RelayServer {
    server: Server,
    url: RelayUrl,
    ca_file: Option<PathBuf>,
    _following: Option<AbortOnDropHandle<()>>,
}

impl RelayServer {
    /// Binds its ports and begins to serve.
    ///
    /// # Errors
    /// A port that cannot be bound, or a certificate that cannot be read.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(config: RelayServerConfig) -> Result<Self, Error> {
        let listen = config.listen;
        let failed = |error| Error::relay(listen, error);
        let certificate = Certificate::of(&config.tls).await.map_err(failed)?;
        let ca_file = certificate.as_ref().and_then(|certificate| certificate.ca_file.clone());
        let (host, roster) = (config.host.clone(), config.access.roster_file().cloned());
        let listed = roster.as_ref().map_or(Ok(Roster::default()), RosterFile::load).map_err(Error::roster)?;
        let door = Arc::new(Door::new(config.access.clone(), listed, config.max_clients));
        let server = Server::spawn(server_config(config, Arc::clone(&door), certificate)).await;
        let server = server.map_err(|error| failed(error.into()))?;
        let url = url(host.as_deref(), &server);
        let following = roster.zip(server.relay_service().cloned()).map(|(file, service)| {
            tokio::spawn(roster::follow(file, move |roster| {
                for client in door.follow(roster) {
                    info!(peer = %client, "cut: the roster does not let it in any more");
                    service.clients().disconnect(client, None);
                }
            }))
        });
        Ok(Self { server, url, ca_file, _following: following.map(AbortOnDropHandle::new) })
    }

    /// Under which funnels use it: `--relay URL`.
    pub fn url(&self) -> &RelayUrl {
        &self.url
    }

    /// The certificate of the local authority that vouches for it, which funnels need a copy of: `--relay-ca FILE`.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The UDP address of QUIC address discovery, by which funnels learn their public addresses.
    pub fn quic_addr(&self) -> Option<SocketAddr> {
        self.server.quic_addr()
    }

    /// Waits until the relay has ended by itself, which it should not.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ended(&mut self) -> Error {
        match self.server.join().await {
            Ok(Ok(())) => Error::relay_ended(None),
            Ok(Err(error)) => Error::relay_ended(Some(error.into())),
            Err(error) => Error::relay_ended(Some(error.into())),
        }
    }

    /// Closes all connections and waits for their end.
    ///
    /// # Errors
    /// A part of the server failed while it ended.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.server.shutdown().await.map_err(|error| Error::relay_ended(Some(error.into())))
    }
}

fn server_config(config: RelayServerConfig, door: Arc<Door>, certificate: Option<Certificate>) -> ServerConfig {
    // With TLS this is the port of iroh's test for captive portals, which nobody but this machine needs.
    let plain = if certificate.is_some() { (Ipv4Addr::LOCALHOST, 0).into() } else { config.listen };
    let mut relay = RelayConfig::new(plain);
    relay.access = door;
    relay.limits.client_rx = config.client_rate.map(ClientRateLimit::new);
    let mut server = ServerConfig::default();
    if let Some(certificate) = certificate {
        let cert = CertConfig::Manual { server_config: certificate.server_config };
        relay.tls = Some(ServerTls::new(config.listen, cert));
        server.quic = Some(QuicConfig::new((config.listen.ip(), config.quic_port)));
    }
    server.relay = Some(relay);
    server.metrics_addr = config.metrics;
    server
}

fn url(host: Option<&str>, server: &Server) -> RelayUrl {
    let (scheme, addr) = match (server.https_addr(), server.http_addr()) {
        (Some(addr), _) => ("https", addr),
        (None, addr) => ("http", addr.expect("a relay that runs has an address")),
    };
    let url = match host {
        Some(host) => format!("{scheme}://{host}:{}", addr.port()),
        None => format!("{scheme}://{addr}"),
    };
    url.parse().expect("the configuration has checked the host")
}
