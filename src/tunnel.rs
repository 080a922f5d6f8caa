//! A tunnel to one peer funnel: a link that is kept open, and the calls over it.

mod hello;
mod lanes;
mod liveness;
mod peer_conn;
mod peer_down;
mod retry;
mod source;
mod supervisor;

use std::{sync::Arc, time::Duration};

use http::{
    Request, Response,
    uri::{Authority, Scheme},
};
use hyper::body::Incoming;
use iroh::EndpointId;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::lanes::{LaneGuard, Size};
pub(crate) use self::source::PeerSource;
pub use self::{
    hello::{ApiReport, Hello, WireReport},
    peer_conn::{PeerCall, PeerChannel, PeerConn},
    peer_down::{DownReason, PeerDown},
};
use self::{lanes::Lanes, supervisor::Supervisor};
use crate::{
    address_lookup::LookupLog,
    hop::{self, Body, settings},
    protocol::{CallError, Status},
    transport::{IrohConnector, Path},
};

/// The wait of calls for a new link, from the loss of the last one.
///
/// A SuperNode's heartbeat times out after 5 s: with 4 s here, it still receives the error.
const LINK_TIMEOUT: Duration = Duration::from_secs(4);

/// A link to one peer funnel, which is dialled, and dialled again when it is lost, until the last clone is dropped or
/// [`close`](Self::close)d.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel {
    target: watch::Receiver<Target>,
    state: watch::Sender<State>,
    supervisor: Arc<AbortOnDropHandle<()>>,
}

/// The peer of a tunnel. It changes only if the peer's ticket file names another one.
#[derive(Clone, Debug)]
struct Target {
    peer: EndpointId,
    authority: Authority,
}

impl Target {
    fn new(peer: EndpointId) -> Self {
        Self { peer, authority: Authority::try_from(peer.to_string()).expect("64 hexadecimal digits are a host") }
    }
}

/// The state of the link.
#[derive(Clone, Debug)]
enum State {
    /// The first attempt is in progress.
    Dialling {
        since: Instant,
    },
    Down(Down),
    Up(Arc<Up>),
}

/// The reason why there is no link.
#[derive(Clone, Debug)]
struct Down {
    since: Instant,
    down: PeerDown,
}

/// A link over which the peer has answered hello.
#[derive(Debug)]
struct Up {
    lanes: Lanes,
    hello: Hello,
}

impl Tunnel {
    /// Starts to dial `peer`. The invitation of its source, if there is one, is presented first. If the peer is
    /// not reached, the lookup log explains why.
    ///
    /// # Panics
    /// If called outside a tokio runtime.
    pub(crate) fn open(connector: IrohConnector, peer: EndpointId, lookup_log: LookupLog, source: PeerSource) -> Self {
        let (target, targeted) = watch::channel(Target::new(peer));
        let state = watch::Sender::new(State::Dialling { since: Instant::now() });
        let supervisor = Supervisor::new(connector, target, state.clone(), lookup_log, source);
        let supervisor = Arc::new(AbortOnDropHandle::new(tokio::spawn(supervisor.run())));
        Self { target: targeted, state, supervisor }
    }

    pub(crate) fn peer(&self) -> EndpointId {
        self.target.borrow().peer
    }

    /// Sends one call. The guard reserves its lane: hold it until the response's body has ended.
    ///
    /// The call waits for a new link until 4 s after the loss of the last one. A call that was sent is sent again only if the
    /// peer reports that it has not handled it.
    ///
    /// # Errors
    /// Also if the headers are longer than the peer reads.
    pub(crate) async fn call(
        &self,
        size: Size,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, LaneGuard), CallError> {
        let mut request = hop::onward_request(request, Scheme::HTTP, &self.target.borrow().authority);
        check_headers(&request)?;
        let give_up = Instant::now() + LINK_TIMEOUT;
        loop {
            let up = self.wait_for_link(give_up).await?;
            match up.lanes.send(size, request).await {
                Ok(answered) => return Ok(answered),
                Err(lanes::SendError::Failed(error)) => return Err(error),
                Err(lanes::SendError::NotSent(unsent, reason)) => {
                    request = *unsent;
                    self.wait_for_loss_of(&up, give_up, reason).await?;
                }
            }
        }
    }

    /// Returns the peer's answer to hello; `None` while there is no link.
    pub(crate) fn hello(&self) -> Option<Hello> {
        self.up().map(|up| up.hello.clone())
    }

    /// Returns the network path of the link.
    pub(crate) fn path(&self) -> Option<Path> {
        self.up()?.lanes.link().path()
    }

