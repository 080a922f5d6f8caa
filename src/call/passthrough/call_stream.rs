//! The bytes of a connection as the bodies of one call.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::sync::PollSender;

use crate::{
    hop::{self, Body},
    protocol::BoxError,
};

/// A call as a connection: it reads the body that this side receives, and writes the one that it sends.
///
/// Each direction ends cleanly only if its end was sent: dropping the connection before resets the call.
pub(super) struct CallStream {
    received: Body,
    /// The rest of the last frame.
    chunk: Bytes,
    sender: SentBody,
}

/// Writes the body that this side sends. The body breaks off if this is dropped before its end.
pub(super) struct SentBody {
    pieces: PollSender<Piece>,
    ended: bool,
}

enum Piece {
    Data(Bytes),
    End,
}

impl SentBody {
    /// Makes a body, and what writes it.
    pub(super) fn new() -> (Self, Body) {
        let (sender, pieces) = mpsc::channel(1);
        (Self { pieces: PollSender::new(sender), ended: false }, hop::boxed(PiecesBody { pieces, ended: false }))
    }

    /// Waits until the other side takes another piece.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pieces.poll_reserve(cx).map_err(|_| taken_by_nobody())
    }

    fn send(&mut self, piece: Piece) -> io::Result<()> {
        self.pieces.send_item(piece).map_err(|_| taken_by_nobody())
    }
}

fn taken_by_nobody() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the other side takes no more bytes")
}

impl CallStream {
    pub(super) fn new(received: Body, sender: SentBody) -> Self {
        Self { received, chunk: Bytes::new(), sender }
    }
}

impl AsyncRead for CallStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match ready!(Pin::new(&mut self.received).poll_frame(cx)) {
                Some(Ok(frame)) => self.chunk = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.chunk.len().min(buf.remaining());
        buf.put_slice(&self.chunk.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CallStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.sender.poll_ready(cx))?;
        Poll::Ready(self.sender.send(Piece::Data(Bytes::copy_from_slice(buf))).map(|()| buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.sender.ended {
            ready!(self.sender.poll_ready(cx))?;
            self.sender.send(Piece::End)?;
            self.sender.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// A body that is written piece by piece.
struct PiecesBody {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

impl HttpBody for PiecesBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx));
        if let Some(Piece::Data(bytes)) = piece {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        self.ended = true;
        Poll::Ready(piece.is_none().then(|| Err("the connection broke off".into())))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_body_ends_only_if_its_connection_ended_cleanly() {
        for clean in [true, false] {
            let (sender, mut body) = SentBody::new();
            let mut stream = CallStream::new(hop::boxed(Empty::new()), sender);
            let writing = tokio::spawn(async move {
                stream.write_all(b"hello").await.unwrap();
                if clean {
                    stream.shutdown().await.unwrap();
                }
            });
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
            assert_eq!(body.frame().await.is_none(), clean);
            assert!(body.frame().await.is_none());
            writing.await.unwrap();
        }
    }
}
