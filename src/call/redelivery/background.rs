//! Calls that continue in the background after their caller has disconnected.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime::Handle, time::timeout};
use tracing::{Instrument, Span, instrument::Instrumented};

/// How long a call continues without a caller.
pub(super) const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(30);

/// A future that runs to completion: if it is dropped earlier and `on_drop` returns true, it continues in a task of its own
/// for at most [`BACKGROUND_TIMEOUT`].
pub(super) struct RunToCompletion<F, W>
where
    F: Future<Output: Send> + Send + 'static,
    W: Fn() -> bool,
{
    future: Option<Pin<Box<Instrumented<F>>>>,
    on_drop: W,
}

impl<F, W> RunToCompletion<F, W>
where
    F: Future<Output: Send> + Send + 'static,
    W: Fn() -> bool,
{
    pub(super) fn new(future: F, on_drop: W) -> Self {
        Self { future: Some(Box::pin(future.instrument(Span::current()))), on_drop }
    }
}

impl<F, W> Future for RunToCompletion<F, W>
where
    F: Future<Output: Send> + Send + 'static,
    W: Fn() -> bool + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out while it is polled, so that a future that panics is not polled again.
        let mut future = self.future.take().expect("a future is not polled after completion");
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            self.future = Some(future);
        }
        polled
    }
}

impl<F, W> Drop for RunToCompletion<F, W>
where
    F: Future<Output: Send> + Send + 'static,
    W: Fn() -> bool,
{
    fn drop(&mut self) {
        let future = self.future.take().filter(|_| (self.on_drop)());
        if let (Some(future), Ok(runtime)) = (future, Handle::try_current()) {
            runtime.spawn(timeout(BACKGROUND_TIMEOUT, future));
        }
    }
}
