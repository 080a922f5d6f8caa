//! Systems other than Linux, whose own limit for unacknowledged data applies. It does not count a window that stays closed.

use std::{task::Context, time::Duration};

use tokio::net::TcpStream;

/// Does nothing.
#[derive(Debug)]
pub(super) struct HostWatch;

impl HostWatch {
    pub(super) fn new(_: &TcpStream, _: Duration) -> Self {
        Self
    }

    pub(super) fn written(&mut self) {}

    pub(super) fn poll(&mut self, _: &TcpStream, _: &mut Context<'_>) {}
}
