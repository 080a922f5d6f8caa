//! Probes whether upstreams answer and serve their APIs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Method, Request, StatusCode, header};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use super::{Upstream, UpstreamClient, Upstreams};
use crate::{
    admission::Access,
    hop::{self, PASSED},
    protocol::{Api, CallError, Wire, has_grpc_type},
    report::OnChange,
};

/// The interval between two rounds for an API that no upstream serves. A SuperLink takes about 5 s to start; an operator should
/// not wait much longer.
const INTERVAL: Duration = Duration::from_secs(2);
/// The shortest interval between two rounds, however many calls fail.
const MIN_INTERVAL: Duration = Duration::from_millis(500);
/// An API that is served is probed once in this many rounds: each probe leaves a line in the SuperLink's access log, and calls
/// notice a loss anyway.
const ROUNDS_WHILE_SERVED: u32 = 30;
/// How long an operator waits for the first round.
const FIRST_ROUND_TIMEOUT: Duration = Duration::from_secs(1);
/// The timeout of one probe.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a SuperLink may be away without a warning: a restart of it is nothing unusual.
const RESTART_TIME: Duration = Duration::from_secs(60);
/// A method that does not exist: every gRPC server answers it with UNIMPLEMENTED.
const GRPC_PROBE: &str = "/flwr.proto.Fleet/FunnelProbe";

/// The result of the last probe of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamState {
    /// It has not been probed yet, or it refuses probes, as a gateway may: calls are tried.
    Unknown,
    /// It answers as Flower does.
    Up,
    /// It does not answer.
    Down,
    /// Something answers, but not as this API: another version of Flower, or another program.
    NotServed,
}

impl UpstreamState {
    /// Returns its name in hello and in logs.
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

/// Probes the upstreams and reports when they come and go.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    upstreams: Arc<Upstreams>,
    access: Access,
    states: watch::Sender<States>,
    recheck: Arc<Notify>,
}

impl Probe {
    pub(crate) fn new(upstreams: Arc<Upstreams>, access: Access) -> Self {
        Self { upstreams, access, states: watch::Sender::new(States::new()), recheck: Arc::default() }
    }

    /// Returns the result of the last probe.
    pub(crate) fn state(&self, api: Api, upstream: &Upstream) -> UpstreamState {
        self.states.borrow().get(&(api, upstream.clone())).copied().unwrap_or(UpstreamState::Unknown)
    }

    /// Selects the upstream for a call, as [`Upstreams::select`] does.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn select(&self, api: Api, wire: Wire) -> Result<&Upstream, CallError> {
        self.upstreams.select(api, wire, |upstream| self.state(api, upstream))
    }

    /// Returns the result for each upstream of every API that some peer may call.
    pub(crate) fn results(&self) -> Vec<(Api, Upstream, UpstreamState)> {
        self.rows().into_iter().map(|(api, upstream)| (api, upstream.clone(), self.state(api, upstream))).collect()
    }

    /// Records that an upstream has answered a call as Flower does, which says more than a probe that it refused.
    pub(crate) fn answered(&self, api: Api, upstream: &Upstream) {
        if self.state(api, upstream) == UpstreamState::Unknown {
            self.states.send_modify(|states| _ = states.insert((api, upstream.clone()), UpstreamState::Up));
        }
    }

    /// Probes again soon, since a call contradicted the last result.
    pub(crate) fn recheck(&self, api: Api, upstream: &Upstream) {
        self.states.send_if_modified(|states| {
            let was_up = states.get(&(api, upstream.clone())) == Some(&UpstreamState::Up);
            if was_up {
                states.insert((api, upstream.clone()), UpstreamState::Unknown);
            }
            was_up
        });
        self.recheck.notify_one();
    }

    /// Waits until every upstream was probed once, but not for one that is slow to answer.
    pub(crate) async fn first_round(&self) {
        let all = self.rows().len();
        let mut states = self.states.subscribe();
        // The sender lives as long as self; an upstream that has not answered in time stays unknown.
        let _ = timeout(FIRST_ROUND_TIMEOUT, states.wait_for(|states| states.len() >= all)).await;
    }

    /// Probes the upstreams in rounds, indefinitely.
    pub(crate) async fn run(self, client: UpstreamClient) {
        let mut served = HashMap::<Api, Served>::new();
        for round in 0_u32.. {
            let all = round.is_multiple_of(ROUNDS_WHILE_SERVED);
            let mut due = self.rows();
            due.retain(|(api, _)| all || !self.is_served(*api));
            let results = join_all(due.iter().map(|(api, upstream)| probe(&client, *api, upstream))).await;
            let mut details = HashMap::<Api, Vec<String>>::new();
            self.states.send_modify(|states| {
                for ((api, upstream), (state, detail)) in due.into_iter().zip(results) {
                    let row = states.entry((api, upstream.clone())).or_insert(state);
                    // A call that was answered says more than a probe that is refused.
                    if (*row, state) != (UpstreamState::Up, UpstreamState::Unknown) {
                        *row = state;
                    }
                    details.entry(api).or_default().extend(detail);
                }
            });
            for (api, _) in self.rows() {
                // A call may have been answered since.
                if details.contains_key(&api) || self.is_served(api) {
                    let details = details.get(&api).map_or(&[][..], Vec::as_slice);
                    self.report(api, details, served.entry(api).or_default());
                }
            }
            sleep(MIN_INTERVAL).await;
            let _ = timeout(INTERVAL - MIN_INTERVAL, self.recheck.notified()).await;
        }
    }

    /// Returns the upstreams of the APIs that some peer may call now or after an enrolment.
    fn rows(&self) -> Vec<(Api, &Upstream)> {
        let offered = self.access.offered();
        self.upstreams.rows().filter(|(api, _)| offered.contains(*api)).collect()
    }

    fn is_served(&self, api: Api) -> bool {
        self.upstreams.of(api).any(|upstream| self.state(api, upstream) == UpstreamState::Up)
    }

    /// Logs which upstream serves an API, when that changes, and that none has done so for long.
    fn report(&self, api: Api, details: &[String], served: &mut Served) {
        let upstream = self.upstreams.of(api).find(|upstream| self.state(api, upstream) == UpstreamState::Up);
        let Served { by, lost } = served;
        by.run_with_last(upstream.cloned(), |upstream, last| {
            let detail = details.join("; ");
            match (upstream, last) {
                (Some(upstream), _) => {
                    info!(%api, %upstream, "the SuperLink answers");
                    *lost = None;
                }
                (None, Some(Some(_))) => {
                    info!(%api, detail, "the SuperLink no longer answers");
                    *lost = Some(Instant::now());
                }
                (None, _) => info!(%api, detail, "no SuperLink answers yet; it is used as soon as it does"),
            }
        });
        if lost.take_if(|since| since.elapsed() >= RESTART_TIME).is_some() {
            let detail = details.join("; ");
            warn!(%api, detail, "the SuperLink has not answered for {} s: start it again", RESTART_TIME.as_secs());
        }
    }
}

