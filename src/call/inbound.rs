//! The inbound end: forwards calls from the tunnel to a Flower process on this machine.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response, StatusCode, uri::PathAndQuery};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use iroh::EndpointId;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use super::{
    error_body,
    fair_queue::FairQueue,
    passthrough::PassthroughConnections,
    permit::{CallPermit, PeerCalls, PermitBody},
    queued,
    redelivery::Redelivery,
    request_body::{self, BodyFailure},
    translated,
};
use crate::{
    admission::{
        self, Access, Verdict,
        audit::{Audit, Event, Outcome},
    },
    hop::{self, Body, ReceivedBody, Relayed},
    protocol::{Api, CallError, FlowerError, MAX_ERROR_BODY, Method, MethodKind, Route, Status, Translation, Wire},
    report::{Decision, FairReports, ReportLimits},
    tls::Trust,
    transport::RateLimit,
    tunnel::{ApiReport, Hello, Size, WireReport},
    upstream::{PassthroughTarget, Probe, Upstream, UpstreamClient, UpstreamState, Upstreams},
};

/// Unknown methods are logged once a day each. A peer that invents names hides only its own, and for an hour.
const UNKNOWN_METHODS: ReportLimits = ReportLimits {
    window: Duration::from_secs(3600),
    repeat: Duration::from_secs(86_400),
    per_source: 16,
    overall: 64,
};
/// The longest path that is told from others, in characters.
const MAX_UNKNOWN_METHOD: usize = 256;
/// The interval between two warnings of one kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// The name of the upstream in errors that callers receive.
const SUPERLINK: &str = "the SuperLink";

/// Decides whether the calls of peers are allowed, and forwards them.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    shared: Arc<Shared>,
    client: UpstreamClient,
    passthroughs: PassthroughConnections,
}

#[derive(Debug)]
struct Shared {
    access: Access,
    audit: Audit,
    upstreams: Arc<Upstreams>,
    passthrough: Option<PassthroughTarget>,
    probe: Probe,
    redelivery: Redelivery,
    queue: FairQueue,
    unknown_methods: FairReports<String, EndpointId>,
    warnings: Mutex<HashMap<Api, RateLimit>>,
}

/// An allowed call.
#[derive(Clone, Debug)]
struct Call {
    api: Api,
    wire: Wire,
    method: Option<&'static Method>,
    path: PathAndQuery,
    permit: CallPermit,
    request: BodyFailure,
}

impl Inbound {
    /// Creates an inbound end that forwards calls to these upstreams, `max_calls_at_upstreams` at a time, and pass-through
    /// connections to `passthrough`. `trust` verifies upstreams with TLS.
    pub(crate) fn new(
        access: Access,
        audit: Audit,
        upstreams: Upstreams,
        max_calls_at_upstreams: usize,
        trust: &Trust,
        passthrough: Option<PassthroughTarget>,
    ) -> Self {
        let upstreams = Arc::new(upstreams);
        let probe = Probe::new(Arc::clone(&upstreams), access.clone());
        let shared = Shared {
            access,
            audit,
            upstreams,
            passthrough,
            probe,
            redelivery: Redelivery::inbound(),
            queue: FairQueue::new(max_calls_at_upstreams),
            unknown_methods: FairReports::new(UNKNOWN_METHODS),
            warnings: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            client: UpstreamClient::new(trust),
            passthroughs: PassthroughConnections::default(),
        }
    }

    pub(crate) fn probe(&self) -> &Probe {
        &self.shared.probe
    }

    /// Probes the upstreams, indefinitely.
    pub(crate) async fn watch_upstreams(self) {
        let probe = self.shared.probe.clone();
        probe.run(self.client).await;
    }

    /// Returns a handle for the calls of one session, whose pass-through connections end soon after `stop`.
    pub(crate) fn for_session(&self, stop: CancellationToken) -> Self {
        let passthroughs = PassthroughConnections::until(stop);
        Self { shared: Arc::clone(&self.shared), client: self.client.for_session(), passthroughs }
    }

    /// Handles one request of `peer`, and returns the response. The call holds one of the permits of `calls` until it has
    /// ended.
    pub(crate) async fn handle(
        self,
        peer: EndpointId,
        request: Request<Incoming>,
        calls: PeerCalls,
    ) -> Response<PermitBody> {
        let (wire, route) = (Wire::of_request(&request), Route::of(&request));
        let span = match &route {
            Ok(route) => {
                let (api, method) = (route.api_name(), route.method_name());
                info_span!("inbound", peer = %peer.fmt_short(), api, method)
            }
            Err(_) => info_span!("inbound", peer = %peer.fmt_short()),
        };
        let answered = async {
            let answered = match route {
                Ok(route) => self.route(peer, route, request, &calls).await,
                Err(refusal) => {
                    self.record(peer, Event::Request, Outcome::Denied);
                    Err(CallError::refused(refusal))
                }
            };
            answered.unwrap_or_else(|error| {
                debug!(%error, "answered by the funnel");
                error.response(wire).map(|body| PermitBody::new(hop::full(body), None))
            })
        };
        answered.instrument(span).await
    }

