//! The HTTP clients towards the upstreams.

use std::time::Duration;

use http::{Request, Response, Version, header::CONTENT_TYPE};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::Upstream;
use crate::{
    forward::{self, Body, chain},
    http2,
    protocol::{Failure, Route, Wire},
};

/// An upstream stands on this machine or next to it: a second is long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// uvicorn, under Flower, closes idle connections after 5 s; a call must not meet that.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Calls upstreams, over HTTP/1.1 or HTTP/2 without TLS.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamClient {
    http: Client<HttpConnector, Body>,
    grpc: Client<HttpConnector, Body>,
}

impl UpstreamClient {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut builder = Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(POOL_IDLE_TIMEOUT);
        let http = builder.build(connector.clone());
        let grpc = builder
            .http2_only(true)
            .http2_initial_stream_window_size(http2::STREAM_WINDOW)
            .http2_initial_connection_window_size(http2::CONNECTION_WINDOW)
            .http2_max_frame_size(http2::FRAME_SIZE)
            .http2_max_header_list_size(http2::MAX_HEADER_LIST)
            .build(connector);
        Self { http, grpc }
    }

    /// Hands one call to `upstream`.
    pub(crate) async fn call(
        &self,
        upstream: &Upstream,
        route: &Route,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let response = self.send(upstream, request).await?;
        if matches!(route, Route::Call { .. }) && !is_flower(upstream.wire(), &response) {
            return Err(Failure::unavailable(format_args!(
                "what answers at {upstream} is no Flower SuperLink (status {})",
                response.status()
            )));
        }
        Ok(response)
    }

    /// Sends one request as it is.
    pub(crate) async fn send(
        &self,
        upstream: &Upstream,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = forward::onward_request(request, upstream.authority());
        let client = match upstream.wire() {
            Wire::Http => &self.http,
            Wire::Grpc => {
                *request.version_mut() = Version::HTTP_2;
                &self.grpc
            }
        };
        client.request(request).await.map_err(|error| {
            let problem = if error.is_connect() { "is not reachable" } else { "broke off the call" };
            Failure::unavailable(format_args!("the upstream at {upstream} {problem}: {}", chain(&error)))
        })
    }
}

/// Whether the response is in the wire's own form: another web server at that port would make a SuperNode stop.
fn is_flower(wire: Wire, response: &Response<Incoming>) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    match wire {
        Wire::Grpc => content_type.starts_with(b"application/grpc"),
        Wire::Http if response.status().is_success() => {
            content_type.starts_with(b"application/protobuf")
                || content_type.starts_with(b"application/flower-protobuf-stream")
        }
        Wire::Http => content_type.starts_with(b"application/json"),
    }
}
