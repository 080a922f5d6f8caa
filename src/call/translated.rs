//! Calls whose caller and server use different wires.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_body_util::{BodyStream, StreamBody};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    hop::{self, Body, Relayed},
    protocol::{Answer, BoxError, CallError, Status, Translation},
};

/// The wait for the head of a streaming response, before one is sent anyway. Flower's HTTP client waits 30 s for it, but a
/// gRPC server sends none before its first message, and the log of a run may stay empty for longer. Errors arrive sooner.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Forwards a call in the wire that `send` uses, and returns the response in the caller's wire, within the caller's deadline.
/// `server` is the name of the server in errors that the caller receives.
///
/// Also returns the server's error if the caller's wire has no status for it.
pub(crate) async fn forward<F, B>(
    translation: Translation,
    server: &'static str,
    request: Request<Body>,
    send: impl FnOnce(Request<Body>) -> F + Send + 'static,
) -> Result<(Response<Body>, Option<String>), CallError>
where
    F: Future<Output = Result<Response<B>, CallError>> + Send + 'static,
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let deadline = translation.deadline(&request)?.and_then(Deadline::after);
    let (head, wire) = (translation.head(), translation.callers_wire());
    let mut answer = Box::pin(async move {
        let request = translation.request(request).await?.map(hop::boxed);
        translation.response(send(request).await?).await
    });
    let Answer { response, unmatched } = match (&deadline, head) {
        (Some(deadline), _) => timeout_at(deadline.at, answer).await.map_err(|_| deadline.missed())??,
        (None, None) => answer.await?,
        (None, Some(head)) => match timeout(HEAD_TIMEOUT, &mut answer).await {
            Ok(answer) => answer?,
            Err(_) => {
                return Ok((Relayed::new(head.map(|()| deferred_body(answer))).for_caller(wire, server, ()), None));
            }
        },
    };
    let response = match deadline {
        Some(deadline) => {
            let missed = deadline.missed();
            let response = response.map(|body| hop::with_deadline(body, deadline.at, missed));
            Relayed::new(response).for_caller(wire, server, ())
        }
        None => Relayed::new(response).for_caller(wire, server, ()),
    };
    Ok((response, unmatched))
}

/// The caller's deadline for the whole call.
struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// Returns the deadline after `timeout`; `None` if it is beyond the range of the clock.
    fn after(timeout: Duration) -> Option<Self> {
        Some(Self { at: Instant::now().checked_add(timeout)?, timeout })
    }

    fn missed(&self) -> CallError {
        let reason = format_args!("the SuperLink took longer than the caller's {:?}", self.timeout).to_string();
        CallError::new(Status::DEADLINE_EXCEEDED, reason)
    }
}

/// Makes the body of a response whose head was sent before the response arrived. An error can only break it off.
fn deferred_body<B>(answer: impl Future<Output = Result<Answer<B>, CallError>> + Send + 'static) -> Body
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let frames = stream::once(async {
        let response = answer.await?.response;
        if !response.status().is_success() {
            return Err(CallError::unavailable(format_args!(
                "the SuperLink refused the call late, with {}",
                response.status()
            )));
        }
        Ok(BodyStream::new(response.into_body()))
    });
    hop::boxed(StreamBody::new(frames.map_err(BoxError::from).try_flatten()))
}
