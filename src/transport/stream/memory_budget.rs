//! What the streams of one peer, and of all peers together, may keep in memory for readers that do not read.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes that the streams of one peer may keep: four streams at their limit, or three round trips of 1 Gbit/s, 150 ms.
const PEER: usize = 64 << 20;
/// Bytes that all peers of this process may keep.
const OVERALL: usize = 1 << 30;
/// Bytes that a peer may keep even when others fill what all may.
const SPARED: usize = 1 << 20;

static KEPT_OVERALL: AtomicUsize = AtomicUsize::new(0);

/// What the streams of one peer keep: those of the links that it dialled, or of the one link that was dialled to it.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub(super) fn share(&self) -> Share {
        Share { peer: self.clone(), kept: 0 }
    }
}

/// What one stream keeps.
#[derive(Debug)]
pub(super) struct Share {
    peer: Budget,
    kept: usize,
}

impl Share {
    /// Tells how much the stream keeps now; `false` when that is too much for its peer or for all.
    #[must_use]
    pub(super) fn set(&mut self, kept: usize) -> bool {
        let before = std::mem::replace(&mut self.kept, kept);
        if kept <= before {
            self.peer.0.fetch_sub(before - kept, Relaxed);
            KEPT_OVERALL.fetch_sub(before - kept, Relaxed);
            return true;
        }
        let more = kept - before;
        let of_peer = self.peer.0.fetch_add(more, Relaxed) + more;
        let overall = KEPT_OVERALL.fetch_add(more, Relaxed) + more;
        of_peer <= PEER && (overall <= OVERALL || of_peer <= SPARED)
    }

    /// Tells how much the stream still keeps, when that is less than before.
    pub(super) fn shrink_to(&mut self, kept: usize) {
        if kept < self.kept {
            // Less is never too much.
            let _ = self.set(kept);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_share_what_their_peer_may_keep() {
        let budget = Budget::default();
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.set(PEER));
        assert!(!other.set(1));
        other.shrink_to(0);
        one.shrink_to(PEER - 1);
        one.shrink_to(PEER);
        assert!(other.set(1));
        drop(one);
        assert!(other.set(PEER));
    }
}
