//! The order in which the streams of one link send.
//!
//! A stream starts urgent, and becomes urgent again after a pause. Once it has sent more than a small call does, it yields
//! to streams that have not: a heartbeat overtakes bulk transfers, whatever protocol they speak.
//!
//! Bulk streams take turns instead of sharing the link evenly. Evenly shared, two transfers finish together, and the link
//! idles while both wait for their responses; in turns, one sends while the other waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use iroh::endpoint::SendStream;

/// The most bytes that a small call sends: headers, one message, and HTTP/2's own frames.
const SMALL_CALL: usize = 32 << 10;
/// Bytes per turn: above the 5 MiB objects that models are split into, so that most are sent in one turn.
const TURN: usize = 8 << 20;
/// A stream that has sent nothing for this long becomes urgent again.
const PAUSE: Duration = Duration::from_millis(100);

const URGENT: i32 = 1;

/// Hands out the turns of one link's bulk streams, first come, first served.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct BulkTurns(Arc<AtomicI32>);

impl BulkTurns {
    /// Returns a priority below all earlier ones and below [`URGENT`]. There are two billion of them.
    fn next(&self) -> i32 {
        self.0.fetch_sub(1, Relaxed)
    }
}

/// The priority of one stream.
#[derive(Debug)]
pub(super) struct StreamPriority {
    turns: BulkTurns,
    /// Bytes sent since the last pause, or since the current turn began.
    sent: usize,
    last_write: Option<Instant>,
    priority: i32,
}

impl StreamPriority {
    pub(super) fn new(turns: BulkTurns) -> Self {
        Self { turns, sent: 0, last_write: None, priority: 0 }
    }

    /// Sets the priority of `stream` before `len` bytes are written to it.
    pub(super) fn before_write(&mut self, len: usize, stream: &SendStream) {
        let now = Instant::now();
        if self.last_write.is_none_or(|last| now - last > PAUSE) {
            self.sent = 0;
            self.set(URGENT, stream);
        }
        self.last_write = Some(now);
        let is_bulk = self.sent.saturating_add(len) > SMALL_CALL;
        let is_turn_over = self.sent > TURN;
        if is_bulk && (self.priority == URGENT || is_turn_over) {
            self.sent = 0;
            let turn = self.turns.next();
            self.set(turn, stream);
        }
    }

    fn set(&mut self, priority: i32, stream: &SendStream) {
        if priority != self.priority {
            self.priority = priority;
            // Fails only on a stream that has ended already.
            let _ = stream.set_priority(priority);
        }
    }

    /// Counts the `len` bytes that the stream accepted.
    pub(super) fn after_write(&mut self, len: usize) {
        self.sent = self.sent.saturating_add(len);
    }
}
