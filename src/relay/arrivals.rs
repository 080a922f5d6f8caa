//! Connections that have not said who they are: each has a place, and a time.
//!
//! By itself iroh-relay 1.4 lets in any number of them, and gives those that have asked for its WebSocket any time.

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

use super::access::Door;
use crate::transport::RateLimit;

/// Each is done after a few round trips. Past that, newcomers wait in the system's queue.
pub(super) const MAX_ARRIVING: usize = 128;
/// For TLS, the request and the proof of who it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a connection that could not be accepted: without file descriptors the next cannot be, either.
const PAUSE: Duration = Duration::from_millis(100);

/// What a connection passes on its way in.
#[derive(Clone)]
pub(super) struct Arrivals {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) service: RelayService,
    pub(super) door: Arc<Door>,
}

/// One that has not said who it is. It goes with the request in which it does, until it is registered or refused.
#[derive(Debug)]
struct Arriving {
    _place: OwnedSemaphorePermit,
    _known: DropGuard,
}

/// The relay's service, whose requests hold their connection's place.
struct Tied {
    arriving: Arc<Arriving>,
    service: RelayServiceWithNotify,
}

impl Service<Request<Incoming>> for Tied {
    type Response = Response<BytesBody>;
    type Error = HyperError;
    type Future = <RelayServiceWithNotify as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(Arc::clone(&self.arriving));
        self.service.call(request)
    }
}

impl Arrivals {
    /// Lets them in, for ever.
    pub(super) async fn accept(self, listener: TcpListener) -> Infallible {
        let places = Arc::new(Semaphore::new(MAX_ARRIVING));
        let (mut arriving, trouble) = (JoinSet::new(), RateLimit::default());
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
            let accepted = tokio::select! {
                Some(_) = arriving.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    arriving.spawn(self.clone().settle(stream, place));
                }
                Err(error) => {
                    trouble.run(|| warn!(%error, "no connection can be accepted; it is tried again"));
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection until it is a client, gone, or late.
    async fn settle(self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let Ok((stream, socket)) = duplicate(stream) else { return };
        let known = CancellationToken::new();
        let arriving = Arriving { _place: place, _known: known.clone().drop_guard() };
        let settled = async {
            if let Err(error) = self.serve(stream, arriving).await {
                debug!(%error, "a connection ended before it was known whose");
            }
            known.cancelled().await;
        };
        if timeout(PATIENCE, settled).await.is_err() {
            debug!("a connection did not say in time whose it is");
            // It may be in other hands already, which notice this.
            let _ = socket.shutdown(Shutdown::Both);
        }
        // It was let in before it was registered: the roster may have changed in between.
        self.door.cut(self.service.clients());
    }

    /// To the end of HTTP: for a client that is where the relay's own protocol begins.
    async fn serve(&self, stream: TcpStream, arriving: Arriving) -> Result<(), io::Error> {
        let stream = match &self.tls {
            Some(tls) => MaybeTlsStream::Tls(tls.accept(stream).await?),
            None => MaybeTlsStream::Plain(stream),
        };
        let (arriving, service) = (Arc::new(arriving), self.service.clone());
        let service = RelayServiceWithNotify::new(service, Arc::new(Notify::new()));
        let service = Tied { arriving, service };
        // A probe that is answered has no more to ask.
        let serving = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        serving.with_upgrades().await.map_err(io::Error::other)
    }
}

/// Another handle of the same socket, by which it can be shut down wherever it has gone.
fn duplicate(stream: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    let other = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, other))
}
