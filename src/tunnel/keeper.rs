//! Keeps one link open.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    Request,
    uri::{Authority, Scheme},
};
use iroh::EndpointId;
use tokio::{
    sync::watch,
    time::{Instant, interval, sleep, timeout},
};
use tracing::{Instrument, debug, info, info_span, warn};

use super::{
    Down, Hello, State, Up, Waiting,
    hearing::Hearing,
    lanes::{Lanes, SendError, Size},
};
use crate::{
    address_lookup::Findings,
    enrolment::{Enrolment, Presented},
    forward,
    protocol::{Failure, HELLO_PATH},
    transport::{Backoff, Code, ConnectError, IrohConnector, Link, LinkLost},
};

/// Before the second attempt, doubling with each.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Between the first attempts: a network that comes back is to be used within a second.
const RETRY_SOON: Duration = Duration::from_millis(400);
/// How many these are: minutes where nobody answers, seconds where there is nothing to ask.
const SOON: u32 = 30;
/// Between attempts in the end, and where a peer does not admit us. A link that lived longer was a good one, and the
/// next is dialled at once.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// For one dial: enough for a relay at the far side of the world.
const DIAL: Duration = Duration::from_secs(10);
/// After this long another dial is begun beside the one that goes on. A handshake is sent again after 0.3 and 0.9 s, then
/// less and less often: a new one finds a network that came back sooner.
const ANEW: Duration = Duration::from_millis(1250);
/// For the answer to hello, which asks nobody else.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Keeper {
    connector: IrohConnector,
    peer: EndpointId,
    authority: Authority,
    state: watch::Sender<State>,
    findings: Findings,
    /// Until the peer has decided on it.
    enrolment: Option<Enrolment>,
}

impl Keeper {
    pub(super) fn new(
        connector: IrohConnector,
        peer: EndpointId,
        authority: Authority,
        state: watch::Sender<State>,
        findings: Findings,
        enrolment: Option<Enrolment>,
    ) -> Self {
        Self { connector, peer, authority, state, findings, enrolment }
    }

    pub(super) async fn run(self) {
        let span = info_span!("link", peer = %self.peer.fmt_short());
        self.keep().instrument(span).await;
    }

    async fn keep(mut self) {
        let (mut since, mut failures) = (Instant::now(), 0);
        loop {
            let mut waiting = Waiting::Worthwhile;
            match self.greet().await {
                Ok(up) => {
                    let began = Instant::now();
                    since = self.hold(up).await;
                    if began.elapsed() > RETRY_MAX {
                        failures = 0;
                        continue;
                    }
                }
                Err(down) => match self.enrol(&down).await {
                    Ok(()) => continue,
                    Err(failure) => {
                        waiting = down.waiting;
                        self.note(Down { since, failure: failure.unwrap_or(down.failure), waiting });
                    }
                },
            }
            sleep(pause(failures, waiting)).await;
            failures += 1;
        }
    }

    /// Publishes the link and those that replace it, waits for the end of the last, and tells when that was.
    async fn hold(&self, up: Up) -> Instant {
        let mut up = Arc::new(up);
        loop {
            let link = up.lanes.link().clone();
            match link.path() {
                Some(path) => info!(%path, hello = %up.hello, "connected"),
                None => info!(hello = %up.hello, "connected"),
            }
            self.connector.adopt(link.clone());
            self.state.send_replace(State::Up(Arc::clone(&up)));
            let mut hearing = Hearing::of(link.clone());
            match self.replaced(&link, &mut hearing).await {
                Ok(next) if next.hello.is_of_another_start(&up.hello) => {
                    warn!("the peer was restarted");
                    link.close(Code::DONE, "replaced by another link");
                    up = Arc::new(next);
                }
                Ok(next) => {
                    warn!("the link is silent, another was found: the network of one end may have changed");
                    tokio::spawn(give_a_last_chance(link, hearing));
                    up = Arc::new(next);
                }
                Err(lost) => {
                    warn!("{lost}");
                    let down = Down::of_lost(&lost);
                    let since = down.since;
                    self.state.send_replace(State::Down(down));
                    return since;
                }
            }
        }
    }

    /// Waits for the end of `link`, or for another one that answers while it is silent.
    ///
    /// A peer that was killed and started again does not know the link, and cannot say so.
    async fn replaced(&self, link: &Link, hearing: &mut Hearing) -> Result<Up, LinkLost> {
        loop {
            tokio::select! {
                lost = link.closed() => return Err(lost),
                () = hearing.silence() => debug!("the peer is silent: it is dialled beside the link"),
            }
            tokio::select! {
                lost = link.closed() => return Err(lost),
                heard = hearing.sound() => if heard.is_err() {
                    return Err(link.give_up());
                },
                up = self.greet_at_last() => return Ok(up),
            }
        }
    }

    async fn greet_at_last(&self) -> Up {
        let mut failures = 0;
        loop {
            match self.greet().await {
                Ok(up) => return up,
                Err(down) => debug!("{}", down.failure),
            }
            sleep(pause(failures, Waiting::Worthwhile)).await;
            failures += 1;
        }
    }

