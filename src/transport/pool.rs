//! One link per peer, one dial at a time.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use iroh::{Endpoint, EndpointAddr, EndpointId};
use tokio::time::Instant;
use tracing::debug;

use super::{Backoff, Code, ConnectError, Link};

/// The default time for a dial. The four round trips of a handshake over a relay on the far side of the world take under
/// 2 s; the rest allows for a loaded machine and a lost packet or two.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after the first failed dial, before jitter.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// The longest wait after a failed dial, before jitter: short for an operator who waits, long compared with the cost of a dial.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A random half keeps many callers from coming back in step.
const BACKOFF: Backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX, 0.5..1.0);

type Outcome = Result<Link, ConnectError>;
type Dial = BoxFuture<'static, Outcome>;

pub(super) struct Pool {
    endpoint: Endpoint,
    alpn: Vec<u8>,
    dial_timeout: Duration,
    peers: Mutex<HashMap<EndpointId, Peer>>,
}

#[derive(Default)]
struct Peer {
    addr: Option<EndpointAddr>,
    state: State,
}

impl Peer {
    fn addr(&self, id: EndpointId) -> EndpointAddr {
        self.addr.clone().unwrap_or_else(|| id.into())
    }
}

#[derive(Default)]
enum State {
    #[default]
    Unknown,
    /// Alive as long as a caller waits for it.
    Dialling {
        dial: WeakShared<Dial>,
        failures: u32,
    },
    Open {
        link: Link,
        /// The failures before it, which count on if the peer refuses it.
        failures: u32,
    },
    Failed {
        error: ConnectError,
        failures: u32,
        retry_at: Instant,
    },
}

impl Pool {
    pub(super) fn new(endpoint: Endpoint, alpn: Vec<u8>, dial_timeout: Duration) -> Self {
        Self { endpoint, alpn, dial_timeout, peers: Mutex::default() }
    }

    pub(super) fn add_peer(&self, addr: EndpointAddr) {
        let mut peers = self.peers();
        let peer = peers.entry(addr.id).or_default();
        peer.addr = Some(addr);
        if matches!(peer.state, State::Failed { .. }) {
            peer.state = State::Unknown;
        }
    }

    pub(super) async fn link(self: &Arc<Self>, id: EndpointId) -> Outcome {
        let dial = {
            let mut peers = self.peers();
            remove_unused(&mut peers, id);
            let peer = peers.entry(id).or_default();
            peer.state.detect_refusal();
            match peer.state.next() {
                Next::Link(link) => return Ok(link),
                Next::Error(error) => return Err(error),
                Next::Dial(dial) => dial,
                Next::NewDial { failures } => {
                    let addr = peer.addr(id);
                    let dial = Arc::clone(self).dial_and_settle(addr, failures).boxed().shared();
                    let weak = dial.downgrade().expect("a future that was never polled is not complete");
                    peer.state = State::Dialling { dial: weak, failures };
                    dial
                }
            }
        };
        dial.await
    }

    pub(super) fn open_link(&self, id: EndpointId) -> Option<Link> {
        match self.peers().get(&id)?.state.next() {
            Next::Link(link) => Some(link),
            _ => None,
        }
    }

    /// Returns the known address of the peer, or its bare id.
    pub(super) fn addr(&self, id: EndpointId) -> EndpointAddr {
        self.peers().get(&id).map_or_else(|| id.into(), |peer| peer.addr(id))
    }

    pub(super) fn adopt(&self, link: Link) {
        let id = link.peer();
        self.peers().entry(id).or_default().state = State::Open { link, failures: 0 };
    }

    async fn dial_and_settle(self: Arc<Self>, addr: EndpointAddr, failures: u32) -> Outcome {
        let outcome = self.dial(addr.clone(), self.dial_timeout).await;
        self.settle(&addr, &outcome, failures);
        outcome
    }

    pub(super) async fn dial(&self, addr: EndpointAddr, timeout: Duration) -> Outcome {
        let peer = addr.id;
        debug!(peer = %peer.fmt_short(), "dialling");
        match tokio::time::timeout(timeout, self.endpoint.connect(addr, &self.alpn)).await {
            Ok(Ok(connection)) => Ok(Link::new(connection)),
            Ok(Err(error)) => Err(ConnectError::dial(peer, &self.alpn, error)),
            Err(_) => Err(ConnectError::timed_out(peer, timeout)),
        }
    }

    fn settle(&self, dialled: &EndpointAddr, outcome: &Outcome, failures: u32) {
        let mut peers = self.peers();
        let peer = peers.entry(dialled.id).or_default();
        let is_out_of_date = peer.addr.as_ref().is_some_and(|addr| addr != dialled);
        peer.state = match outcome {
            Ok(link) => State::Open { link: link.clone(), failures },
            // The address was replaced meanwhile: the failure says nothing about the new one.
            Err(_) if is_out_of_date => State::Unknown,
            Err(error) => State::failed(error.clone(), failures),
        };
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<EndpointId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Next {
    Link(Link),
    Error(ConnectError),
    Dial(Shared<Dial>),
    NewDial { failures: u32 },
}

impl State {
    fn failed(error: ConnectError, failures: u32) -> Self {
        Self::Failed { error, failures: failures + 1, retry_at: Instant::now() + BACKOFF.wait(failures) }
    }

    /// Counts a link that the peer refused as a failed dial: a peer at its limits accepts a link and closes it at once.
    fn detect_refusal(&mut self) {
        if let Self::Open { link, failures } = self
            && let Some(lost) = link.close_reason()
            && matches!(lost.code(), Some(Code::OVERLOADED | Code::REFUSED | Code::WRONG_ALPN))
        {
            *self = Self::failed(lost.into(), *failures);
        }
    }

    fn next(&self) -> Next {
        match self {
            Self::Open { link, .. } if link.close_reason().is_none() => Next::Link(link.clone()),
            Self::Unknown | Self::Open { .. } => Next::NewDial { failures: 0 },
            Self::Dialling { dial, failures } => match dial.upgrade() {
                Some(dial) => Next::Dial(dial),
                None => Next::NewDial { failures: *failures },
            },
            Self::Failed { error, retry_at, .. } if Instant::now() < *retry_at => Next::Error(error.clone()),
            Self::Failed { failures, .. } => Next::NewDial { failures: *failures },
        }
    }

    /// Returns whether the state holds nothing worth keeping.
    fn is_unused(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::Dialling { dial, .. } => dial.upgrade().is_none(),
            Self::Open { link, .. } => link.close_reason().is_some(),
            Self::Failed { retry_at, .. } => Instant::now() > *retry_at + BACKOFF_MAX,
        }
    }
}

/// Removes the peers that are not in use, except `keep`: a URI may name any peer, so the map would grow without bound.
fn remove_unused(peers: &mut HashMap<EndpointId, Peer>, keep: EndpointId) {
    peers.retain(|id, peer| *id == keep || peer.addr.is_some() || !peer.state.is_unused());
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("alpn", &String::from_utf8_lossy(&self.alpn)).finish_non_exhaustive()
    }
}
