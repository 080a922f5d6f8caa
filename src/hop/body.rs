//! Bodies that are forwarded between two connections: how they end, and how they break off.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{Span, debug, warn};

use super::metadata;
use crate::{
    protocol::{BoxError, CallError, Status, Wire},
    report::chain,
    transport::RateLimit,
};

pin_project! {
    /// A body that was received over HTTP. It ends only if the end was sent: hyper treats an HTTP/2 reset with NO_ERROR as an
    /// end.
    pub(crate) struct ReceivedBody {
        #[pin]
        inner: Incoming,
        version: Version,
        keeps_trailers: bool,
        // The bytes of a response that are still to come, if it declared its length; 0 after the trailers.
        left: Option<u64>,
        unread: Option<UnreadRequest>,
    }
}

impl ReceivedBody {
    /// Wraps the body of a request, without its trailers. `unread` records whether it was read to its end.
    pub(super) fn of_request(inner: Incoming, version: Version, unread: Option<UnreadRequest>) -> Self {
        Self { inner, version, keeps_trailers: false, left: None, unread }
    }

    /// Wraps the body of a response with these headers. One whose status is in the headers has no body.
    pub(super) fn of_response(inner: Incoming, version: Version, headers: &HeaderMap) -> Self {
        let left = if headers.contains_key("grpc-status") { Some(0) } else { inner.size_hint().exact() };
        Self { inner, version, keeps_trailers: true, left, unread: None }
    }
}

/// Whether the request of an HTTP/1.1 connection has not been read to its end yet. The connection puts it among the
/// request's extensions. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnreadRequest(Arc<AtomicBool>);

impl UnreadRequest {
    pub(crate) fn set(&self, unread: bool) {
        self.0.store(unread, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl HttpBody for ReceivedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let mut frame = ready!(this.inner.as_mut().poll_frame(cx));
        while !*this.keeps_trailers && matches!(&frame, Some(Ok(frame)) if frame.is_trailers()) {
            frame = ready!(this.inner.as_mut().poll_frame(cx));
        }
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            *this.left = if frame.is_trailers() { Some(0) } else { this.left.map(|left| left.saturating_sub(length)) };
        }
        // A server that answers before it has read the request resets it right behind the answer, which hides the answer's end.
        let is_complete = *this.version == Version::HTTP_2 && *this.left == Some(0);
        if let (Some(Err(_)), true) = (&frame, is_complete) {
            return Poll::Ready(None);
        }
        let is_end = this.inner.is_end_stream();
        if frame.is_none() && *this.version == Version::HTTP_2 && !is_end && !is_complete {
            return Poll::Ready(Some(Err("the stream was reset before its end".into())));
        }
        if let Some(unread) = this.unread.as_ref().filter(|_| frame.is_none() || is_end) {
            unread.set(false);
        }
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            metadata::check(trailers, "trailers")?;
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

/// Makes a body that fails with `error` if it has not ended by `deadline`.
pub(crate) fn with_deadline<B>(body: B, deadline: Instant, error: CallError) -> DeadlineBody<B> {
    DeadlineBody { body, deadline: sleep_until(deadline), error: Some(error) }
}

pin_project! {
    /// A body with a deadline.
    pub(crate) struct DeadlineBody<B> {
        #[pin]
        body: B,
        #[pin]
        deadline: Sleep,
        error: Option<CallError>,
    }
}

impl<B: HttpBody<Data = Bytes, Error = BoxError>> HttpBody for DeadlineBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if this.error.is_none() {
            return Poll::Ready(None);
        }
        if this.deadline.poll(cx).is_ready() {
            return Poll::Ready(this.error.take().map(|error| Err(error.into())));
        }
        this.body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.error.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// A response body that reports a failure to the caller: as `UNAVAILABLE` in gRPC's trailers, or over HTTP by closing the
    /// connection before the declared end.
    pub(super) struct RelayedBody<B, T> {
        #[pin]
        inner: B,
        wire: Wire,
        from: &'static str,
        guard: Option<T>,
        // The call's span, for the warning if the body breaks off.
        span: Span,
    }
}

impl<B, T> RelayedBody<B, T> {
    pub(super) fn new(inner: B, wire: Wire, from: &'static str, guard: T, span: Span) -> Self {
        Self { inner, wire, from, guard: Some(guard), span }
    }
}

impl<B: HttpBody<Data = Bytes, Error = BoxError>, T> HttpBody for RelayedBody<B, T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if this.guard.is_none() {
            return Poll::Ready(None);
        }
        let frame = ready!(this.inner.poll_frame(cx));
        let Some(Err(error)) = frame else {
            if frame.is_none() {
                *this.guard = None;
            }
            return Poll::Ready(frame);
        };
        *this.guard = None;
        let error = error.downcast::<CallError>().map_or_else(|error| broken(this.from, error), |error| *error);
        this.span.in_scope(|| report(&error));
        Poll::Ready(Some(match this.wire {
            Wire::Grpc => Ok(Frame::trailers(error.trailers())),
            Wire::Http => Err(error.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.guard.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn broken(from: &str, error: BoxError) -> CallError {
    CallError::unavailable(format_args!("{from} broke off the response: {}", chain(&*error))).caused_by(error)
}

/// Warns of a response that broke off, at most once a second, so that a peer cannot fill the disk. A caller's own deadline
/// is not a reason for a warning.
fn report(error: &CallError) {
    static BROKEN: RateLimit = RateLimit::every(Duration::from_secs(1));
    if error.status() != Status::DEADLINE_EXCEEDED && BROKEN.allow() {
        warn!("{error}");
    } else {
        debug!("{error}");
    }
}
