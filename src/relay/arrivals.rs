//! Connections that are not authenticated yet: their number and their time are limited.
//!
//! iroh-relay 1.4 by itself accepts any number of them, and sets no time limit after the request for its WebSocket. Its own
//! limit on both would replace this module.

mod arriving;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Shutdown},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::rt::TokioIo;
use iroh_relay::server::{
    http_server::{BytesBody, HyperError, RelayService, RelayServiceWithNotify},
    streams::MaybeTlsStream,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::arriving::Arriving;
use super::{client_address, forwarded, gate::RelayGate, proxies::TrustedProxies, proxy_protocol};
use crate::transport::{ArrivalSlots, RateLimit, Source};

/// The most connections that are not authenticated yet. Each takes a few round trips. As many again have presented the token.
pub(super) const MAX_ARRIVING: usize = 128;
/// The wait for TLS, the request and the authentication.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failed accept: without free file descriptors, the next one fails too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections and serves them until they are authenticated. Clones share the slots.
#[derive(Clone)]
pub(super) struct Arrivals {
    tls: Option<TlsAcceptor>,
    service: RelayService,
    gate: Arc<RelayGate>,
    proxies: Proxies,
    strangers: ArrivalSlots,
    /// Of those that have presented the token, who leave the share of their address.
    proven: ArrivalSlots,
    malformed: Arc<RateLimit>,
}

/// The proxies that are trusted to say where a connection comes from.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    pub(super) proxy_protocol: TrustedProxies,
    pub(super) forwarded: TrustedProxies,
}

/// The relay's service for one connection, whose requests hold its slot.
struct ArrivingService {
    arrivals: Arrivals,
    arriving: Arc<Arriving>,
    service: RelayServiceWithNotify,
}

impl Service<Request<Incoming>> for ArrivingService {
    type Response = Response<BytesBody>;
    type Error = HyperError;
    type Future = BoxFuture<'static, Result<Response<BytesBody>, HyperError>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (arrivals, arriving, service) = (self.arrivals.clone(), Arc::clone(&self.arriving), self.service.clone());
        Box::pin(async move {
            arrivals.received(&arriving, request.headers_mut()).await;
            request.extensions_mut().insert(arriving);
            service.call(request).await
        })
    }
}

impl Arrivals {
    pub(super) fn new(tls: Option<TlsAcceptor>, service: RelayService, gate: Arc<RelayGate>, proxies: Proxies) -> Self {
        let slots = || ArrivalSlots::new(MAX_ARRIVING);
        Self { tls, service, gate, proxies, strangers: slots(), proven: slots(), malformed: Arc::default() }
    }

    /// Accepts connections indefinitely.
    pub(super) async fn accept(self, listener: TcpListener) -> Infallible {
        let (mut arriving, trouble) = (JoinSet::new(), RateLimit::default());
        loop {
            let accepted = tokio::select! {
                Some(_) = arriving.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let displaced = CancellationToken::new();
                    let slot = self.strangers.take(from.ip().into(), displaced.clone()).expect("there are slots");
                    let connection = Arriving::new(from.ip(), slot, displaced);
                    arriving.spawn(self.clone().settle(stream, connection));
                    // The connection that gave way is closed before the next one is accepted.
                    yield_now().await;
                }
                Err(error) => {
                    trouble.run(|| warn!(%error, "cannot accept a connection; trying again"));
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection until it is authenticated, closed, displaced, or late.
    async fn settle(self, stream: TcpStream, connection: Arriving) {
        let Ok((stream, socket)) = duplicate(stream) else { return };
        let (displaced, settled) = (connection.displaced(), connection.settled());
        let serving = async {
            if let Err(error) = self.serve(stream, connection).await {
                debug!(%error, "a connection ended before it was authenticated");
            }
            settled.cancelled().await;
        };
        let ended = match displaced.run_until_cancelled(timeout(ARRIVAL_TIMEOUT, serving)).await {
            Some(Ok(())) => None,
            Some(Err(_)) => Some("a connection was not authenticated in time"),
            None => Some("a connection that is not authenticated gave way to another one"),
        };
        if let Some(reason) = ended {
            debug!("{reason}");
            // Another task may own the stream by now; it sees this.
            let _ = socket.shutdown(Shutdown::Both);
        }
        // It was admitted before it was registered: the roster may have changed in between.
        self.gate.disconnect_denied(self.service.clients());
    }

    /// Serves HTTP. For a client, it ends where the relay's own protocol begins.
    async fn serve(&self, mut stream: TcpStream, connection: Arriving) -> Result<(), io::Error> {
        let peer = connection.client();
        if self.proxies.proxy_protocol.contains(peer) {
            match proxy_protocol::read(&mut stream).await {
                Ok(client) => connection.active(client.unwrap_or(peer)),
                Err(error) => {
                    self.malformed.run(|| warn!(%error, %peer, "a connection of a trusted proxy was closed"));
                    return Err(error);
                }
            }
        }
        let stream = match &self.tls {
            Some(tls) => {
                let client = connection.client();
                if !self.proxies.forwarded.contains(client) {
                    // One that is silent takes no attempt from the others of its address.
                    stream.peek(&mut [0]).await?;
                    self.attempt(&connection, client).await;
                }
                MaybeTlsStream::Tls(tls.accept(stream).await?)
            }
            None => MaybeTlsStream::Plain(stream),
        };
        let (arriving, service) = (Arc::new(connection), self.service.clone());
        let service = RelayServiceWithNotify::new(service, Arc::new(Notify::new()));
        let service = ArrivingService { arrivals: self.clone(), arriving, service };
        // A probe sends one request.
        let serving = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        serving.with_upgrades().await.map_err(io::Error::other)
    }

    /// Learns from a request where it comes from and whether it has the token. Without it, the request waits for an attempt of
    /// its address if it has not done so before.
    async fn received(&self, arriving: &Arriving, headers: &mut HeaderMap) {
        let peer = arriving.client();
        let forwarded = self.proxies.forwarded.contains(peer);
        let client = forwarded.then(|| forwarded::client(headers, &self.proxies.forwarded)).flatten().unwrap_or(peer);
        arriving.active(client);
        client_address::set(headers, client);
        if self.gate.has_token(headers) {
            arriving.prove(&self.proven);
        } else {
            self.attempt(arriving, client).await;
        }
    }

    /// Waits until the client may begin a handshake, once for each connection.
    async fn attempt(&self, arriving: &Arriving, client: IpAddr) {
        if arriving.begin_attempt() {
            self.gate.rate().attempt(&Source::from(client)).await;
            arriving.active(client);
        }
    }
}

/// Makes a second handle of a socket, which can shut it down whichever task owns the stream.
fn duplicate(stream: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    let other = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, other))
}
