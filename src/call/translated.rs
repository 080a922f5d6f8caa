//! One call and its answer, carried in the other wire than its caller's.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_body_util::{BodyStream, StreamBody};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    hop::{self, Body},
    protocol::{Answer, BoxError, Failure, Status, Translation},
};

/// For the head of a stream. Flower's HTTP client waits 30 s for it, and a gRPC server sends none before it has a
/// message: the log of a run may stay empty for longer. Errors come at once.
const HEAD: Duration = Duration::from_secs(5);

/// Hands on a call in the wire that `send` speaks, and its answer in the caller's, within the caller's deadline.
/// `server` is who answers, for those who read of its failures.
///
/// The text is an error that the caller's wire has no status for.
pub(crate) async fn exchange<F, B>(
    translation: Translation,
    server: &'static str,
    request: Request<Body>,
    send: impl FnOnce(Request<Body>) -> F + Send + 'static,
) -> Result<(Response<Body>, Option<String>), Failure>
where
    F: Future<Output = Result<Response<B>, Failure>> + Send + 'static,
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
        (None, Some(head)) => match timeout(HEAD, &mut answer).await {
            Ok(answer) => answer?,
            Err(_) => return Ok((hop::onward_response(head.map(|()| later(answer)), wire, server, ()), None)),
        },
    };
    let response = match deadline {
        Some(deadline) => {
            let missed = deadline.missed();
            let response = response.map(|body| hop::until(body, deadline.at, missed));
            hop::onward_response(response, wire, server, ())
        }
        None => hop::onward_response(response, wire, server, ()),
    };
    Ok((response, unmatched))
}

/// How long the caller waits for the whole call.
struct Deadline {
    at: Instant,
    patience: Duration,
}

impl Deadline {
    /// Beyond what a clock can tell, there is none.
    fn after(patience: Duration) -> Option<Self> {
        Some(Self { at: Instant::now().checked_add(patience)?, patience })
    }

    fn missed(&self) -> Failure {
        let reason = format_args!("the SuperLink took longer than the caller's {:?}", self.patience).to_string();
        Failure::new(Status::DEADLINE_EXCEEDED, reason)
    }
}

/// The body of an answer that is yet to come. Its head is gone: an error can only break it.
fn later<B>(answer: impl Future<Output = Result<Answer<B>, Failure>> + Send + 'static) -> Body
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let frames = stream::once(async {
        let response = answer.await?.response;
        if !response.status().is_success() {
            return Err(Failure::unavailable(format_args!("the SuperLink refused late, with {}", response.status())));
        }
        Ok(BodyStream::new(response.into_body()))
    });
    hop::boxed(StreamBody::new(frames.map_err(BoxError::from).try_flatten()))
}
