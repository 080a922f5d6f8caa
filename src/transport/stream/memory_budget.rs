//! Memory for received data that has not been read: bounded per peer and for the whole process.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes that the streams of one peer may hold: four streams at their limit, or three round trips at 1 Gbit/s and 150 ms.
const MAX_PER_PEER: usize = 64 << 20;
/// Bytes that the streams of all peers may hold together.
const MAX_TOTAL: usize = 1 << 30;
/// Bytes that each peer may hold even while others use up [`MAX_TOTAL`].
const GUARANTEED: usize = 1 << 20;

/// Bytes held now, by all streams of the process.
static TOTAL: AtomicUsize = AtomicUsize::new(0);

/// The bytes that one peer's streams hold: those of all links that it dialled, or of the one link that was dialled to it.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct MemoryBudget(Arc<AtomicUsize>);

impl MemoryBudget {
    /// Creates an empty reservation, for one stream.
    pub(super) fn reservation(&self) -> Reservation {
        Reservation { peer: self.clone(), bytes: 0 }
    }
}

/// The bytes that one stream holds. Dropping it releases them.
#[derive(Debug)]
pub(super) struct Reservation {
    peer: MemoryBudget,
    bytes: usize,
}

impl Reservation {
    /// Sets the reservation to `bytes`, and returns whether the budget allows that much. Growth past the budget is counted
    /// all the same: the caller must give up its stream.
    #[must_use]
    pub(super) fn resize(&mut self, bytes: usize) -> bool {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes <= before {
            self.peer.0.fetch_sub(before - bytes, Relaxed);
            TOTAL.fetch_sub(before - bytes, Relaxed);
            return true;
        }
        let growth = bytes - before;
        let of_peer = self.peer.0.fetch_add(growth, Relaxed) + growth;
        let total = TOTAL.fetch_add(growth, Relaxed) + growth;
        of_peer <= MAX_PER_PEER && (total <= MAX_TOTAL || of_peer <= GUARANTEED)
    }

    /// Reduces the reservation to `bytes`; does nothing if it is smaller already.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        if bytes < self.bytes {
            // A smaller reservation is always allowed.
            let _ = self.resize(bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_peer_share_its_budget() {
        let budget = MemoryBudget::default();
        let (mut one, mut other) = (budget.reservation(), budget.reservation());
        assert!(one.resize(MAX_PER_PEER));
        assert!(!other.resize(1));
        other.shrink_to(0);
        one.shrink_to(MAX_PER_PEER - 1);
        one.shrink_to(MAX_PER_PEER);
        assert!(other.resize(1));
        drop(one);
        assert!(other.resize(MAX_PER_PEER));
    }
}
