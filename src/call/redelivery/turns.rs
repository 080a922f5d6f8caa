//! Turns: one call at a time.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The wait for a turn. No call waits so long while the SuperLink answers in time. A SuperNode over HTTP waits 30 s in total.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// A turn that one call at a time can have. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Turn(Arc<Semaphore>);

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turn {
    /// Whether a call has the turn or waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Waits for the turn, which ends when the permit is dropped. Returns `None` after [`TURN_TIMEOUT`]; the call then
    /// continues without it.
    pub(super) async fn acquire(self) -> Option<OwnedSemaphorePermit> {
        timeout(TURN_TIMEOUT, self.wait()).await.ok()
    }

    /// Waits for two turns, and for the second only while it has the first. Returns `None` after [`TURN_TIMEOUT`].
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
    async fn only_one_call_of_a_peer_competes_with_those_of_others() {
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
    async fn a_call_continues_without_a_turn_after_the_timeout() {
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