/// Which upstream serves an API.
#[derive(Debug, Default)]
struct Served {
    by: OnChange<Option<Upstream>>,
    /// Since when none does, until that was warned of; `None` if none ever did.
    lost: Option<Instant>,
}

async fn probe(client: &UpstreamClient, api: Api, upstream: &Upstream) -> (UpstreamState, Option<String>) {
    let answer = match timeout(TIMEOUT, client.send(upstream, request(api, upstream.wire()))).await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::unavailable(format_args!("no answer from {upstream} within {TIMEOUT:?}"))),
    };
    match answer {
        Ok(response) => {
            let (state, status) = (judge(upstream.wire(), &response), response.status());
            let detail = match state {
                UpstreamState::Up => return (state, None),
                UpstreamState::Unknown => format!("what answers at {upstream} refuses to be probed (status {status})"),
                UpstreamState::Down => format!("a gateway at {upstream} reaches no SuperLink (status {status})"),
                UpstreamState::NotServed => format!("what answers at {upstream} does not serve it (status {status})"),
            };
            (state, Some(detail))
        }
        Err(error) => (UpstreamState::Down, Some(error.to_string())),
    }
}

fn request(api: Api, wire: Wire) -> Request<hop::Body> {
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

/// Returns a path of the API that accepts only POST, in every Flower that has the API in HTTP. To GET, Flower answers 405,
/// without authentication and without effect, and 404 if it does not serve the API.
fn http_probe(api: Api) -> http::Uri {
    http::Uri::from_static(match api {
        Api::Fleet => "/v1/fleet/pull-messages",
        Api::Control => "/v1/control/list-runs",
        // In HTTP, the older app APIs are one.
        Api::Runtime | Api::ServerAppIo | Api::ClientAppIo => "/v1/runtime/pull-messages",
    })
}

/// Returns what the answer to a probe says. Only Flower's own answer says whether the API is served, or that of another funnel's
/// port: a gateway before Flower may let nothing but calls pass.
fn judge<B>(wire: Wire, response: &http::Response<B>) -> UpstreamState {
    let content_type = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let is_flower = content_type.starts_with(b"application/json");
    if response.headers().contains_key(PASSED) {
        return UpstreamState::NotServed;
    }
    match (wire, response.status()) {
        (Wire::Grpc, _) if has_grpc_type(response.headers()) => UpstreamState::Up,
        (Wire::Http, StatusCode::METHOD_NOT_ALLOWED) => UpstreamState::Up,
        // FastAPI's answer for a path that it does not have.
        (Wire::Http, StatusCode::NOT_FOUND) if is_flower => UpstreamState::NotServed,
        (_, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) => {
            UpstreamState::Down
        }
        _ => UpstreamState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flower_itself_says_that_it_does_not_serve_an_api() {
        use UpstreamState::{Down, NotServed, Unknown, Up};
        for (wire, status, content_type, state) in [
            (Wire::Http, 405, "application/json", Up),
            (Wire::Http, 404, "application/json", NotServed),
            (Wire::Http, 404, "text/html", Unknown),
            (Wire::Http, 401, "application/json", Unknown),
            (Wire::Http, 403, "text/html", Unknown),
            (Wire::Http, 400, "text/plain", Unknown),
            (Wire::Http, 302, "text/html", Unknown),
            (Wire::Http, 429, "text/html", Unknown),
            (Wire::Http, 502, "text/html", Down),
            (Wire::Http, 503, "application/json", Down),
            (Wire::Grpc, 200, "application/grpc", Up),
            (Wire::Grpc, 403, "text/html", Unknown),
            (Wire::Grpc, 404, "text/html", Unknown),
            (Wire::Grpc, 405, "text/html", Unknown),
            (Wire::Grpc, 502, "text/html", Down),
        ] {
            let response = http::Response::builder().status(status).header(header::CONTENT_TYPE, content_type);
            assert_eq!(judge(wire, &response.body(()).unwrap()), state, "{wire} {status} {content_type}");
        }
    }
}
