//! Peers that have not presented their invitation yet.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Half of the handshakes that a funnel accepts at once by default: silent peers must not block all others.
const MAX_PENDING: usize = 64;

/// The enrolments in which the secret is awaited. Past the maximum, the one that has waited longest is given up: a peer
/// with an invitation sends it right after its handshake.
#[derive(Debug, Default)]
pub(super) struct PendingEnrolments(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    next_number: u64,
    waiting: BTreeMap<u64, CancellationToken>,
}

impl PendingEnrolments {
    /// Waits for `secret`; returns `None` if this enrolment is given up for a newer one.
    ///
    /// # Cancel safety
    /// Dropping the future frees its slot.
    pub(super) async fn wait_for<T>(&self, secret: impl Future<Output = T>) -> Option<T> {
        let slot = Slot::take(self);
        slot.given_up.run_until_cancelled(secret).await
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the pending enrolments.
struct Slot<'a> {
    enrolments: &'a PendingEnrolments,
    number: u64,
    given_up: CancellationToken,
}

impl<'a> Slot<'a> {
    fn take(enrolments: &'a PendingEnrolments) -> Self {
        let mut pending = enrolments.lock();
        if pending.waiting.len() >= MAX_PENDING
            && let Some((_, oldest)) = pending.waiting.pop_first()
        {
            oldest.cancel();
        }
        let (number, given_up) = (pending.next_number, CancellationToken::new());
        pending.next_number += 1;
        pending.waiting.insert(number, given_up.clone());
        Self { enrolments, number, given_up }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.enrolments.lock().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::{FutureExt, future::join_all};

    use super::*;

    #[tokio::test]
    async fn the_enrolment_that_has_waited_longest_is_given_up_for_a_new_one() {
        let enrolments = PendingEnrolments::default();
        let mut first = Box::pin(enrolments.wait_for(pending::<()>()));
        assert_eq!(first.as_mut().now_or_never(), None);
        let mut others = Box::pin(join_all((1..MAX_PENDING).map(|_| enrolments.wait_for(pending::<()>()))));
        assert!(others.as_mut().now_or_never().is_none() && first.as_mut().now_or_never().is_none());
        assert_eq!(enrolments.wait_for(ready(1)).await, Some(1));
        assert_eq!(first.await, None);
        assert!(others.as_mut().now_or_never().is_none());
        drop(others);
        assert!(enrolments.lock().waiting.is_empty());
    }
}
