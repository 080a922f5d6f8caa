//! Which of a link's streams sends first.
//!
//! A stream begins urgent, and is so again after a pause. Once it has sent more than a small call has, it gives way to
//! those that have not: a heartbeat passes the models that are under way, whatever protocol is spoken.
//!
//! Bulk goes one after the other. Two models that share a link evenly are done together, and then both wait for their
//! answers while the link stands idle; in turn, one moves while the other waits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use iroh::endpoint::SendStream;

/// Bytes that a small call sends at most: headers, a message, and HTTP/2's own frames.
const SMALL: usize = 32 << 10;
/// Bytes of one turn: more than the 5 MiB objects that models are cut into, so that most are sent in one go.
const TURN: usize = 8 << 20;
/// A stream that was silent for so long begins anew.
const PAUSE: Duration = Duration::from_millis(100);

const URGENT: i32 = 1;

/// Who of a link's bulk streams came first.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Turns(Arc<AtomicI32>);

impl Turns {
    /// A priority below all that were given before, and below [`URGENT`]. They last for two billion turns.
    fn next(&self) -> i32 {
        self.0.fetch_sub(1, Relaxed)
    }
}

#[derive(Debug)]
pub(super) struct Urgency {
    turns: Turns,
    /// Since it was silent, or since its turn began.
    sent: usize,
    last: Option<Instant>,
    priority: i32,
}

impl Urgency {
    pub(super) fn new(turns: Turns) -> Self {
        Self { turns, sent: 0, last: None, priority: 0 }
    }

    /// `len` bytes are about to be handed to `stream`.
    pub(super) fn before(&mut self, len: usize, stream: &SendStream) {
        let now = Instant::now();
        if self.last.is_none_or(|last| now - last > PAUSE) {
            self.sent = 0;
            self.set(URGENT, stream);
        }
        self.last = Some(now);
        let is_bulk = self.sent.saturating_add(len) > SMALL;
        let is_over = self.sent > TURN;
        if is_bulk && (self.priority == URGENT || is_over) {
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

    /// The stream took `len` bytes.
    pub(super) fn sent(&mut self, len: usize) {
        self.sent = self.sent.saturating_add(len);
    }
}
