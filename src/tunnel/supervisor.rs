//! Keeps a link to a peer open.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, uri::Scheme};
use iroh::EndpointId;
use tokio::{
    sync::watch,
    time::{Instant, interval, sleep, timeout},
};
use tracing::{Instrument, debug, info, info_span, warn};

use super::{
    Down, DownReason, Hello, PeerDown, PeerSource, State, Target, Up,
    lanes::{Lanes, SendError, Size},
    liveness::Liveness,
    retry::Retry,
};
use crate::{
    address_lookup::LookupLog,
    admission::enrolment::EnrolmentOutcome,
    hop,
    protocol::{CallError, HELLO_PATH},
    report::OnChange,
    transport::{Code, ConnectError, IrohConnector, Link, LinkLost},
};

/// The wait for one dial: enough for a relay on the other side of the world.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The time after which a second dial is started beside the first. A handshake is retransmitted after 0.3 and 0.9 s, then
/// less and less often: a new one notices sooner that the network has recovered.
const REDIAL_INTERVAL: Duration = Duration::from_millis(1250);
/// The wait for the answer to hello, which the peer gives without contacting an upstream.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a peer may be away without a warning after it has announced its end: a restart of it is nothing unusual.
const RESTART_TIME: Duration = Duration::from_secs(60);

/// The task that dials a peer, and dials it again when the link is lost.
pub(super) struct Supervisor {
    connector: IrohConnector,
    peer: EndpointId,
    target: watch::Sender<Target>,
    state: watch::Sender<State>,
    lookup_log: LookupLog,
    source: PeerSource,
    /// When the peer announced that it ends the link.
    announced: Option<Instant>,
    /// The last reason that was logged, and whether it is one of a restart.
    reported: OnChange<(String, bool)>,
}

impl Supervisor {
    pub(super) fn new(
        connector: IrohConnector,
        target: watch::Sender<Target>,
        state: watch::Sender<State>,
        lookup_log: LookupLog,
        source: PeerSource,
    ) -> Self {
        let peer = target.borrow().peer;
        let reported = OnChange::default();
        Self { connector, peer, target, state, lookup_log, source, announced: None, reported }
    }

    pub(super) async fn run(mut self) {
        loop {
            let span = info_span!("link", peer = %self.peer.fmt_short());
            self.peer = self.supervise().instrument(span).await;
            self.target.send_replace(Target::new(self.peer));
        }
    }

    /// Keeps a link to the peer, until its ticket file names another one, which is returned.
    async fn supervise(&mut self) -> EndpointId {
        let (mut since, mut retry) = (Instant::now(), Retry::default());
        loop {
            let pause = match self.enrol_and_connect().await {
                Ok(up) => {
                    self.reported.clear();
                    let began = Instant::now();
                    let reason = self.serve_link(up).await;
                    since = Instant::now();
                    retry.after_link(began.elapsed(), reason)
                }
                Err(down) => {
                    let reason = down.reason();
                    self.publish(Down { since, down });
                    match self.source.changed().await {
                        None => retry.after_failure(reason),
                        Some(addr) => {
                            let peer = addr.id;
                            self.connector.add_peer(addr);
                            let pause = retry.after_failure(reason);
                            if peer != self.peer {
                                sleep(pause).await;
                                return peer;
                            }
                            pause
                        }
                    }
                }
            };
            sleep(pause).await;
        }
    }

    /// Publishes the link and those that replace it, waits for the end of the last one, and returns its reason.
    async fn serve_link(&mut self, up: Up) -> DownReason {
        let mut up = Arc::new(up);
        loop {
            let link = up.lanes.link().clone();
            match link.path() {
                Some(path) => info!(%path, hello = %up.hello, "connected"),
                None => info!(hello = %up.hello, "connected"),
            }
            self.connector.adopt(link.clone());
            self.state.send_replace(State::Up(Arc::clone(&up)));
            let mut liveness = Liveness::of(link.clone());
            match self.replacement(&link, &mut liveness).await {
                Ok(next) if next.hello.is_of_another_start(&up.hello) => {
                    info!("the peer was restarted");
                    link.close(Code::DONE, "replaced by another link");
                    up = Arc::new(next);
                }
                Ok(next) => {
                    warn!("the link is silent and was replaced: the network of one end may have changed");
                    tokio::spawn(await_recovery(link, liveness));
                    up = Arc::new(next);
                }
                Err(lost) => {
                    let is_announced = matches!(lost.code(), Some(Code::SHUTDOWN | Code::RECONNECT));
                    self.announced = is_announced.then(Instant::now);
                    let down = PeerDown::of_lost(lost);
                    let reason = down.reason();
                    self.publish(Down { since: Instant::now(), down });
                    return reason;
                }
            }
        }
    }

    /// Waits for the end of `link`, or for a new link on which the peer answers while `link` is silent.
    ///
    /// A peer that was killed and restarted does not know the link, and cannot close it.
    async fn replacement(&self, link: &Link, liveness: &mut Liveness) -> Result<Up, LinkLost> {
        loop {
            tokio::select! {
                lost = link.closed() => return Err(lost),
                () = liveness.suspected() => debug!("the peer is silent; dialling a second link"),
            }
            tokio::select! {
                lost = link.closed() => return Err(lost),
                recovered = liveness.recovered() => if recovered.is_err() {
                    return Err(link.give_up());
                },
                up = self.connect_with_retry() => return Ok(up),
            }
        }
    }

