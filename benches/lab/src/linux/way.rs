//! One direction of a link: which packets it drops, and when it hands on the others.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use fastrand::Rng;
use nix::libc;

use crate::{Conditions, Counts};

/// The largest packet that the hosts send.
pub(super) const MTU: usize = 1500;
/// How many packets a turn takes in or lets out, so that the other direction is not kept waiting.
const TURN: usize = 64;
/// More than the emulator needs, and less than a program notices.
const LATE: Duration = Duration::from_millis(1);
/// How many packets are kept at most: 98 MB, or 1.5 s of full ones at 500 Mbit/s.
const ROOM: usize = 65_536;

/// One direction: a line that loses packets, sends at a rate, and takes a time.
#[derive(Debug)]
pub(super) struct Way {
    conditions: Conditions,
    cut: bool,
    random: Rng,
    /// When the line will have sent all that it accepted.
    idle_at: Instant,
    waiting: VecDeque<Packet>,
    slots: Slots,
    counts: Counts,
}

#[derive(Debug)]
struct Packet {
    due: Instant,
    slot: usize,
    len: usize,
}

/// Room for packets. What was freed last is used next, so that a short queue stays in the processor's cache.
#[derive(Debug, Default)]
struct Slots {
    bytes: Vec<[u8; MTU]>,
    free: Vec<usize>,
}

impl Way {
    pub(super) fn new(conditions: Conditions, seed: u64) -> Self {
        let random = Rng::with_seed(seed);
        let (waiting, slots) = (VecDeque::new(), Slots::default());
        Self { conditions, cut: false, random, idle_at: Instant::now(), waiting, slots, counts: Counts::default() }
    }

