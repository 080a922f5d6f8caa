//! Turns: one call at a time.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long a call waits for its turn. A SuperLink that answers in time never lets any wait so long; a SuperNode over HTTP
/// waits for 30 s in all.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// What one call at a time has. Clones are one.
#[derive(Clone, Debug)]
pub(super) struct Turn(Arc<Semaphore>);

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turn {
    /// Whether a call has it or waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Waits for the turn, which ends when the permit is dropped. `None` after [`TURN_TIMEOUT`]: the call goes on without.
    pub(super) async fn acquire(self) -> Option<OwnedSemaphorePermit> {
        timeout(TURN_TIMEOUT, self.wait()).await.ok()
    }

    /// The same for two turns, of which the second is waited for with the first.
    pub(super) async fn acquire_both(self, second: Self) -> Option<[OwnedSemaphorePermit; 2]> {
        let both = async {
            let first = self.wait().await;
            [first, second.wait().await]
        };
        timeout(TURN_TIMEOUT, both).await.ok()
    }

    async fn wait(self) -> OwnedSemaphorePermit {
        self.0.acquire_owned().await.expect("the semaphore is never closed")
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn of_many_calls_with_one_turn_one_waits_among_those_of_others() {
        let (all, many, one) = (Turn::default(), Turn::default(), Turn::default());
        let turn = |own: &Turn| Box::pin(own.clone().acquire_both(all.clone()));
        let first = turn(&many).await;
        let [mut second, mut third, mut other] = [turn(&many), turn(&many), turn(&one)];
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending() && poll!(&mut other).is_pending());
        drop(first);
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        drop(other.await);
        drop(second.await);
        drop(third.await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_for_long_goes_on_without_a_turn() {
        let (all, one, other) = (Turn::default(), Turn::default(), Turn::default());
        let turn = |own: &Turn| own.clone().acquire_both(all.clone());
        let first = turn(&one).await;
        assert!(first.is_some());
        let (own, others) = tokio::join!(turn(&one), turn(&other));
        assert!(own.is_none() && others.is_none());
        drop(first);
        assert!(turn(&other).await.is_some());
    }
}
