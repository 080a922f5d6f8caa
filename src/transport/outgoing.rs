//! The sending half of a stream: small writes leave together.
//!
//! hyper writes the head of a message, its body and its trailers one after the other, from two tasks. A packet for each
//! costs a wake-up of QUIC's driver, a system call and an acknowledgement, at both ends. So a small write waits for the
//! flush after it, and the flush for one turn of the other tasks.

use std::{
    io::IoSlice,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use iroh::endpoint::{SendStream, StreamId, WriteError};

use super::urgency::Urgency;

/// What leaves at the next flush, in bytes: less than a packet, so that nothing is held back that could fill one.
const SMALL: usize = 1_000;
/// What one write takes of many slices: an HTTP/2 frame as large as the funnel's, with its header.
const GATHERED: usize = (64 << 10) + 16;

#[derive(Debug)]
pub(super) struct Outgoing {
    send: SendStream,
    /// Taken from the writer, not yet given to QUIC.
    unsent: BytesMut,
    flush: Flush,
    /// Small writes wait for a flush.
    holds: bool,
    urgency: Urgency,
}

/// How far the flush of what is unsent has come.
#[derive(Debug, PartialEq)]
enum Flush {
    NotAsked,
    /// The other tasks have their turn.
    Yielded,
    /// The writer came back to read: it flushes right after, or never.
    ReadInstead,
}

impl Outgoing {
    pub(super) fn new(send: SendStream) -> Self {
        Self { send, unsent: BytesMut::new(), flush: Flush::NotAsked, holds: false, urgency: Urgency::new() }
    }

    /// From now on, small writes wait for a flush.
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
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.holds && self.unsent.len() + len <= SMALL {
            bufs.iter().for_each(|buf| self.unsent.extend_from_slice(buf));
            self.flush = Flush::NotAsked;
            return Poll::Ready(Ok(len));
        }
        loop {
            let sent = ready!(self.poll_send(cx, gathered(bufs)))?;
            if sent > 0 {
                return Poll::Ready(Ok(sent));
            }
        }
    }

    /// Hands what waits to QUIC, a turn of the other tasks after the last small write.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.flush == Flush::NotAsked {
            self.flush = Flush::Yielded;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.poll_push(cx)
    }

    /// For a writer who reads instead of flushing. One who reads between two turns of a flush is asked again.
    pub(super) fn poll_before_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        if self.flush == Flush::Yielded && !self.unsent.is_empty() {
            self.flush = Flush::ReadInstead;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.poll_push(cx)
    }

    /// Hands what waits to QUIC at once.
    pub(super) fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        while !self.unsent.is_empty() {
            ready!(self.poll_send(cx, Bytes::new()))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what waits, then `more`; tells how much of `more` was taken.
    fn poll_send(&mut self, cx: &mut Context<'_>, more: Bytes) -> Poll<Result<usize, WriteError>> {
        let mut chunks = [self.unsent.split().freeze(), more];
        let unsent = chunks[0].len();
        self.urgency.before(unsent + chunks[1].len(), &self.send);
        let mut wanted = if unsent == 0 { &mut chunks[1..] } else { &mut chunks[..] };
        let written = pin!(self.send.write_many_chunks(&mut wanted)).poll(cx);
        let sent = if let Poll::Ready(Ok(sent)) = &written { *sent } else { 0 };
        if sent < unsent {
            self.unsent.extend_from_slice(&chunks[0]);
        }
        self.urgency.sent(sent);
        written.map_ok(|sent| sent.saturating_sub(unsent))
    }
}

fn gathered(bufs: &[IoSlice<'_>]) -> Bytes {
    let mut gathered = BytesMut::with_capacity(bufs.iter().map(|buf| buf.len()).sum::<usize>().min(GATHERED));
    for buf in bufs {
        let room = GATHERED - gathered.len();
        gathered.extend_from_slice(&buf[..buf.len().min(room)]);
    }
    gathered.freeze()
}
