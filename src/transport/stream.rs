//! One QUIC bi-stream as the socket of one HTTP/2 session.

mod memory_budget;
mod priority;
mod read_ahead;
mod reassembly;
mod write_buffer;

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use iroh::endpoint::{ConnectionError, ReadError, RecvStream, SendStream, StoppedError, VarInt, WriteError};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
};
use tonic::transport::server::Connected;

pub(super) use self::{memory_budget::MemoryBudget, priority::BulkTurns};
use self::{
    read_ahead::{ReadAhead, ReadFailed},
    write_buffer::{Stopped, WriteBuffer},
};
use super::{
    Code, Link, PeerInfo, SessionError,
    session_end::{LatestSession, SessionEnd},
};

/// How long the failure of a write on an HTTP stream waits for a read that reports it. HTTP/2 reads as soon as it is woken.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// A QUIC bi-stream that reads and writes like a socket.
///
/// # Ends
/// - [`shutdown`](tokio::io::AsyncWriteExt::shutdown) ends this side's data cleanly. It completes once the peer has
///   acknowledged everything, so the link may be dropped right after it without loss.
/// - Dropping the stream before that resets it with [`Code::CANCELLED`].
/// - The peer's clean end reads as end of file. Any other end, its reset or a lost link, reads as an error that names the
///   peer and the cause, on every read from then on: data is never cut short silently.
///
/// # Errors
/// An error of a read or a write that the peer or the link causes is a [`SessionError`] inside of the [`io::Error`]. On a
/// stream that [`IrohConnector`](super::IrohConnector)'s service opened, or that [`IrohIncoming`](super::IrohIncoming)
/// yields, the next read reports the failure of a write: data written until then, for at most 1 s, is accepted and dropped.
/// HTTP/2 passes an error to its calls only if a read returns it.
///
/// # Backpressure
/// Up to 4 MiB are read ahead while the reader stalls; then QUIC's flow control holds the peer back. If the peer sent all of
/// it in small packets, flow control would come too late for the link: this side then stops the stream with
/// [`Code::OVERLOADED`]. An HTTP/2 session never gets there, since it always reads. The same happens when more than 16 MiB
/// wait behind one missing packet, or when all streams of a peer hold more than 64 MiB.
///
/// # Priority
/// Data goes before the bulk data of other streams until this stream has sent 32 KiB, and again after it has sent nothing
/// for 100 ms. Bulk streams take turns of 8 MiB.
pub struct IrohStream {
    send: WriteBuffer,
    recv: ReadAhead,
    sending: Sending,
    receiving: Receiving,
    /// Counts the stream towards a server's limits: that of its peer, and that of all peers.
    permits: Option<[OwnedSemaphorePermit; 2]>,
    session_end: Option<SessionEnd>,
    /// Last, so that the stream ends before its link may close.
    link: Link,
}

enum Sending {
    Open,
    Finishing(Stopped),
    Ended,
}

enum Receiving {
    Open,
    /// A write has failed, which the next read reports.
    WriteFailed {
        since: Instant,
    },
    /// A read has failed.
    Failed,
    /// The peer has finished the stream, or this side has ended it.
    Ended,
}

impl IrohStream {
    pub(super) fn new(send: SendStream, recv: RecvStream, link: Link) -> Self {
        let round_trip = link.path().map_or(Duration::ZERO, |path| path.rtt);
        Self {
            recv: ReadAhead::new(recv, round_trip, link.memory_budget().reservation()),
            send: WriteBuffer::new(send, link.bulk_turns().clone()),
            sending: Sending::Open,
            receiving: Receiving::Open,
            permits: None,
            session_end: None,
            link,
        }
    }

    pub(super) fn with_permits(mut self, permits: [OwnedSemaphorePermit; 2]) -> Self {
        self.permits = Some(permits);
        self
    }

    /// Prepares the stream for HTTP, which flushes what it writes: small writes wait for the flush and leave together.
    pub(crate) fn for_http(mut self) -> Self {
        self.send.cork();
        self
    }

    /// Makes this session the latest of its channel, and has it record there why it ends.
    pub(super) fn recorded_in(mut self, latest: &LatestSession) -> Self {
        self.session_end = Some(latest.start());
        self
    }

    /// Has the stream record why its session ends.
    #[cfg(feature = "funnel")]
    pub(crate) fn with_session_end(mut self) -> (Self, SessionEnd) {
        let end = SessionEnd::default();
        self.session_end = Some(end.clone());
        (self, end)
    }

    /// Returns the link that carries this stream.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Ends both directions at once with `code`. Data that the peer has not received yet is lost.
    pub fn reset(mut self, code: Code) {
        self.end(code);
    }

    fn end(&mut self, code: Code) {
        if !matches!(self.sending, Sending::Ended) {
            self.sending = Sending::Ended;
            // Fails only on a stream that has ended already.
            let _ = self.send.stream().reset(code.into());
        }
        if !matches!(self.receiving, Receiving::Ended) {
            self.receiving = Receiving::Ended;
            self.recv.stop(code);
        }
    }