    /// Changes the conditions for packets to come. Those under way keep their time, and none overtakes them.
    pub(super) fn set(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Drops what is under way and all that comes, until restored.
    pub(super) fn cut(&mut self) {
        self.cut = true;
        self.counts.cut += self.waiting.len() as u64;
        self.slots.free.extend(self.waiting.drain(..).map(|packet| packet.slot));
        self.idle_at = Instant::now();
    }

    pub(super) fn restore(&mut self) {
        self.cut = false;
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// When the first packet under way is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.front().map(|packet| packet.due)
    }

    /// Takes in what the sending host has for the link. Whether there was any.
    pub(super) fn take_in(&mut self, mut host: &File) -> io::Result<bool> {
        for turn in 0..TURN {
            let slot = self.slots.take();
            match host.read(&mut self.slots.bytes[slot]) {
                Ok(len) => self.offer(Instant::now(), slot, len),
                Err(error) => {
                    self.slots.free.push(slot);
                    return if error.kind() == io::ErrorKind::WouldBlock { Ok(turn > 0) } else { Err(error) };
                }
            }
        }
        Ok(true)
    }

    /// Hands the receiving host what is due. Whether there was any.
    pub(super) fn let_out(&mut self, mut host: &File) -> io::Result<bool> {
        let now = Instant::now();
        for turn in 0..TURN {
            if self.next_due().is_none_or(|due| due > now) {
                return Ok(turn > 0);
            }
            let packet = self.waiting.pop_front().expect("one is due");
            self.slots.free.push(packet.slot);
            match host.write(&self.slots.bytes[packet.slot][..packet.len]) {
                Ok(_) => {
                    self.counts.delivered += 1;
                    self.counts.late += u64::from(now - packet.due > LATE);
                }
                // The device is down.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => self.counts.cut += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Accepts a packet that came at `now`, or drops it.
    fn offer(&mut self, now: Instant, slot: usize, len: usize) {
        self.counts.taken += 1;
        match self.due(now, len) {
            Ok(due) => {
                // In order, though the delay became shorter.
                let due = self.waiting.back().map_or(due, |last| due.max(last.due));
                self.waiting.push_back(Packet { due, slot, len });
            }
            Err(reason) => {
                *reason += 1;
                self.slots.free.push(slot);
            }
        }
    }

    /// When a packet that came at `now` is due, or the count of the reason to drop it.
    fn due(&mut self, now: Instant, len: usize) -> Result<Instant, &mut u64> {
        if self.cut {
            return Err(&mut self.counts.cut);
        }
        if self.random.f64() * 100.0 < self.conditions.loss {
            return Err(&mut self.counts.lost);
        }
        let starts = self.idle_at.max(now);
        if self.conditions.rate > 0.0 && starts - now > self.conditions.queue {
            return Err(&mut self.counts.tail);
        }
        if self.waiting.len() >= ROOM {
            return Err(&mut self.counts.overflow);
        }
        self.idle_at = starts + self.conditions.sending(len);
        Ok(self.idle_at + self.conditions.delay)
    }
}

impl Slots {
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.bytes.push([0; MTU]);
            self.bytes.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    /// What the line sends in 1 ms.
    const LEN: usize = 1250;
    const ASKED: Conditions =
        Conditions { delay: Duration::from_millis(7), loss: 0.0, rate: 10.0, queue: Duration::from_millis(50) };

    fn offer(way: &mut Way, now: Instant, packets: usize) {
        for _ in 0..packets {
            let slot = way.slots.take();
            way.offer(now, slot, LEN);
        }
    }

    fn due(way: &Way, start: Instant) -> Vec<Duration> {
        way.waiting.iter().map(|packet| packet.due - start).collect()
    }

    #[test]
    fn a_queue_holds_what_the_line_sends_in_its_time_and_drops_the_rest() {
        let mut way = Way::new(ASKED, 1);
        let start = Instant::now();
        offer(&mut way, start, 60);
        // One is being sent and fifty wait, the last of them for 50 ms.
        assert_eq!((way.counts.taken, way.counts.tail), (60, 9));
        assert!(due(&way, start).into_iter().eq((1..=51).map(|sent| sent * MILLISECOND + ASKED.delay)));
        offer(&mut way, start + 2 * MILLISECOND, 3);
        assert_eq!((way.counts.taken, way.counts.tail), (63, 10));
        assert!(due(&way, start).into_iter().eq((1..=53).map(|sent| sent * MILLISECOND + ASKED.delay)));
    }

    #[test]
    fn an_idle_line_saves_nothing_up() {
        let mut way = Way::new(ASKED, 1);
        let start = Instant::now() + 100 * MILLISECOND;
        offer(&mut way, start, 2);
        assert_eq!(due(&way, start), [8 * MILLISECOND, 9 * MILLISECOND]);
    }

    #[test]
    fn packets_stay_in_order_when_the_delay_becomes_shorter() {
        let mut way = Way::new(ASKED, 1);
        let start = Instant::now();
        offer(&mut way, start, 1);
        way.set(Conditions { delay: Duration::ZERO, ..ASKED });
        offer(&mut way, start, 10);
        let expected = [8, 8, 8, 8, 8, 8, 8, 8, 9, 10, 11];
        assert!(due(&way, start).into_iter().eq(expected.map(|sent| sent * MILLISECOND)));
    }

    /// 100,000 packets at 1 % and a given seed: always the same, and within 3 standard deviations of 1,000.
    #[test]
    fn packets_are_lost_at_random() {
        let mut way = Way::new(Conditions { loss: 1.0, ..Conditions::default() }, 1);
        for _ in 0..100 {
            offer(&mut way, Instant::now(), 1000);
            way.waiting.drain(..).for_each(|packet| way.slots.free.push(packet.slot));
        }
        assert!((906..=1094).contains(&way.counts.lost), "{}", way.counts.lost);
        assert!(way.slots.bytes.len() <= 1000, "slots are used again");
    }

    #[test]
    fn a_full_emulator_says_so() {
        let mut way = Way::new(Conditions::default(), 1);
        offer(&mut way, Instant::now(), ROOM + 5);
        assert_eq!(way.counts.overflow, 5);
    }
}
