//! A connection that is closed without losing the last answer.
//!
//! A client may be answered before it has sent its whole request: a 401, a 413. If its connection were closed with data that
//! nobody has read, the system would reset it; the client, which often sends all of its request before it reads, would find
//! the reset in place of the answer. So the answer's end is sent, and what the client still sends is read and dropped until it
//! closes the connection too (RFC 9112, section 9.6).

use std::{
    future::Future,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::hop::UnreadRequest;

/// How long a client may go on to send, in all. nginx's default.
const MAX_TIME: Duration = Duration::from_secs(30);
/// How long it may pause. nginx's default.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// The bytes that are read at a time.
const BUFFER: usize = 16 << 10;
/// The reads until other tasks get their turn.
const READS: usize = 16;

/// A connection whose client is read to the end if its last request was not.
#[derive(Debug)]
pub(super) struct Lingering<S> {
    stream: S,
    unread: UnreadRequest,
    closing: Option<Closing>,
}

/// The end of the answers has been sent.
#[derive(Debug)]
struct Closing {
    give_up: Instant,
    pause: Pin<Box<Sleep>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S, unread: UnreadRequest) -> Self {
        Self { stream, unread, closing: None }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lingering<S> {
    /// Reads and drops what the client sends until it closes the connection, or takes too long.
    fn poll_drop_input(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let give_up = Instant::now() + MAX_TIME;
        let closing = self
            .closing
            .get_or_insert_with(|| Closing { give_up, pause: Box::pin(sleep_until(Instant::now() + MAX_PAUSE)) });
        for _ in 0..READS {
            let mut bytes = [MaybeUninit::uninit(); BUFFER];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && Instant::now() < closing.give_up => {
                    // Bytes that were waiting show that the client sends, even if no request is known.
                    self.unread.set(true);
                    closing.pause.as_mut().reset(closing.give_up.min(Instant::now() + MAX_PAUSE));
                }
                Poll::Pending if self.unread.get() => return closing.pause.as_mut().poll(cx),
                Poll::Pending | Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        self.poll_drop_input(cx).map(Ok)
    }
}
