//! The sending half of a stream: what is written between two flushes leaves together.
//!
//! hyper writes the head of a message, its body and its trailers one after the other, from two tasks. A packet for each
//! costs a wake-up of QUIC's driver, a system call and an acknowledgement, at both ends. So a small write waits for the
//! flush after it, and the flush for one turn of the other tasks.

use std::{
    fmt,
    io::IoSlice,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use iroh::endpoint::{SendStream, StoppedError, StreamId, VarInt, WriteError};
use tokio::task::yield_now;

use super::priority::{Turns, Urgency};

/// What is handed to QUIC at once, in bytes: an HTTP/2 frame as large as the funnel's with its header, or several smaller
/// ones. For each packet noq 1.4 walks through all pieces that are not acknowledged: the fewer the better.
const HELD: usize = (64 << 10) + 16;
/// A flush of no more than this gives the other tasks a turn, in bytes. Less than a packet: whoever writes more does not
/// wait.
const SMALL: usize = 1_000;

pub(super) struct Outgoing {
    send: SendStream,
    blocked: Arc<Blocked>,
    /// Asked where QUIC takes no more: noq 1.4 does not wake a writer whose stream is stopped while the window of the
    /// whole link is full.
    stopped: Option<Stopped>,
    /// Taken from the writer, not yet given to QUIC.
    held: BytesMut,
    /// The same, at its turn: QUIC may take it bit by bit.
    leaving: Bytes,
    flush: Flush,
    /// Writes wait for a flush.
    holds: bool,
    urgency: Urgency,
}

/// Yields the peer's code when it stops the stream, and nothing when it has acknowledged all of it.
pub(super) type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>;

/// Who waits until QUIC takes more. Reading and writing may be two tasks, and QUIC knows one waker.
#[derive(Debug, Default)]
struct Blocked {
    writer: AtomicWaker,
    reader: AtomicWaker,
}

impl Wake for Blocked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.writer.wake();
        self.reader.wake();
    }
}

/// How far the flush of what is held has come.
#[derive(Debug, PartialEq)]
enum Flush {
    NotAsked,
    /// The other tasks have their turn.
    Yielded,
    /// The writer came back to read: it flushes right after, or never.
    ReadInstead,
}

impl Outgoing {
    pub(super) fn new(send: SendStream, turns: Turns) -> Self {
        Self {
            send,
            blocked: Arc::default(),
            stopped: None,
            held: BytesMut::new(),
            leaving: Bytes::new(),
            flush: Flush::NotAsked,
            holds: false,
            urgency: Urgency::new(turns),
        }
    }

    /// From now on, writes wait for a flush, or until there are enough of them.
    pub(super) fn hold(&mut self) {
        self.holds = true;
    }

    /// The stream beneath, whose end is the caller's business.
    pub(super) fn stream(&mut self) -> &mut SendStream {
        &mut self.send
    }

    pub(super) fn id(&self) -> StreamId {
        self.send.id()
    }

    /// Takes some of `bufs`, and tells how much.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<Result<usize, WriteError>> {
        self.blocked.writer.register(cx.waker());
        if !self.holds {
            let mut gathered = BytesMut::new();
            gather(bufs, &mut gathered);
            return self.poll_send(gathered.freeze());
        }
        if self.held.len() == HELD {
            ready!(self.push())?;
        }
        self.flush = Flush::NotAsked;
        Poll::Ready(Ok(gather(bufs, &mut self.held)))
    }

    /// Hands what is held to QUIC; little, a turn of the other tasks after it was written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        if self.flush == Flush::NotAsked && !self.held.is_empty() && self.held.len() <= SMALL {
            self.flush = Flush::Yielded;
            yield_to_others(cx);
            return Poll::Pending;
        }
        self.poll_push(cx)
    }

    /// For a writer who reads instead of flushing. One who reads between two turns of a flush is asked again.
    pub(super) fn poll_before_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        if self.flush == Flush::Yielded && !self.held.is_empty() {
            self.flush = Flush::ReadInstead;
            yield_to_others(cx);
            return Poll::Pending;
        }
        self.blocked.reader.register(cx.waker());
        self.push()
    }

    /// Hands what is held to QUIC at once.
    pub(super) fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        self.blocked.writer.register(cx.waker());
        self.push()
    }

    fn push(&mut self) -> Poll<Result<(), WriteError>> {
        loop {
            if self.leaving.is_empty() {
                self.leaving = self.held.split().freeze();
            }
            if self.leaving.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let sent = ready!(self.poll_send(self.leaving.clone()))?;
            self.leaving.advance(sent);
        }
    }

    /// Hands some of `bytes` to QUIC, and tells how much. Whoever is registered as blocked is woken.
    fn poll_send(&mut self, bytes: Bytes) -> Poll<Result<usize, WriteError>> {
        let waker = Waker::from(Arc::clone(&self.blocked));
        let mut cx = Context::from_waker(&waker);
        self.urgency.before(bytes.len(), &self.send);
        let mut chunk = [bytes];
        let written = pin!(self.send.write_many_chunks(&mut &mut chunk[..])).poll(&mut cx);
        let sent = match written {
            Poll::Ready(sent) => sent?,
            Poll::Pending => return self.poll_stopped(&mut cx).map(Err),
        };
        self.urgency.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<WriteError> {
        let stopped = self.stopped.get_or_insert_with(|| Box::pin(self.send.stopped()));
        let stopped = ready!(stopped.as_mut().poll(cx));
        self.stopped = None;
        Poll::Ready(match stopped {
            Ok(Some(code)) => WriteError::Stopped(code),
            Ok(None) => WriteError::ClosedStream,
            Err(StoppedError::ConnectionLost(reason)) => WriteError::ConnectionLost(reason),
            Err(StoppedError::ZeroRttRejected) => WriteError::ZeroRttRejected,
        })
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("send", &self.send).finish_non_exhaustive()
    }
}

/// Appends what fits of `bufs`, and tells how much that was.
fn gather(bufs: &[IoSlice<'_>], to: &mut BytesMut) -> usize {
    let before = to.len();
    let wanted = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(HELD - before);
    to.reserve(wanted);
    for buf in bufs {
        let room = (HELD - to.len()).min(buf.len());
        to.extend_from_slice(&buf[..room]);
    }
    to.len() - before
}

/// Has the task polled again once the others of its thread had their turn. Waking it at once would call another thread to
/// steal it.
fn yield_to_others(cx: &mut Context<'_>) {
    let _ = pin!(yield_now()).poll(cx);
}
