//! A bounded number of slots for connections that are not authenticated yet, shared out by address.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::Source;

/// The slots of connections that are not authenticated yet. Clones share them.
///
/// If none is free, a newcomer takes the slot of the connection that has been idle longest of the address with the most: a
/// crowd from one address displaces only itself, and waits for nobody.
#[derive(Clone, Debug)]
pub(crate) struct ArrivalSlots {
    capacity: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Counts what happens: the lower the number, the longer ago.
    clock: u64,
    next_id: u64,
    slots: BTreeMap<u64, Slot>,
}

#[derive(Debug)]
struct Slot {
    source: Source,
    last_active: u64,
    displaced: CancellationToken,
}

/// The slot of one connection. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct ArrivalSlot {
    slots: ArrivalSlots,
    id: u64,
}

impl ArrivalSlots {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, taken: Arc::default() }
    }

    /// Takes a slot. `displaced` is cancelled once another connection takes it over: then this one is to be closed.
    ///
    /// Returns `None` if there are no slots at all.
    pub(crate) fn take(&self, source: Source, displaced: CancellationToken) -> Option<ArrivalSlot> {
        if self.capacity == 0 {
            return None;
        }
        let mut taken = self.lock();
        if taken.slots.len() >= self.capacity
            && let Some(id) = taken.longest_idle_of_largest_share(&source)
            && let Some(slot) = taken.slots.remove(&id)
        {
            slot.displaced.cancel();
        }
        let (id, last_active) = (taken.next_id, taken.tick());
        taken.next_id += 1;
        taken.slots.insert(id, Slot { source, last_active, displaced });
        Some(ArrivalSlot { slots: self.clone(), id })
    }

    /// Returns how many slots are taken.
    pub(crate) fn taken(&self) -> usize {
        self.lock().slots.len()
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Returns the slot that gives way to a connection from `newcomer`, which counts as one of its address: the one that has
    /// been idle longest of the address with the most, and there of the endpoint id with the most.
    fn longest_idle_of_largest_share(&self, newcomer: &Source) -> Option<u64> {
        let mut shares: HashMap<Source, usize> = HashMap::new();
        let mut sources: HashMap<&Source, usize> = HashMap::new();
        for source in self.slots.values().map(|slot| &slot.source).chain([newcomer]) {
            *shares.entry(source.shared()).or_default() += 1;
            *sources.entry(source).or_default() += 1;
        }
        let size = |slot: &Slot| (shares.get(&slot.source.shared()).copied(), sources.get(&slot.source).copied());
        let largest = self.slots.values().map(size).max()?;
        let candidates = self.slots.iter().filter(|(_, slot)| size(slot) == largest);
        candidates.min_by_key(|(_, slot)| slot.last_active).map(|(id, _)| *id)
    }
}

#[cfg(feature = "relay")]
impl ArrivalSlot {
    /// Records that the connection was not idle, and came from `source`.
    pub(crate) fn active(&self, source: &Source) {
        let mut taken = self.slots.lock();
        let now = taken.tick();
        if let Some(slot) = taken.slots.get_mut(&self.id) {
            slot.last_active = now;
            slot.source.clone_from(source);
        }
    }
}

