//! The pieces of one stream, in order or as they come.
//!
//! In order, nothing behind a lost packet can be read, and the sender's window stands still for the round trip that the
//! packet takes to come again: at 1 % loss a stream never moves more than half of its window in a round trip. So on a
//! path long enough for that to count, pieces are taken as they come, which gives the sender its window back at once,
//! and put in order here.

use std::{
    collections::BTreeMap,
    pin::pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use iroh::endpoint::{ClosedStream, ReadError, RecvStream, UnorderedRecvStream};

use super::Code;

/// Round trip from which pieces are taken as they come. Below it a lost packet is back before its window is empty, and
/// taking pieces one at a time costs time that is short there.
const LONG_PATH: Duration = Duration::from_millis(2);
/// Pieces taken in one go.
const BATCH: usize = 32;
/// What an out-of-order piece costs beside its bytes.
const PIECE_COST: usize = 128;

/// Where the data of one stream comes from.
#[derive(Debug)]
pub(super) enum Pieces {
    InOrder(RecvStream),
    AsTheyCome { recv: UnorderedRecvStream, order: Order, end: Option<Result<(), ReadError>> },
}

/// What was moved into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Some {
        pieces: usize,
        bytes: usize,
    },
    /// The stream has ended as it should.
    End,
}

impl Pieces {
    pub(super) fn new(recv: RecvStream, round_trip: Duration) -> Self {
        if round_trip < LONG_PATH {
            return Self::InOrder(recv);
        }
        Self::AsTheyCome { recv: recv.into_unordered(), order: Order::default(), end: None }
    }

    /// Appends what has arrived, and is next, to `ahead`.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>, ahead: &mut BytesMut) -> Poll<Result<Taken, ReadError>> {
        match self {
            Self::InOrder(recv) => take_in_order(recv, cx, ahead),
            Self::AsTheyCome { recv, order, end } => take_as_they_come(recv, order, end, cx, ahead),
        }
    }

    /// Bytes, and what keeping them costs, that wait for a piece before them.
    pub(super) fn waiting(&self) -> usize {
        match self {
            Self::InOrder(_) => 0,
            Self::AsTheyCome { order, .. } => order.cost,
        }
    }

    /// Ends the stream, and drops what waits for a piece before it.
    pub(super) fn stop(&mut self, code: Code) -> Result<(), ClosedStream> {
        match self {
            Self::InOrder(recv) => recv.stop(code.into()),
            Self::AsTheyCome { recv, order, .. } => {
                *order = Order::default();
                recv.stop(code.into())
            }
        }
    }
}

fn take_in_order(recv: &mut RecvStream, cx: &mut Context<'_>, ahead: &mut BytesMut) -> Poll<Result<Taken, ReadError>> {
    let mut batch = [const { Bytes::new() }; BATCH];
    let Some(pieces) = ready!(pin!(recv.read_many_chunks(&mut batch)).poll(cx))? else {
        return Poll::Ready(Ok(Taken::End));
    };
    let mut bytes = 0;
    for piece in &batch[..pieces] {
        ahead.extend_from_slice(piece);
        bytes += piece.len();
    }
    Poll::Ready(Ok(Taken::Some { pieces, bytes }))
}

fn take_as_they_come(
    recv: &mut UnorderedRecvStream,
    order: &mut Order,
    end: &mut Option<Result<(), ReadError>>,
    cx: &mut Context<'_>,
    ahead: &mut BytesMut,
) -> Poll<Result<Taken, ReadError>> {
    let before = order.next;
    let mut pieces = 0;
    while pieces < BATCH && end.is_none() {
        match pin!(recv.read_chunk(usize::MAX)).poll(cx) {
            Poll::Ready(Ok(Some(piece))) => order.put(piece.offset, piece.bytes, ahead),
            // Kept, since noq answers a second read after a reset with a clean end.
            Poll::Ready(ended) => *end = Some(ended.map(|_| ())),
            Poll::Pending if order.next == before => return Poll::Pending,
            Poll::Pending => break,
        }
        pieces += 1;
    }
    let bytes = usize::try_from(order.next - before).expect("what was appended fits the memory");
    match end {
        _ if bytes > 0 => Poll::Ready(Ok(Taken::Some { pieces, bytes })),
        Some(end) => Poll::Ready(end.clone().map(|()| Taken::End)),
        None => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
}

/// Puts pieces in order. They do not overlap: noq sees to that.
#[derive(Debug, Default)]
pub(super) struct Order {
    next: u64,
    waiting: BTreeMap<u64, Bytes>,
    cost: usize,
}

impl Order {
    fn put(&mut self, offset: u64, piece: Bytes, ahead: &mut BytesMut) {
        if offset != self.next {
            self.cost += piece.len() + PIECE_COST;
            self.waiting.insert(offset, piece);
            return;
        }
        self.append(&piece, ahead);
        while let Some(piece) = self.waiting.remove(&self.next) {
            self.cost -= piece.len() + PIECE_COST;
            self.append(&piece, ahead);
        }
    }

    fn append(&mut self, piece: &[u8], ahead: &mut BytesMut) {
        ahead.extend_from_slice(piece);
        self.next += piece.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(offset: usize, len: usize) -> Bytes {
        (offset..offset + len).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn pieces_in_any_order_make_the_stream() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut pieces, mut end) = (Vec::new(), 0);
            while pieces.len() < 60 {
                let len = rng.usize(1..1500);
                pieces.push((end, piece(end, len)));
                end += len;
            }
            rng.shuffle(&mut pieces);
            let (mut order, mut ahead) = (Order::default(), BytesMut::new());
            for (offset, piece) in pieces {
                order.put(offset as u64, piece, &mut ahead);
                assert_eq!(ahead.len() as u64, order.next);
            }
            assert!(ahead == piece(0, end));
            assert_eq!((order.cost, order.waiting.len()), (0, 0));
        }
    }
}
