//! The inbound end: from the tunnel to a Flower process on this machine.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use iroh::EndpointId;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, debug_span, info, warn};

use super::{
    passthrough::{Passing, PassthroughTarget},
    permit::Place,
    redelivery::Redelivery,
    translated::exchange,
};
use crate::{
    admission::{
        Access, Verdict,
        audit::{Audit, Event, Outcome},
    },
    config::Exposed,
    hop::{self, Body, Received},
    protocol::{Api, Failure, FlowerError, MAX_ERROR_BODY, Method, Route, Status, Translation, Wire},
    transport::RateLimit,
    tunnel::{ApiReport, Hello, WireReport},
    upstream::{Probe, Upstream, UpstreamClient, UpstreamState, Upstreams},
};

/// Methods that were logged as news. A peer that invents names ends the logging, not the memory.
const MAX_NEWS: usize = 64;
/// Between two warnings of one kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// Who answers, to those who read of its failures.
const SUPERLINK: &str = "the SuperLink";

/// Decides on the calls of peers and hands them on.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    shared: Arc<Shared>,
    client: UpstreamClient,
    passing: Passing,
}

#[derive(Debug)]
struct Shared {
    access: Access,
    audit: Audit,
    upstreams: Arc<Upstreams>,
    passthrough: Option<PassthroughTarget>,
    probe: Probe,
    redelivery: Redelivery,
    news: Mutex<HashSet<(Api, String)>>,
    warnings: Mutex<HashMap<Api, RateLimit>>,
}

impl Inbound {
    /// Hands on to what is exposed.
    pub(crate) fn new(access: Access, audit: Audit, exposed: Exposed) -> Self {
        let Exposed { upstreams, trust, passthrough, .. } = exposed;
        let upstreams = Arc::new(upstreams);
        let probe = Probe::new(Arc::clone(&upstreams), access.clone());
        let (redelivery, news, warnings) = (Redelivery::inbound(), Mutex::default(), Mutex::default());
        let shared = Shared { access, audit, upstreams, passthrough, probe, redelivery, news, warnings };
        Self { shared: Arc::new(shared), client: UpstreamClient::new(&trust), passing: Passing::default() }
    }

    pub(crate) fn probe(&self) -> &Probe {
        &self.shared.probe
    }

    /// Watches the upstreams, for ever.
    pub(crate) async fn watch_upstreams(self) {
        let probe = self.shared.probe.clone();
        probe.run(self.client).await;
    }

    /// The same for the calls of one session, whose pass-through connections end soon after `stop`.
    pub(crate) fn for_session(&self, stop: CancellationToken) -> Self {
        let passing = Passing::until(stop);
        Self { shared: Arc::clone(&self.shared), client: self.client.for_session(), passing }
    }

    /// Answers one request of `peer`.
    pub(crate) async fn answer(self, peer: EndpointId, request: Request<Incoming>) -> Response<Body> {
        let wire = Wire::of_request(&request);
        let span = debug_span!("inbound", peer = %peer.fmt_short(), call = request.uri().path());
        let answered = self.decide(peer, request, wire).instrument(span).await;
        answered.unwrap_or_else(|failure| {
            debug!(%failure, "answered by the funnel");
            failure.response(wire).map(hop::full)
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
            self.note(peer, Event::Request, Outcome::Denied);
            Failure::refused(refusal)
        })?;
        let verdict = self.shared.access.permits(peer, &route);
        match &route {
            Route::Call { api, method, .. } => self.note(peer, Event::call(*api, method), verdict.into()),
            Route::Passthrough => self.note(peer, Event::Passthrough, verdict.into()),
            Route::Health | Route::Hello => {}
        }
        match verdict {
            Verdict::Allowed => {}
            Verdict::Denied => {
                debug!("refused: not allowed for this peer");
                return Err(denied(peer, &route));
            }
        }
        let (api, called, method) = match route {
            Route::Hello => return Ok(self.hello(peer)),
            Route::Health => return self.health(received(request)).await,
            Route::Passthrough => return self.pass_through(request).await,
            Route::Call { api, wire, method } => (api, wire, method),
        };
        let place = request.extensions().get::<Place>().cloned();
        self.notice(api, &method);
        let request = received(request);
        let once = self.shared.redelivery.watch(peer, api, &method, called);
        match once {
            None => self.hand_on(api, &method, called, wire, request).await,
            Some(once) => {
                let this = self.clone();
                let send = move |request| async move { this.hand_on(api, &method, called, wire, request).await };
                once.carry(request, send, place).await
            }
        }
    }

    /// Hands on a call to the upstream that serves it.
    async fn hand_on(
        &self,
        api: Api,
        method: &str,
        called: Wire,
        wire: Wire,
        request: Request<Body>,
    ) -> Result<Response<Body>, Failure> {
        let upstream = self.shared.probe.select(api, called)?;
        if self.shared.probe.state(api, upstream) == UpstreamState::NotServed {
            return Err(not_served(api, upstream));
        }
        let carried = if upstream.wire() == called {
            self.carry(api, upstream, request, wire).await
        } else {
            let translation = Translation::of(api, method, request.uri().path(), called)?;
            self.translate(api, upstream, request, translation).await
        };
        carried.inspect_err(|failure| {
            if failure.status() == Status::UNAVAILABLE {
                self.shared.probe.doubt(api, upstream);
            }
        })
    }