    /// Waits until there is a link on a path for which `wanted` returns true.
    pub(crate) async fn path_where(&self, mut wanted: impl FnMut(&Path) -> bool) -> Path {
        let mut state = self.state.subscribe();
        loop {
            state.mark_unchanged();
            let up = self.up();
            let found = async { up.as_ref()?.lanes.link().path_where(&mut wanted).await };
            tokio::select! {
                Some(path) = found => return path,
                () = changed(&mut state) => {}
            }
        }
    }

    /// Returns why there is no link; `None` while there is one.
    pub(crate) fn down(&self) -> Option<PeerDown> {
        self.state.borrow().down(self.peer())
    }

    /// Waits for a link without a time limit, and calls `on_down` with each new reason why there is none.
    pub(crate) async fn ready(&self, mut on_down: impl FnMut(&PeerDown)) -> Hello {
        let mut state = self.state.subscribe();
        loop {
            let down = match &*state.borrow_and_update() {
                State::Up(up) => return up.hello.clone(),
                State::Down(Down { down, .. }) => Some(down.clone()),
                State::Dialling { .. } => None,
            };
            // Called after the borrow of the state has ended, since it may read the state.
            if let Some(down) = down {
                on_down(&down);
            }
            changed(&mut state).await;
        }
    }

    /// Waits for a link, or for the first reason why there is none.
    pub(crate) async fn settled(&self) -> Result<Hello, PeerDown> {
        let mut state = self.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                State::Up(up) => return Ok(up.hello.clone()),
                State::Down(Down { down, .. }) => return Err(down.clone()),
                State::Dialling { .. } => {}
            }
            changed(&mut state).await;
        }
    }

    /// Stops dialling, and ends all further calls, for all clones.
    pub(crate) fn close(&self) {
        self.supervisor.abort();
        let error = CallError::unavailable("this funnel has stopped");
        let down = PeerDown::new(self.peer(), DownReason::Stopped, error);
        self.state.send_replace(State::Down(Down { since: Instant::now(), down }));
    }

    fn up(&self) -> Option<Arc<Up>> {
        match &*self.state.borrow() {
            State::Up(up) => Some(Arc::clone(up)),
            State::Dialling { .. } | State::Down(_) => None,
        }
    }

    async fn wait_for_link(&self, give_up: Instant) -> Result<Arc<Up>, CallError> {
        let mut state = self.state.subscribe();
        loop {
            let deadline = match &*state.borrow_and_update() {
                State::Up(up) => return Ok(Arc::clone(up)),
                State::Down(Down { down, .. })
                    if matches!(down.reason(), DownReason::NotAdmitted | DownReason::Stopped) =>
                {
                    return Err(down.call_error().clone());
                }
                State::Dialling { since } | State::Down(Down { since, .. }) => give_up.min(*since + LINK_TIMEOUT),
            };
            if timeout_at(deadline, changed(&mut state)).await.is_err()
                && let Some(down) = self.down()
            {
                return Err(down.call_error().clone());
            }
        }
    }

    /// Waits until the supervisor reports the loss of `up`. If a lane cannot be opened, the link is about to end.
    async fn wait_for_loss_of(&self, up: &Arc<Up>, give_up: Instant, reason: CallError) -> Result<(), CallError> {
        let mut state = self.state.subscribe();
        while matches!(&*state.borrow_and_update(), State::Up(now) if Arc::ptr_eq(now, up)) {
            let lost = timeout_at(give_up, changed(&mut state)).await;
            lost.map_err(|_| {
                let text = format!("the peer is reachable but accepts no calls, it may be stopping: {reason}");
                CallError::unavailable(text).caused_by(reason.clone())
            })?;
        }
        Ok(())
    }
}

/// Refuses headers that would end the session, with the calls of others.
fn check_headers<B>(request: &Request<B>) -> Result<(), CallError> {
    let (size, max) = (hop::list_size(request), settings::MAX_REQUEST_HEADERS);
    let fits = size <= settings::MAX_SHARED_HEADERS
        || (size <= max && hop::encoded_size(request) <= settings::MAX_ENCODED_HEADERS);
    if fits {
        return Ok(());
    }
    let reason =
        format!("the request has {size} bytes of headers; {max} are the most, or fewer if they are not ASCII text");
    Err(CallError::new(Status::HEADERS_TOO_LARGE, reason))
}

async fn changed(state: &mut watch::Receiver<State>) {
    state.changed().await.expect("the tunnel holds the sender");
}

impl State {
    /// Returns why there is no link to `peer`.
    fn down(&self, peer: EndpointId) -> Option<PeerDown> {
        match self {
            Self::Dialling { .. } => {
                Some(PeerDown::unreachable(peer, CallError::unavailable("the peer is being dialled")))
            }
            Self::Down(Down { down, .. }) => Some(down.clone()),
            Self::Up(_) => None,
        }
    }
}
