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

use bytes::{Bytes, BytesMut};
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
/// forwarded. `check` is asked when it is its turn: the peer may be denied meanwhile.
///
/// # Errors
/// If the caller breaks off a small request, or the error of `check`.
pub(super) async fn wait(
    queue: &FairQueue,
    request: Request<Body>,
    kind: Option<MethodKind>,
    permit: &CallPermit,
    check: impl Fn() -> Result<(), CallError> + Send + Unpin + 'static,
) -> Result<(Request<Body>, Turn), CallError> {
    let urgency = match kind {
        Some(MethodKind::Prompt) => Urgency::Prompt,
        None | Some(MethodKind::Stream | MethodKind::Conversation) => Urgency::Open,
        Some(MethodKind::Small | MethodKind::Messages | MethodKind::Bulk | MethodKind::Json) => Urgency::Ordinary,
    };
    let (parts, body) = request.into_parts();
    let ticket = Ticket { queue: queue.clone(), permit: permit.clone(), urgency, check };
    // A stream of messages may not end before the upstream has answered.
    let begun = if urgency == Urgency::Open { Begun::Whole(body) } else { Begun::read(body).await? };
    let (body, slot) = match begun {
        Begun::Whole(body) => (body, Arc::new(Mutex::new(Some(ticket.wait().await?)))),
        Begun::Part(beginning, rest) => {
            permit.pace().await;
            (ticket.check)()?;
            permit.sent();
            let slot = Arc::default();
            (hop::boxed(QueuedBody::new(beginning, rest, ticket, Arc::clone(&slot))), slot)
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
struct Ticket<C> {
    queue: FairQueue,
    permit: CallPermit,
    urgency: Urgency,
    check: C,
}

impl<C: Fn() -> Result<(), CallError>> Ticket<C> {
    async fn wait(self) -> Result<Slot, CallError> {
        self.permit.pace().await;
        let slot = self.queue.slot(self.permit.peer(), self.urgency).await;
        (self.check)()?;
        self.permit.sent();
        Ok(slot)
    }
}

/// A request whose beginning was read.
enum Begun {
    Whole(Body),
    /// What was read, and the rest.
    Part(Bytes, Body),
}

impl Begun {
    /// Reads a body, which has no trailers: those of requests are dropped where they are received.
    async fn read(mut body: Body) -> Result<Self, CallError> {
        let (mut first, mut more) = (Bytes::new(), BytesMut::new());
        while !body.is_end_stream() {
            let data = match body.frame().await {
                None => break,
                Some(frame) => frame.map_err(failed)?.into_data().unwrap_or_default(),
            };
            // Most requests are one piece, which is not copied.
            if first.is_empty() && more.is_empty() {
                first = data;
            } else {
                more.extend_from_slice(&std::mem::take(&mut first));
                more.extend_from_slice(&data);
            }
            if first.len() + more.len() > READ_AHEAD && !body.is_end_stream() {
                return Ok(Self::Part(joined(first, more), body));
            }
        }
        Ok(Self::Whole(hop::full(joined(first, more))))
    }
}

fn joined(first: Bytes, more: BytesMut) -> Bytes {
    if more.is_empty() { first } else { more.freeze() }
}

/// Returns the error of this funnel that the body failed with.
fn failed(error: BoxError) -> CallError {
    match error.downcast::<CallError>() {
        Ok(error) => *error,
        Err(error) => CallError::unavailable(chain(&*error)).caused_by(error),
    }
}

/// A large body, whose last frame waits for its call's turn.
struct QueuedBody<C> {
    /// The last data that was read; whether more follows is not known yet.
    held: Option<Bytes>,
    rest: Body,
    turn: Waiting<C>,
    slot: Arc<Mutex<Option<Slot>>>,
}

enum Waiting<C> {
    NotYet(Option<Ticket<C>>),
    ForTurn(Pin<Box<dyn Future<Output = Result<Slot, CallError>> + Send>>),
    Over,
}

impl<C: Fn() -> Result<(), CallError> + Send + 'static> QueuedBody<C> {
    fn new(beginning: Bytes, rest: Body, ticket: Ticket<C>, slot: Arc<Mutex<Option<Slot>>>) -> Self {
        Self { held: Some(beginning), rest, turn: Waiting::NotYet(Some(ticket)), slot }
    }

    /// Waits for the call's turn.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        if let Waiting::NotYet(ticket) = &mut self.turn {
            self.turn = match ticket.take() {
                Some(ticket) => Waiting::ForTurn(Box::pin(ticket.wait())),
                None => Waiting::Over,
            };
        }
        if let Waiting::ForTurn(waiting) = &mut self.turn {
            let slot = ready!(waiting.as_mut().poll(cx));
            self.turn = Waiting::Over;
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(slot?);
        }
        Poll::Ready(Ok(()))
    }

    /// Returns the last data when it is the call's turn.
    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match ready!(self.poll_turn(cx)) {
            Ok(()) => Poll::Ready(self.held.take().map(|data| Ok(Frame::data(data)))),
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }
}

impl<C: Fn() -> Result<(), CallError> + Send + Unpin + 'static> HttpBody for QueuedBody<C> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if matches!(this.turn, Waiting::ForTurn(_) | Waiting::Over) || this.rest.is_end_stream() {
                return this.poll_last(cx);
            }
            let next = match ready!(Pin::new(&mut this.rest).poll_frame(cx)) {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return this.poll_last(cx),
            };
            if let Some(before) = this.held.replace(next) {
                return Poll::Ready(Some(Ok(Frame::data(before))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.turn, Waiting::Over) && self.held.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let (held, rest) = (self.held.as_ref().map_or(0, Bytes::len) as u64, self.rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(held + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(held + upper);
        }
        hint
    }
}
