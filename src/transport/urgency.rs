//! Which of a link's streams sends first.
//!
//! A stream begins urgent, and is so again after a pause. Once it has sent more than a small call has, it gives way to
//! those that have not: a heartbeat passes the models that are under way, whatever protocol is spoken.

use std::time::{Duration, Instant};

use iroh::endpoint::SendStream;

/// Bytes that a small call sends at most: headers, a message, and HTTP/2's own frames.
const SMALL: usize = 32 << 10;
/// A stream that was silent for so long begins anew.
const PAUSE: Duration = Duration::from_millis(100);

const URGENT: i32 = 1;
const BULK: i32 = 0;

#[derive(Debug)]
pub(super) struct Urgency {
    sent: usize,
    last: Option<Instant>,
    priority: i32,
}

impl Urgency {
    pub(super) fn new() -> Self {
        Self { sent: 0, last: None, priority: BULK }
    }

    /// `len` bytes are about to be handed to `stream`.
    pub(super) fn before(&mut self, len: usize, stream: &SendStream) {
        let now = Instant::now();
        if self.last.is_none_or(|last| now - last > PAUSE) {
            self.sent = 0;
        }
        self.last = Some(now);
        let priority = if self.sent.saturating_add(len) > SMALL { BULK } else { URGENT };
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
