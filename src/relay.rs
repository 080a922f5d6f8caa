//! A self-hosted relay: it forwards the packets of peers that find no direct path, and cannot read them.
//!
//! The server is `iroh-relay`; this module adds access control, the certificate and limits. It contacts no other server.

mod access;
mod arrivals;
mod client_address;
mod config;
mod forwarded;
mod gate;
mod proxies;
mod proxy_protocol;
mod reload;
mod tls;

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use http::{HeaderMap, Method, Request, Response, StatusCode, response::Builder};
use http_body_util::Empty;
use hyper::body::Incoming;
use iroh::RelayUrl;
use iroh_metrics::{Registry, service::MetricsServer};
use iroh_relay::{
    KeyCache,
    defaults::DEFAULT_KEY_CACHE_CAPACITY,
    http::RELAY_PROBE_PATH,
    server::{
        ClientRateLimit, DynAccessControl, QuicConfig, RelayMetrics, Server, ServerConfig,
        http_server::{BytesBody, Handlers, HyperResult, RelayService},
    },
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

pub use self::{
    access::RelayAccess,
    config::{DEFAULT_MAX_CLIENTS, DEFAULT_QUIC_PORT, RelayServerConfig, RelayServerConfigBuilder, RelayTls},
    proxies::{InvalidTrustedProxies, TrustedProxies},
};
use self::{
    arrivals::{Arrivals, Proxies},
    gate::RelayGate,
    tls::{Certificate, CertificateFiles},
};
use crate::{
    admission::roster::{self, Roster, RosterFile, WatchHandle},
    error::Error,
    protocol::BoxError,
};

/// A running relay. Dropping it stops it immediately.
#[derive(Debug)]
pub struct RelayServer {
    url: RelayUrl,
    ca_file: Option<PathBuf>,
    service: RelayService,
    gate: Arc<RelayGate>,
    certificate_files: Option<Arc<CertificateFiles>>,
    watch: WatchHandle,
    accepting: AbortOnDropHandle<Infallible>,
    discovery: Option<Server>,
    _metrics: Option<MetricsServer>,
    _following: Option<AbortOnDropHandle<()>>,
}

impl RelayServer {
    /// Binds the ports and starts to serve.
    ///
    /// # Errors
    /// If a port cannot be bound, or a certificate cannot be read.
    ///
    /// # Panics
    /// If called outside a tokio runtime.
    pub async fn start(config: RelayServerConfig) -> Result<Self, Error> {
        let listen = config.listen;
        let roster = config.access.roster_file().cloned();
        let listed = roster.as_ref().map_or(Ok(Roster::default()), RosterFile::load).map_err(Error::roster)?;
        let gate = Arc::new(RelayGate::new(config.access.clone(), listed.clone(), config.max_clients));
        let certificate = Certificate::load(&config.tls).await?;
        let serving = Self::serve(config, certificate, Arc::clone(&gate)).await;
        let mut relay = serving.map_err(|error| Error::relay(listen, error))?;
        let (service, watch) = (relay.service.clone(), relay.watch.clone());
        relay._following = roster.map(|file| {
            spawn(roster::watch(file, listed, watch, move |roster| {
                gate.set_roster(roster);
                gate.disconnect_denied(service.clients());
            }))
        });
        Ok(relay)
    }

    async fn serve(
        config: RelayServerConfig,
        certificate: Option<Certificate>,
        gate: Arc<RelayGate>,
    ) -> Result<Self, BoxError> {
        let listener = TcpListener::bind(config.listen).await?;
        let url = url(&config, listener.local_addr()?);
        let discovery = match &certificate {
            Some(certificate) => Some(discovery(&config, certificate).await?),
            None => None,
        };
        let metrics = discovery.as_ref().map(|server| server.metrics().clone()).unwrap_or_default();
        let service = service(&config, Arc::<RelayGate>::clone(&gate), &metrics);
        let (tls, ca_file, certificate_files) = match certificate {
            Some(Certificate { server_config, ca_file, files }) => {
                (Some(TlsAcceptor::from(Arc::new(server_config))), ca_file, files)
            }
            None => (None, None, None),
        };
        let (proxy_protocol, forwarded) = (config.proxy_protocol, config.trust_forwarded);
        let arrivals = Arrivals::new(tls, service.clone(), Arc::clone(&gate), Proxies { proxy_protocol, forwarded });
        Ok(Self {
            url,
            ca_file,
            service,
            gate,
            certificate_files,
            watch: WatchHandle::default(),
            accepting: spawn(arrivals.accept(listener)),
            discovery,
            _metrics: serve_metrics(config.metrics, &metrics).await?,
            _following: None,
        })
    }

    /// Returns the URL for funnels: `--relay URL`.
    pub fn url(&self) -> &RelayUrl {
        &self.url
    }

    /// Returns the file with the local CA that signed its certificate, if there is one. Funnels need a copy: `--relay-ca
    /// FILE`.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Returns the UDP address of QUIC address discovery, from which funnels learn their public addresses; `None` without
    /// TLS.
    pub fn quic_addr(&self) -> Option<SocketAddr> {
        self.discovery.as_ref()?.quic_addr()
    }

    /// Waits until the relay ends by itself, which it should not.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ended(&mut self) -> Error {
        let discovery = async {
            match &mut self.discovery {
                Some(discovery) => discovery.join().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Err(error) = &mut self.accepting => Error::relay_ended(Some(error.into())),
            ended = discovery => match ended {
                Ok(Ok(())) => Error::relay_ended(None),
                Ok(Err(error)) => Error::relay_ended(Some(error.into())),
                Err(error) => Error::relay_ended(Some(error.into())),
            },
        }
    }

    /// Closes all connections and waits until they are closed.
    ///
    /// # Errors
    /// If a part of the server failed during the shutdown.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.accepting.abort();
        self.service.shutdown().await;
        match self.discovery {
            Some(discovery) => discovery.shutdown().await.map_err(|error| Error::relay_ended(Some(error.into()))),
            None => Ok(()),
        }
    }
}

fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(work))
}

/// Starts QUIC address discovery, which uses the relay's certificate.
async fn discovery(config: &RelayServerConfig, certificate: &Certificate) -> Result<Server, BoxError> {
    let mut quic = QuicConfig::new((config.listen.ip(), config.quic_port));
    quic.server_config = Some(certificate.server_config.clone());
    let mut server = ServerConfig::default();
    server.quic = Some(quic);
    Ok(Server::spawn(server).await?)
}

/// Makes the service for the TCP port: the relay's protocol, and health checks.
fn service(config: &RelayServerConfig, access: Arc<dyn DynAccessControl>, metrics: &RelayMetrics) -> RelayService {
    let mut handlers = Handlers::default();
    for path in [RELAY_PROBE_PATH, "/healthz"] {
        handlers.insert((Method::GET, path), Box::new(alive));
    }
    let rate = config.client_rate.map(ClientRateLimit::new);
    let keys = KeyCache::new(DEFAULT_KEY_CACHE_CAPACITY);
    RelayService::new(handlers, HeaderMap::new(), rate, keys, access, Arc::clone(&metrics.server))
}

fn alive(_: Request<Incoming>, response: Builder) -> HyperResult<Response<BytesBody>> {
    let nothing: BytesBody = Box::new(Empty::new());
    Ok(response.status(StatusCode::OK).body(nothing)?)
}

async fn serve_metrics(addr: Option<SocketAddr>, metrics: &RelayMetrics) -> Result<Option<MetricsServer>, BoxError> {
    let Some(addr) = addr else { return Ok(None) };
    let mut registry = Registry::default();
    registry.register_all(metrics);
    Ok(Some(MetricsServer::spawn(addr, Arc::new(registry)).await?))
}

fn url(config: &RelayServerConfig, addr: SocketAddr) -> RelayUrl {
    let scheme = if matches!(config.tls, RelayTls::Plain) { "http" } else { "https" };
    let url = match &config.host {
        Some(host) => format!("{scheme}://{}:{}", config::authority(host), addr.port()),
        None => format!("{scheme}://{addr}"),
    };
    url.parse().expect("the configuration has checked the host")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use iroh::{Endpoint, EndpointId, RelayMode, Watcher, endpoint::presets};
    use iroh_relay::server::{Access, AccessControl, ClientRequest, ConnectionId, clients::Clients};
    use tokio::time::timeout;

    use super::*;

    /// Admits a client, and denies it by the roster before it is registered.
    #[derive(Debug)]
    struct Fickle(Arc<RelayGate>);

    impl AccessControl for Fickle {
        async fn on_connect(&self, request: &ClientRequest) -> Access {
            let access = AccessControl::on_connect(&*self.0, request).await;
            let mut roster = Roster::default();
            roster.deny(request.endpoint_id());
            self.0.set_roster(roster);
            self.0.disconnect_denied(&Clients::default());
            access
        }

        fn on_disconnect(&self, peer: EndpointId, connection: ConnectionId) {
            AccessControl::on_disconnect(&*self.0, peer, connection);
        }
    }

    #[tokio::test]
    async fn a_client_that_is_denied_while_it_connects_is_disconnected() {
        let access = RelayAccess::nobody().everybody();
        let config = RelayServerConfig::builder(RelayTls::Plain).access(access.clone()).build().unwrap();
        let gate = Arc::new(RelayGate::new(access, Roster::default(), config.max_clients));
        let service = service(&config, Arc::new(Fickle(Arc::clone(&gate))), &RelayMetrics::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: RelayUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let _accepting = spawn(Arrivals::new(None, service, gate, Proxies::default()).accept(listener));
        let client = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::custom([url])).bind().await.unwrap();
        let mut statuses = client.home_relay_status();
        let refused = async {
            while statuses.get().iter().all(|status| status.auth_denied_reason().is_none()) {
                statuses.updated().await.unwrap();
            }
        };
        timeout(Duration::from_secs(60), refused)
            .await
            .expect("it was disconnected, and refused when it connected again");
        client.close().await;
    }
}
