//! Bodies with one message: read completely within a limit, or parsed while they are forwarded.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, BodyStream, StreamBody};

use super::field_reader::FieldReader;
use crate::{
    hop::{self, Body},
    protocol::{BoxError, GRPC_HEADER, Wire, has_ok_status, is_encoded},
};

/// The largest message that is read, in bytes. A larger answer is forwarded and not stored; so is a larger reply.
pub(super) const MAX_MESSAGE: usize = 256 << 10;

/// A body that was read up to a limit.
pub(super) enum ReadBody {
    /// The complete body.
    Whole { data: Bytes, trailers: Option<HeaderMap> },
    /// The same body from its beginning: it is larger, or it broke off.
    Other(Body),
}

impl ReadBody {
    /// Reads a body of at most `limit` bytes.
    pub(super) async fn read(mut body: Body, limit: usize) -> Self {
        let (mut data, mut trailers) = (BytesMut::new(), None);
        let broken = loop {
            match body.frame().await {
                None => return Self::Whole { data: data.freeze(), trailers },
                Some(Err(error)) => break Some(Err(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => data.extend_from_slice(&piece),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
            if data.len() > limit {
                break None;
            }
        };
        let read =
            [Some(Ok(Frame::data(data.freeze()))), trailers.map(|trailers| Ok(Frame::trailers(trailers))), broken];
        let frames = stream::iter(read.into_iter().flatten()).chain(BodyStream::new(body));
        Self::Other(hop::boxed(StreamBody::new(frames)))
    }
}

/// Makes a body of complete content.
pub(super) fn whole(data: Bytes, trailers: Option<HeaderMap>) -> Body {
    match trailers {
        None => hop::full(data),
        Some(trailers) => {
            let data = (!data.is_empty()).then(|| Frame::data(data));
            let frames = data.into_iter().chain([Frame::trailers(trailers)]);
            hop::boxed(StreamBody::new(stream::iter(frames.map(Ok::<_, BoxError>))))
        }
    }
}

/// Returns the only message of a body with these headers; `None` if there are several, or if it is compressed.
pub(super) fn message_in(headers: &HeaderMap, data: &Bytes, wire: Wire) -> Option<Bytes> {
    if is_encoded(headers) {
        return None;
    }
    if wire == Wire::Http {
        return Some(data.clone());
    }
    let ([flag, length @ ..], message) = data.split_first_chunk::<GRPC_HEADER>()?;
    let is_whole = u32::from_be_bytes(*length) as usize == message.len();
    (*flag == 0 && is_whole).then(|| data.slice(GRPC_HEADER..))
}

/// Makes the body of one message.
fn framed(message: Bytes, wire: Wire) -> Bytes {
    if wire == Wire::Http {
        return message;
    }
    let mut data = BytesMut::with_capacity(GRPC_HEADER + message.len());
    data.put_u8(0);
    data.put_u32(message.len() as u32);
    data.put_slice(&message);
    data.freeze()
}

/// Replaces the message of an answer by the one that `replace` returns for it, if any. Answers that are errors or large stay
/// unchanged.
pub(super) async fn replace_message(
    answer: Response<Body>,
    wire: Wire,
    replace: impl FnOnce(&Bytes) -> Option<Bytes>,
) -> Response<Body> {
    if answer.status() != StatusCode::OK || !may_be_small(&answer, wire) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let (data, trailers) = match ReadBody::read(body, MAX_MESSAGE).await {
        ReadBody::Whole { data, trailers } => (data, trailers),
        ReadBody::Other(body) => return Response::from_parts(parts, body),
    };
    let is_ok = wire == Wire::Http || trailers.as_ref().is_some_and(has_ok_status);
    let message = message_in(&parts.headers, &data, wire).filter(|_| is_ok);
    let data = message.and_then(|message| replace(&message)).map_or(data, |message| framed(message, wire));
    if wire == Wire::Http {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(data.len()));
    }
    Response::from_parts(parts, whole(data, trailers))
}

/// Whether an answer may have one small message. An HTTP answer declares its length.
fn may_be_small(answer: &Response<Body>, wire: Wire) -> bool {
    let length = || answer.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse::<usize>().ok();
    match wire {
        Wire::Grpc => !answer.body().is_end_stream(),
        Wire::Http => length().is_some_and(|length| length <= MAX_MESSAGE),
    }
}

/// A request body whose fields are read while it is forwarded.
#[derive(Debug)]
pub(super) struct TappedBody {
    body: Body,
    reader: Arc<Mutex<FieldReader>>,
}

impl TappedBody {
    pub(super) fn new(body: Body, reader: Arc<Mutex<FieldReader>>) -> Self {
        Self { body, reader }
    }
}

impl HttpBody for TappedBody {
    type Data = Bytes;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            reader.feed(data);
        }
        // A reader need not poll for the end of a body that already reports it.
        let has_failed = matches!(frame, Some(Err(_)));
        if frame.is_none() || (!has_failed && self.body.is_end_stream()) {
            reader.end();
        }
        drop(reader);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