    async fn route(
        &self,
        peer: EndpointId,
        route: Route,
        request: Request<Incoming>,
        calls: &PeerCalls,
    ) -> Result<Response<PermitBody>, CallError> {
        self.check(peer, &route)?;
        if route == Route::Hello {
            // It needs no permit: a new link must not wait for the calls of a dead one.
            return Ok(self.hello(peer).map(|body| PermitBody::new(body, None)));
        }
        let (permit, failure) = (calls.permit(Size::of(&route))?, BodyFailure::default());
        match self.forward_route(peer, route, request, permit.clone(), &failure).await {
            Ok(response) => Ok(response.map(|body| PermitBody::new(body, Some(permit)))),
            Err(error) => {
                permit.complete();
                Err(failure.or(error))
            }
        }
    }

    async fn forward_route(
        &self,
        peer: EndpointId,
        route: Route,
        request: Request<Incoming>,
        permit: CallPermit,
        failure: &BodyFailure,
    ) -> Result<Response<Body>, CallError> {
        match route {
            // Answered without a permit.
            Route::Hello => Ok(self.hello(peer)),
            Route::Health => self.health(hop::received(request), &permit, failure).await,
            Route::Passthrough => self.pass_through(hop::received(request), permit).await,
            Route::Call { api, wire, method, path } => {
                let (parts, body) = hop::received(request).into_parts();
                let body = request_body::limited(body, method.map(Method::kind), wire, &permit, failure)?;
                let call = Call { api, wire, method, path, permit, request: failure.clone() };
                self.forward(peer, call, Request::from_parts(parts, body)).await
            }
        }
    }

    /// Decides whether the peer may make this request, and records the decision.
    fn check(&self, peer: EndpointId, route: &Route) -> Result<(), CallError> {
        let verdict = self.shared.access.permits(peer, route);
        match route {
            Route::Call { api, method, .. } => self.record(peer, Event::call(*api, *method), verdict.into()),
            Route::Passthrough => self.record(peer, Event::Passthrough, verdict.into()),
            Route::Health | Route::Hello => {}
        }
        match verdict {
            Verdict::Allowed => Ok(()),
            Verdict::Denied => Err(denied(peer, route)),
        }
    }

    /// Forwards a call, and replays it if it is one of those that are not idempotent.
    async fn forward(&self, peer: EndpointId, call: Call, request: Request<Body>) -> Result<Response<Body>, CallError> {
        self.report_unknown(&call);
        match self.shared.redelivery.watch(peer, call.method, call.wire) {
            None => self.forward_once(&call, request).await,
            Some(replayable) => {
                let (this, permit) = (self.clone(), call.permit.clone());
                let send = move |request| async move { this.forward_once(&call, request).await };
                replayable.forward(request, send, permit).await
            }
        }
    }

    /// Forwards a call to the upstream that serves it.
    async fn forward_once(&self, call: &Call, request: Request<Body>) -> Result<Response<Body>, CallError> {
        let upstream = self.shared.probe.select(call.api, call.wire)?;
        if self.shared.probe.state(call.api, upstream) == UpstreamState::NotServed {
            return Err(not_served(call.api, upstream));
        }
        let forwarded = if upstream.wire() == call.wire {
            self.send(call, upstream, request).await
        } else {
            self.send_translated(call, upstream, request).await
        };
        forwarded.inspect_err(|error| {
            if error.status() == Status::UNAVAILABLE && !call.request.occurred() {
                self.shared.probe.recheck(call.api, upstream);
            }
        })
    }

    async fn pass_through(&self, request: Request<Body>, permit: CallPermit) -> Result<Response<Body>, CallError> {
        let target = self.shared.passthrough.as_ref();
        let target = target.ok_or_else(|| {
            CallError::unavailable(
                "pass-through has no target here; the other side sets it with --passthrough HOST:PORT",
            )
        })?;
        self.passthroughs.connect(target, request, permit).await
    }

    async fn health(
        &self,
        request: Request<Body>,
        permit: &CallPermit,
        failure: &BodyFailure,
    ) -> Result<Response<Body>, CallError> {
        let upstream = self.shared.upstreams.select_health()?;
        let (parts, body) = request.into_parts();
        let body = request_body::limited(body, Some(MethodKind::Small), Wire::Http, permit, failure)?;
        let request = Request::from_parts(parts, body);
        let (request, _turn) =
            queued::wait(&self.shared.queue, request, Some(MethodKind::Small), permit, || Ok(())).await?;
        let response = self.client.send(upstream, request).await?;
        Ok(Relayed::received(response)?.for_caller(Wire::Http, SUPERLINK, ()))
    }

