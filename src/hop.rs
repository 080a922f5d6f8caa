//! One HTTP hop: what a request and a response need on their way from one connection to the next.
//!
//! Bodies pass frame by frame, held back by the slower side's flow control, so that a call's memory does not grow with
//! its messages. Headers and trailers pass as they came, except those that belong to one connection.

mod body;
mod headers;
pub(crate) mod settings;

use bytes::Bytes;
use http::{
    HeaderName, Request, Response, Uri,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tracing::Span;

use self::body::RelayedBody;
pub(crate) use self::body::{ReceivedBody, with_deadline};
use crate::protocol::{BoxError, Wire};

/// A body on its way through.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Set by an inbound funnel on what it sends to an upstream. An outbound funnel refuses it: two funnels of one machine
/// must not lead a peer on to a third party.
pub(crate) const PASSED: HeaderName = HeaderName::from_static("x-flower-iroh-funnel");

/// Boxes a body.
pub(crate) fn boxed<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// Makes a body of bytes that are all there.
pub(crate) fn full(bytes: Bytes) -> Body {
    boxed(Full::new(bytes))
}

/// Takes a request that came over HTTP.
pub(crate) fn received(request: Request<Incoming>) -> Request<Body> {
    let version = request.version();
    request.map(|body| boxed(ReceivedBody::new(body, version)))
}

/// Makes the request of the next connection: its URI absolute, the last connection's headers removed.
pub(crate) fn onward_request(request: Request<Body>, scheme: Scheme, authority: &Authority) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    headers::strip(&mut parts.headers);
    headers::detach(&mut parts.headers);
    parts.headers.remove(HOST);
    let mut uri = http::uri::Parts::default();
    (uri.scheme, uri.authority, uri.path_and_query) = (Some(scheme), Some(authority.clone()), Some(path));
    let mut request = Request::new(body);
    *request.uri_mut() = Uri::from_parts(uri).expect("scheme, authority and path make a URI");
    *request.method_mut() = parts.method;
    *request.headers_mut() = parts.headers;
    request
}

/// A response on its way back to the caller.
pub(crate) struct Relayed<B>(Response<B>);

impl Relayed<ReceivedBody> {
    /// Takes a response that came over HTTP, without the headers of the connection that it came on.
    pub(crate) fn received(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let mut received = Response::new(ReceivedBody::new(body, parts.version));
        *received.status_mut() = parts.status;
        *received.headers_mut() = parts.headers;
        headers::strip(received.headers_mut());
        headers::detach(received.headers_mut());
        Self(received)
    }
}

impl<B> Relayed<B> {
    /// Takes a response that was made here, such as a translated one.
    pub(crate) fn new(response: Response<B>) -> Self {
        Self(response)
    }

    /// The response as it is, for who reads it here.
    pub(crate) fn into_response(self) -> Response<B> {
        self.0
    }
}

impl<B> Relayed<B>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + 'static,
{
    /// Makes the response of a caller in this wire. `from` is where it comes from, as the caller reads it should the
    /// response break. `guard` is dropped when the body has ended or is dropped.
    pub(crate) fn for_caller<T: Send + 'static>(self, wire: Wire, from: &'static str, guard: T) -> Response<Body> {
        self.0.map(|body| RelayedBody::new(body, wire, from, guard, Span::current()).boxed_unsync())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn values_keep_no_buffer_that_they_were_read_into() {
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
    fn headers_of_one_connection_stay_on_it_and_all_others_pass() {
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