    /// Leaves the failure of a write to the next read if HTTP uses the stream, and returns it otherwise.
    ///
    /// h2 0.4 hands the error of a read to all calls of the session. An error of a write it only returns from its
    /// connection, which hyper logs; the calls then fail with "stream closed because of a broken pipe", and the peer's
    /// reason is lost. Not reported upstream as of 2026-11. Writes can report their failures themselves once h2's
    /// `Connection::poll` passes every I/O error to its streams.
    #[cold]
    fn write_failed(&mut self, cx: &Context<'_>, error: WriteError) -> io::Result<()> {
        if matches!(self.receiving, Receiving::Open) && self.send.is_corked() {
            self.receiving = Receiving::WriteFailed { since: Instant::now() };
        }
        match self.receiving {
            Receiving::WriteFailed { since } if since.elapsed() < READ_TIMEOUT => {
                self.send.wake_reader();
                // Reader and writer are one task in HTTP/2, which may not have read yet.
                cx.waker().wake_by_ref();
                Ok(())
            }
            _ => Err(self.write_error(error)),
        }
    }

    fn failed(&self, error: SessionError) -> io::Error {
        if let Some(end) = &self.session_end {
            end.set(&error);
        }
        error.into()
    }

    fn ended_by_peer(&self, code: VarInt) -> io::Error {
        self.failed(SessionError::ended_by_peer(self.link.peer(), code))
    }

    fn link_lost(&self, reason: ConnectionError) -> io::Error {
        self.failed(self.link.lost(reason).into())
    }

    fn read_error(&self, failed: ReadFailed) -> io::Error {
        match failed {
            ReadFailed::Quic(ReadError::Reset(code)) => self.ended_by_peer(code),
            ReadFailed::Quic(ReadError::ConnectionLost(reason)) => self.link_lost(reason),
            ReadFailed::Quic(error) => error.into(),
            ReadFailed::Overrun => self.failed(SessionError::unread(self.link.peer())),
        }
    }

    fn write_error(&self, error: WriteError) -> io::Error {
        match error {
            WriteError::Stopped(code) => self.ended_by_peer(code),
            WriteError::ConnectionLost(reason) => self.link_lost(reason),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => error.into(),
        }
    }

    fn acknowledged(&self, outcome: Result<Option<VarInt>, StoppedError>) -> io::Result<()> {
        match outcome {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(self.ended_by_peer(code)),
            Err(StoppedError::ConnectionLost(reason)) => Err(self.link_lost(reason)),
            Err(error @ StoppedError::ZeroRttRejected) => Err(error.into()),
        }
    }
}

impl Drop for IrohStream {
    fn drop(&mut self) {
        self.end(Code::CANCELLED);
    }
}

impl AsyncRead for IrohStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.receiving, Receiving::Ended) || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // A reader waits for a response to what it wrote.
        let flushed = this.send.poll_before_read(cx);
        let filled = buf.filled().len();
        let error = match this.recv.poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() == filled {
                    this.receiving = Receiving::Ended;
                }
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(failed)) => this.read_error(failed),
            Poll::Pending => match flushed {
                // All data that the peer sent before is read.
                Poll::Ready(Err(error)) => this.write_error(error),
                _ => return Poll::Pending,
            },
        };
        this.receiving = Receiving::Failed;
        Poll::Ready(Err(error))
    }
}

impl AsyncWrite for IrohStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(this.send.poll_write(cx, bufs)) {
            Ok(written) => Ok(written),
            Err(error) => this.write_failed(cx, error).map(|()| bufs.iter().map(|buf| buf.len()).sum()),
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        Poll::Ready(match ready!(this.send.poll_flush(cx)) {
            Ok(()) => Ok(()),
            Err(error) => this.write_failed(cx, error),
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.sending, Sending::Open) {
            // Fails if the peer stopped the stream; the future below then yields its code.
            let _ = ready!(this.send.poll_flush_now(cx));
            // Fails likewise.
            let _ = this.send.stream().finish();
            this.sending = Sending::Finishing(Box::pin(this.send.stream().stopped()));
        }
        let Sending::Finishing(acknowledged) = &mut this.sending else {
            return Poll::Ready(Ok(()));
        };
        let outcome = ready!(acknowledged.as_mut().poll(cx));
        let outcome = this.acknowledged(outcome);
        // A repeated call must fail again: `Ended` would report the data as delivered.
        this.sending = if outcome.is_ok() { Sending::Ended } else { Sending::Open };
        Poll::Ready(outcome)
    }
}

impl Connected for IrohStream {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.link.peer_info()
    }
}

impl fmt::Debug for IrohStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IrohStream")
            .field("peer", &format_args!("{}", self.link.peer().fmt_short()))
            .field("stream", &self.send.id())
            .finish_non_exhaustive()
    }
}
