//! Connections that are not authenticated yet: their number and their time are limited.
//!
//! iroh-relay 1.4 by itself accepts any number of them, and sets no time limit after the request for its WebSocket. Its own
//! limit on both would replace this module.

use std::{convert::Infallible, io, net::Shutdown, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::rt::TokioIo;
use iroh_relay::server::{
    http_server::{BytesBody, HyperError, RelayService, RelayServiceWithNotify},
    streams::MaybeTlsStream,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::gate::RelayGate;
use crate::transport::RateLimit;

/// The most connections that are not authenticated yet. Each takes a few round trips; further ones wait in the backlog of
/// the socket.
pub(super) const MAX_ARRIVING: usize = 128;
/// The wait for TLS, the request and the authentication.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failed accept: without free file descriptors, the next one fails too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections and serves them until they are authenticated.
#[derive(Clone)]
pub(super) struct Arrivals {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) service: RelayService,
    pub(super) gate: Arc<RelayGate>,
}

/// A connection that is not authenticated yet. Its request holds this until the client is registered or refused.
#[derive(Debug)]
struct Arriving {
    _permit: OwnedSemaphorePermit,
    _settled: DropGuard,
}

/// The relay's service, whose requests hold the permit of their connection.
struct ArrivingService {
    arriving: Arc<Arriving>,
    service: RelayServiceWithNotify,
}

impl Service<Request<Incoming>> for ArrivingService {
    type Response = Response<BytesBody>;
    type Error = HyperError;
    type Future = <RelayServiceWithNotify as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(Arc::clone(&self.arriving));
        self.service.call(request)
    }
}

impl Arrivals {
    /// Accepts connections indefinitely.
    pub(super) async fn accept(self, listener: TcpListener) -> Infallible {
        let permits = Arc::new(Semaphore::new(MAX_ARRIVING));
        let (mut arriving, trouble) = (JoinSet::new(), RateLimit::default());
        loop {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            let accepted = tokio::select! {
                Some(_) = arriving.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    arriving.spawn(self.clone().settle(stream, permit));
                }
                Err(error) => {
                    trouble.run(|| warn!(%error, "cannot accept a connection; trying again"));
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection until it is authenticated, closed, or late.
    async fn settle(self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let Ok((stream, socket)) = duplicate(stream) else { return };
        let settled = CancellationToken::new();
        let arriving = Arriving { _permit: permit, _settled: settled.clone().drop_guard() };
        let serving = async {
            if let Err(error) = self.serve(stream, arriving).await {
                debug!(%error, "a connection ended before it was authenticated");
            }
            settled.cancelled().await;
        };
        if timeout(ARRIVAL_TIMEOUT, serving).await.is_err() {
            debug!("a connection was not authenticated in time");
            // Another task may own the stream by now; it sees this.
            let _ = socket.shutdown(Shutdown::Both);
        }
        // It was admitted before it was registered: the roster may have changed in between.
        self.gate.disconnect_denied(self.service.clients());
    }

    /// Serves HTTP. For a client, it ends where the relay's own protocol begins.
    async fn serve(&self, stream: TcpStream, arriving: Arriving) -> Result<(), io::Error> {
        let stream = match &self.tls {
            Some(tls) => MaybeTlsStream::Tls(tls.accept(stream).await?),
            None => MaybeTlsStream::Plain(stream),
        };
        let (arriving, service) = (Arc::new(arriving), self.service.clone());
        let service = RelayServiceWithNotify::new(service, Arc::new(Notify::new()));
        let service = ArrivingService { arriving, service };
        // A probe sends one request.
        let serving = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        serving.with_upgrades().await.map_err(io::Error::other)
    }
}

/// Makes a second handle of a socket, which can shut it down whichever task owns the stream.
fn duplicate(stream: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    let other = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, other))
}
