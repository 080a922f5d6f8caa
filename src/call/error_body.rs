//! The bodies of upstreams' errors.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{Response, header::CONTENT_LENGTH};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, BodyStream, StreamBody};

use crate::{
    hop::{self, Body},
    protocol::{BoxError, MAX_ERROR_BODY},
};

/// Reads an error whole before it is forwarded, so that its length is known: an upstream may answer before it has read the
/// request, which is then reset right behind the answer. An error that breaks off, as when such an upstream closes the
/// connection, ends there. A large one is forwarded as it arrives.
pub(super) async fn whole<B>(response: Response<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let (mut parts, mut body) = response.into_parts();
    let mut content = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        content.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if content.len() > MAX_ERROR_BODY {
            let beginning = stream::once(async { Ok(Frame::data(content.freeze())) });
            let frames = beginning.chain(BodyStream::new(body));
            return Response::from_parts(parts, hop::boxed(StreamBody::new(frames)));
        }
    }
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, hop::full(content.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(pieces: Vec<Result<&'static [u8], BoxError>>) -> Response<Body> {
        let frames = pieces.into_iter().map(|piece| piece.map(|data| Frame::data(Bytes::from_static(data))));
        Response::builder()
            .status(413)
            .header(CONTENT_LENGTH, 9)
            .body(hop::boxed(StreamBody::new(stream::iter(frames.collect::<Vec<_>>()))))
            .unwrap()
    }

    #[tokio::test]
    async fn an_error_is_forwarded_as_far_as_it_came() {
        for pieces in [vec![Ok(&b"too "[..]), Ok(b"large")], vec![Ok(b"too large"), Err("reset".into())]] {
            let whole = whole(error(pieces)).await;
            assert_eq!(whole.status(), 413);
            assert_eq!(whole.body().size_hint().exact(), Some(9));
            assert_eq!(whole.into_body().collect().await.unwrap().to_bytes(), "too large");
        }
    }

    #[tokio::test]
    async fn a_large_error_is_forwarded_whole() {
        const PIECE: &[u8] = &[b'x'; 40_000];
        let whole = whole(error(vec![Ok(PIECE), Ok(PIECE), Ok(PIECE)])).await;
        assert_eq!(whole.into_body().collect().await.unwrap().to_bytes().len(), 120_000);
    }
}
