//! The model on a simulated path: a bottleneck with a queue, delay and random loss, in simulated time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use super::model::Model;

const PACKET: u64 = 1_452;

#[derive(Clone, Copy, Debug)]
struct Link {
    /// One way.
    delay: Duration,
    /// Share of the packets that is lost.
    loss: f64,
    /// Bytes a second.
    rate: f64,
    queue: Duration,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Acknowledged(u64),
    MaySend,
}

struct Simulation {
    link: Link,
    model: Model,
    began: Instant,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    random: fastrand::Rng,
    under_way: BTreeMap<u64, Instant>,
    next: u64,
    /// When the bottleneck is free.
    free: Instant,
    /// When the pacer lets the next packet go.
    paced: Instant,
    is_waiting: bool,
    delivered: u64,
    /// The queue that each packet met.
    queues: Vec<Duration>,
}

/// What the sender takes for one burst: what its timers and its system calls allow.
const BURST: Duration = Duration::from_millis(2);

impl Simulation {
    fn new(link: Link, seed: u64) -> Self {
        fastrand::seed(seed);
        let began = Instant::now();
        Self {
            link,
            model: Model::new(began, PACKET as u16),
            began,
            events: BinaryHeap::from([Reverse((began, 0, Event::MaySend))]),
            random: fastrand::Rng::with_seed(seed),
            under_way: BTreeMap::new(),
            next: 0,
            free: began,
            paced: began,
            is_waiting: true,
            delivered: 0,
            queues: Vec::new(),
        }
    }

    /// Runs on for `time`; the share of the link that was used.
    fn run(&mut self, time: Duration) -> f64 {
        let (end, before) = (self.began + time, self.delivered);
        self.queues.clear();
        while let Some(Reverse((now, number, event))) = self.events.pop() {
            if now > end {
                self.events.push(Reverse((now, number, event)));
                break;
            }
            match event {
                Event::Acknowledged(packet) => self.acknowledge(now, packet),
                Event::MaySend => self.is_waiting = false,
            }
            self.send(now);
            if self.events.is_empty() {
                // The last packets were lost, and nothing tells of it but time.
                self.lose(u64::MAX);
                self.wait_until(now + 8 * self.link.delay);
            }
        }
        self.began = end;
        (self.delivered - before) as f64 / (self.link.rate * time.as_secs_f64())
    }

    fn model_in_flight(&self) -> u64 {
        self.under_way.len() as u64 * PACKET
    }

    fn acknowledge(&mut self, now: Instant, packet: u64) {
        let Some(sent) = self.under_way.remove(&packet) else { return };
        self.delivered += PACKET;
        self.model.acked(sent, PACKET);
        self.model.end_acks(now, self.model_in_flight(), false);
        self.lose(packet.saturating_sub(2));
    }

    /// Three later packets have arrived.
    fn lose(&mut self, before: u64) {
        while let Some(entry) = self.under_way.first_entry().filter(|entry| *entry.key() < before) {
            entry.remove();
            self.model.lost(PACKET);
        }
    }

    fn send(&mut self, now: Instant) {
        while self.model_in_flight() + PACKET <= self.model.window() {
            if self.paced > now {
                return self.wait_until(self.paced);
            }
            let rate = self.model.pacing_rate().unwrap_or(u64::MAX) as f64;
            self.paced = self.paced.max(now - BURST) + Duration::from_secs_f64(PACKET as f64 / rate);
            self.model.sent(now, PACKET);
            self.under_way.insert(self.next, now);
            self.pass(now, self.next);
            self.next += 1;
        }
    }

    fn pass(&mut self, now: Instant, packet: u64) {
        let queue = self.free.saturating_duration_since(now);
        self.queues.push(queue);
        if queue > self.link.queue || self.random.f64() < self.link.loss {
            return;
        }
        self.free = self.free.max(now) + Duration::from_secs_f64(PACKET as f64 / self.link.rate);
        self.events.push(Reverse((self.free + 2 * self.link.delay, packet, Event::Acknowledged(packet))));
    }

    fn wait_until(&mut self, time: Instant) {
        if !self.is_waiting {
            self.is_waiting = true;
            self.events.push(Reverse((time, self.next, Event::MaySend)));
        }
    }

    fn median_queue(&mut self) -> Duration {
        self.queues.sort_unstable();
        self.queues[self.queues.len() / 2]
    }
}

fn links(loss: &[f64]) -> Vec<Link> {
    let mut links = Vec::new();
    for delay in [5, 50, 100] {
        for loss in loss {
            for megabits in [20.0, 100.0] {
                for queue in [10, 100] {
                    links.push(Link {
                        delay: Duration::from_millis(delay),
                        loss: loss / 100.0,
                        rate: megabits * 1e6 / 8.0,
                        queue: Duration::from_millis(queue),
                    });
                }
            }
        }
    }
    links
}

#[test]
fn a_link_is_filled_whether_it_loses_packets_or_not_and_no_queue_stays() {
    for link in links(&[0.0, 1.0, 3.0]) {
        let mut simulation = Simulation::new(link, 7);
        simulation.run(Duration::from_secs(4));
        let share = simulation.run(Duration::from_secs(8));
        assert!(share > 0.9 - link.loss, "{share} of {link:?}");
        let queue = simulation.median_queue();
        assert!(queue < link.delay / 5 + Duration::from_millis(2), "{queue:?} on {link:?}");
    }
}

#[test]
fn a_link_that_becomes_faster_or_slower_is_filled_again() {
    for (before, after) in [(20.0, 200.0), (200.0, 20.0)] {
        let mut link = links(&[1.0])[0];
        link.delay = Duration::from_millis(20);
        link.rate = before * 1e6 / 8.0;
        let mut simulation = Simulation::new(link, 7);
        simulation.run(Duration::from_secs(5));
        simulation.link.rate = after * 1e6 / 8.0;
        simulation.run(Duration::from_secs(10));
        let share = simulation.run(Duration::from_secs(5));
        assert!(share > 0.9, "{share} of the link after {before} -> {after} Mbit/s");
    }
}

#[test]
fn a_link_that_was_cut_is_used_again() {
    let mut simulation = Simulation::new(links(&[0.1])[0], 7);
    simulation.run(Duration::from_secs(5));
    let loss = std::mem::replace(&mut simulation.link.loss, 1.0);
    assert!(simulation.run(Duration::from_secs(5)) < 0.01);
    simulation.model.start_small();
    simulation.link.loss = loss;
    simulation.run(Duration::from_secs(2));
    assert!(simulation.run(Duration::from_secs(5)) > 0.9);
}
