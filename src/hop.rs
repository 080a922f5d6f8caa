//! One HTTP hop: prepares requests and responses that are forwarded from one connection to the next.
//!
//! Bodies are forwarded frame by frame, at the pace of the slower side's flow control, so that a call's memory does not grow
//! with its messages. Headers and trailers are forwarded unchanged, except those that belong to one connection. A request also
//! loses what a proxy would report, and its trailers, which Flower's clients do not send.

mod body;
mod forwarding;
mod headers;
mod metadata;
mod repeatable;
pub(crate) mod settings;
pub(crate) mod tcp;

use bytes::Bytes;
use http::{
    HeaderName, Request, Response, Uri,
    header::{HOST, TRAILER},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tracing::Span;

use self::body::RelayedBody;
pub(crate) use self::{
    body::{ReceivedBody, UnreadRequest, with_deadline},
    headers::{encoded_size, list_size},
    repeatable::{RepeatableRequest, is_not_handled},
};
use crate::protocol::{BoxError, CallError, Wire};

/// A body that is being forwarded.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The header that an inbound funnel sets on requests to an upstream. An outbound funnel refuses such requests, by responses
/// with the same header: two funnels on one machine must not forward a peer's calls to a third party.
pub(crate) const PASSED: HeaderName = HeaderName::from_static("x-flower-iroh-funnel");

/// Boxes a body.
pub(crate) fn boxed<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Makes a body of complete content.
pub(crate) fn full(bytes: Bytes) -> Body {
    boxed(Full::new(bytes))
}

/// Wraps the body of a request that was received over HTTP. Its trailers are dropped: a header could be smuggled in them.
pub(crate) fn received(mut request: Request<Incoming>) -> Request<Body> {
    let (version, unread) = (request.version(), request.extensions_mut().remove());
    request.map(|body| boxed(ReceivedBody::of_request(body, version, unread)))
}

/// Makes the request for the next connection: its URI is absolute, and the headers of the last connection are removed, as are
/// those of proxies. Both ends do so: the inbound one since it trusts no peer, the outbound one since these headers would show a
/// site's inner addresses to the other side.
pub(crate) fn onward_request(request: Request<Body>, scheme: Scheme, authority: &Authority) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    headers::strip(&mut parts.headers);
    forwarding::strip(&mut parts.headers);
    headers::detach(&mut parts.headers);
    for name in [HOST, TRAILER] {
        parts.headers.remove(name);
    }
    let mut uri = http::uri::Parts::default();
    (uri.scheme, uri.authority, uri.path_and_query) = (Some(scheme), Some(authority.clone()), Some(path));
    let mut request = Request::new(body);
    *request.uri_mut() = Uri::from_parts(uri).expect("scheme, authority and path make a URI");
    *request.method_mut() = parts.method;
    *request.headers_mut() = parts.headers;
    request
}

/// A response that is being forwarded to the caller.
pub(crate) struct Relayed<B>(Response<B>);

impl Relayed<ReceivedBody> {
    /// Takes a response that was received over HTTP, and removes the headers of its connection.
    ///
    /// # Errors
    /// If its headers are too large.
    pub(crate) fn received(response: Response<Incoming>) -> Result<Self, CallError> {
        let (parts, body) = response.into_parts();
        metadata::check(&parts.headers, "headers")?;
        let mut received = Response::new(ReceivedBody::of_response(body, parts.version, &parts.headers));
        *received.status_mut() = parts.status;
        *received.headers_mut() = parts.headers;
        headers::strip(received.headers_mut());
        headers::detach(received.headers_mut());
        Ok(Self(received))
    }
}

impl<B> Relayed<B> {
    /// Takes a response that was made by this funnel, such as a translated one.
    pub(crate) fn new(response: Response<B>) -> Self {
        Self(response)
    }

    /// Returns the response unchanged, to be read by this funnel.
    pub(crate) fn into_response(self) -> Response<B> {
        self.0
    }
}

impl<B> Relayed<B>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + 'static,
{
    /// Makes the response for a caller that uses this wire. `from` names the sender in the error that the caller receives if
    /// the response breaks off. `guard` is dropped when the body has ended or is dropped.
    pub(crate) fn for_caller<T: Send + 'static>(self, wire: Wire, from: &'static str, guard: T) -> Response<Body> {
        self.0.map(|body| RelayedBody::new(body, wire, from, guard, Span::current()).boxed_unsync())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn forwarded_values_do_not_keep_the_buffer_that_they_were_read_into() {
        let buffer = Bytes::from_static(b"c2ln c2VjcmV0");
        let mut secret = HeaderValue::from_maybe_shared(buffer.slice(5..)).unwrap();
        secret.set_sensitive(true);
        let request = Request::post("/v1/fleet/pull-messages")
            .header("flwr-signature-bin", HeaderValue::from_maybe_shared(buffer.slice(..4)).unwrap())
            .header("authorization", secret)
            .body(full(Bytes::new()))
            .unwrap();
        let onward = onward_request(request, Scheme::HTTP, &Authority::from_static("127.0.0.1:8000"));
        for (name, value) in [("flwr-signature-bin", "c2ln"), ("authorization", "c2VjcmV0")] {
            let own = &onward.headers()[name];
            assert_eq!(own, value);
            assert!(!buffer.as_ptr_range().contains(&own.as_bytes().as_ptr()), "{name}");
        }
        assert!(onward.headers()["authorization"].is_sensitive());
    }

    #[test]
    fn headers_of_one_connection_are_removed_and_all_others_are_forwarded() {
        let request = Request::post("/v1/fleet/pull-messages")
            .header("host", "127.0.0.1:9092")
            .header("connection", "keep-alive, X-Hop")
            .header("x-hop", "1")
            .header("transfer-encoding", "chunked")
            .header("te", "trailers")
            .header("flwr-signature", "c2ln")
            .header("flwr-public-key-bin", "a2V5")
            .body(full(Bytes::new()))
            .unwrap();
        let onward = onward_request(request, Scheme::HTTP, &Authority::from_static("127.0.0.1:8000"));
        assert_eq!(onward.uri(), "http://127.0.0.1:8000/v1/fleet/pull-messages");
        let mut names: Vec<_> = onward.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["flwr-public-key-bin", "flwr-signature", "te"]);
    }
}
