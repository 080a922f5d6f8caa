//! Reads a stream on behalf of a reader that does not, so that its link survives.
//!
//! noq 1.4 keeps what nobody reads in the pieces it came in, and never joins pieces that filled 5/6 of their packet.
//! The 2,049th unread piece of one stream ends the whole link (`INTERNAL_ERROR`, "too many gaps in stream buffer"),
//! although nothing is missing. A peer that sends 150 bytes at a time gets there after 0.3 MB, long before its flow
//! control window (quinn issue 2809, fixed there). Only the receiving side can tell, so it is the one that acts:
//! when data waits and the reader is busy elsewhere, a task of the stream moves it into one buffer.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use futures_util::task::AtomicWaker;
use iroh::endpoint::{ReadError, RecvStream};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::Notify,
    task::yield_now,
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Code,
    memory_budget::Share,
    reassembly::{Pieces, Taken},
};

/// What is read for a reader that does not, in bytes. More than any HTTP/2 session leaves unread, since its own flow
/// control stops its peer before.
const READ_AHEAD: usize = 4 << 20;
/// Pieces of this size on average fill `STREAM_WINDOW` of `quic.rs` before there are 2,048 of them: past
/// `READ_AHEAD`, they can be left to QUIC's flow control.
const BULK_PIECE: usize = 1_000;
/// What may wait for a piece before it, in bytes and their cost: eight windows, so a piece that was lost seven times.
const WAITING: usize = 16 << 20;
/// How long a reader that was told of data may take to ask for it. Short against the time in which 2,048 pieces arrive,
/// long against the time between the packets of a busy stream.
const READER_PATIENCE: Duration = Duration::from_millis(10);

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
    pieces: Pieces,
    /// Read by the task, not yet by the reader.
    ahead: BytesMut,
    /// What has gone into `ahead` since it was last empty.
    bytes: usize,
    count: usize,
    share: Share,
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
    /// The task is about to look: it need not be told of each packet.
    is_watched: AtomicBool,
}

impl ReadAhead {
    pub(super) fn new(recv: RecvStream, round_trip: Duration, share: Share) -> Self {
        let pieces = Pieces::new(recv, round_trip);
        let inner = Inner { pieces, ahead: BytesMut::new(), bytes: 0, count: 0, share, full: false, end: None };
        let arrival = Arrival {
            reader: AtomicWaker::new(),
            task: Notify::new(),
            unanswered: AtomicBool::new(true),
            is_watched: AtomicBool::new(true),
        };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), arrival: Arc::new(arrival) });
        let task = tokio::spawn(read_ahead(Arc::clone(&shared)));
        Self { shared, _task: AbortOnDropHandle::new(task) }
    }

    /// Reads into `buf`, which has room. Filling nothing means that the stream has ended as it should.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<End> {
        let mut inner = self.shared.lock();
        if inner.ahead.is_empty() {
            if let Some(end) = &inner.end {
                return Poll::Ready(end.clone());
            }
            let read = self.shared.arrival.poll_read(&mut inner, cx, buf);
            if inner.pieces.waiting() > 0 && matches!(inner.check(Step::Wait), Step::Ended) {
                return Poll::Ready(Err(ReadFailed::Overrun));
            }
            ready!(read)?;
        }
        inner.take(buf);
        if inner.full && inner.ahead.len() < READ_AHEAD / 2 {
            inner.full = false;
            self.shared.arrival.task.notify_one();
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn stop(&mut self, code: Code) {
        // Fails only on a stream that has ended already.
        let _ = self.shared.lock().pieces.stop(code);
    }
}

/// Runs until the stream has ended.
async fn read_ahead(shared: Arc<Shared>) {
    let waker = Waker::from(Arc::clone(&shared.arrival));
    loop {
        // The reader was told as well, and takes it without this task if it can.
        sleep(READER_PATIENCE).await;
        shared.arrival.is_watched.store(false, Ordering::Release);
        loop {
            let step = shared.lock().read_ahead(&shared.arrival, &waker);
            match step {
                Step::More => yield_now().await,
                Step::Wait => break,
                Step::Ended => return,
            }
        }
        shared.arrival.task.notified().await;
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
        // Before reading: whatever arrives after a read that found nothing sets it again.
        self.unanswered.store(false, Ordering::Release);
        let mut cx = Context::from_waker(&waker);
        let read = ready!(match &mut inner.pieces {
            Pieces::InOrder(recv) => read_into(recv, &mut cx, buf),
            pieces => pieces.poll_take(&mut cx, &mut inner.ahead),
        });
        // There may be more, and nobody would be woken for it.
        self.unanswered.store(true, Ordering::Release);
        let end = match read {
            Ok(Taken::Some { .. }) => return Poll::Ready(Ok(())),
            Ok(Taken::End) => Ok(()),
            Err(error) => Err(ReadFailed::Quic(error)),
        };
        // Kept, since noq answers a second read after a reset with a clean end.
        inner.end = Some(end.clone());
        self.task.notify_one();
        Poll::Ready(end)
    }
}

/// Straight into the reader's buffer.
fn read_into(recv: &mut RecvStream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<Taken, ReadError>> {
    let before = buf.filled().len();
    let read = ready!(Pin::new(recv).poll_read(cx, buf));
    let bytes = buf.filled().len() - before;
    Poll::Ready(match read {
        Ok(()) if bytes == 0 => Ok(Taken::End),
        Ok(()) => Ok(Taken::Some { pieces: 1, bytes }),
        Err(error) => Err(error.downcast().unwrap_or(ReadError::ClosedStream)),
    })
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.unanswered.store(true, Ordering::Release);
        self.reader.wake();
        if !self.is_watched.swap(true, Ordering::AcqRel) {
            self.task.notify_one();
        }
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
        let Poll::Ready(taken) = self.pieces.poll_take(&mut Context::from_waker(waker), &mut self.ahead) else {
            return self.check(Step::Wait);
        };
        arrival.unanswered.store(true, Ordering::Release);
        match taken {
            Ok(Taken::Some { pieces, bytes }) => self.count(pieces, bytes),
            Ok(Taken::End) => self.end = Some(Ok(())),
            Err(error) => self.end = Some(Err(ReadFailed::Quic(error))),
        }
        self.check(Step::More)
    }

    fn count(&mut self, pieces: usize, bytes: usize) {
        if self.ahead.len() == bytes {
            (self.bytes, self.count) = (0, 0);
        }
        self.bytes += bytes;
        self.count += pieces;
        self.full = self.ahead.len() >= READ_AHEAD;
    }

    /// Gives up the stream when it costs too much.
    fn check(&mut self, step: Step) -> Step {
        let waiting = self.pieces.waiting();
        let is_small = self.full && self.bytes / self.count < BULK_PIECE;
        let has_share = self.share.set(self.ahead.len() + waiting);
        if !is_small && waiting <= WAITING && has_share {
            return step;
        }
        if !has_share {
            // Given up at once, so that the streams beside it can stay.
            self.ahead = BytesMut::new();
        }
        self.end = Some(Err(ReadFailed::Overrun));
        let _ = self.pieces.stop(Code::OVERLOADED);
        self.share.shrink_to(self.ahead.len());
        Step::Ended
    }

    fn take(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..len]);
        self.ahead.advance(len);
        if self.ahead.is_empty() {
            // Gives the memory back.
            self.ahead = BytesMut::new();
        }
        self.share.shrink_to(self.ahead.len() + self.pieces.waiting());
    }
}
