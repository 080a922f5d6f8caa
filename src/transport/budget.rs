//! What the streams of a link, and all links together, may keep in memory for readers that do not read.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes that the streams of one link may keep: four streams at their limit, or three round trips of 1 Gbit/s, 150 ms.
const LINK: usize = 64 << 20;
/// Bytes that all links of this process may keep.
const OVERALL: usize = 1 << 30;

static KEPT_OVERALL: AtomicUsize = AtomicUsize::new(0);

/// What the streams of one link keep.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub(super) fn share(&self) -> Share {
        Share { link: self.clone(), kept: 0 }
    }
}

/// What one stream keeps.
#[derive(Debug)]
pub(super) struct Share {
    link: Budget,
    kept: usize,
}

impl Share {
    /// Tells how much the stream keeps now; `false` when that is too much for its link or for all.
    #[must_use]
    pub(super) fn set(&mut self, kept: usize) -> bool {
        let before = std::mem::replace(&mut self.kept, kept);
        if kept <= before {
            self.link.0.fetch_sub(before - kept, Relaxed);
            KEPT_OVERALL.fetch_sub(before - kept, Relaxed);
            return true;
        }
        let more = kept - before;
        let on_link = self.link.0.fetch_add(more, Relaxed) + more;
        let overall = KEPT_OVERALL.fetch_add(more, Relaxed) + more;
        on_link <= LINK && overall <= OVERALL
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
    fn streams_share_what_their_link_may_keep() {
        let budget = Budget::default();
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.set(LINK));
        assert!(!other.set(1));
        other.shrink_to(0);
        one.shrink_to(LINK - 1);
        one.shrink_to(LINK);
        assert!(other.set(1));
        drop(one);
        assert!(other.set(LINK));
    }
}
