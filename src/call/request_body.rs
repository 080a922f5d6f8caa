//! The limits of a request's body: its size, its share of the peer's bytes, and how long its sender may pause.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{peer_bytes::TooManyBytes, permit::CallPermit};
use crate::{
    config::CallLimits,
    hop::{self, Body},
    protocol::{BoxError, CallError, GRPC_HEADER, MethodKind, Status, Wire},
    report::chain,
};

/// The largest request of a method that moves little, in bytes. It takes a few KiB.
const MAX_SMALL: u64 = 4 << 20;
/// The largest request with the messages of a node: a hundred bytes for each array of a model.
const MAX_MESSAGES: u64 = 64 << 20;
/// The bytes of each request that do not count among those of its peer: most requests are smaller.
const UNCOUNTED: u64 = 64 << 10;

/// Returns the size of the largest request of a method; `None` for a stream of messages.
fn max_size(kind: Option<MethodKind>, limits: &CallLimits) -> Option<u64> {
    match kind {
        Some(MethodKind::Prompt | MethodKind::Small | MethodKind::Stream) => Some(MAX_SMALL),
        Some(MethodKind::Messages) => Some(MAX_MESSAGES),
        Some(MethodKind::Bulk | MethodKind::Json) | None => Some(u64::MAX),
        Some(MethodKind::Conversation) => None,
    }
    .map(|max| max.min(limits.max_request))
}

/// Why the body of a request failed. The error of a call whose body failed does not say so over HTTP/2.
#[derive(Clone, Debug, Default)]
pub(super) struct BodyFailure(Arc<OnceLock<CallError>>);

impl BodyFailure {
    /// Returns the failure, if there was one, or else the error of the call.
    pub(super) fn or(&self, error: CallError) -> CallError {
        self.0.get().cloned().unwrap_or(error)
    }

    /// Returns whether there was one: the upstream is not to blame for the call's error.
    pub(super) fn occurred(&self) -> bool {
        self.0.get().is_some()
    }

    fn record(&self, error: CallError) -> BoxError {
        self.0.get_or_init(|| error).clone().into()
    }
}

/// Limits the body of a peer's request. A stream of messages, which may pause for as long as a client trains, is not limited.
///
/// # Errors
/// If it declares a larger size than its method may have.
pub(super) fn limited(
    body: Body,
    kind: Option<MethodKind>,
    wire: Wire,
    permit: &CallPermit,
    failure: &BodyFailure,
) -> Result<Body, CallError> {
    let limits = permit.limits();
    let Some(max) = max_size(kind, limits) else { return Ok(body) };
    let framing = if wire == Wire::Grpc { GRPC_HEADER as u64 } else { 0 };
    let max = max.saturating_add(framing);
    let declared = body.size_hint().lower();
    if declared > max {
        return Err(too_large(max, limits));
    }
    if body.is_end_stream() {
        return Ok(body);
    }
    if declared > UNCOUNTED {
        permit.bytes().count(declared).map_err(too_many)?;
    }
    let limited = LimitedBody::new(body, limits.max_pause, failure.clone());
    Ok(hop::boxed(LimitedBody { max, permit: Some(permit.clone()), ..limited }))
}

/// Limits how long the sender of a body may pause, unless it is a stream of messages.
pub(super) fn without_long_pauses(
    body: Body,
    kind: Option<MethodKind>,
    max_pause: Duration,
    failure: &BodyFailure,
) -> Body {
    if kind == Some(MethodKind::Conversation) || body.is_end_stream() {
        return body;
    }
    hop::boxed(LimitedBody::new(body, max_pause, failure.clone()))
}

/// Makes the error of a request that its caller broke off.
fn broken_off(error: BoxError) -> CallError {
    CallError::unavailable(format_args!("the caller broke off the request: {}", chain(&*error))).caused_by(error)
}

fn too_large(max: u64, limits: &CallLimits) -> CallError {
    let setting = if max >= limits.max_request { " (max_request_mib)" } else { "" };
    let reason =
        format_args!("the request has more than {max} bytes, the most that this method may have here{setting}");
    CallError::new(Status::TOO_LARGE, reason.to_string())
}

fn too_many(TooManyBytes { max }: TooManyBytes) -> CallError {
    CallError::unavailable(format_args!(
        "this peer has more than {max} bytes of requests under way here, the most it may have (max_mib_per_peer)"
    ))
}

struct LimitedBody {
    body: Body,
    received: u64,
    max: u64,
    /// The permit whose bytes are counted.
    permit: Option<CallPermit>,
    /// Since when the next frame is awaited.
    waiting_since: Option<Instant>,
    max_pause: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    failure: BodyFailure,
}

