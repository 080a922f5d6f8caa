//! Is the upstream there, and is it Flower?

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{Upstream, UpstreamClient, Upstreams};
use crate::{
    forward,
    protocol::{Failure, Wire, has_grpc_type},
};

/// Between two looks at an upstream that is missing. A SuperLink takes about 5 s to start; an operator who watches
/// should not wait much longer.
const INTERVAL: Duration = Duration::from_secs(2);
/// Looks at the others for one at an upstream that answers: each leaves a line in its access log, and calls notice a
/// loss by themselves.
const LOOKS_FOR_ONE: u32 = 30;
/// For the first look, when an operator waits for it.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// For one look.
const PATIENCE: Duration = Duration::from_secs(2);
/// A route of every Flower with HTTP (1.35 on) that takes only POST: asked with GET, Flower answers 405, without
/// authentication and without doing anything, and others 404.
const HTTP_PROBE: &str = "/v1/runtime/pull-messages";
/// gRPC answers a method it does not have with UNIMPLEMENTED.
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
    /// Something else answers.
    NotFlower,
}

impl UpstreamState {
    /// Its name in hello and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::NotFlower => "not flower",
        }
    }
}

type States = HashMap<Upstream, UpstreamState>;

/// Watches the upstreams and says when they come and go.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    upstreams: Arc<Upstreams>,
    states: watch::Sender<States>,
}

impl Probe {
    pub(crate) fn new(upstreams: Arc<Upstreams>) -> Self {
        Self { upstreams, states: watch::Sender::new(States::new()) }
    }

    pub(crate) fn state(&self, upstream: &Upstream) -> UpstreamState {
        self.states.borrow().get(upstream).copied().unwrap_or(UpstreamState::Unknown)
    }

    /// Waits for the first look at every upstream, but not for one that is slow to answer.
    pub(crate) async fn looked(&self) {
        let all = self.upstreams.distinct().len();
        let mut states = self.states.subscribe();
        // The sender lives as long as self, and whoever was not seen in time is unknown.
        let _ = timeout(FIRST_LOOK, states.wait_for(|states| states.len() == all)).await;
    }

    /// Looks again and again, for ever.
    pub(crate) async fn run(self, client: UpstreamClient) {
        for round in 0_u32.. {
            let is_due =
                |upstream: &&Upstream| round.is_multiple_of(LOOKS_FOR_ONE) || self.state(upstream) != UpstreamState::Up;
            join_all(self.upstreams.distinct().into_iter().filter(is_due).map(async |upstream| {
                let (state, detail) = look(&client, upstream).await;
                self.note(upstream, state, &detail);
            }))
            .await;
            sleep(INTERVAL).await;
        }
    }

    fn note(&self, upstream: &Upstream, state: UpstreamState, detail: &str) {
        let before = self.state(upstream);
        if before == state {
            return;
        }
        match state {
            UpstreamState::Up => info!(%upstream, "the SuperLink answers"),
            UpstreamState::NotFlower => warn!(%upstream, detail, "what answers there is no Flower SuperLink"),
            _ if before == UpstreamState::Up => warn!(%upstream, detail, "the SuperLink no longer answers"),
            _ => info!(%upstream, detail, "no SuperLink answers yet; it is used as soon as it does"),
        }
        self.states.send_modify(|states| {
            states.insert(upstream.clone(), state);
        });
    }
}

async fn look(client: &UpstreamClient, upstream: &Upstream) -> (UpstreamState, String) {
    let (method, path) = match upstream.wire() {
        Wire::Http => (Method::GET, HTTP_PROBE),
        Wire::Grpc => (Method::POST, GRPC_PROBE),
    };
    let mut request = Request::new(forward::full(Bytes::new()));
    *request.uri_mut() = http::Uri::from_static(path);
    *request.method_mut() = method;
    if upstream.wire() == Wire::Grpc {
        request.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert(http::header::TE, http::HeaderValue::from_static("trailers"));
    }
    let answer = match timeout(PATIENCE, client.send(upstream, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::unavailable("no answer within 2 s")),
    };
    match answer {
        Ok(response) if is_flower(upstream.wire(), &response) => (UpstreamState::Up, String::new()),
        Ok(response) => (UpstreamState::NotFlower, format!("status {}", response.status())),
        Err(failure) => (UpstreamState::Down, failure.to_string()),
    }
}

fn is_flower<B>(wire: Wire, response: &http::Response<B>) -> bool {
    match wire {
        Wire::Http => response.status() == StatusCode::METHOD_NOT_ALLOWED,
        Wire::Grpc => has_grpc_type(response.headers()),
    }
}
