//! One direction of a link: which packets it drops, and when it hands on the others.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Write},
    time::Instant,
};

use fastrand::Rng;

use crate::{Conditions, Counts};

/// The largest packet that the hosts send.
pub(super) const MTU: usize = 1500;
/// How many packets a turn takes in or lets out, so that the other direction is not kept waiting.
const TURN: usize = 64;
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
            host.write_all(&self.slots.bytes[packet.slot][..packet.len])?;
            self.counts.delivered += 1;
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
