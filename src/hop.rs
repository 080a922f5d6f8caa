//! Carries one call from one HTTP connection to another.
//!
//! Bodies pass frame by frame, held back by the slower side's flow control, so that a call's memory does not grow with
//! its messages. Headers and trailers pass as they came, but for those that belong to one connection.

pub(crate) mod settings;

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version,
    header::{CONNECTION, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{debug, warn};

use crate::{
    protocol::{BoxError, Failure, Status, Wire},
    transport::RateLimit,
};

/// A body on its way through.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Set by an inbound funnel on what it hands to an upstream. An outbound funnel refuses it: two funnels of one machine
/// must not lead a peer on to a third party.
pub(crate) const PASSED: HeaderName = HeaderName::from_static("x-flower-iroh-funnel");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The body of a request or response that came over HTTP, on its way onward.
pub(crate) fn received(version: Version, body: Incoming) -> Body {
    boxed(Received { inner: body, version })
}

/// Any body, boxed.
pub(crate) fn boxed<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A body that is all there.
pub(crate) fn full(bytes: Bytes) -> Body {
    boxed(Full::new(bytes))
}

/// The request as the next connection wants it: its URI absolute, the last connection's headers gone.
pub(crate) fn onward_request(request: Request<Body>, scheme: Scheme, authority: &Authority) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    strip_connection_headers(&mut parts.headers);
    detach(&mut parts.headers);
    parts.headers.remove(HOST);
    let mut uri = http::uri::Parts::default();
    (uri.scheme, uri.authority, uri.path_and_query) = (Some(scheme), Some(authority.clone()), Some(path));
    let mut request = Request::new(body);
    *request.uri_mut() = Uri::from_parts(uri).expect("scheme, authority and path make a URI");
    *request.method_mut() = parts.method;
    *request.headers_mut() = parts.headers;
    request
}

/// A response that came over HTTP, without what speaks of the connection that it came on.
pub(crate) fn received_response(response: Response<Incoming>) -> Response<Received> {
    let (parts, inner) = response.into_parts();
    let mut received = Response::new(Received { inner, version: parts.version });
    *received.status_mut() = parts.status;
    *received.headers_mut() = parts.headers;
    strip_connection_headers(received.headers_mut());
    detach(received.headers_mut());
    received
}

/// The response as a caller in this wire wants it. `held` is dropped when the body has ended or is dropped.
pub(crate) fn onward_response<B, T>(response: Response<B>, wire: Wire, from: &'static str, held: T) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + 'static,
    T: Send + 'static,
{
    response.map(|inner| ResponseBody { inner, wire, from, held: Some(held) }.boxed_unsync())
}

/// The same body, which breaks with `failure` when it has not ended at `deadline`.
pub(crate) fn until<B>(body: B, deadline: Instant, failure: Failure) -> Until<B> {
    Until { body, deadline: sleep_until(deadline), failure: Some(failure) }
}

/// Removes the headers that speak of one connection (RFC 9110, section 7.6.1). `te: trailers` stays: gRPC asks for it
/// anew at every hop.
fn strip_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| name != TE)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, EXPECT, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS] {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|value| value != "trailers") {
        headers.remove(TE);
    }
}

/// Gives each value memory of its own. As hyper reads them, the values of a message are slices of the buffer that its
/// head was read into, 8 KiB for HTTP/1.1. HTTP/2's table of sent headers keeps what is new in a message, a date for
/// instance, and with it the whole buffer: half a MiB in each session.
fn detach(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        // Every value that HTTP lets through is one.
        let Ok(mut own) = HeaderValue::from_bytes(value.as_bytes()) else { continue };
        own.set_sensitive(value.is_sensitive());
        *value = own;
    }
}

/// Tells the operator of a response that broke, in so far as that is news: a caller's own deadline is none, and whoever
/// breaks one after the other fills no disk.
fn tell(failure: &Failure) {
    static BROKEN: RateLimit = RateLimit::every(Duration::from_secs(1));
    if failure.status() != Status::DEADLINE_EXCEEDED && BROKEN.allow() {
        warn!("{failure}");
    } else {
        debug!("{failure}");
    }
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

pin_project! {
    /// A body whose end is believed only if it was said: hyper takes HTTP/2's reset with NO_ERROR for one.
    pub(crate) struct Received {
        #[pin]
        inner: Incoming,
        version: Version,
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        if frame.is_none() && *this.version == Version::HTTP_2 && !this.inner.is_end_stream() {
            return Poll::Ready(Some(Err("the stream was reset before its end".into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pin_project! {
    /// A body with a deadline.
    pub(crate) struct Until<B> {
        #[pin]
        body: B,
        #[pin]
        deadline: Sleep,
        failure: Option<Failure>,
    }
}

impl<B: HttpBody<Data = Bytes, Error = BoxError>> HttpBody for Until<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if this.failure.is_none() {
            return Poll::Ready(None);
        }
        if this.deadline.poll(cx).is_ready() {
            return Poll::Ready(this.failure.take().map(|failure| Err(failure.into())));
        }
        this.body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.failure.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// A response body whose break the caller understands: gRPC gets `UNAVAILABLE` in its trailers, HTTP gets a
    /// connection that is closed before the promised end.
    struct ResponseBody<B, T> {
        #[pin]
        inner: B,
        wire: Wire,
        from: &'static str,
        held: Option<T>,
    }
}

impl<B: HttpBody<Data = Bytes, Error = BoxError>, T> HttpBody for ResponseBody<B, T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if this.held.is_none() {
            return Poll::Ready(None);
        }
        let frame = ready!(this.inner.poll_frame(cx));
        let Some(Err(error)) = frame else {
            if frame.is_none() {
                *this.held = None;
            }
            return Poll::Ready(frame);
        };
        *this.held = None;
        let failure = error.downcast::<Failure>().map_or_else(
            |error| Failure::unavailable(format_args!("{} broke off the response: {}", this.from, chain(&*error))),
            |failure| *failure,
        );
        tell(&failure);
        Poll::Ready(Some(match this.wire {
            Wire::Grpc => Ok(Frame::trailers(failure.trailers())),
            Wire::Http => Err(failure.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
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
