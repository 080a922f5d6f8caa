//! Spreads the calls of one link over several HTTP/2 sessions.
//!
//! Small calls share a lane, so that they share packets and wake-ups too. A call that may move a model takes an idle lane, opens
//! another if there is none, and shares the least loaded one if the maximum is open: a session on one bi-stream has
//! head-of-line blocking and one window.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http2::{self as client, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::{
    hop::{self, Body, RepeatableRequest, settings},
    protocol::{CallError, Route},
    report::chain,
    transport::{Code, IrohStream, Link, SessionEnd},
};

/// The most lanes for bulk calls, which share lanes past it. A SuperNode makes two such calls at once for each run.
const MAX_BULK: usize = 16;

/// The most lanes that one request tries, since a lane may end just before it is sent.
const MAX_TRIES: usize = 3;

/// The lanes of one link.
#[derive(Debug)]
pub(super) struct Lanes {
    link: Link,
    small: Set,
    bulk: Set,
}

/// Lanes for calls of one kind.
#[derive(Debug)]
struct Set {
    link: Link,
    max: usize,
    open: Mutex<Vec<Lane>>,
    /// Held while a lane is opened.
    opening: tokio::sync::Mutex<()>,
}

/// How much a call may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Bulk,
}

impl Size {
    pub(crate) fn of(route: &Route) -> Self {
        if route.is_bulk() { Self::Bulk } else { Self::Small }
    }
}

/// One HTTP/2 session on one bi-stream.
#[derive(Clone, Debug)]
struct Lane {
    requests: SendRequest<Body>,
    end: SessionEnd,
    load: Arc<AtomicUsize>,
    _session: Arc<AbortOnDropHandle<()>>,
}

/// One call's share of its lane.
#[derive(Debug)]
pub(crate) struct LaneGuard {
    lane: Lane,
}

impl Drop for LaneGuard {
    fn drop(&mut self) {
        self.lane.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that got no response.
#[derive(Debug)]
pub(super) enum SendError {
    /// Nothing of it was sent, so it may be sent again; with the reason.
    NotSent(Box<Request<Body>>, CallError),
    /// The peer may have received it.
    Failed(CallError),
}

impl Lanes {
    pub(super) fn new(link: Link) -> Self {
        Self { small: Set::new(link.clone(), 1), bulk: Set::new(link.clone(), MAX_BULK), link }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Sends one request. The guard counts as load on its lane: drop it when the response's body has ended.
    pub(super) async fn send(
        &self,
        size: Size,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, LaneGuard), SendError> {
        let set = match size {
            // Headers in many frames may end a session.
            _ if hop::list_size(&request) > settings::MAX_SHARED_HEADERS => None,
            Size::Small => Some(&self.small),
            Size::Bulk => Some(&self.bulk),
        };
        let mut reason = CallError::unavailable("no session was tried");
        let (mut kept, mut request) = RepeatableRequest::new(request);
        for _ in 0..MAX_TRIES {
            let lane = match set {
                Some(set) => set.lane().await,
                None => Lane::open(&self.link).await.map(|own| own.enter()),
            };
            let mut guard = match lane {
                Ok(guard) => guard,
                Err(error) => return Err(SendError::NotSent(Box::new(request), error)),
            };
            let mut error = match guard.lane.requests.try_send_request(request).await {
                Ok(response) => return Ok((response, guard)),
                Err(error) => error,
            };
            let unsent = error.take_message();
            reason = guard.lane.error(&self.link, error.error());
            // The lane ended before the request was sent, or the peer has not handled it. It is not chosen again.
            let is_not_handled = || hop::is_not_handled(error.error()) || guard.lane.is_refused();
            let again = unsent.or_else(|| is_not_handled().then(|| kept.again())?);
            match again {
                Some(again) => request = again,
                None => return Err(SendError::Failed(reason)),
            }
        }
        Err(SendError::NotSent(Box::new(request), reason))
    }
}

/// Returns why a session failed: the end of the link or of the stream says more than HTTP/2's error.
fn session_error(link: &Link, end: &SessionEnd, error: &hyper::Error) -> CallError {
    match (link.close_reason(), end.get()) {
        (Some(lost), _) => CallError::unavailable(&lost).caused_by(lost),
        (None, Some(ended)) => CallError::unavailable(&ended).caused_by(ended),
        (None, None) => {
            let peer = link.peer().fmt_short();
            CallError::unavailable(format_args!("the session with {peer} failed: {}", chain(error)))
        }
    }
}

impl Set {
    fn new(link: Link, max: usize) -> Self {
        Self { link, max, open: Mutex::default(), opening: tokio::sync::Mutex::default() }
    }

    /// Takes a share of a lane.
    ///
    /// Opening a lane costs no round trip, but may have to wait while the link is full. A caller that finds another opening one
    /// shares a lane that is open, and waits only if there is none.
    ///
    /// # Errors
    /// The link has ended, or the peer takes no session.
    async fn lane(&self) -> Result<LaneGuard, CallError> {
        if let Some(idle) = self.least_loaded(|load| load == 0) {
            return Ok(idle);
        }
        let _opening = match self.opening.try_lock() {
            Ok(opening) => opening,
            Err(_) => match self.least_loaded(|_| true) {
                Some(shared) => return Ok(shared),
                None => self.opening.lock().await,
            },
        };
        let is_full = self.open().len() >= self.max;
        if let Some(guard) = self.least_loaded(|load| load == 0 || is_full) {
            return Ok(guard);
        }
        let lane = Lane::open(&self.link).await?;
        let guard = lane.enter();
        self.open().push(lane);
        Ok(guard)
    }

    fn least_loaded(&self, wanted: impl Fn(usize) -> bool) -> Option<LaneGuard> {
        let mut open = self.open();
        open.retain(|lane| !lane.requests.is_closed());
        let lane = open.iter().min_by_key(|lane| lane.load())?;
        wanted(lane.load()).then(|| lane.enter())
    }

    fn open(&self) -> MutexGuard<'_, Vec<Lane>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    async fn open(link: &Link) -> Result<Self, CallError> {
        let stream = link.open().await.map_err(|lost| CallError::unavailable(&lost).caused_by(lost))?;
        let (stream, end) = stream.for_http().with_session_end();
        let (requests, session) = handshake(stream).await.map_err(|error| session_error(link, &end, &error))?;
        let session = tokio::spawn(async move {
            if let Err(error) = session.await {
                debug!("session ended: {}", chain(&error));
            }
        });
        Ok(Self { requests, end, load: Arc::default(), _session: Arc::new(AbortOnDropHandle::new(session)) })
    }

    /// Returns whether the peer refused the session, since it is stopping, and handled nothing of it.
    fn is_refused(&self) -> bool {
        self.end.get().is_some_and(|end| end.link_lost().is_none() && end.code() == Some(Code::SHUTDOWN))
    }

    fn error(&self, link: &Link, error: &hyper::Error) -> CallError {
        session_error(link, &self.end, error)
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    fn enter(&self) -> LaneGuard {
        self.load.fetch_add(1, Ordering::Relaxed);
        LaneGuard { lane: self.clone() }
    }
}

type Session = client::Connection<TokioIo<IrohStream>, Body, TokioExecutor>;

async fn handshake(stream: IrohStream) -> hyper::Result<(SendRequest<Body>, Session)> {
    client::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(settings::STREAM_WINDOW)
        .initial_connection_window_size(settings::CONNECTION_WINDOW)
        .max_frame_size(settings::FRAME_SIZE)
        .max_header_list_size(settings::MAX_HEADER_LIST)
        .handshake(TokioIo::new(stream))
        .await
}
