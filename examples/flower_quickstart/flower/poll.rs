//! Waiting for a condition that nothing announces, within a bound.

use std::time::{Duration, Instant};

/// Pause between two looks at a condition.
pub(super) const INTERVAL: Duration = Duration::from_millis(50);

/// Looks at `condition` until it yields a value or `limit` has passed.
pub(super) async fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The same for `Drop`, which cannot await.
pub(super) fn until_blocking(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(INTERVAL);
    }
}