    /// Sends a call to the upstream when it is its turn, and returns the response, whose body follows.
    async fn call(
        &self,
        call: &Call,
        upstream: &Upstream,
        request: Request<Body>,
    ) -> Result<Relayed<ReceivedBody>, CallError> {
        let kind = call.method.map(Method::kind);
        let (access, api, peer) = (self.shared.access.clone(), call.api, call.permit.peer());
        let check = move || if access.apis(peer).contains(api) { Ok(()) } else { Err(denied_api(peer, api)) };
        let (request, _turn) = queued::wait(&self.shared.queue, request, kind, &call.permit, check).await?;
        let response = self.client.call(upstream, call.method, request).await?;
        if response.status().is_success() {
            self.shared.probe.answered(call.api, upstream);
        }
        Relayed::received(response)
    }

    /// Sends a call in its own wire.
    async fn send(
        &self,
        call: &Call,
        upstream: &Upstream,
        request: Request<Body>,
    ) -> Result<Response<Body>, CallError> {
        let response = self.call(call, upstream, request).await?.into_response();
        if call.api == Api::Fleet && response.status() == StatusCode::NOT_FOUND {
            return if_from_flower(response).await.ok_or_else(|| not_served(call.api, upstream));
        }
        if response.status().is_success() {
            return Ok(Relayed::new(response).for_caller(call.wire, SUPERLINK, ()));
        }
        Ok(Relayed::new(error_body::whole(response).await).for_caller(call.wire, SUPERLINK, ()))
    }

    /// Sends a call in the other wire.
    async fn send_translated(
        &self,
        call: &Call,
        upstream: &Upstream,
        request: Request<Body>,
    ) -> Result<Response<Body>, CallError> {
        let translation = Translation::of(call.api, call.method, call.path.path(), call.wire)?;
        let (this, to, sent) = (self.clone(), upstream.clone(), call.clone());
        let send = async move |request| Ok(this.call(&sent, &to, request).await?.into_response());
        let (response, unmatched) = translated::forward(translation, SUPERLINK, request, send).await?;
        if let Some(unmatched) = unmatched {
            self.shared.probe.recheck(call.api, upstream);
            self.warn_unmatched(call.api, &unmatched);
        }
        Ok(response)
    }

    /// Warns, at most once a minute for each API, of an error that the caller's wire has no status for.
    fn warn_unmatched(&self, api: Api, unmatched: &str) {
        let mut warnings = self.shared.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.entry(api).or_insert_with(|| RateLimit::every(WARNING_INTERVAL)).run(|| {
            warn!("the caller's wire has no status like {unmatched}; the least harmful one is sent instead");
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

    fn record(&self, peer: EndpointId, event: Event, outcome: Outcome) {
        self.shared.audit.record(peer, || self.shared.access.name(peer), event, outcome);
    }

    /// Logs a method that is not in the table. It is forwarded, since its API is allowed.
    fn report_unknown(&self, call: &Call) {
        if call.method.is_some() {
            return;
        }
        let path = call.path.as_str().chars().take(MAX_UNKNOWN_METHOD).collect();
        let (decision, missed) = self.shared.unknown_methods.decide(path, call.permit.peer());
        if missed > 0 {
            info!(missed, "calls of methods that this funnel does not know were not logged before");
        }
        match decision {
            Decision::Report => info!("forwarding a method that this funnel does not know: its API is allowed"),
            Decision::Missed { is_first: true } => {
                info!("forwarding more methods that this funnel does not know than it logs: they are counted");
            }
            Decision::Known | Decision::Missed { .. } => {}
        }
    }
}

/// The error for an upstream that does not serve the API in this wire. Its own 404 would make a SuperNode stop.
fn not_served(api: Api, upstream: &Upstream) -> CallError {
    CallError::unavailable(format_args!(
        "what answers at {upstream} does not serve the {api} API: it is another version of Flower, or another program"
    ))
}

/// Returns the response if it is an error of Flower itself, and not of its web server.
async fn if_from_flower(response: Response<ReceivedBody>) -> Option<Response<Body>> {
    let (parts, body) = response.into_parts();
    let content = Limited::new(body, MAX_ERROR_BODY).collect().await.ok()?.to_bytes();
    let (error, _) = FlowerError::of_http(parts.status, &content, Api::Fleet);
    error.has_code().then(|| Response::from_parts(parts, hop::full(content)))
}

/// The error for a request that the peer may not make.
fn denied(peer: EndpointId, route: &Route) -> CallError {
    match route {
        Route::Call { api, .. } => denied_api(peer, *api),
        Route::Health | Route::Hello => CallError::refused(admission::not_admitted(peer)),
        Route::Passthrough => CallError::refused(format_args!(
            "peer {} may not pass bytes through here; to allow it, the other side starts with: --allow \
             {peer}=passthrough --passthrough HOST:PORT",
            peer.fmt_short()
        )),
    }
}

/// The error for a call of an API that the peer may not call.
fn denied_api(peer: EndpointId, api: Api) -> CallError {
    CallError::refused(format_args!(
        "peer {} may not call the {api} API here; to allow it, the other side adds: --allow {peer}={api}",
        peer.fmt_short()
    ))
}
