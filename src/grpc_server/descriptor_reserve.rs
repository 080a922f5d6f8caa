//! File descriptors in reserve for when there are no others.

use std::io::{PipeReader, PipeWriter, pipe};

use futures_util::FutureExt;
use tokio::net::TcpListener;

/// Two descriptors that allow connections to be accepted and closed. A connection that is never accepted stays silent, and
/// makes a SuperNode hang.
pub(super) struct DescriptorReserve(Option<(PipeReader, PipeWriter)>);

impl DescriptorReserve {
    pub(super) fn new() -> Self {
        // Without a reserve, connections wait until there are descriptors again.
        Self(pipe().ok())
    }

    /// Accepts and closes the waiting connections, and returns their number.
    pub(super) fn close_waiting(&mut self, listener: &TcpListener) -> usize {
        self.0 = None;
        // tokio's cooperative budget for a task bounds the number.
        let waiting = || matches!(listener.accept().now_or_never(), Some(Ok(_)));
        let closed = std::iter::repeat_with(waiting).take_while(|accepted| *accepted).count();
        self.0 = pipe().ok();
        closed
    }
}