impl LimitedBody {
    fn new(body: Body, max_pause: Duration, failure: BodyFailure) -> Self {
        Self { body, received: 0, max: u64::MAX, permit: None, waiting_since: None, max_pause, pause: None, failure }
    }

    /// Waits until the sender has paused for too long. It is called only while nothing can be read: what an upstream does not
    /// take is no pause of the sender.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        // Longer than the clock can count means without an end.
        let Some(end) = since.checked_add(self.max_pause) else { return Poll::Pending };
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep_until(end)));
        loop {
            ready!(pause.as_mut().poll(cx));
            if end <= Instant::now() {
                let reason = format_args!("no byte of the request has arrived for {:?}", self.max_pause).to_string();
                return Poll::Ready(CallError::unavailable(reason));
            }
            pause.as_mut().reset(end);
        }
    }

    /// Counts the bytes of a frame.
    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), CallError> {
        self.received += frame.data_ref().map_or(0, Bytes::len) as u64;
        let Some(permit) = &self.permit else { return Ok(()) };
        if self.received > self.max {
            return Err(too_large(self.max, permit.limits()));
        }
        if self.received <= UNCOUNTED {
            return Ok(());
        }
        permit.bytes().count(self.received).map_err(too_many)
    }
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let error = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending => ready!(this.poll_pause(cx)),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => broken_off(error),
            Poll::Ready(Some(Ok(frame))) => match this.count(&frame) {
                Ok(()) => {
                    this.waiting_since = None;
                    return Poll::Ready(Some(Ok(frame)));
                }
                Err(error) => error,
            },
        };
        Poll::Ready(Some(Err(this.failure.record(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::{StreamExt, stream};
    use http_body_util::{BodyExt, StreamBody};
    use iroh::SecretKey;

    use super::*;
    use crate::{call::permit::Permits, tunnel::Size};

    const MAX_PAUSE: Duration = Duration::from_secs(60);

    fn permit(size: Size) -> CallPermit {
        let limits = CallLimits { max_request: 10, ..CallLimits::default() };
        Permits::new(limits, usize::MAX).of(SecretKey::generate().public()).permit(size).unwrap()
    }

    fn pieces(pieces: &[&'static str]) -> impl stream::Stream<Item = Result<Frame<Bytes>, BoxError>> + Send + use<> {
        let frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        stream::iter(frames)
    }

    fn body(of: &[&'static str]) -> Body {
        hop::boxed(StreamBody::new(pieces(of)))
    }

    async fn error(body: Body) -> CallError {
        *body.collect().await.unwrap_err().downcast().unwrap()
    }

    #[tokio::test]
    async fn a_request_that_is_too_large_is_refused_at_once_or_when_it_shows() {
        let permit = permit(Size::Bulk);
        let limit = |body| limited(body, Some(MethodKind::Bulk), Wire::Http, &permit, &BodyFailure::default());
        let whole = limit(body(&["12345", "67890"])).unwrap().collect().await.unwrap();
        assert_eq!(whole.to_bytes(), "1234567890");
        assert_eq!(error(limit(body(&["12345", "67890", "1"])).unwrap()).await.status(), Status::TOO_LARGE);
        let declared = limit(hop::full(Bytes::from_static(&[0; 11]))).unwrap_err();
        assert!(declared.to_string().contains("more than 10 bytes"), "{declared}");
        let stream = limited(
            body(&["12345", "67890", "1"]),
            Some(MethodKind::Conversation),
            Wire::Http,
            &permit,
            &BodyFailure::default(),
        )
        .unwrap();
        assert_eq!(stream.collect().await.unwrap().to_bytes().len(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_pauses_too_long_is_given_up_and_one_that_waits_for_the_reader_is_not() {
        let endless = || hop::boxed(StreamBody::new(pieces(&["1", "2"]).chain(stream::once(pending()))));
        let began = Instant::now();
        let failure = BodyFailure::default();
        let stalled = error(without_long_pauses(endless(), None, MAX_PAUSE, &failure)).await;
        assert_eq!(failure.or(CallError::refused("")).to_string(), stalled.to_string());
        assert!(stalled.to_string().contains("no byte of the request has arrived for 60s"), "{stalled}");
        assert_eq!(began.elapsed(), MAX_PAUSE);

        let mut unread = limited(endless(), None, Wire::Http, &permit(Size::Bulk), &failure).unwrap();
        for _ in 0..2 {
            tokio::time::sleep(2 * MAX_PAUSE).await;
            assert!(unread.frame().await.unwrap().is_ok());
        }
        let conversation = without_long_pauses(endless(), Some(MethodKind::Conversation), MAX_PAUSE, &failure);
        let joined = tokio::time::timeout(100 * MAX_PAUSE, conversation.collect()).await;
        assert!(joined.is_err(), "a client may train for as long as it takes");
    }
}
