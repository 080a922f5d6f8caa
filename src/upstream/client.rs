//! The HTTP client for upstreams.

use std::{error::Error, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, Version, header::CONTENT_TYPE};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self as client, Client},
    rt::{TokioExecutor, TokioTimer},
};

use super::{Upstream, connector::Connector};
use crate::{
    hop::{self, Body, PASSED, RepeatableRequest, settings},
    protocol::{Api, CallError, Method, MethodKind, Status, Wire, has_grpc_type},
    report::chain,
    tls::Trust,
};

/// How long an idle connection is kept. Flower's uvicorn closes idle connections after 5 s, which must not hit a call.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The most times that one request is sent, since the upstream may end a connection just before each.
const MAX_TRIES: usize = 3;

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

    /// Sends one call of a method to `upstream`. Of other web servers than Flower's, only a gateway's refusal of the call is
    /// its answer.
    pub(crate) async fn call(
        &self,
        upstream: &Upstream,
        method: Option<&Method>,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, CallError> {
        let response = self.send(upstream, request).await?;
        let status = response.status();
        if is_flower(upstream.wire(), method, &response) {
            return Ok(response);
        }
        match (is_refusal(&response), upstream.wire()) {
            (true, Wire::Http) => Ok(response),
            // HTTP's form is not valid in gRPC.
            (true, Wire::Grpc) => {
                let api = method.map_or(Api::Fleet, Method::api);
                let reason = format_args!("what answers at {upstream} refuses the call (status {status})").to_string();
                Err(CallError::new(Status::of_http(status, api).status, reason))
            }
            (false, _) => {
                let reason = format_args!("what answers at {upstream} is no Flower SuperLink (status {status})");
                Err(CallError::unavailable(reason))
            }
        }
    }

    /// Sends one request to `upstream`, and returns the response whatever it is.
    pub(crate) async fn send(
        &self,
        upstream: &Upstream,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, CallError> {
        let mut request = hop::onward_request(request, upstream.security().scheme(), upstream.authority());
        request.headers_mut().insert(PASSED, HeaderValue::from_static("inbound"));
        let headers = hop::list_size(&request);
        let sent = match upstream.wire() {
            Wire::Http => self.http.request(request).await,
            Wire::Grpc => {
                *request.version_mut() = Version::HTTP_2;
                self.send_grpc(request).await
            }
        };
        sent.map_err(|error| {
            if let Some(own) = own_error(&error) {
                return own.clone();
            }
            if is_too_large(&error) {
                let reason = format!("the upstream at {upstream} answers with too many headers: {}", chain(&error));
                return CallError::new(Status::METADATA_TOO_LARGE, reason).caused_by(error);
            }
            let reason = match Trust::explain(&error) {
                Some(explained) => format!("no TLS with the upstream at {upstream}: {explained}"),
                None if error.is_connect() => format!("the upstream at {upstream} is not reachable: {}", chain(&error)),
                None if headers > settings::MAX_SHARED_HEADERS => format!(
                    "the upstream at {upstream} broke off the call, perhaps for its {headers} bytes of headers: {}",
                    chain(&error)
                ),
                None => format!("the upstream at {upstream} broke off the call: {}", chain(&error)),
            };
            CallError::unavailable(reason).caused_by(error)
        })
    }

    /// Sends one request over HTTP/2, and again if the upstream reports that it has not handled it: a server that ends a
    /// connection, such as nginx after 1,000 calls, refuses the calls that were on their way.
    async fn send_grpc(&self, request: Request<Body>) -> Result<Response<Incoming>, client::Error> {
        // A server may end the connection for headers that are too long for it.
        let own = (hop::list_size(&request) > settings::MAX_SHARED_HEADERS).then(|| grpc(self.grpc_connector.clone()));
        let client = own.as_ref().unwrap_or(&self.grpc);
        let (mut kept, mut request) = RepeatableRequest::new(request);
        for _ in 1..MAX_TRIES {
            match client.request(request).await {
                Err(error) if is_not_sent(&error) || hop::is_not_handled(&error) => match kept.again() {
                    Some(again) => request = again,
                    None => return Err(error),
                },
                sent => return sent,
            }
        }
        client.request(request).await
    }
}

/// Returns whether the connection ended before the request was written to it.
fn is_not_sent(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(hyper::Error::is_canceled) || error.source().is_some_and(is_not_sent)
}

/// Returns the error of this funnel that broke the request's body, if that is the cause.
fn own_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CallError> {
    error.downcast_ref().or_else(|| own_error(error.source()?))
}

/// Returns whether the head of an HTTP/1.1 response exceeds the limits of the client.
fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(hyper::Error::is_parse_too_large) || error.source().is_some_and(is_too_large)
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
        .http2_max_header_list_size(settings::MAX_UPSTREAM_HEADER_LIST)
        .build(connector)
}

/// Returns whether the response has the wire's own form. That of another web server would make a SuperNode stop.
fn is_flower<B>(wire: Wire, method: Option<&Method>, response: &Response<B>) -> bool {
    let content_type = response.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let is_json = || content_type.starts_with(b"application/json");
    match wire {
        Wire::Grpc => has_grpc_type(response.headers()),
        Wire::Http if !response.status().is_success() => is_json(),
        Wire::Http if method.is_some_and(|method| method.kind() == MethodKind::Json) => {
            is_json() || content_type.starts_with(b"text/event-stream")
        }
        Wire::Http => {
            content_type.starts_with(b"application/protobuf")
                || content_type.starts_with(b"application/flower-protobuf-stream")
        }
    }
}

/// Returns whether a web server refuses this call, and not its path: a gateway before the SuperLink that asks for credentials,
/// or takes no request of this size. A caller that repeated it would not succeed. Another funnel's port is not meant.
fn is_refusal<B>(response: &Response<B>) -> bool {
    let status_refuses = matches!(
        response.status(),
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    status_refuses && !response.headers().contains_key(PASSED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Route;

    /// Path and content type of the successes of every route of a SuperLink and a SuperNode 1.42.
    const ROUTES: &str = include_str!("../../tests/data/flower_http_answers.tsv");

    #[test]
    fn the_answer_of_every_route_of_flower_is_flowers() {
        let mut rows = 0;
        for line in ROUTES.lines().filter(|line| !line.starts_with('#')) {
            let (path, content_type) = line.split_once('\t').unwrap();
            let answer = |status: u16, content_type| {
                Response::builder().status(status).header(CONTENT_TYPE, content_type).body(()).unwrap()
            };
            let request = Request::post(path).body(()).unwrap();
            let Ok(Route::Call { method, .. }) = Route::of(&request) else { panic!("{path} is no call") };
            assert!(method.is_some(), "{path} is not in the table");
            assert!(is_flower(Wire::Http, method, &answer(200, content_type)), "{path}: {content_type}");
            assert!(is_flower(Wire::Http, method, &answer(404, "application/json")), "{path}");
            for (status, content_type) in [(200, "text/html"), (404, "text/html"), (502, "text/html")] {
                assert!(!is_flower(Wire::Http, method, &answer(status, content_type)), "{path}: {content_type}");
            }
            rows += 1;
        }
        assert_eq!(rows, 76);
    }
}
