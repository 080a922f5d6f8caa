//! Reads a stream on behalf of a reader that does not, so that its link survives.
//!
//! noq 1.4 keeps what nobody reads in the pieces it came in, and never joins pieces that filled 5/6 of their packet.
//! The 2,049th unread piece of one stream ends the whole link (`INTERNAL_ERROR`, "too many gaps in stream buffer"),
//! although nothing is missing. A peer that sends 150 bytes at a time gets there after 0.3 MB, long before its flow
//! control window (quinn issue 2809, fixed there). Only the receiving side can tell, so it is the one that acts:
//! when data waits and the reader is busy elsewhere, a task of the stream moves it into one buffer.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use iroh::endpoint::{ReadError, RecvStream, VarInt};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::Notify,
    task::yield_now,
};
use tokio_util::task::AbortOnDropHandle;

use super::Code;

/// What is read for a reader that does not, in bytes. More than any HTTP/2 session leaves unread, since its own flow
/// control stops its peer before.
const READ_AHEAD: usize = 4 << 20;
/// Pieces of this size on average fill `STREAM_WINDOW` of `quic.rs` before there are 2,048 of them: past
/// `READ_AHEAD`, they can be left to QUIC's flow control.
const BULK_PIECE: usize = 1_000;
/// Pieces taken in one go.
const BATCH: usize = 32;

/// The receiving half of a stream, which never has many unread pieces.
pub(super) struct ReadAhead {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

/// Why a stream did not come to its end.
#[derive(Clone, Debug)]
pub(super) enum ReadFailed {
    Quic(ReadError),
    /// [`READ_AHEAD`] in small pieces was left unread.
    Overrun,
}

/// What follows the last byte, however often it is asked for.
type End = Result<(), ReadFailed>;

struct Shared {
    inner: Mutex<Inner>,
    arrival: Arc<Arrival>,
}

struct Inner {
    recv: RecvStream,
    /// Read by the task, not yet by the reader.
    ahead: BytesMut,
    /// What has gone into `ahead` since it was last empty.
    bytes: usize,
    pieces: usize,
    /// The task waits for the reader.
    full: bool,
    end: Option<End>,
}

enum Step {
    More,
    Wait,
    Ended,
}

/// Wakes the reader first, then the task.
struct Arrival {
    reader: AtomicWaker,
    task: Notify,
    /// Data may be waiting that nobody has asked for.
    unanswered: AtomicBool,
}

impl ReadAhead {
    pub(super) fn new(recv: RecvStream) -> Self {
        let inner = Inner { recv, ahead: BytesMut::new(), bytes: 0, pieces: 0, full: false, end: None };
        let arrival = Arrival { reader: AtomicWaker::new(), task: Notify::new(), unanswered: AtomicBool::new(true) };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), arrival: Arc::new(arrival) });
        let task = tokio::spawn(read_ahead(Arc::clone(&shared)));
        Self { shared, _task: AbortOnDropHandle::new(task) }
    }

    /// Reads into `buf`, which has room. Filling nothing means that the stream has ended as it should.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<End> {
        let mut inner = self.shared.lock();
        if !inner.ahead.is_empty() {
            inner.take(buf);
            if inner.full && inner.ahead.len() < READ_AHEAD / 2 {
                inner.full = false;
                self.shared.arrival.task.notify_one();
            }
            return Poll::Ready(Ok(()));
        }
        match &inner.end {
            Some(end) => Poll::Ready(end.clone()),
            None => self.shared.arrival.poll_read(&mut inner, cx, buf),
        }
    }

    pub(super) fn stop(&mut self, code: Code) {
        // Fails only on a stream that has ended already.
        let _ = self.shared.lock().recv.stop(VarInt::from(code));
    }
}

/// Runs until the stream has ended.
async fn read_ahead(shared: Arc<Shared>) {
    let waker = Waker::from(Arc::clone(&shared.arrival));
    loop {
        // The reader is awake as well: it may come first, and between two batches.
        yield_now().await;
        let step = shared.lock().read_ahead(&shared.arrival, &waker);
        match step {
            Step::More => {}
            Step::Wait => shared.arrival.task.notified().await,
            Step::Ended => return,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival {
    /// The reader's own read, which the task then has no part in.
    fn poll_read(self: &Arc<Self>, inner: &mut Inner, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<End> {
        self.reader.register(cx.waker());
        let waker = Waker::from(Arc::clone(self));
        let filled = buf.filled().len();
        // Before reading: whatever arrives after a read that found nothing sets it again.
        self.unanswered.store(false, Ordering::Release);
        let read = ready!(Pin::new(&mut inner.recv).poll_read(&mut Context::from_waker(&waker), buf));
        // There may be more, and nobody would be woken for it.
        self.unanswered.store(true, Ordering::Release);
        if read.is_ok() && buf.filled().len() > filled {
            return Poll::Ready(Ok(()));
        }
        let end = read.map_err(|error| ReadFailed::Quic(error.downcast().unwrap_or(ReadError::ClosedStream)));
        // Kept, since noq answers a second read after a reset with a clean end.
        inner.end = Some(end.clone());
        self.task.notify_one();
        Poll::Ready(end)
    }
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.unanswered.store(true, Ordering::Release);
        self.reader.wake();
        self.task.notify_one();
    }
}

impl Inner {
    /// Moves what waits into the buffer, unless the reader asks for it itself.
    fn read_ahead(&mut self, arrival: &Arrival, waker: &Waker) -> Step {
        if self.end.is_some() {
            return Step::Ended;
        }
        // Before reading, for the same reason as above.
        if self.full || !arrival.unanswered.swap(false, Ordering::AcqRel) {
            return Step::Wait;
        }
        let mut batch = [const { Bytes::new() }; BATCH];
        let read = pin!(self.recv.read_many_chunks(&mut batch)).poll(&mut Context::from_waker(waker));
        let Poll::Ready(read) = read else { return Step::Wait };
        arrival.unanswered.store(true, Ordering::Release);
        match read {
            Ok(Some(pieces)) => self.put(&batch[..pieces]),
            Ok(None) => self.end = Some(Ok(())),
            Err(error) => self.end = Some(Err(ReadFailed::Quic(error))),
        }
        Step::More
    }

    fn put(&mut self, pieces: &[Bytes]) {
        if self.ahead.is_empty() {
            (self.bytes, self.pieces) = (0, 0);
        }
        for piece in pieces {
            self.ahead.extend_from_slice(piece);
            self.bytes += piece.len();
        }
        self.pieces += pieces.len();
        if self.ahead.len() < READ_AHEAD {
            return;
        }
        self.full = true;
        if self.bytes / self.pieces < BULK_PIECE {
            self.end = Some(Err(ReadFailed::Overrun));
            let _ = self.recv.stop(Code::OVERLOADED.into());
        }
    }

    fn take(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..len]);
        self.ahead.advance(len);
        if self.ahead.is_empty() {
            // Gives the memory back.
            self.ahead = BytesMut::new();
        }
    }
}
