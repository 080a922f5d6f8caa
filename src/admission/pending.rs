//! Peers that have not presented their invitation yet.

use tokio_util::sync::CancellationToken;

use crate::transport::{ArrivalSlots, Source};

/// Half of the handshakes that a funnel accepts at once by default: silent peers must not block all others.
const MAX_PENDING: usize = 64;

/// The enrolments in which the secret is awaited. Past the maximum, the one that has waited longest of the address with the
/// most is given up: a peer with an invitation sends it right after its handshake.
#[derive(Debug)]
pub(super) struct PendingEnrolments(ArrivalSlots);

impl Default for PendingEnrolments {
    fn default() -> Self {
        Self(ArrivalSlots::new(MAX_PENDING))
    }
}

impl PendingEnrolments {
    /// Waits for `secret` of a peer from `source`; returns `None` if this enrolment is given up for a newer one.
    ///
    /// # Cancel safety
    /// Dropping the future frees its slot.
    pub(super) async fn wait_for<T>(&self, source: Source, secret: impl Future<Output = T>) -> Option<T> {
        let given_up = CancellationToken::new();
        let _slot = self.0.take(source, given_up.clone());
        given_up.run_until_cancelled(secret).await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        net::IpAddr,
    };

    use futures_util::{FutureExt, future::join_all};

    use super::*;

    fn from(ip: &str) -> Source {
        ip.parse::<IpAddr>().unwrap().into()
    }

    #[tokio::test]
    async fn the_enrolment_that_has_waited_longest_is_given_up_for_a_new_one() {
        let enrolments = PendingEnrolments::default();
        let silent = || enrolments.wait_for(from("192.0.2.1"), pending::<()>());
        let mut first = Box::pin(silent());
        assert_eq!(first.as_mut().now_or_never(), None);
        let mut others = Box::pin(join_all((1..MAX_PENDING).map(|_| silent())));
        assert!(others.as_mut().now_or_never().is_none() && first.as_mut().now_or_never().is_none());
        assert_eq!(enrolments.wait_for(from("192.0.2.1"), ready(1)).await, Some(1));
        assert_eq!(first.await, None);
        assert!(others.as_mut().now_or_never().is_none());
        drop(others);
        assert_eq!(enrolments.0.taken(), 0);
    }

    #[tokio::test]
    async fn enrolments_from_one_address_are_not_given_up_for_a_crowd_from_another() {
        let enrolments = PendingEnrolments::default();
        let mut one = Box::pin(enrolments.wait_for(from("192.0.2.1"), pending::<()>()));
        assert_eq!(one.as_mut().now_or_never(), None);
        let silent = || enrolments.wait_for(from("192.0.2.2"), pending::<()>());
        let mut crowd = Box::pin(join_all((0..1000).map(|_| silent())));
        assert!(crowd.as_mut().now_or_never().is_none());
        assert_eq!(one.as_mut().now_or_never(), None);
    }
}
