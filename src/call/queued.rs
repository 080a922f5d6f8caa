//! Sends a call to an upstream when it is its turn.
//!
//! A small request is read whole before it waits, so that a call in the queue has no connection to the upstream, and none
//! that is being served waits for its caller. A larger one is forwarded as it arrives; its end waits. Where a request may be
//! a stream, as that of an unknown method, its beginning waits.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use super::{
    fair_queue::{FairQueue, Slot, Urgency},
    permit::CallPermit,
};
use crate::{
    hop::{self, Body},
    protocol::{BoxError, CallError, MethodKind},
    report::chain,
};

/// The largest request that is read before its call waits, in bytes.
const READ_AHEAD: usize = 64 << 10;

/// The turn of a call. Drop it when the upstream has answered.
#[derive(Debug)]
pub(super) struct Turn {
    slot: Arc<Mutex<Option<Slot>>>,
}

/// Waits for the turn of a call, and returns its request. The end of a large request waits for its turn while it is
/// forwarded.
///
/// # Errors
/// If the caller breaks off a small request.
pub(super) async fn wait(
    queue: &FairQueue,
    request: Request<Body>,
    kind: Option<MethodKind>,
    permit: &CallPermit,
) -> Result<(Request<Body>, Turn), CallError> {
    let urgency = match kind {
        Some(MethodKind::Heartbeat) => Urgency::Heartbeat,
        _ => Urgency::Ordinary,
    };
    let (parts, body) = request.into_parts();
    let ticket = Ticket { queue: queue.clone(), permit: permit.clone(), urgency };
    let begun = match kind {
        // A stream of messages may not end before the upstream has answered.
        None | Some(MethodKind::Stream | MethodKind::Conversation) => Begun::Whole(body),
        Some(_) => Begun::read(body).await?,
    };
    let (body, slot) = match begun {
        Begun::Whole(body) => (body, Arc::new(Mutex::new(Some(ticket.wait().await)))),
        Begun::Part(frames, rest) => {
            permit.pace().await;
            permit.sent();
            let slot = Arc::default();
            (hop::boxed(QueuedBody::new(frames, rest, ticket, Arc::clone(&slot))), slot)
        }
    };
    Ok((Request::from_parts(parts, body), Turn { slot }))
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Its drop takes a lock.
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(slot);
    }
}

/// A place in the queue that is not taken yet.
struct Ticket {
    queue: FairQueue,
    permit: CallPermit,
    urgency: Urgency,
}

impl Ticket {
    async fn wait(self) -> Slot {
        self.permit.pace().await;
        let slot = self.queue.slot(self.permit.peer(), self.urgency).await;
        self.permit.sent();
        slot
    }
}

/// A request whose beginning was read.
enum Begun {
    Whole(Body),
    /// What was read, and the rest.
    Part(Vec<Frame<Bytes>>, Body),
}

impl Begun {
    async fn read(mut body: Body) -> Result<Self, CallError> {
        let (mut frames, mut length) = (Vec::new(), 0);
        while !body.is_end_stream() {
            match body.frame().await {
                None => break,
                Some(Ok(frame)) => {
                    length += frame.data_ref().map_or(0, Bytes::len);
                    frames.push(frame);
                }
                Some(Err(error)) => return Err(failed(error)),
            }
            if length > READ_AHEAD && !body.is_end_stream() {
                return Ok(Self::Part(frames, body));
            }
        }
        Ok(Self::Whole(match <[_; 1]>::try_from(frames).map(|[frame]| frame.into_data()) {
            Ok(Ok(data)) => hop::full(data),
            Ok(Err(trailers)) => hop::boxed(Read::new(vec![trailers])),
            Err(frames) if frames.is_empty() => hop::full(Bytes::new()),
            Err(frames) => hop::boxed(Read::new(frames)),
        }))
    }
}

/// Returns the error of this funnel that the body failed with.
fn failed(error: BoxError) -> CallError {
    match error.downcast::<CallError>() {
        Ok(error) => *error,
        Err(error) => CallError::unavailable(chain(&*error)).caused_by(error),
    }
}

/// A body that was read.
struct Read(std::vec::IntoIter<Frame<Bytes>>);

impl Read {
    fn new(frames: Vec<Frame<Bytes>>) -> Self {
        Self(frames.into_iter())
    }

    fn len(&self) -> u64 {
        self.0.as_slice().iter().map(|frame| frame.data_ref().map_or(0, Bytes::len) as u64).sum()
    }
}

impl HttpBody for Read {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.next().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

/// A large body, whose last frame waits for its call's turn.
struct QueuedBody {
    read: Read,
    rest: Body,
    /// The last frame that was read; whether another follows is not known yet.
    held: Option<Frame<Bytes>>,
    turn: Waiting,
    slot: Arc<Mutex<Option<Slot>>>,
}

enum Waiting {
    NotYet(Option<Ticket>),
    ForTurn(Pin<Box<dyn Future<Output = Slot> + Send>>),
    Over,
}

impl QueuedBody {
    fn new(frames: Vec<Frame<Bytes>>, rest: Body, ticket: Ticket, slot: Arc<Mutex<Option<Slot>>>) -> Self {
        Self { read: Read::new(frames), rest, held: None, turn: Waiting::NotYet(Some(ticket)), slot }
    }

    /// Waits for the call's turn.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Waiting::NotYet(ticket) = &mut self.turn {
            self.turn = match ticket.take() {
                Some(ticket) => Waiting::ForTurn(Box::pin(ticket.wait())),
                None => Waiting::Over,
            };
        }
        if let Waiting::ForTurn(waiting) = &mut self.turn {
            let slot = ready!(waiting.as_mut().poll(cx));
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(slot);
            self.turn = Waiting::Over;
        }
        Poll::Ready(())
    }
}

impl HttpBody for QueuedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(frame) = this.read.0.next() {
            return Poll::Ready(Some(Ok(frame)));
        }
        loop {
            let is_last = matches!(this.turn, Waiting::ForTurn(_) | Waiting::Over) || this.rest.is_end_stream();
            if is_last {
                ready!(this.poll_turn(cx));
                return Poll::Ready(this.held.take().map(Ok));
            }
            let next = match ready!(Pin::new(&mut this.rest).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    ready!(this.poll_turn(cx));
                    return Poll::Ready(this.held.take().map(Ok));
                }
            };
            if let Some(before) = this.held.replace(next) {
                return Poll::Ready(Some(Ok(before)));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.turn, Waiting::Over) && self.held.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let known =
            self.read.len() + self.held.as_ref().map_or(0, |frame| frame.data_ref().map_or(0, Bytes::len) as u64);
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(known + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(known + upper);
        }
        hint
    }
}