impl Drop for ArrivalSlot {
    fn drop(&mut self) {
        self.slots.lock().slots.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use iroh::{EndpointId, SecretKey, endpoint::IncomingAddr};

    use super::*;

    /// A connection with a slot.
    struct Connection {
        slot: ArrivalSlot,
        displaced: CancellationToken,
    }

    impl Connection {
        fn is_displaced(&self) -> bool {
            self.displaced.is_cancelled()
        }
    }

    fn ip(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn relayed(endpoint_id: EndpointId) -> Source {
        IncomingAddr::Relay { url: "https://relay.example".parse().unwrap(), endpoint_id }.into()
    }

    fn take(slots: &ArrivalSlots, source: Source) -> Connection {
        let displaced = CancellationToken::new();
        Connection { slot: slots.take(source, displaced.clone()).unwrap(), displaced }
    }

    fn displaced(connections: &[Connection]) -> Vec<usize> {
        (0..connections.len()).filter(|at| connections[*at].is_displaced()).collect()
    }

    #[test]
    fn a_crowd_from_one_address_displaces_only_itself() {
        let slots = ArrivalSlots::new(4);
        let one = take(&slots, ip("192.0.2.1"));
        let crowd: Vec<_> = (0..1000).map(|_| take(&slots, ip("192.0.2.2"))).collect();
        assert!(!one.is_displaced());
        assert_eq!(displaced(&crowd), (0..997).collect::<Vec<_>>());
        assert_eq!(slots.taken(), 4);
        drop((one, crowd));
        assert_eq!(slots.taken(), 0);
    }

    #[test]
    fn a_crowd_from_one_ipv6_network_displaces_only_itself() {
        let slots = ArrivalSlots::new(4);
        let one = take(&slots, ip("2001:db8:0:1::1"));
        let crowd: Vec<_> = (0..100).map(|host| take(&slots, ip(&format!("2001:db8:0:2::{host:x}")))).collect();
        assert!(!one.is_displaced());
        assert_eq!(displaced(&crowd).len(), 97);
    }

    #[test]
    fn a_newcomer_displaces_the_one_that_has_been_idle_longest_of_the_address_with_the_most() {
        let slots = ArrivalSlots::new(5);
        let older = take(&slots, ip("192.0.2.1"));
        let crowd: Vec<_> = (0..4).map(|_| take(&slots, ip("192.0.2.2"))).collect();
        crowd[0].slot.active(&ip("192.0.2.2"));
        let newcomer = take(&slots, ip("192.0.2.3"));
        assert_eq!(displaced(&crowd), [1]);
        assert!(!older.is_displaced() && !newcomer.is_displaced());
        // Two and three: with the newcomer, three and three.
        let second = take(&slots, ip("192.0.2.1"));
        assert_eq!(displaced(&crowd), [1, 2]);
        assert!(!older.is_displaced() && !second.is_displaced());
    }

    #[test]
    fn an_address_with_as_many_as_another_displaces_its_own() {
        let slots = ArrivalSlots::new(4);
        let others: Vec<_> = (0..2).map(|_| take(&slots, ip("192.0.2.1"))).collect();
        let own: Vec<_> = (0..4).map(|_| take(&slots, ip("192.0.2.2"))).collect();
        assert!(displaced(&others).is_empty());
        assert_eq!(displaced(&own), [0, 1]);
    }

    #[test]
    fn among_many_addresses_the_one_that_has_been_idle_longest_gives_way() {
        let slots = ArrivalSlots::new(3);
        let all: Vec<_> = (1..=4).map(|host| take(&slots, ip(&format!("192.0.2.{host}")))).collect();
        assert_eq!(displaced(&all), [0]);
    }

    #[test]
    fn behind_one_relay_a_crowd_with_one_key_displaces_only_itself() {
        let slots = ArrivalSlots::new(4);
        let (one, other) = (SecretKey::generate().public(), SecretKey::generate().public());
        let one = take(&slots, relayed(one));
        let crowd: Vec<_> = (0..10).map(|_| take(&slots, relayed(other))).collect();
        assert!(!one.is_displaced());
        // Many keys there displace each other, and nobody with an address of his own.
        let direct = take(&slots, ip("192.0.2.1"));
        let keys: Vec<_> = (0..10).map(|_| take(&slots, relayed(SecretKey::generate().public()))).collect();
        assert!(!direct.is_displaced());
        assert!(one.is_displaced() && crowd.iter().all(Connection::is_displaced));
        assert_eq!(displaced(&keys).len(), 7);
    }

    #[test]
    fn a_connection_whose_address_becomes_known_counts_there() {
        let slots = ArrivalSlots::new(3);
        let proxied: Vec<_> = (0..2).map(|_| take(&slots, ip("192.0.2.1"))).collect();
        for (at, host) in ["198.51.100.1", "198.51.100.2"].into_iter().enumerate() {
            proxied[at].slot.active(&ip(host));
        }
        let crowd: Vec<_> = (0..5).map(|_| take(&slots, ip("192.0.2.1"))).collect();
        assert!(displaced(&proxied).is_empty());
        assert_eq!(displaced(&crowd).len(), 4);
    }

    #[test]
    fn without_slots_nobody_gets_one() {
        assert!(ArrivalSlots::new(0).take(ip("192.0.2.1"), CancellationToken::new()).is_none());
    }
}
