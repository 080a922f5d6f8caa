//! The tie to one peer funnel: a link that is kept open, and calls over it.

mod hello;
mod lanes;
mod liveness;
mod peer_conn;
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
pub use self::{
    hello::{ApiReport, Hello, WireReport},
    peer_conn::{PeerCall, PeerChannel, PeerConn},
};
use self::{lanes::Lanes, supervisor::Keeper};
use crate::{
    address_lookup::Findings,
    admission::enrolment::Enrolment,
    hop::{self, Body},
    protocol::Failure,
    transport::{IrohConnector, Path},
};

/// How long after its loss a link may be awaited by calls that were not sent yet.
///
/// A SuperNode's heartbeat has 5 s in all: with 4 s here it still hears the answer.
const HOLD: Duration = Duration::from_secs(4);

/// A link to one peer funnel that is dialled, greeted, and dialled anew when it is lost, until the last clone is
/// dropped or [`close`](Self::close)d.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel {
    peer: EndpointId,
    authority: Authority,
    state: watch::Sender<State>,
    keeper: Arc<AbortOnDropHandle<()>>,
}

/// How the tie stands.
#[derive(Clone, Debug)]
enum State {
    /// Nothing is known yet.
    Dialling {
        since: Instant,
    },
    Down(Down),
    Up(Arc<Up>),
}

/// There is no usable link.
#[derive(Clone, Debug)]
struct Down {
    since: Instant,
    failure: Failure,
    waiting: Waiting,
}

/// Whether a call may hope for a link to come soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Worthwhile,
    /// The peer does not admit us, or this funnel has stopped.
    Useless,
}

/// The peer answered hello over this link.
#[derive(Debug)]
struct Up {
    lanes: Lanes,
    hello: Hello,
}

impl Tunnel {
    /// Begins to dial `peer`. Should it not be reached, the findings say why; should it not admit us, the enrolment is tried.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn open(
        connector: IrohConnector,
        peer: EndpointId,
        findings: Findings,
        enrolment: Option<Enrolment>,
    ) -> Self {
        let authority = Authority::try_from(peer.to_string()).expect("64 hexadecimal digits are a host");
        let state = watch::Sender::new(State::Dialling { since: Instant::now() });
        let keeper = Keeper::new(connector, peer, authority.clone(), state.clone(), findings, enrolment);
        let keeper = Arc::new(AbortOnDropHandle::new(tokio::spawn(keeper.run())));
        Self { peer, authority, state, keeper }
    }

    pub(crate) fn peer(&self) -> EndpointId {
        self.peer
    }

    /// Makes one call. The guard keeps its lane: hold it until the response's body has ended.
    ///
    /// While the link is lost since less than 4 s, the call waits for the next one. A call that was sent is never sent
    /// again.
    pub(crate) async fn call(
        &self,
        size: Size,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, LaneGuard), Failure> {
        let mut request = hop::onward_request(request, Scheme::HTTP, &self.authority);
        let give_up = Instant::now() + HOLD;
        loop {
            let up = self.wait_for_link(give_up).await?;
            match up.lanes.send(size, request).await {
                Ok(answered) => return Ok(answered),
                Err(lanes::SendError::Failed(failure)) => return Err(failure),
                Err(lanes::SendError::NotSent(unsent)) => {
                    request = *unsent;
                    self.wait_for_loss_of(&up, give_up).await?;
                }
            }
        }
    }

    /// What the peer said of itself, `None` while there is no link.
    pub(crate) fn hello(&self) -> Option<Hello> {
        self.up().map(|up| up.hello.clone())
    }

    /// The network path of the link.
    pub(crate) fn path(&self) -> Option<Path> {
        self.up()?.lanes.link().path()
    }

    /// Waits until there is a link on a path that is `wanted`.
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

    /// Why there is no link, `None` while there is one.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.state.borrow().failure()
    }

    /// Waits for a link, however long it takes, and tells `on_trouble` each new reason why there is none.
    pub(crate) async fn ready(&self, mut on_trouble: impl FnMut(&Failure)) -> Hello {
        let mut state = self.state.subscribe();
        loop {
            let failure = match &*state.borrow_and_update() {
                State::Up(up) => return up.hello.clone(),
                State::Down(down) => Some(down.failure.clone()),
                State::Dialling { .. } => None,
            };
            // Not while the state is borrowed: it may ask for it.
            if let Some(failure) = failure {
                on_trouble(&failure);
            }
            changed(&mut state).await;
        }
    }

    /// Waits for a link or the first reason why there is none.
    pub(crate) async fn settled(&self) -> Result<Hello, Failure> {
        let mut state = self.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                State::Up(up) => return Ok(up.hello.clone()),
                State::Down(down) => return Err(down.failure.clone()),
                State::Dialling { .. } => {}
            }
            changed(&mut state).await;
        }
    }

    /// Ends the rebuilding of the link, and all further calls, for all clones.
    pub(crate) fn close(&self) {
        self.keeper.abort();
        let failure = Failure::unavailable("this funnel has stopped");
        self.state.send_replace(State::Down(Down { since: Instant::now(), failure, waiting: Waiting::Useless }));
    }

    fn up(&self) -> Option<Arc<Up>> {
        match &*self.state.borrow() {
            State::Up(up) => Some(Arc::clone(up)),
            State::Dialling { .. } | State::Down(_) => None,
        }
    }

    async fn wait_for_link(&self, give_up: Instant) -> Result<Arc<Up>, Failure> {
        let mut state = self.state.subscribe();
        loop {
            let deadline = match &*state.borrow_and_update() {
                State::Up(up) => return Ok(Arc::clone(up)),
                State::Down(down) if down.waiting == Waiting::Useless => return Err(down.failure.clone()),
                State::Dialling { since } | State::Down(Down { since, .. }) => give_up.min(*since + HOLD),
            };
            if timeout_at(deadline, changed(&mut state)).await.is_err()
                && let Some(failure) = self.failure()
            {
                return Err(failure);
            }
        }
    }

    /// A lane that cannot be opened means that the link is at its end; its keeper is about to say so.
    async fn wait_for_loss_of(&self, up: &Arc<Up>, give_up: Instant) -> Result<(), Failure> {
        let mut state = self.state.subscribe();
        while matches!(&*state.borrow_and_update(), State::Up(now) if Arc::ptr_eq(now, up)) {
            let lost = timeout_at(give_up, changed(&mut state)).await;
            lost.map_err(|_| Failure::unavailable("the peer is reached and takes no calls; it may be stopping"))?;
        }
        Ok(())
    }
}

async fn changed(state: &mut watch::Receiver<State>) {
    state.changed().await.expect("the tunnel that is being called holds the sender");
}

impl State {
    /// Why there is no link.
    fn failure(&self) -> Option<Failure> {
        match self {
            Self::Dialling { .. } => Some(Failure::unavailable("the peer is being dialled")),
            Self::Down(down) => Some(down.failure.clone()),
            Self::Up(_) => None,
        }
    }
}
