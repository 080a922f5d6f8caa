//! Clients over HTTP/1.1 that end their side after the request, and wait for the answer.
//!
//! TCP reports the end of a client that waits and that of one that is gone in the same way. Only data tells them apart: who is
//! gone answers it with a reset. So a client that has ended its side is sent `100 Continue` while it waits for an answer, which
//! every client skips (RFC 9110, section 15.2).

use std::{
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Version};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::hop::tcp::TcpConnection;

const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The interval between the first two looks whether a client is gone. It doubles from look to look, up to the longest.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);

/// Whether the client of a connection waits for an answer that has not begun. Clones share one state.
#[derive(Clone, Debug, Default)]
pub(super) struct AnswerDue(Arc<AtomicBool>);

impl AnswerDue {
    /// Records that a request has arrived. Older versions of HTTP have no interim answers, newer ones need none.
    pub(super) fn arrived<B>(&self, request: &Request<B>) {
        self.0.store(request.version() == Version::HTTP_11, Ordering::Relaxed);
    }

    /// Records that the answer begins.
    pub(super) fn begins(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_due(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection on which HTTP/1.1 does not read while it answers: it then fails if the client is gone.
#[derive(Debug)]
pub(super) struct HalfCloseStream {
    socket: TcpConnection,
    answer: AnswerDue,
    looks: Option<Looks>,
}

#[derive(Debug)]
struct Looks {
    next: Pin<Box<Sleep>>,
    interval: Duration,
}

impl HalfCloseStream {
    pub(super) fn new(socket: TcpConnection, answer: AnswerDue) -> Self {
        Self { socket, answer, looks: None }
    }

    /// Looks whether the client is gone, now and later.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.socket.poll_peek(cx)? {
            Poll::Ready(0) => {}
            Poll::Ready(_) | Poll::Pending => return Ok(()),
        }
        let new = || Looks { next: Box::pin(sleep(Duration::ZERO)), interval: FIRST_INTERVAL };
        let looks = self.looks.get_or_insert_with(new);
        while looks.next.as_mut().poll(cx).is_ready() {
            // The system's probes find a client that is gone while an answer says nothing, once its host has forgotten it.
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            if self.answer.is_due() {
                match self.socket.try_write(INTERIM) {
                    Ok(length) if length < INTERIM.len() => return Err(ErrorKind::WriteZero.into()),
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                    Ok(_) | Err(_) => {}
                }
            }
            looks.next.as_mut().reset(Instant::now() + looks.interval);
            looks.interval = LONGEST_INTERVAL.min(2 * looks.interval);
        }
        Ok(())
    }
}

impl AsyncRead for HalfCloseStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for HalfCloseStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// HTTP/1.1 calls this whenever it has nothing more to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_gone(cx)?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