    async fn connect_with_retry(&self) -> Up {
        let mut retry = Retry::default();
        loop {
            match self.connect().await {
                Ok(up) => return up,
                Err(down) => {
                    debug!("{down}");
                    sleep(retry.after_failure(down.reason())).await;
                }
            }
        }
    }

    /// Presents the invitation, if there is one, and connects. The invitation goes first: a peer that does not admit this funnel
    /// yet reports every other link as that of a stranger.
    async fn enrol_and_connect(&mut self) -> Result<Up, PeerDown> {
        let refusal = self.enrol().await;
        self.connect().await.map_err(|down| match (down.reason(), refusal) {
            (DownReason::NotAdmitted, Some(refusal)) => down.with_error(refusal),
            _ => down,
        })
    }

    /// Presents the invitation, if there is one, and returns why the peer did not take it. A peer that admits this funnel
    /// already does not use it.
    async fn enrol(&mut self) -> Option<CallError> {
        let enrolment = self.source.enrolment.take()?;
        match enrolment.present().await {
            EnrolmentOutcome::Enrolled => {
                info!("the peer admits this funnel");
                None
            }
            EnrolmentOutcome::Refused(error) => Some(error),
            EnrolmentOutcome::NotNow(error) => {
                self.source.enrolment = Some(enrolment);
                Some(error)
            }
        }
    }

    /// Publishes why there is no link, and logs it when it changes, or when a restart of the peer takes too long.
    fn publish(&mut self, down: Down) {
        let is_restart = down.down.reason() == DownReason::Unreachable
            && self.announced.is_some_and(|at| at.elapsed() < RESTART_TIME);
        self.reported.run((down.down.to_string(), is_restart), |(text, is_restart)| {
            if *is_restart {
                info!("{text}");
            } else {
                warn!("{text}");
            }
            self.state.send_replace(State::Down(down));
        });
    }

    /// Dials the peer and waits for its hello.
    async fn connect(&self) -> Result<Up, PeerDown> {
        let link = self.dial().await.map_err(|error| self.not_reached(error))?;
        let lanes = Lanes::new(link.clone());
        let hello = tokio::select! {
            hello = self.hello(&lanes) => hello.map_err(|error| PeerDown::unreachable(self.peer, error)),
            lost = link.closed() => Err(PeerDown::of_lost(lost)),
        };
        match hello {
            Ok(hello) => Ok(Up { lanes, hello }),
            Err(down) => Err(give_up(&link, down)),
        }
    }

    fn not_reached(&self, error: ConnectError) -> PeerDown {
        match error.link_lost() {
            Some(lost) => PeerDown::of_lost(lost.clone()),
            None => {
                let text = self.lookup_log.explain(self.peer, &error);
                PeerDown::unreachable(self.peer, CallError::unavailable(text).caused_by(error))
            }
        }
    }

    /// Dials, and while that takes long, repeatedly starts further dials beside it.
    async fn dial(&self) -> Result<Link, ConnectError> {
        let again = async {
            let mut begin = interval(REDIAL_INTERVAL);
            begin.tick().await;
            loop {
                begin.tick().await;
                if let Ok(link) = self.connector.dial(self.peer, REDIAL_INTERVAL).await {
                    return link;
                }
            }
        };
        tokio::select! {
            dialled = self.connector.dial(self.peer, DIAL_TIMEOUT) => dialled,
            link = again => Ok(link),
        }
    }

    async fn hello(&self, lanes: &Lanes) -> Result<Hello, CallError> {
        let mut request = Request::new(hop::full(Bytes::new()));
        *request.uri_mut() = http::Uri::from_static(HELLO_PATH);
        let request = hop::onward_request(request, Scheme::HTTP, &self.target.borrow().authority);
        let answer = async {
            match lanes.send(Size::Small, request).await {
                Ok((response, _lane)) => Hello::read(response).await,
                Err(SendError::Failed(error) | SendError::NotSent(_, error)) => Err(error),
            }
        };
        match timeout(HELLO_TIMEOUT, answer).await {
            Ok(hello) => hello,
            Err(_) => Err(CallError::unavailable("the peer was reached but does not answer hello; is it a funnel?")),
        }
    }
}

/// Keeps a silent link open for the calls on it: the peer may answer again once the network has settled.
async fn await_recovery(link: Link, mut liveness: Liveness) {
    tokio::select! {
        _ = link.closed() => {}
        recovered = liveness.recovered() => if recovered.is_err() {
            link.give_up();
        },
    }
}

/// Closes a link on which hello failed. If a refusal has closed it meanwhile, that reason is more specific.
fn give_up(link: &Link, down: PeerDown) -> PeerDown {
    match link.close_reason() {
        Some(lost) => PeerDown::of_lost(lost),
        None => {
            debug!("closing a link without hello");
            link.close(Code::CANCELLED, "no hello");
            down
        }
    }
}
