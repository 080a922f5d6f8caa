//! Counts the bytes of the requests that each peer has in progress.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// The bytes of one peer's requests. Clones share the count.
#[derive(Clone, Debug)]
pub(super) struct PeerBytes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    next_id: u64,
    /// In the order in which they began.
    calls: BTreeMap<u64, Call>,
}

#[derive(Debug, Default)]
struct Call {
    bytes: u64,
    waiting: Option<Waker>,
}

/// The bytes of one call. They count until it is dropped.
#[derive(Debug)]
pub(super) struct CallBytes {
    peer: PeerBytes,
    id: u64,
}

impl PeerBytes {
    pub(super) fn new(max: u64) -> Self {
        Self(Arc::new(Shared { max, state: Mutex::default() }))
    }

    /// Counts a new call, without bytes.
    pub(super) fn call(&self) -> CallBytes {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.calls.insert(id, Call::default());
        CallBytes { peer: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallBytes {
    /// Adds bytes once there is room for them. The call that began first never waits: otherwise, several calls could each
    /// wait for the end of the others.
    pub(super) fn poll_add(&self, bytes: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.peer.lock();
        let has_room = state.used.saturating_add(bytes) <= self.peer.0.max;
        let is_first = state.calls.first_key_value().is_some_and(|(id, _)| *id == self.id);
        let Some(call) = state.calls.get_mut(&self.id) else { return Poll::Ready(()) };
        if !has_room && !is_first {
            call.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        call.waiting = None;
        call.bytes += bytes;
        state.used += bytes;
        Poll::Ready(())
    }
}

impl Drop for CallBytes {
    fn drop(&mut self) {
        let mut state = self.peer.lock();
        let Some(call) = state.calls.remove(&self.id) else { return };
        state.used -= call.bytes;
        let waiting: Vec<_> = state.calls.values_mut().filter_map(|call| call.waiting.take()).collect();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;

    use super::*;

    fn add(call: &CallBytes, bytes: u64) -> Option<()> {
        poll_fn(|cx| call.poll_add(bytes, cx)).now_or_never()
    }

    #[test]
    fn past_the_limit_only_the_first_call_goes_on_and_the_next_one_when_it_has_ended() {
        let peer = PeerBytes::new(100);
        let [first, second, third] = [peer.call(), peer.call(), peer.call()];
        assert_eq!((add(&second, 60), add(&third, 40)), (Some(()), Some(())));
        assert_eq!((add(&second, 1), add(&third, 1)), (None, None));
        assert_eq!(add(&first, 1_000), Some(()));
        drop(first);
        assert_eq!((add(&third, 1), add(&second, 1)), (None, Some(())));
        drop(second);
        assert_eq!(add(&third, 1_000), Some(()));
        drop(third);
        assert_eq!(peer.lock().used, 0);
    }

    #[tokio::test]
    async fn a_call_that_waits_is_woken_by_the_end_of_another() {
        let peer = PeerBytes::new(10);
        let (first, second) = (peer.call(), peer.call());
        assert_eq!(add(&first, 10), Some(()));
        let waiting = tokio::spawn(async move { poll_fn(|cx| second.poll_add(5, cx)).await });
        tokio::task::yield_now().await;
        drop(first);
        waiting.await.unwrap();
    }
}
