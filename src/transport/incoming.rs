//! The server side: from an endpoint to a stream of sessions.

mod handler;
mod handshakes;
mod limits;
mod open_links;
mod peer_limits;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use iroh::{Endpoint, EndpointId, endpoint::Connection};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug, debug_span, warn};

pub use self::{handler::IrohHandler, limits::IncomingLimits};
use self::{
    handshakes::Handshakes,
    peer_limits::{LinkPermit, PeerLimits},
};
use super::{Code, IrohStream, Link, rate_limit::RateLimit};

/// Accepted sessions that may wait for the server. Few, since QUIC's flow control holds back the rest.
const READY_SESSIONS: usize = 16;

/// A stream of the sessions that peers open, for tonic's `Server::serve_with_incoming` and
/// `serve_with_incoming_shutdown`.
///
/// It yields no errors: a faulty or slow peer costs only its own link. It ends when the endpoint closes. Dropping it stops
/// accepting; sessions already yielded go on, and a link closes with the last of its sessions.
#[derive(Debug)]
pub struct IrohIncoming {
    sessions: mpsc::Receiver<IrohStream>,
    /// The accept loop; `None` if an iroh `Router` accepts.
    _accepting: Option<AbortOnDropHandle<()>>,
}

impl IrohIncoming {
    /// Accepts links for `alpn` on `endpoint`, which must have been built with that ALPN, with the default
    /// [`IncomingLimits`].
    ///
    /// It accepts all connections of the endpoint, and closes those for another ALPN with [`Code::WRONG_ALPN`]. To serve
    /// several protocols on one endpoint, use [`handler`](Self::handler).
    ///
    /// # Panics
    /// If called outside a tokio runtime.
    pub fn new(endpoint: Endpoint, alpn: impl Into<Vec<u8>>) -> Self {
        Self::with_limits(endpoint, alpn, IncomingLimits::default())
    }

    /// As [`new`](Self::new), with the given limits.
    ///
    /// # Panics
    /// If called outside a tokio runtime.
    pub fn with_limits(endpoint: Endpoint, alpn: impl Into<Vec<u8>>, limits: IncomingLimits) -> Self {
        Self::with_known_peers(endpoint, alpn, limits, |_| false)
    }

    /// As [`with_limits`](Self::with_limits). Handshakes of a peer that is known are not limited by those of the strangers
    /// behind the same relay.
    pub(crate) fn with_known_peers(
        endpoint: Endpoint,
        alpn: impl Into<Vec<u8>>,
        limits: IncomingLimits,
        is_known: impl Fn(EndpointId) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (sender, sessions) = mpsc::channel(READY_SESSIONS);
        let handshakes = Handshakes::new(&limits, alpn.into(), is_known);
        let acceptor = Acceptor::new(sender, limits);
        let accepting = tokio::spawn(accept_links(endpoint, handshakes, acceptor));
        Self { sessions, _accepting: Some(AbortOnDropHandle::new(accepting)) }
    }

    /// Creates a protocol handler for an iroh `Router`, and the stream of the sessions that it accepts.
    pub fn handler(limits: IncomingLimits) -> (IrohHandler, Self) {
        let (sender, sessions) = mpsc::channel(READY_SESSIONS);
        (IrohHandler::new(Acceptor::new(sender, limits)), Self { sessions, _accepting: None })
    }
}

impl Stream for IrohIncoming {
    type Item = Result<IrohStream, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.sessions.poll_recv(cx).map(|session| session.map(Ok))
    }
}

async fn accept_links(endpoint: Endpoint, handshakes: Handshakes, acceptor: Acceptor) {
    let handshakes = Arc::new(handshakes);
    let mut links = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(_) = links.join_next() => continue,
        };
        let Some(incoming) = incoming else { break };
        let Some(arrival) = handshakes.admit(incoming) else { continue };
        let (acceptor, handshakes) = (acceptor.clone(), Arc::clone(&handshakes));
        links.spawn(async move {
            if let Some((connection, origin)) = handshakes.complete(arrival).await {
                acceptor.serve(connection, || handshakes.admitted(&origin)).await;
            }
        });
    }
    debug!("the endpoint is closed: no further links are accepted");
}

/// Accepts links and their sessions, within the limits.
#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    sessions: mpsc::Sender<IrohStream>,
    limits: IncomingLimits,
    free_links: Arc<Semaphore>,
    free_sessions: Arc<Semaphore>,
    peers: PeerLimits,
    warnings: Arc<Warnings>,
}

/// One kind of refusal hides no other.
#[derive(Debug, Default)]
struct Warnings {
    links: RateLimit,
    sessions: RateLimit,
}

impl Acceptor {
    fn new(sessions: mpsc::Sender<IrohStream>, limits: IncomingLimits) -> Self {
        Self {
            free_links: limits::semaphore(limits.max_links),
            free_sessions: limits::semaphore(limits.max_sessions),
            peers: PeerLimits::default(),
            warnings: Arc::default(),
            sessions,
            limits,
        }
    }

    /// Accepts the sessions of one link until it ends. `admitted` is called if it is within the limits.
    pub(super) async fn serve(&self, connection: Connection, admitted: impl FnOnce()) {
        let peer = connection.remote_id();
        // First the peer's own limit: a link that waits for it takes no place of others.
        let Some(permit) = self.peers.admit(&connection, &self.limits).await else { return };
        let Ok(_slot) = self.free_links.try_acquire() else {
            self.warn(&self.warnings.links, peer, "link refused: too many links");
            connection.close(Code::OVERLOADED.into(), b"too many links");
            return;
        };
        admitted();
        let link = Link::with_memory_budget(connection, permit.shared.memory_budget.clone());
        let span = debug_span!("link", peer = %peer.fmt_short());
        self.accept_sessions(link, &permit).instrument(span).await;
    }

    async fn accept_sessions(&self, link: Link, permit: &LinkPermit) {
        loop {
            let stream = tokio::select! {
                accepted = link.accept() => match accepted {
                    Ok(stream) => stream,
                    Err(lost) => return debug!("{lost}"),
                },
                () = self.sessions.closed() => return,
            };
            let (of_peer, of_all) = (Arc::clone(&permit.shared.free_sessions), Arc::clone(&self.free_sessions));
            let (Ok(of_peer), Ok(of_all)) = (of_peer.try_acquire_owned(), of_all.try_acquire_owned()) else {
                self.warn(&self.warnings.sessions, link.peer(), "session refused: too many sessions");
                stream.reset(Code::OVERLOADED);
                continue;
            };
            if self.sessions.send(stream.with_permits([of_peer, of_all]).for_http()).await.is_err() {
                return;
            }
        }
    }

    fn warn(&self, limit: &RateLimit, peer: EndpointId, message: &str) {
        limit.run(|| warn!(peer = %peer.fmt_short(), limits = ?self.limits, "{message}"));
    }
}