    async fn pass_through(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let target = self.shared.passthrough.as_ref();
        let target = target.ok_or_else(|| Failure::unavailable("nothing is named to pass bytes through to"))?;
        self.passing.connect(target, request).await
    }

    async fn health(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let upstream = self.shared.upstreams.select_health()?;
        let response = self.client.send(upstream, request).await?;
        Ok(hop::onward_response(hop::received_response(response), Wire::Http, SUPERLINK, ()))
    }

    /// Hands on a call as it came.
    async fn carry(
        &self,
        api: Api,
        upstream: &Upstream,
        request: Request<Body>,
        wire: Wire,
    ) -> Result<Response<Body>, Failure> {
        let response = hop::received_response(self.client.call(upstream, request).await?);
        if api == Api::Fleet && response.status() == StatusCode::NOT_FOUND {
            return flowers_own(response).await.ok_or_else(|| not_served(api, upstream));
        }
        Ok(hop::onward_response(response, wire, SUPERLINK, ()))
    }

    /// Hands on a call in the other wire.
    async fn translate(
        &self,
        api: Api,
        upstream: &Upstream,
        request: Request<Body>,
        translation: Translation,
    ) -> Result<Response<Body>, Failure> {
        let (client, to) = (self.client.clone(), upstream.clone());
        let send = async move |request| Ok(hop::received_response(client.call(&to, request).await?));
        let (response, unmatched) = exchange(translation, SUPERLINK, request, send).await?;
        if let Some(unmatched) = unmatched {
            self.shared.probe.doubt(api, upstream);
            self.warn_of(api, &unmatched);
        }
        Ok(response)
    }

    /// Tells of an error that the caller's wire has no status for, once in a while.
    fn warn_of(&self, api: Api, unmatched: &str) {
        let mut warnings = self.shared.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.entry(api).or_insert_with(|| RateLimit::every(WARNING_INTERVAL)).run(|| {
            warn!(%api, "the caller's wire has no status like {unmatched}; one stands for it that does least harm");
        });
    }

    fn hello(&self, peer: EndpointId) -> Response<Body> {
        let wire = |api, upstream: &Upstream| {
            let state = self.shared.probe.state(api, upstream).name();
            WireReport::new(upstream.wire().to_string(), state.to_owned())
        };
        let apis = self.shared.access.apis(peer).iter();
        let reports = apis.map(|api| {
            let wires = self.shared.upstreams.of(api).map(|upstream| wire(api, upstream));
            ApiReport::new(api.to_string(), wires.collect())
        });
        Hello::new(reports.collect()).response().map(hop::full)
    }

    fn note(&self, peer: EndpointId, event: Event, outcome: Outcome) {
        self.shared.audit.tell(peer, || self.shared.access.name(peer), event, outcome);
    }

    fn notice(&self, api: Api, method: &str) {
        if Method::find(api, method).is_some() {
            return;
        }
        let mut news = self.shared.news.lock().unwrap_or_else(PoisonError::into_inner);
        if news.len() < MAX_NEWS && news.insert((api, method.to_owned())) {
            info!(%api, method, "a method that this funnel does not know passes: its API is allowed");
        }
    }
}

fn received(request: Request<Incoming>) -> Request<Body> {
    let version = request.version();
    request.map(|body| hop::received(version, body))
}

/// A Flower that serves the API in another wire, or another web server, would make a SuperNode stop with its 404.
fn not_served(api: Api, upstream: &Upstream) -> Failure {
    Failure::unavailable(format_args!(
        "what answers at {upstream} does not serve the {api} API: it is another version of Flower, or another program"
    ))
}

/// The response, if it is an error of Flower's own and not its web server's.
async fn flowers_own(response: Response<Received>) -> Option<Response<Body>> {
    let (parts, body) = response.into_parts();
    let content = Limited::new(body, MAX_ERROR_BODY).collect().await.ok()?.to_bytes();
    let (error, _) = FlowerError::of_http(parts.status, &content, Api::Fleet);
    error.has_code().then(|| Response::from_parts(parts, hop::full(content)))
}

fn denied(peer: EndpointId, route: &Route) -> Failure {
    match route {
        Route::Call { api, .. } => Failure::refused(format_args!(
            "peer {} may not call the {api} API here; to allow it, the other side adds: --allow {peer}={api}",
            peer.fmt_short()
        )),
        Route::Health | Route::Hello => Failure::refused(not_admitted(peer)),
        Route::Passthrough => Failure::refused(format_args!(
            "peer {} may not pass bytes through here; to allow it, the other side starts with: --allow \
             {peer}=passthrough --passthrough HOST:PORT",
            peer.fmt_short()
        )),
    }
}

/// What a stranger reads, and its operator sends to the other one.
pub(crate) fn not_admitted(peer: EndpointId) -> String {
    format!(
        "it is not on the list there; to admit it, the other side runs: flower-iroh-funnel peers allow {peer}, or starts \
         with: --allow {peer}"
    )
}