    /// Presents the invitation, if there is one, to a peer that does not admit us. Otherwise, and where it was of no use,
    /// the failure says more than the refusal.
    async fn enrol(&mut self, down: &Down) -> Result<(), Option<Failure>> {
        let enrolment = match down.waiting {
            Waiting::Useless => self.enrolment.take().ok_or(None)?,
            Waiting::Worthwhile => return Err(None),
        };
        match enrolment.present().await {
            Presented::Enrolled => {
                info!("the peer has taken the invitation");
                Ok(())
            }
            Presented::Refused(failure) => Err(Some(failure)),
            Presented::NotNow(failure) => {
                self.enrolment = Some(enrolment);
                Err(Some(failure))
            }
        }
    }

    /// Publishes why there is no link, and logs it when it is news.
    fn note(&self, down: Down) {
        let failure = down.failure.to_string();
        let is_news = self.state.send_if_modified(|state| {
            let is_news = !matches!(state, State::Down(before) if before.failure.to_string() == failure);
            if is_news {
                *state = State::Down(down);
            }
            is_news
        });
        if is_news {
            warn!("{failure}");
        }
    }

    async fn greet(&self) -> Result<Up, Down> {
        let link = self.dial().await.map_err(|error| match error.link_lost() {
            Some(lost) => Down::of_lost(lost),
            None => Down::now(Failure::unavailable(self.findings.explain(self.peer, &error))),
        })?;
        let lanes = Lanes::new(link.clone());
        let hello = tokio::select! {
            hello = self.hello(&lanes) => hello.map_err(Down::now),
            lost = link.closed() => Err(Down::of_lost(&lost)),
        };
        match hello {
            Ok(hello) => Ok(Up { lanes, hello }),
            Err(down) => Err(give_up(&link, down)),
        }
    }

    /// Dials, and when that takes long, begins anew beside it, again and again.
    async fn dial(&self) -> Result<Link, ConnectError> {
        let anew = async {
            let mut begin = interval(ANEW);
            begin.tick().await;
            loop {
                begin.tick().await;
                if let Ok(link) = self.connector.dial(self.peer, ANEW).await {
                    return link;
                }
            }
        };
        tokio::select! {
            dialled = self.connector.dial(self.peer, DIAL) => dialled,
            link = anew => Ok(link),
        }
    }

    async fn hello(&self, lanes: &Lanes) -> Result<Hello, Failure> {
        let mut request = Request::new(forward::full(Bytes::new()));
        *request.uri_mut() = http::Uri::from_static(HELLO_PATH);
        let request = forward::onward_request(request, Scheme::HTTP, &self.authority);
        let exchange = async {
            match lanes.send(Size::Small, request).await {
                Ok((response, _lane)) => Hello::read(response).await,
                Err(SendError::Failed(failure)) => Err(failure),
                Err(SendError::NotSent(_)) => Err(Failure::unavailable("the peer takes no session")),
            }
        };
        match timeout(HELLO_TIMEOUT, exchange).await {
            Ok(hello) => hello,
            Err(_) => Err(Failure::unavailable("the peer was reached and does not answer hello; is it a funnel?")),
        }
    }
}

/// Leaves a silent link to the calls on it: it may be heard again once the network has settled.
async fn give_a_last_chance(link: Link, mut hearing: Hearing) {
    tokio::select! {
        _ = link.closed() => {}
        heard = hearing.sound() => if heard.is_err() {
            link.give_up();
        },
    }
}

/// A refusal may close the link just after a session on it failed: its reason is the better one.
fn give_up(link: &Link, down: Down) -> Down {
    match link.close_reason() {
        Some(lost) => Down::of_lost(&lost),
        None => {
            debug!("closing a link without hello");
            link.close(Code::CANCELLED, "no hello");
            down
        }
    }
}

/// A random half keeps the peers of a funnel that restarts from coming back in step.
fn pause(failures: u32, waiting: Waiting) -> Duration {
    let max = match waiting {
        Waiting::Worthwhile if failures < SOON => RETRY_SOON,
        Waiting::Worthwhile | Waiting::Useless => RETRY_MAX,
    };
    Backoff::new(RETRY_FIRST, max, 0.5..1.0).wait(failures)
}

impl Down {
    fn now(failure: Failure) -> Self {
        Self { since: Instant::now(), failure, waiting: Waiting::Worthwhile }
    }

    fn of_lost(lost: &LinkLost) -> Self {
        match (lost.code(), lost.peer_reason()) {
            (Some(Code::REFUSED), Some(reason)) => Self {
                waiting: Waiting::Useless,
                ..Self::now(Failure::unavailable(format_args!(
                    "peer {} does not admit this funnel: {reason}",
                    lost.peer().fmt_short()
                )))
            },
            _ => Self::now(Failure::unavailable(lost)),
        }
    }
}
