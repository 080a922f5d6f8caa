//! Peers that have not shown their invitation yet.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Half of the handshakes that a funnel takes at once by default: silent ones are not to keep out anybody else.
const MAX_PRESENTERS: usize = 64;

/// Those who are waited for. Past so many the one that has been silent longest gives way: who has an invitation shows it
/// with its handshake.
#[derive(Debug, Default)]
pub(super) struct PendingEnrolments(Mutex<Row>);

#[derive(Debug, Default)]
struct Row {
    came: u64,
    waiting: BTreeMap<u64, CancellationToken>,
}

impl PendingEnrolments {
    /// What `presented` comes to, `None` if it gives way.
    ///
    /// # Cancel safety
    /// Dropping the future frees its place.
    pub(super) async fn wait_for<T>(&self, presented: impl Future<Output = T>) -> Option<T> {
        let place = Place::take(self);
        place.given_way.run_until_cancelled(presented).await
    }

    fn row(&self) -> MutexGuard<'_, Row> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Place<'a> {
    presenters: &'a PendingEnrolments,
    number: u64,
    given_way: CancellationToken,
}

impl<'a> Place<'a> {
    fn take(presenters: &'a PendingEnrolments) -> Self {
        let mut row = presenters.row();
        if row.waiting.len() >= MAX_PRESENTERS
            && let Some((_, oldest)) = row.waiting.pop_first()
        {
            oldest.cancel();
        }
        let (number, given_way) = (row.came, CancellationToken::new());
        row.came += 1;
        row.waiting.insert(number, given_way.clone());
        Self { presenters, number, given_way }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.presenters.row().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::{FutureExt, future::join_all};

    use super::*;

    #[tokio::test]
    async fn who_has_been_silent_longest_gives_way_to_who_comes() {
        let presenters = PendingEnrolments::default();
        let mut first = Box::pin(presenters.wait_for(pending::<()>()));
        assert_eq!(first.as_mut().now_or_never(), None);
        let mut others = Box::pin(join_all((1..MAX_PRESENTERS).map(|_| presenters.wait_for(pending::<()>()))));
        assert!(others.as_mut().now_or_never().is_none() && first.as_mut().now_or_never().is_none());
        assert_eq!(presenters.wait_for(ready(1)).await, Some(1));
        assert_eq!(first.await, None);
        assert!(others.as_mut().now_or_never().is_none());
        drop(others);
        assert!(presenters.row().waiting.is_empty());
    }
}
