//! Reads a stream ahead of its reader, so that a reader that stalls does not cost the link.
//!
//! noq 1.4 keeps unread data in the chunks it arrived in, and does not merge chunks that fill 5/6 of their packet. The
//! 2,049th unread chunk of one stream closes the whole connection (`INTERNAL_ERROR`, "too many gaps in stream buffer"),
//! although nothing is missing. A peer that sends 150 bytes at a time gets there after 0.3 MB, long before its flow-control
//! window is full. Only the receiving side can notice, so it is the one that acts: while data waits and its reader is busy
//! elsewhere, a task of the stream moves the data into one buffer.
//!
//! Upstream: <https://github.com/quinn-rs/quinn/issues/2809>, fixed in quinn by pull request 2814. This module can go once
//! iroh ships a noq with that fix: QUIC's flow control then holds such a peer back by itself.

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
    memory_budget::Reservation,
    reassembly::{ChunkReader, ReadResult},
};

/// Bytes read ahead at most. An HTTP/2 session never leaves that much unread: its own flow control stops its peer before.
const READ_AHEAD: usize = 4 << 20;
/// Bytes per chunk, on average, from which a stream fills `STREAM_WINDOW` of `quic.rs` before it has 2,048 chunks: past
/// [`READ_AHEAD`], such a stream can be left to QUIC's flow control.
const BULK_CHUNK: usize = 1_000;
/// Bytes that may be held behind a gap, with their overhead: eight windows, so a packet that was lost seven times.
const MAX_OUT_OF_ORDER: usize = 16 << 20;
/// How long a woken reader may take to read before its data is read ahead. Short compared with the time in which 2,048
/// chunks arrive, long compared with the time between the packets of a busy stream.
const READER_TIMEOUT: Duration = Duration::from_millis(10);

/// The receiving half of a stream, which never leaves many chunks unread.
pub(super) struct ReadAhead {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

/// Why a stream did not end cleanly.
#[derive(Clone, Debug)]
pub(super) enum ReadFailed {
    Quic(ReadError),
    /// This side gave up the stream: more was left unread than it may hold.
    Overrun,
}

/// How the stream ended, which every read after the last byte reports.
type End = Result<(), ReadFailed>;

struct Shared {
    inner: Mutex<Inner>,
    arrival: Arc<Arrival>,
}

struct Inner {
    reader: ChunkReader,
    /// Read ahead, not yet by the reader.
    ahead: BytesMut,
    /// Bytes appended to `ahead` since it was last empty.
    bytes: usize,
    /// The chunks that these bytes arrived in.
    chunks: usize,
    reservation: Reservation,
    /// `ahead` is full: the task waits for the reader.
    full: bool,
    end: Option<End>,
}

enum Step {
    More,
    Wait,
    Ended,
}

/// Wakes the reader when data arrives, then the task.
struct Arrival {
    reader: AtomicWaker,
    task: Notify,
    /// Data may have arrived since the last read.
    unread: AtomicBool,
    /// The task is about to read: it need not be woken for each packet.
    is_watched: AtomicBool,
}

impl ReadAhead {
    pub(super) fn new(recv: RecvStream, round_trip: Duration, reservation: Reservation) -> Self {
        let reader = ChunkReader::new(recv, round_trip);
        let inner = Inner { reader, ahead: BytesMut::new(), bytes: 0, chunks: 0, reservation, full: false, end: None };
        let arrival = Arrival {
            reader: AtomicWaker::new(),
            task: Notify::new(),
            unread: AtomicBool::new(true),
            is_watched: AtomicBool::new(true),
        };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), arrival: Arc::new(arrival) });
        let task = tokio::spawn(read_ahead(Arc::clone(&shared)));
        Self { shared, _task: AbortOnDropHandle::new(task) }
    }

    /// Reads into `buf`, which must have room. `Ok` with nothing filled means that the stream has ended cleanly.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<End> {
        let mut inner = self.shared.lock();
        if inner.ahead.is_empty() {
            if let Some(end) = &inner.end {
                return Poll::Ready(end.clone());
            }
            let read = self.shared.arrival.poll_read(&mut inner, cx, buf);
            if inner.reader.out_of_order_cost() > 0 && matches!(inner.check(Step::Wait), Step::Ended) {
                return Poll::Ready(Err(ReadFailed::Overrun));
            }
            ready!(read)?;
        }
        inner.drain(buf);
        if inner.full && inner.ahead.len() < READ_AHEAD / 2 {
            inner.full = false;
            self.shared.arrival.task.notify_one();
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn stop(&mut self, code: Code) {
        // Fails only on a stream that has ended already.
        let _ = self.shared.lock().reader.stop(code);
    }
}

