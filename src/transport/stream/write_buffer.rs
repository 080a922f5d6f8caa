//! The sending half of a stream, which sends together what is written between two flushes.
//!
//! hyper writes the head of a message, its body and its trailers one after the other, from two tasks. A packet for each
//! costs a wake-up of QUIC's driver, a system call and an acknowledgement, at both ends. So a small write waits for the
//! next flush, and that flush yields once to the other tasks.

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

use super::priority::{BulkTurns, StreamPriority};

/// Bytes passed to QUIC at once: an HTTP/2 frame of 64 KiB with its header, or several smaller ones. noq 1.4 scans all
/// unacknowledged writes of a stream for each packet, so fewer and larger writes are cheaper. Its former quadratic scan is
/// gone (<https://github.com/n0-computer/noq/pull/247>), the linear one is not reported upstream as of 2026-11; the size is
/// free once it finds a write by its offset.
const MAX_BUFFERED: usize = (64 << 10) + 16;
/// Bytes up to which a flush yields to the other tasks first. Less than a packet: larger flushes do not wait.
const SMALL_FLUSH: usize = 1_000;

pub(super) struct WriteBuffer {
    send: SendStream,
    blocked: Arc<Blocked>,
    /// Polled while QUIC accepts no more: noq 1.4 does not wake a writer whose stream is stopped while the send window of
    /// the whole connection is full. Not reported upstream as of 2026-11; can go once noq wakes it.
    stopped: Option<Stopped>,
    /// Accepted from the writer, not yet passed to QUIC.
    buffered: BytesMut,
    /// Being passed to QUIC, which may accept it in parts.
    in_flight: Bytes,
    flush: Flush,
    /// Writes wait for a flush, or for a full buffer.
    corked: bool,
    priority: StreamPriority,
}

/// Resolves to the peer's code when it stops the stream, and to `None` when it has acknowledged all data.
pub(super) type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>;

/// The tasks to wake when QUIC accepts more. Reading and writing may be two tasks, but QUIC keeps one waker.
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

/// The state of the flush of `buffered`.
#[derive(Debug, PartialEq)]
enum Flush {
    /// Not requested since the last write.
    Idle,
    /// Yielded to the other tasks.
    Yielded,
    /// Yielded again, since the writer came back to read: it flushes right after, or never.
    ReadInstead,
}

impl WriteBuffer {
    pub(super) fn new(send: SendStream, turns: BulkTurns) -> Self {
        Self {
            send,
            blocked: Arc::default(),
            stopped: None,
            buffered: BytesMut::new(),
            in_flight: Bytes::new(),
            flush: Flush::Idle,
            corked: false,
            priority: StreamPriority::new(turns),
        }
    }

    /// Makes writes wait for a flush, or until the buffer is full.
    pub(super) fn cork(&mut self) {
        self.corked = true;
    }

    pub(super) fn is_corked(&self) -> bool {
        self.corked
    }

    /// Wakes the task that reads.
    pub(super) fn wake_reader(&self) {
        self.blocked.reader.wake();
    }

    /// Returns the QUIC stream, which the caller finishes or resets.
    pub(super) fn stream(&mut self) -> &mut SendStream {
        &mut self.send
    }

    pub(super) fn id(&self) -> StreamId {
        self.send.id()
    }

    /// Accepts some of `bufs`, and returns how many bytes.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<Result<usize, WriteError>> {
        self.blocked.writer.register(cx.waker());
        if !self.corked {
            let mut gathered = BytesMut::new();
            gather(bufs, &mut gathered);
            return self.poll_send(gathered.freeze());
        }
        if self.buffered.len() == MAX_BUFFERED {
            ready!(self.flush_to_quic())?;
        }
        self.flush = Flush::Idle;
        Poll::Ready(Ok(gather(bufs, &mut self.buffered)))
    }

    /// Passes the buffered data to QUIC. A small flush yields to the other tasks first.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        if self.flush == Flush::Idle && !self.buffered.is_empty() && self.buffered.len() <= SMALL_FLUSH {
            self.flush = Flush::Yielded;
            yield_to_others(cx);
            return Poll::Pending;
        }
        self.poll_flush_now(cx)
    }

    /// Passes the buffered data to QUIC before a read, for a writer that reads without flushing first. A read that comes
    /// while a flush has yielded makes it yield once more.
    pub(super) fn poll_before_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        if self.flush == Flush::Yielded && !self.buffered.is_empty() {
            self.flush = Flush::ReadInstead;
            yield_to_others(cx);
            return Poll::Pending;
        }
        self.blocked.reader.register(cx.waker());
        self.flush_to_quic()
    }

    /// Passes the buffered data to QUIC without yielding.
    pub(super) fn poll_flush_now(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        self.blocked.writer.register(cx.waker());
        self.flush_to_quic()
    }

    fn flush_to_quic(&mut self) -> Poll<Result<(), WriteError>> {
        loop {
            if self.in_flight.is_empty() {
                self.in_flight = self.buffered.split().freeze();
            }
            if self.in_flight.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let sent = ready!(self.poll_send(self.in_flight.clone()))?;
            self.in_flight.advance(sent);
        }
    }

    /// Passes some of `bytes` to QUIC, and returns how many. While it accepts none, the registered tasks are woken later.
    fn poll_send(&mut self, bytes: Bytes) -> Poll<Result<usize, WriteError>> {
        let waker = Waker::from(Arc::clone(&self.blocked));
        let mut cx = Context::from_waker(&waker);
        self.priority.before_write(bytes.len(), &self.send);
        let mut chunk = [bytes];
        let written = pin!(self.send.write_many_chunks(&mut &mut chunk[..])).poll(&mut cx);
        let sent = match written {
            Poll::Ready(sent) => sent?,
            Poll::Pending => return self.poll_stopped(&mut cx).map(Err),
        };
        self.priority.after_write(sent);
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

impl fmt::Debug for WriteBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBuffer").field("send", &self.send).finish_non_exhaustive()
    }
}

/// Appends what fits of `bufs`, and returns how many bytes.
fn gather(bufs: &[IoSlice<'_>], to: &mut BytesMut) -> usize {
    let before = to.len();
    let wanted = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(MAX_BUFFERED - before);
    to.reserve(wanted);
    for buf in bufs {
        let room = (MAX_BUFFERED - to.len()).min(buf.len());
        to.extend_from_slice(&buf[..room]);
    }
    to.len() - before
}

/// Has the task polled again after the other tasks of its thread. Waking it directly would invite another thread to steal
/// it.
fn yield_to_others(cx: &mut Context<'_>) {
    let _ = pin!(yield_now()).poll(cx);
}
