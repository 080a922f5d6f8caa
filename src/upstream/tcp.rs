//! TCP connections on which an answer is read even if the request could not be written.
//!
//! A gateway may answer a request before it has read all of it, with 401 or 413, and close the connection. Writing then fails
//! while the answer waits to be read. HTTP's client ends a connection whose writing fails, and the answer would be lost.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tower_service::Service;

use crate::{
    hop::tcp::{self, TcpConnection},
    protocol::BoxError,
};

/// How long the received data is awaited after a failure. The system reports it at once.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens such connections.
#[derive(Clone, Debug)]
pub(super) struct TcpConnector(HttpConnector);

impl TcpConnector {
    pub(super) fn new(connector: HttpConnector) -> Self {
        Self(connector)
    }
}

impl Service<Uri> for TcpConnector {
    type Response = TokioIo<AnswerFirst<TcpConnection>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let socket = TcpConnection::new(connecting.await?.into_inner(), tcp::UPSTREAM);
            Ok(TokioIo::new(AnswerFirst::new(socket)))
        })
    }
}

/// A connection that reports a failure to write where the data ends that it has received.
///
/// A failure means that the connection is over: nothing more arrives, and what has arrived is read. Data that is written
/// meanwhile is dropped. The failure is reported in place of the end, so that no request whose writing failed passes for one
/// that was sent.
#[derive(Debug)]
pub(super) struct AnswerFirst<S> {
    stream: S,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Failure {
    error: io::Error,
    read_timeout: Pin<Box<Sleep>>,
}

impl<S> AnswerFirst<S> {
    fn new(stream: S) -> Self {
        Self { stream, failure: None }
    }

    /// Returns the result of a write, of `length` bytes: all of them if it failed.
    fn written(&mut self, written: io::Result<usize>, length: usize, cx: &Context<'_>) -> io::Result<usize> {
        written.or_else(|error| {
            self.failure = Some(Failure { error, read_timeout: Box::pin(sleep(READ_TIMEOUT)) });
            // Reading must go on even if no event follows.
            cx.waker().wake_by_ref();
            Ok(length)
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AnswerFirst<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(failure) = &mut self.failure else { return read };
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before || buffer.remaining() == 0 => return read,
            Poll::Ready(_) => {}
            Poll::Pending => ready!(failure.read_timeout.as_mut().poll(cx)),
        }
        Poll::Ready(Err(copy(&failure.error)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AnswerFirst<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.failure.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(self.written(written, bytes.len(), cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.failure.is_some() {
            return Poll::Ready(Ok(length));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        Poll::Ready(self.written(written, length, cx))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failure.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failure.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: Connection> Connection for AnswerFirst<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

/// Copies an error, which is reported at each further read.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