/// Runs until the stream has ended.
async fn read_ahead(shared: Arc<Shared>) {
    let waker = Waker::from(Arc::clone(&shared.arrival));
    loop {
        // The reader was woken as well, and reads without this task if it can.
        sleep(READER_TIMEOUT).await;
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
    /// Reads for the reader itself, bypassing the task.
    fn poll_read(self: &Arc<Self>, inner: &mut Inner, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<End> {
        self.reader.register(cx.waker());
        let waker = Waker::from(Arc::clone(self));
        // Cleared before reading: data that arrives after an empty read sets it again.
        self.unread.store(false, Ordering::Release);
        let mut cx = Context::from_waker(&waker);
        let read = ready!(match &mut inner.reader {
            ChunkReader::InOrder(recv) => read_into(recv, &mut cx, buf),
            reader => reader.poll_read(&mut cx, &mut inner.ahead),
        });
        // There may be more data, for which no wake-up would come.
        self.unread.store(true, Ordering::Release);
        let end = match read {
            Ok(ReadResult::Data { .. }) => return Poll::Ready(Ok(())),
            Ok(ReadResult::End) => Ok(()),
            Err(error) => Err(ReadFailed::Quic(error)),
        };
        // Stored, since noq 1.4 reports a clean end to a second read after a reset (not reported upstream as of 2026-11).
        // Read again instead once it repeats the error.
        inner.end = Some(end.clone());
        self.task.notify_one();
        Poll::Ready(end)
    }
}

/// Reads straight into the reader's buffer.
fn read_into(
    recv: &mut RecvStream,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<Result<ReadResult, ReadError>> {
    let before = buf.filled().len();
    let read = ready!(Pin::new(recv).poll_read(cx, buf));
    let bytes = buf.filled().len() - before;
    Poll::Ready(match read {
        Ok(()) if bytes == 0 => Ok(ReadResult::End),
        Ok(()) => Ok(ReadResult::Data { chunks: 1, bytes }),
        Err(error) => Err(error.downcast().unwrap_or(ReadError::ClosedStream)),
    })
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.unread.store(true, Ordering::Release);
        self.reader.wake();
        if !self.is_watched.swap(true, Ordering::AcqRel) {
            self.task.notify_one();
        }
    }
}

impl Inner {
    /// Moves arrived data into `ahead`, unless the reader has read it already.
    fn read_ahead(&mut self, arrival: &Arrival, waker: &Waker) -> Step {
        if self.end.is_some() {
            return Step::Ended;
        }
        // Cleared before reading, for the same reason as above.
        if self.full || !arrival.unread.swap(false, Ordering::AcqRel) {
            return Step::Wait;
        }
        let Poll::Ready(read) = self.reader.poll_read(&mut Context::from_waker(waker), &mut self.ahead) else {
            return self.check(Step::Wait);
        };
        arrival.unread.store(true, Ordering::Release);
        match read {
            Ok(ReadResult::Data { chunks, bytes }) => self.add(chunks, bytes),
            Ok(ReadResult::End) => self.end = Some(Ok(())),
            Err(error) => self.end = Some(Err(ReadFailed::Quic(error))),
        }
        self.check(Step::More)
    }

    fn add(&mut self, chunks: usize, bytes: usize) {
        if self.ahead.len() == bytes {
            (self.bytes, self.chunks) = (0, 0);
        }
        self.bytes += bytes;
        self.chunks += chunks;
        self.full = self.ahead.len() >= READ_AHEAD;
    }

    /// Gives up the stream if it holds too much.
    fn check(&mut self, step: Step) -> Step {
        let waiting = self.reader.out_of_order_cost();
        let is_small = self.full && self.bytes / self.chunks < BULK_CHUNK;
        let fits_budget = self.reservation.resize(self.ahead.len() + waiting);
        if !is_small && waiting <= MAX_OUT_OF_ORDER && fits_budget {
            return step;
        }
        if !fits_budget {
            // Freed at once, so that the peer's other streams can go on.
            self.ahead = BytesMut::new();
        }
        self.end = Some(Err(ReadFailed::Overrun));
        let _ = self.reader.stop(Code::OVERLOADED);
        self.reservation.shrink_to(self.ahead.len());
        Step::Ended
    }

    fn drain(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..len]);
        self.ahead.advance(len);
        if self.ahead.is_empty() {
            // Frees the memory.
            self.ahead = BytesMut::new();
        }
        self.reservation.shrink_to(self.ahead.len() + self.reader.out_of_order_cost());
    }
}
