//! The inbound end: from the tunnel to a Flower process on this machine.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use hyper::body::Incoming;
use iroh::EndpointId;
use tracing::{Instrument, debug, debug_span, info};

use crate::{
    access::{AccessList, Verdict},
    forward::{self, Body},
    protocol::{Api, Failure, Route, Wire, is_known_method},
    tunnel::{ApiReport, Hello, WireReport},
    upstream::{Probe, Upstream, UpstreamClient, UpstreamState, Upstreams},
};

/// Methods that were logged as news. A peer that invents names ends the logging, not the memory.
const MAX_NEWS: usize = 64;

/// Decides on the calls of peers and hands them on.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    shared: Arc<Shared>,
    client: UpstreamClient,
}

#[derive(Debug)]
struct Shared {
    access: Arc<AccessList>,
    upstreams: Arc<Upstreams>,
    probe: Probe,
    news: Mutex<HashSet<(Api, String)>>,
}

impl Inbound {
    pub(crate) fn new(access: Arc<AccessList>, upstreams: Upstreams) -> Self {
        let upstreams = Arc::new(upstreams);
        let probe = Probe::new(Arc::clone(&upstreams));
        let shared = Shared { access, upstreams, probe, news: Mutex::default() };
        Self { shared: Arc::new(shared), client: UpstreamClient::new() }
    }

    pub(crate) fn probe(&self) -> &Probe {
        &self.shared.probe
    }

    pub(crate) fn upstreams(&self) -> &Upstreams {
        &self.shared.upstreams
    }

    /// Watches the upstreams, for ever.
    pub(crate) async fn watch_upstreams(self) {
        let probe = self.shared.probe.clone();
        probe.run(self.client).await;
    }

    /// The same for the calls of one session.
    pub(crate) fn for_session(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), client: self.client.for_session() }
    }

    /// Answers one request of `peer`.
    pub(crate) async fn answer(self, peer: EndpointId, request: Request<Incoming>) -> Response<Body> {
        let wire = Wire::of_request(&request);
        let span = debug_span!("inbound", peer = %peer.fmt_short(), call = request.uri().path());
        let answered = self.decide(peer, request, wire).instrument(span).await;
        answered.unwrap_or_else(|failure| {
            debug!(%failure, "answered by the funnel");
            failure.response(wire).map(forward::full)
        })
    }

    async fn decide(
        &self,
        peer: EndpointId,
        request: Request<Incoming>,
        wire: Wire,
    ) -> Result<Response<Body>, Failure> {
        let route = Route::of(&request).map_err(|refusal| {
            debug!(%refusal, "refused");
            Failure::refused(refusal)
        })?;
        match self.shared.access.permits(peer, &route) {
            Verdict::Allowed => {}
            Verdict::Denied => {
                debug!("refused: not allowed for this peer");
                return Err(denied(peer, &route));
            }
        }
        let upstream = match &route {
            Route::Hello => return Ok(self.hello(peer)),
            Route::Health => self.shared.upstreams.select_health()?,
            Route::Call { api, wire, method } => {
                self.notice(*api, method);
                self.shared.upstreams.select(*api, *wire)?
            }
        };
        self.carry(upstream, &route, request, wire).await
    }

    async fn carry(
        &self,
        upstream: &Upstream,
        route: &Route,
        request: Request<Incoming>,
        wire: Wire,
    ) -> Result<Response<Body>, Failure> {
        if self.shared.probe.state(upstream) == UpstreamState::NotFlower {
            return Err(Failure::unavailable(format_args!("what answers at {upstream} is no Flower SuperLink")));
        }
        let version = request.version();
        let request = request.map(|body| forward::received(version, body));
        let response = self.client.call(upstream, route, request).await?;
        Ok(forward::onward_response(response, wire, "the SuperLink", ()))
    }

    fn hello(&self, peer: EndpointId) -> Response<Body> {
        let wire = |upstream: &Upstream| {
            let state = self.shared.probe.state(upstream).name();
            WireReport::new(upstream.wire().to_string(), state.to_owned())
        };
        let apis = self.shared.access.apis(peer).iter();
        let reports =
            apis.map(|api| ApiReport::new(api.to_string(), self.shared.upstreams.of(api).map(wire).collect()));
        let json = serde_json::to_vec(&Hello::new(reports.collect())).expect("names and lists are JSON");
        let mut response = Response::new(forward::full(Bytes::from(json)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn notice(&self, api: Api, method: &str) {
        if is_known_method(api, method) {
            return;
        }
        let mut news = self.shared.news.lock().unwrap_or_else(PoisonError::into_inner);
        if news.len() < MAX_NEWS && news.insert((api, method.to_owned())) {
            info!(%api, method, "a method that this funnel does not know passes: its API is allowed");
        }
    }
}

fn denied(peer: EndpointId, route: &Route) -> Failure {
    match route {
        Route::Call { api, .. } => Failure::refused(format_args!(
            "peer {} may not call the {api} API here; to allow it, the other side adds: --allow {peer}={api}",
            peer.fmt_short()
        )),
        Route::Health | Route::Hello => Failure::refused(not_admitted(peer)),
    }
}

/// What a stranger reads, and its operator sends to the other one.
pub(crate) fn not_admitted(peer: EndpointId) -> String {
    format!("it is not on the allow list there; to admit it, start the other side with: --allow {peer}")
}
