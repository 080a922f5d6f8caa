//! File descriptors kept for the moment when there are no others.

use std::io::{PipeReader, PipeWriter, pipe};

use futures_util::FutureExt;
use tokio::net::TcpListener;

/// Two descriptors with which a connection can still be accepted and closed. One that is left waiting is silent, and a
/// SuperNode hangs on it.
pub(super) struct DescriptorReserve(Option<(PipeReader, PipeWriter)>);

impl DescriptorReserve {
    pub(super) fn new() -> Self {
        // Without a reserve, connections wait until there are descriptors again.
        Self(pipe().ok())
    }

    /// Closes the connections that wait, and returns how many they were.
    pub(super) fn turn_away(&mut self, listener: &TcpListener) -> usize {
        self.0 = None;
        // tokio's budget for a task bounds it.
        let waiting = || matches!(listener.accept().now_or_never(), Some(Ok(_)));
        let turned_away = std::iter::repeat_with(waiting).take_while(|was_there| *was_there).count();
        self.0 = pipe().ok();
        turned_away
    }
}
