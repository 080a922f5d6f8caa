//! The HTTP client for upstreams.

use std::{error::Error, time::Duration};

use http::{HeaderValue, Request, Response, Version, header::CONTENT_TYPE};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self as client, Client},
    rt::{TokioExecutor, TokioTimer},
};

use super::{Upstream, connector::Connector};
use crate::{
    hop::{self, Body, PASSED, settings},
    protocol::{CallError, Wire, has_grpc_type},
    report::chain,
    tls::Trust,
};

/// How long an idle connection is kept. Flower's uvicorn closes idle connections after 5 s, which must not hit a call.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Forwards calls to upstreams, over HTTP/1.1 or HTTP/2.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamClient {
    http: Client<Connector, Body>,
    grpc: Client<Connector, Body>,
    grpc_connector: Connector,
}

impl UpstreamClient {
    /// Creates a client that checks the certificates of upstreams with `trust`.
    pub(crate) fn new(trust: &Trust) -> Self {
        let grpc_connector = Connector::new(Wire::Grpc, trust);
        let http = builder().build(Connector::new(Wire::Http, trust));
        Self { http, grpc: grpc(grpc_connector.clone()), grpc_connector }
    }

    /// Returns a client with its own HTTP/2 connections. Data that one session leaves unread fills the window of its connection,
    /// and must not hold back other sessions.
    pub(crate) fn for_session(&self) -> Self {
        Self { grpc: grpc(self.grpc_connector.clone()), ..self.clone() }
    }

    /// Sends one call to `upstream`, and refuses a response that is not Flower's.
    pub(crate) async fn call(
        &self,
        upstream: &Upstream,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, CallError> {
        let response = self.send(upstream, request).await?;
        if !is_flower(upstream.wire(), &response) {
            return Err(CallError::unavailable(format_args!(
                "what answers at {upstream} is no Flower SuperLink (status {})",
                response.status()
            )));
        }
        Ok(response)
    }

    /// Sends one request to `upstream`, and returns the response whatever it is.
    pub(crate) async fn send(
        &self,
        upstream: &Upstream,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, CallError> {
        let mut request = hop::onward_request(request, upstream.security().scheme(), upstream.authority());
        request.headers_mut().insert(PASSED, HeaderValue::from_static("inbound"));
        let client = match upstream.wire() {
            Wire::Http => &self.http,
            Wire::Grpc => {
                *request.version_mut() = Version::HTTP_2;
                &self.grpc
            }
        };
        client.request(request).await.map_err(|error| {
            if let Some(own) = own_error(&error) {
                return own.clone();
            }
            let reason = match Trust::explain(&error) {
                Some(explained) => format!("no TLS with the upstream at {upstream}: {explained}"),
                None if error.is_connect() => format!("the upstream at {upstream} is not reachable: {}", chain(&error)),
                None => format!("the upstream at {upstream} broke off the call: {}", chain(&error)),
            };
            CallError::unavailable(reason).caused_by(error)
        })
    }
}

/// Returns the error of this funnel that broke the request's body, if that is the cause.
fn own_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CallError> {
    error.downcast_ref().or_else(|| own_error(error.source()?))
}

fn builder() -> client::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(POOL_IDLE_TIMEOUT);
    builder
}

fn grpc(connector: Connector) -> Client<Connector, Body> {
    builder()
        .http2_only(true)
        .http2_initial_stream_window_size(settings::LOCAL_STREAM_WINDOW)
        .http2_initial_connection_window_size(settings::LOCAL_CONNECTION_WINDOW)
        .http2_max_frame_size(settings::FRAME_SIZE)
        .http2_max_header_list_size(settings::MAX_HEADER_LIST)
        .build(connector)
}

/// Returns whether the response has the wire's own form. That of another web server would make a SuperNode stop.
fn is_flower(wire: Wire, response: &Response<Incoming>) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    match wire {
        Wire::Grpc => has_grpc_type(response.headers()),
        Wire::Http if response.status().is_success() => {
            content_type.starts_with(b"application/protobuf")
                || content_type.starts_with(b"application/flower-protobuf-stream")
        }
        Wire::Http => content_type.starts_with(b"application/json"),
    }
}
