//! Counts the bytes of the requests that each peer has in progress.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The bytes of one peer's requests. Clones share the count.
#[derive(Clone, Debug)]
pub(super) struct PeerBytes {
    max: u64,
    used: Arc<AtomicU64>,
}

/// The bytes of one call. They count until it is dropped.
#[derive(Debug)]
pub(super) struct CallBytes {
    peer: PeerBytes,
    counted: AtomicU64,
}

/// The peer has too many bytes in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyBytes {
    pub(super) max: u64,
}

impl PeerBytes {
    pub(super) fn new(max: u64) -> Self {
        Self { max, used: Arc::default() }
    }

    /// Counts a new call, without bytes.
    pub(super) fn call(&self) -> CallBytes {
        CallBytes { peer: self.clone(), counted: AtomicU64::new(0) }
    }
}

impl CallBytes {
    /// Counts `total` bytes of this call, if it counts fewer yet. Nothing waits: a request that stood still in the middle would
    /// hold back those that share its session.
    ///
    /// # Errors
    /// The peer has too many, unless this call alone has them all.
    pub(super) fn count(&self, total: u64) -> Result<(), TooManyBytes> {
        let counted = self.counted.load(Relaxed);
        let more = total.saturating_sub(counted);
        let before = self.peer.used.fetch_add(more, Relaxed);
        self.counted.fetch_add(more, Relaxed);
        let of_others = before.saturating_sub(counted);
        if of_others > 0 && before.saturating_add(more) > self.peer.max {
            return Err(TooManyBytes { max: self.peer.max });
        }
        Ok(())
    }
}

impl Drop for CallBytes {
    fn drop(&mut self) {
        self.peer.used.fetch_sub(*self.counted.get_mut(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_limit_a_call_fails_unless_it_is_the_only_one() {
        let peer = PeerBytes::new(100);
        let (first, second) = (peer.call(), peer.call());
        assert_eq!((first.count(60), second.count(40), first.count(60)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(second.count(41), Err(TooManyBytes { max: 100 }));
        drop(second);
        assert_eq!(first.count(1_000), Ok(()));
        drop(first);
        assert_eq!(peer.used.load(Relaxed), 0);
    }
}
