//! What each peer uses of something that all peers share: when it is used up, the peer that uses most gives way.

use std::collections::BTreeSet;

use iroh::EndpointId;

/// The uses of all peers that use anything.
#[derive(Debug)]
pub(super) struct Shares {
    limit: usize,
    total: usize,
    by_use: BTreeSet<(usize, EndpointId)>,
}

impl Shares {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, total: 0, by_use: BTreeSet::new() }
    }

    /// Records that the use of a peer has changed.
    pub(super) fn change(&mut self, peer: EndpointId, before: usize, after: usize) {
        if before == after {
            return;
        }
        self.by_use.remove(&(before, peer));
        if after > 0 {
            self.by_use.insert((after, peer));
        }
        self.total = self.total - before + after;
    }

    /// Returns the peer that must give way before `peer`, which uses `used`, may use `more`; `None` if there is room.
    ///
    /// That is never a peer that uses less than `peer` would, so that each peer can always use an equal share of the limit.
    pub(super) fn gives_way(&self, peer: EndpointId, used: usize, more: usize) -> Option<EndpointId> {
        if self.total + more <= self.limit {
            return None;
        }
        match self.by_use.last() {
            Some((most, largest)) if *most >= used + more => Some(*largest),
            _ => Some(peer),
        }
    }

    #[cfg(test)]
    pub(super) fn total(&self) -> usize {
        assert_eq!(self.by_use.iter().map(|(used, _)| used).sum::<usize>(), self.total);
        self.total
    }
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    #[test]
    fn the_peer_that_uses_most_gives_way_and_never_a_smaller_one() {
        let [small, large, new] = [0, 1, 2].map(|_| SecretKey::generate().public());
        let mut shares = Shares::new(100);
        shares.change(small, 0, 30);
        shares.change(large, 0, 70);
        assert_eq!(shares.gives_way(new, 0, 20), Some(large));
        assert_eq!(shares.gives_way(small, 30, 20), Some(large));
        assert_eq!(shares.gives_way(small, 30, 50), Some(small), "it would use more than the largest");
        assert_eq!(shares.gives_way(large, 70, 1), Some(large));
        shares.change(large, 70, 50);
        assert_eq!(shares.gives_way(new, 0, 20), None);
        shares.change(new, 0, 20);
        shares.change(large, 50, 0);
        assert_eq!((shares.gives_way(new, 20, 51), shares.total()), (Some(new), 50));
    }
}
