//! The future that a connector returns.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;

use super::{ConnectError, IrohStream};

type Opening = Pin<Box<dyn Future<Output = Result<IrohStream, ConnectError>> + Send>>;

/// A stream being opened by an [`IrohConnector`](super::IrohConnector).
///
/// # Cancel safety
/// Dropping it opens no stream. A dial that other callers wait for goes on.
#[must_use = "futures do nothing unless awaited"]
pub struct Connecting(Opening);

impl Connecting {
    pub(super) fn new(opening: impl Future<Output = Result<IrohStream, ConnectError>> + Send + 'static) -> Self {
        Self(Box::pin(opening))
    }
}

impl Future for Connecting {
    type Output = Result<TokioIo<IrohStream>, ConnectError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map_ok(TokioIo::new)
    }
}

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").finish_non_exhaustive()
    }
}
