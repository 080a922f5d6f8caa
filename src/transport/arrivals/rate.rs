//! How often connections of one address may fail to authenticate.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::Source;

/// A token bucket: the most attempts at once, and those that are added each second.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    burst: f64,
    per_second: f64,
}

/// Of an address or a relay. A site of 60 machines behind one address may restart at once, with a wrong token; and 20 refused
/// handshakes a second take about 2 % of a processor.
const OF_ADDRESS: Allowance = Allowance { burst: 64.0, per_second: 20.0 };
/// Of one endpoint id behind a relay, within the relay's.
const OF_MEMBER: Allowance = Allowance { burst: 8.0, per_second: 1.0 };
/// The most sources that are remembered. Past it, the one that is nearest to its full allowance is forgotten.
const MAX_SOURCES: usize = 4096;
/// The bounds of the pause between two looks at an empty bucket, in milliseconds. Random, so that among those that wait each
/// has the same chance.
const PAUSE: Range<u64> = 50..200;

/// Delays the handshakes of addresses whose handshakes have failed too often, before any cryptography.
///
/// Each handshake takes an attempt of its address, and [returns](Self::succeeded) it if the peer is admitted. Those of an
/// address without attempts wait for the next, each with the same chance.
#[derive(Debug, Default)]
pub(crate) struct ArrivalRate(Mutex<HashMap<Source, Bucket>>);

#[derive(Debug)]
struct Bucket {
    attempts: f64,
    at: Instant,
}

impl ArrivalRate {
    /// Waits until `source` may begin a handshake.
    ///
    /// # Cancel safety
    /// Dropping the future takes no attempt.
    pub(crate) async fn attempt(&self, source: &Source) {
        while !self.try_attempt(source) {
            sleep(Duration::from_millis(fastrand::u64(PAUSE))).await;
        }
    }

    /// Returns the attempt of a handshake whose peer was admitted.
    pub(crate) fn succeeded(&self, source: &Source) {
        let (mut buckets, now) = (self.lock(), Instant::now());
        for (source, allowance) in levels(source) {
            if let Some(bucket) = buckets.get_mut(&source) {
                bucket.attempts = bucket.refill(allowance, now) + 1.0;
            }
        }
    }

    /// Returns whether half of the attempts of `source` are used up.
    pub(crate) fn is_low(&self, source: &Source) -> bool {
        let (mut buckets, now) = (self.lock(), Instant::now());
        levels(source).any(|(source, allowance)| {
            buckets.get_mut(&source).is_some_and(|bucket| bucket.refill(allowance, now) <= allowance.burst / 2.0)
        })
    }

    fn try_attempt(&self, source: &Source) -> bool {
        let (mut buckets, now) = (self.lock(), Instant::now());
        let may = levels(source).all(|(source, allowance)| {
            buckets.get_mut(&source).is_none_or(|bucket| bucket.refill(allowance, now) >= 1.0)
        });
        if may {
            for (source, allowance) in levels(source) {
                if !buckets.contains_key(&source) {
                    make_room(&mut buckets, now);
                }
                buckets.entry(source).or_insert_with(|| Bucket::full(allowance, now)).attempts -= 1.0;
            }
        }
        may
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Bucket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn full(allowance: Allowance, now: Instant) -> Self {
        Self { attempts: allowance.burst, at: now }
    }

    fn refill(&mut self, allowance: Allowance, now: Instant) -> f64 {
        let since = now.duration_since(self.at).as_secs_f64();
        self.attempts = (self.attempts + since * allowance.per_second).min(allowance.burst);
        self.at = now;
        self.attempts
    }
}

/// Returns the buckets that a source takes its attempts from.
fn levels(source: &Source) -> impl Iterator<Item = (Source, Allowance)> {
    let shared = source.shared();
    let member = (shared != *source).then(|| (source.clone(), OF_MEMBER));
    member.into_iter().chain([(shared, OF_ADDRESS)])
}

fn allowance_of(source: &Source) -> Allowance {
    if source.shared() == *source { OF_ADDRESS } else { OF_MEMBER }
}

/// Forgets the sources that have their full allowance, or the one that is nearest to it.
fn make_room(buckets: &mut HashMap<Source, Bucket>, now: Instant) {
    if buckets.len() < MAX_SOURCES {
        return;
    }
    let missing = |source: &Source, bucket: &mut Bucket| {
        let allowance = allowance_of(source);
        (allowance.burst - bucket.refill(allowance, now)) / allowance.burst
    };
    buckets.retain(|source, bucket| missing(source, bucket) > 0.0);
    if buckets.len() >= MAX_SOURCES {
        let nearest = buckets.iter_mut().map(|(source, bucket)| (missing(source, bucket), source));
        let nearest = nearest.min_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, source)| source.clone());
        nearest.and_then(|source| buckets.remove(&source));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use iroh::{SecretKey, endpoint::IncomingAddr};

    use super::*;

    fn host(number: u32) -> Source {
        IpAddr::from(Ipv4Addr::from_bits(number)).into()
    }

    fn relayed() -> Source {
        let url = "https://relay.example".parse().unwrap();
        IncomingAddr::Relay { url, endpoint_id: SecretKey::generate().public() }.into()
    }

    fn attempts(rate: &ArrivalRate, source: &Source, most: usize) -> usize {
        (0..most).take_while(|_| rate.try_attempt(source)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_whose_handshakes_fail_waits_and_another_does_not() {
        let rate = ArrivalRate::default();
        assert!(!rate.is_low(&host(1)));
        assert_eq!(attempts(&rate, &host(1), 1000), 64);
        assert!(rate.is_low(&host(1)) && !rate.is_low(&host(2)));
        assert_eq!(attempts(&rate, &host(2), 1), 1);
        let began = Instant::now();
        for _ in 0..20 {
            rate.attempt(&host(1)).await;
        }
        let waited = began.elapsed().as_secs_f64();
        assert!((0.9..=1.3).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_of_admitted_peers_are_not_limited() {
        let rate = ArrivalRate::default();
        for _ in 0..1000 {
            assert!(rate.try_attempt(&host(1)));
            rate.succeeded(&host(1));
        }
        assert!(!rate.is_low(&host(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_behind_a_relay_does_not_use_up_the_attempts_of_the_others() {
        let rate = ArrivalRate::default();
        let (one, other) = (relayed(), relayed());
        assert_eq!(attempts(&rate, &one, 1000), 8);
        assert_eq!(attempts(&rate, &other, 1), 1);
        let keys: usize = (0..1000).map(|_| attempts(&rate, &relayed(), 1)).sum();
        assert_eq!(keys, 64 - 8 - 1);
        assert_eq!(attempts(&rate, &host(1), 1), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_of_addresses_is_bounded_and_forgets_the_least_active_ones() {
        let rate = ArrivalRate::default();
        assert_eq!(attempts(&rate, &host(0), 1000), 64);
        for number in 1..5_000 {
            assert_eq!(attempts(&rate, &host(number), 1), 1);
        }
        assert_eq!(rate.lock().len(), MAX_SOURCES);
        assert!(!rate.try_attempt(&host(0)), "the busiest is remembered");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(rate.try_attempt(&host(5_000)));
        assert_eq!(rate.lock().len(), 1, "those with a full allowance are forgotten");
    }
}
