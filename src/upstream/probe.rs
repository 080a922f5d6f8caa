//! Is the upstream there, and does it serve the API?

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Method, Request, StatusCode, header};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{Upstream, UpstreamClient, Upstreams};
use crate::{
    admission::Access,
    hop,
    protocol::{Api, CallError, Wire, has_grpc_type},
};

/// Between two looks for an API that nobody serves. A SuperLink takes about 5 s to start; an operator who watches
/// should not wait much longer.
const INTERVAL: Duration = Duration::from_secs(2);
/// The same when calls fail, however many do.
const PAUSE: Duration = Duration::from_millis(500);
/// Rounds between two looks at an API that is served: each leaves a line in the SuperLink's access log, and calls
/// notice a loss by themselves.
const LOOKS_FOR_ONE: u32 = 30;
/// For the first look, when an operator waits for it.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// For one look.
const TIMEOUT: Duration = Duration::from_secs(2);
/// gRPC answers a method it does not have with UNIMPLEMENTED, whatever the service.
const GRPC_PROBE: &str = "/flwr.proto.Fleet/FunnelProbe";

/// What a look at an upstream found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamState {
    /// Nobody has looked yet.
    Unknown,
    /// It answers as Flower does.
    Up,
    /// It does not answer.
    Down,
    /// Something answers, but not as this API: another version of Flower, or another program.
    NotServed,
}

impl UpstreamState {
    /// Its name in hello and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::NotServed => "not served",
        }
    }
}

type States = HashMap<(Api, Upstream), UpstreamState>;

/// Watches the upstreams and says when they come and go.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    upstreams: Arc<Upstreams>,
    access: Access,
    states: watch::Sender<States>,
    doubt: Arc<Notify>,
}

impl Probe {
    pub(crate) fn new(upstreams: Arc<Upstreams>, access: Access) -> Self {
        Self { upstreams, access, states: watch::Sender::new(States::new()), doubt: Arc::default() }
    }

    pub(crate) fn state(&self, api: Api, upstream: &Upstream) -> UpstreamState {
        self.states.borrow().get(&(api, upstream.clone())).copied().unwrap_or(UpstreamState::Unknown)
    }

    /// The upstream for a call: see [`Upstreams::select`].
    pub(crate) fn select(&self, api: Api, wire: Wire) -> Result<&Upstream, CallError> {
        self.upstreams.select(api, wire, |upstream| self.state(api, upstream))
    }

    /// What was found, for every API that somebody may call.
    pub(crate) fn found(&self) -> Vec<(Api, Upstream, UpstreamState)> {
        self.rows().into_iter().map(|(api, upstream)| (api, upstream.clone(), self.state(api, upstream))).collect()
    }

    /// A call met something else than was found: looks again soon.
    pub(crate) fn doubt(&self, api: Api, upstream: &Upstream) {
        self.states.send_if_modified(|states| {
            let was_up = states.get(&(api, upstream.clone())) == Some(&UpstreamState::Up);
            if was_up {
                states.insert((api, upstream.clone()), UpstreamState::Unknown);
            }
            was_up
        });
        self.doubt.notify_one();
    }

    /// Waits for the first look at every upstream, but not for one that is slow to answer.
    pub(crate) async fn looked(&self) {
        let all = self.rows().len();
        let mut states = self.states.subscribe();
        // The sender lives as long as self, and whoever was not seen in time is unknown.
        let _ = timeout(FIRST_LOOK, states.wait_for(|states| states.len() >= all)).await;
    }

    /// Looks again and again, for ever.
    pub(crate) async fn run(self, client: UpstreamClient) {
        let mut served = HashMap::new();
        for round in 0_u32.. {
            let all = round.is_multiple_of(LOOKS_FOR_ONE);
            let mut due = self.rows();
            due.retain(|(api, _)| all || !self.is_served(*api));
            let looks = join_all(due.iter().map(|(api, upstream)| look(&client, *api, upstream))).await;
            let mut details = HashMap::<Api, Vec<String>>::new();
            self.states.send_modify(|states| {
                for ((api, upstream), (state, detail)) in due.into_iter().zip(looks) {
                    states.insert((api, upstream.clone()), state);
                    details.entry(api).or_default().extend(detail);
                }
            });
            for (api, details) in details {
                self.tell(api, &details, &mut served);
            }
            sleep(PAUSE).await;
            let _ = timeout(INTERVAL - PAUSE, self.doubt.notified()).await;
        }
    }

    /// The upstreams of the APIs that somebody may call now, or could after an enrolment.
    fn rows(&self) -> Vec<(Api, &Upstream)> {
        let offered = self.access.offered();
        self.upstreams.rows().filter(|(api, _)| offered.contains(*api)).collect()
    }

    fn is_served(&self, api: Api) -> bool {
        self.upstreams.of(api).any(|upstream| self.state(api, upstream) == UpstreamState::Up)
    }

    /// Logs who serves an API, when that has changed.
    fn tell(&self, api: Api, details: &[String], served: &mut HashMap<Api, Option<Upstream>>) {
        let by = self.upstreams.of(api).find(|upstream| self.state(api, upstream) == UpstreamState::Up).cloned();
        let before = served.insert(api, by.clone());
        if before.as_ref() == Some(&by) {
            return;
        }
        let detail = details.join("; ");
        match (by, before) {
            (Some(upstream), _) => info!(%api, %upstream, "the SuperLink answers"),
            (None, Some(Some(_))) => warn!(%api, detail, "the SuperLink no longer answers"),
            (None, _) => info!(%api, detail, "no SuperLink answers yet; it is used as soon as it does"),
        }
    }
}

async fn look(client: &UpstreamClient, api: Api, upstream: &Upstream) -> (UpstreamState, Option<String>) {
    let answer = match timeout(TIMEOUT, client.send(upstream, question(api, upstream.wire()))).await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::unavailable(format_args!("no answer from {upstream} within {TIMEOUT:?}"))),
    };
    match answer {
        Ok(response) if is_served(upstream.wire(), &response) => (UpstreamState::Up, None),
        Ok(response) => {
            let detail = format!("what answers at {upstream} does not serve it (status {})", response.status());
            (UpstreamState::NotServed, Some(detail))
        }
        Err(failure) => (UpstreamState::Down, Some(failure.to_string())),
    }
}

fn question(api: Api, wire: Wire) -> Request<hop::Body> {
    let mut request = Request::new(hop::full(Bytes::new()));
    match wire {
        Wire::Http => *request.uri_mut() = http_probe(api),
        Wire::Grpc => {
            *request.method_mut() = Method::POST;
            *request.uri_mut() = http::Uri::from_static(GRPC_PROBE);
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
    request
}

/// A path of the API that takes only POST, of every Flower that has the API in HTTP. Asked with GET, Flower answers
/// 405, without authentication and without doing anything, and 404 where the API is not served.
fn http_probe(api: Api) -> http::Uri {
    http::Uri::from_static(match api {
        Api::Fleet => "/v1/fleet/pull-messages",
        Api::Control => "/v1/control/list-runs",
        // In HTTP the app APIs of old are one.
        Api::Runtime | Api::ServerAppIo | Api::ClientAppIo => "/v1/runtime/pull-messages",
    })
}

fn is_served<B>(wire: Wire, response: &http::Response<B>) -> bool {
    match wire {
        Wire::Http => response.status() == StatusCode::METHOD_NOT_ALLOWED,
        Wire::Grpc => has_grpc_type(response.headers()),
    }
}
