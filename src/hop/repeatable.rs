//! Requests that may be sent again, since the server says that it has not handled them.

use std::{
    error::Error,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, request::Parts};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Body, boxed};
use crate::protocol::BoxError;

/// The most bytes of a request that are kept, twice the window with which HTTP/2 begins. Of a larger one, nothing is kept: it
/// can be sent again only if no more of it was read.
const MAX_KEPT: usize = 128 << 10;

/// A request that is kept until its answer begins.
#[derive(Debug)]
pub(crate) struct RepeatableRequest {
    parts: Parts,
    content: Arc<Mutex<Content>>,
}

#[derive(Debug)]
struct Content {
    /// What follows the kept data; `None` once the request is sent again.
    rest: Option<Body>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    is_complete: bool,
}

impl RepeatableRequest {
    /// Keeps a request, and returns it to be sent.
    pub(crate) fn new(request: Request<Body>) -> (Self, Request<Body>) {
        let (parts, body) = request.into_parts();
        let content = Content { rest: Some(body), kept: Vec::new(), kept_bytes: 0, is_complete: true };
        let kept = Self { parts, content: Arc::new(Mutex::new(content)) };
        let request = kept.request(SentBody { again: Vec::new(), content: Arc::clone(&kept.content) });
        (kept, request)
    }

    /// Returns the request from its beginning; `None` if too much of it was read.
    pub(crate) fn again(&mut self) -> Option<Request<Body>> {
        let mut before = lock(&self.content);
        if !before.is_complete {
            return None;
        }
        // The body that was sent may still be polled; it fails from now on.
        let content = Content {
            rest: before.rest.take(),
            kept: before.kept.clone(),
            kept_bytes: before.kept_bytes,
            is_complete: true,
        };
        let again = content.kept.iter().rev().cloned().collect();
        drop(before);
        self.content = Arc::new(Mutex::new(content));
        Some(self.request(SentBody { again, content: Arc::clone(&self.content) }))
    }

    fn request(&self, body: SentBody) -> Request<Body> {
        Request::from_parts(self.parts.clone(), boxed(body))
    }
}

/// Returns whether the server reports that it has not handled the request that failed with this error, and will not: by
/// REFUSED_STREAM, or by a GOAWAY with an earlier last request (RFC 9113, sections 6.8 and 8.7).
pub(crate) fn is_not_handled(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        return error.is_remote() && (error.is_go_away() || is_refused);
    }
    error.source().is_some_and(is_not_handled)
}

/// The body of a request that is kept while it is read.
struct SentBody {
    /// Data that was kept, the last first.
    again: Vec<Bytes>,
    content: Arc<Mutex<Content>>,
}

impl HttpBody for SentBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(data) = self.again.pop() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let mut content = lock(&self.content);
        let Some(rest) = &mut content.rest else {
            return Poll::Ready(Some(Err("the request was sent again".into())));
        };
        let frame = ready!(Pin::new(rest).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => content.keep(frame),
            Some(Err(_)) => content.forget(),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_empty() && lock(&self.content).rest.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let again = self.again.iter().map(|data| data.len() as u64).sum::<u64>();
        let rest = lock(&self.content).rest.as_ref().map(HttpBody::size_hint).unwrap_or_default();
        let mut hint = SizeHint::new();
        hint.set_lower(again + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(again + upper);
        }
        hint
    }
}

impl Content {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(data) = frame.data_ref().filter(|_| self.is_complete) else { return };
        self.kept_bytes += data.len();
        if self.kept_bytes > MAX_KEPT {
            return self.forget();
        }
        self.kept.push(data.clone());
    }

    fn forget(&mut self) {
        self.kept = Vec::new();
        self.is_complete = false;
    }
}

fn lock(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn request(pieces: usize, length: usize) -> Request<Body> {
        let pieces =
            (0..pieces).map(move |piece| Ok::<_, BoxError>(Frame::data(Bytes::from(vec![piece as u8; length]))));
        Request::post("/v1/fleet/push-object").body(boxed(StreamBody::new(stream::iter(pieces)))).unwrap()
    }

    async fn collected(request: Request<Body>) -> Bytes {
        request.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_small_request_is_whole_when_it_is_sent_again_and_again() {
        let whole = collected(request(4, 1000)).await;
        for read in 0..=5 {
            let (mut kept, mut sent) = RepeatableRequest::new(request(4, 1000));
            for _ in 0..2 {
                for _ in 0..read {
                    sent.body_mut().frame().await;
                }
                let again = kept.again().unwrap();
                assert_eq!(again.uri(), "/v1/fleet/push-object");
                if read < 4 {
                    let earlier = sent.into_body().collect().await;
                    assert!(earlier.is_err(), "the earlier body must not take what follows");
                }
                sent = again;
            }
            assert_eq!(collected(sent).await, whole, "{read} pieces were read");
        }
    }

    #[tokio::test]
    async fn of_a_large_request_only_the_beginning_is_kept() {
        let (mut kept, mut sent) = RepeatableRequest::new(request(3, MAX_KEPT / 2));
        for _ in 0..2 {
            sent.body_mut().frame().await.unwrap().unwrap();
        }
        let mut sent = kept.again().expect("no more was read than is kept");
        for _ in 0..3 {
            sent.body_mut().frame().await.unwrap().unwrap();
        }
        assert!(kept.again().is_none());
        assert!(lock(&kept.content).kept.is_empty(), "what cannot be repeated is not kept");
    }
}
