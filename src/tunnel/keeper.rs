//! Keeps one link open.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, uri::Authority};
use iroh::EndpointId;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{Instrument, debug, info, info_span, warn};

use super::{
    Down, Hello, State, Up, Waiting,
    lanes::{Lanes, SendError, Size},
};
use crate::{
    forward,
    protocol::{Failure, HELLO_PATH},
    transport::{Code, IrohConnector, Link, LinkLost},
};

/// Before the second attempt, doubling with each.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Between attempts in the end. A link that lived longer was a good one, and the next is dialled at once.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// For the answer to hello, which asks nobody else.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Keeper {
    connector: IrohConnector,
    peer: EndpointId,
    authority: Authority,
    state: watch::Sender<State>,
}

impl Keeper {
    pub(super) fn new(
        connector: IrohConnector,
        peer: EndpointId,
        authority: Authority,
        state: watch::Sender<State>,
    ) -> Self {
        Self { connector, peer, authority, state }
    }

    pub(super) async fn run(self) {
        let span = info_span!("link", peer = %self.peer.fmt_short());
        self.keep().instrument(span).await;
    }

    async fn keep(self) {
        let (mut since, mut failures) = (Instant::now(), 0);
        loop {
            match self.greet().await {
                Ok(up) => {
                    let began = Instant::now();
                    since = self.hold(up).await;
                    if began.elapsed() > RETRY_MAX {
                        failures = 0;
                        continue;
                    }
                }
                Err(down) => self.note(Down { since, ..down }),
            }
            sleep(pause(failures)).await;
            failures += 1;
        }
    }

    /// Publishes the link, waits for its end, and tells when that was.
    async fn hold(&self, up: Up) -> Instant {
        let link = up.lanes.link().clone();
        match link.path() {
            Some(path) => info!(%path, hello = %up.hello, "connected"),
            None => info!(hello = %up.hello, "connected"),
        }
        self.state.send_replace(State::Up(Arc::new(up)));
        let lost = link.closed().await;
        warn!("{lost}");
        let down = Down::of_lost(&lost);
        let since = down.since;
        self.state.send_replace(State::Down(down));
        since
    }

    /// Publishes why there is no link, and logs it when it is news.
    fn note(&self, down: Down) {
        self.state.send_if_modified(|state| {
            let is_news =
                !matches!(state, State::Down(before) if before.failure.to_string() == down.failure.to_string());
            if is_news {
                warn!("{}", down.failure);
                *state = State::Down(down);
            }
            is_news
        });
    }

    async fn greet(&self) -> Result<Up, Down> {
        let link = self.connector.link(self.peer).await.map_err(|error| match error.link_lost() {
            Some(lost) => Down::of_lost(lost),
            None => Down::now(Failure::unavailable(&error)),
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

    async fn hello(&self, lanes: &Lanes) -> Result<Hello, Failure> {
        let mut request = Request::new(forward::full(Bytes::new()));
        *request.uri_mut() = http::Uri::from_static(HELLO_PATH);
        let request = forward::onward_request(request, &self.authority);
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
fn pause(failures: u32) -> Duration {
    let full = RETRY_FIRST.saturating_mul(1 << failures.min(10)).min(RETRY_MAX);
    full.mul_f32(0.5 + fastrand::f32() / 2.0)
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
