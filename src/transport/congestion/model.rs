//! A model of a path: its delivery rate, and its round-trip time without queues.
//!
//! This is the idea of BBR: the highest delivery rate of the last rounds, times the shortest round trip, is what the path
//! holds; twice as much may be in flight, sent at that rate. From time to time a little more is sent, to find out whether
//! the path has become faster, and then a little less, so that no queue remains. A lost packet changes nothing. If the path
//! drops what exceeds its capacity, that shows in the delivery rate, and only the rate counts.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Packets in the first round trip (TCP: 10), so that a long path is filled three round trips earlier.
const INITIAL_PACKETS: u64 = 32;
/// Packets that may be sent in each round trip, whatever was measured: a sender with little data measures little.
const BURST_PACKETS: u64 = 10;
/// The smallest window, in packets.
const MIN_PACKETS: u64 = 4;

/// The gain that doubles what is in flight in each round trip: 4 ln 2.
const STARTUP_GAIN: f64 = 2.77;
/// The window relative to what the path holds: acknowledgements arrive late and in batches.
const WINDOW_GAIN: f64 = 2.0;
const UP_GAIN: f64 = 1.25;
const DOWN_GAIN: f64 = 0.75;

/// Rounds that a rate is remembered: a little more than from one upward probe to the next.
const RATE_ROUNDS: u64 = 10;
/// How long the shortest round trip stays valid.
const ROUND_TRIP_LIFE: Duration = Duration::from_secs(10);
/// How long little is in flight in order to measure the round trip again.
const ROUND_TRIP_PROBE: Duration = Duration::from_millis(200);

/// The growth of the rate in a round which shows that the path is not full.
const GROWTH: f64 = 1.25;
/// Rounds without such growth after which the path counts as full.
const FULL_ROUNDS: u32 = 3;
/// The share of packets lost in a startup round which shows a full queue: more than a bad link loses by itself.
const OVERFLOW: f64 = 0.08;
/// The delay which shows a queue rather than a late thread, where a quarter of the round trip is less.
const QUEUE: Duration = Duration::from_millis(8);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Doubles the rate with each round trip.
    Startup,
    /// Waits until the queue of startup is gone.
    Drain,
    Up {
        until: Instant,
    },
    Down {
        until: Instant,
    },
    Cruise {
        until: Instant,
    },
    /// `until` is known once little is in flight.
    ProbeRoundTrip {
        until: Option<Instant>,
    },
}

/// The state of delivery at one acknowledgement.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    delivered: u64,
    /// When the newest packet delivered by then was sent.
    sent: Instant,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    mtu: u64,
    window: u64,
    phase: Phase,
    /// Bytes acknowledged so far.
    delivered: u64,
    in_flight: u64,
    /// From the mark that was current when the next packet to be acknowledged was sent, to the newest.
    marks: VecDeque<Mark>,
    /// When the newest packet of the acknowledgement being processed was sent.
    newest_sent: Option<Instant>,
    /// Packets sent before this much was delivered come from a sender that had no more to send.
    limited_until: u64,
    round: Round,
    /// Decreasing rates, in bytes per second, with their rounds.
    rates: VecDeque<(u64, f64)>,
    round_trip: Option<Duration>,
    round_trip_at: Instant,
    full: Full,
}

/// From the sending of a packet to its acknowledgement.
#[derive(Clone, Debug, Default)]
struct Round {
    count: u64,
    /// Packets sent after this much was delivered belong to the next round.
    end: u64,
    lost: u64,
    acked: u64,
    shortest: Option<Duration>,
}

/// Whether the path is full.
#[derive(Clone, Debug, Default)]
struct Full {
    rate: f64,
    rounds: u32,
}

impl Model {
    pub(super) fn new(now: Instant, mtu: u16) -> Self {
        Self {
            mtu: mtu.into(),
            window: INITIAL_PACKETS * u64::from(mtu),
            phase: Phase::Startup,
            delivered: 0,
            in_flight: 0,
            marks: VecDeque::new(),
            newest_sent: None,
            limited_until: 0,
            round: Round::default(),
            rates: VecDeque::new(),
            round_trip: None,
            round_trip_at: now,
            full: Full::default(),
        }
    }

    pub(super) fn sent(&mut self, now: Instant, bytes: u64) {
        if self.in_flight == 0 {
            // Time without anything in flight says nothing about the path.
            self.marks.clear();
            self.marks.push_back(Mark { at: now, delivered: self.delivered, sent: now });
        }
        self.in_flight += bytes;
    }

    /// Records one packet of an acknowledgement.
    pub(super) fn acked(&mut self, sent: Instant, bytes: u64) {
        self.delivered += bytes;
        self.round.acked += bytes;
        self.newest_sent = self.newest_sent.max(Some(sent));
    }

    pub(super) fn lost(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.round.lost += bytes;
    }

    /// Updates the model after all packets of an acknowledgement.
    pub(super) fn end_acks(&mut self, now: Instant, in_flight: u64, limited: bool) {
        let Some(sent) = self.newest_sent.take() else { return };
        self.in_flight = in_flight;
        self.note_round_trip(now, now - sent);
        let sample = self.sample(now, sent);
        if limited {
            self.limited_until = self.delivered + in_flight.max(1);
        }
        if let Some((rate, known)) = sample {
            let is_limited = known < self.limited_until;
            self.note_rate(rate, is_limited);
            if known >= self.round.end {
                self.end_round(is_limited);
            }
        }
        let (before, newest) = self.marks.back().map_or((0, sent), |mark| (mark.delivered, mark.sent.max(sent)));
        self.marks.push_back(Mark { at: now, delivered: self.delivered, sent: newest });
        self.enter_next_phase(now);
        self.set_window(self.delivered - before);
    }

    /// Restarts with a small window: nothing was delivered for a long time, so the path has changed.
    pub(super) fn start_small(&mut self) {
        self.window = MIN_PACKETS * self.mtu;
    }

    pub(super) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu.into();
    }

    pub(super) fn mtu(&self) -> u16 {
        self.mtu.try_into().expect("it was set from a u16")
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    pub(super) fn initial_window(&self) -> u64 {
        INITIAL_PACKETS * self.mtu
    }

    /// Returns the shortest recent round trip.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Returns the delivery rate, in bytes per second.
    pub(super) fn bandwidth(&self) -> Option<u64> {
        self.rates.front().map(|(_, rate)| *rate as u64)
    }

    /// Returns the rate to send at, in bytes per second; `None` before the first measurement.
    pub(super) fn pacing_rate(&self) -> Option<u64> {
        let (_, rate) = self.rates.front()?;
        let packets = if self.phase == Phase::Startup { INITIAL_PACKETS } else { BURST_PACKETS };
        let least = (packets * self.mtu) as f64 / self.round_trip?.as_secs_f64();
        let gain = match self.phase {
            Phase::Startup => STARTUP_GAIN,
            Phase::Drain => 1.0 / STARTUP_GAIN,
            Phase::Up { .. } => UP_GAIN,
            Phase::Down { .. } => DOWN_GAIN,
            Phase::Cruise { .. } | Phase::ProbeRoundTrip { .. } => 1.0,
        };
        Some((rate.max(least) * gain) as u64)
    }

    /// Returns the bytes that the path holds, times `gain`.
    fn holds(&self, gain: f64) -> Option<u64> {
        let (_, rate) = self.rates.front()?;
        Some((rate * self.round_trip?.as_secs_f64() * gain) as u64)
    }

    fn note_round_trip(&mut self, now: Instant, sample: Duration) {
        self.round.shortest = Some(self.round.shortest.map_or(sample, |shortest| shortest.min(sample)));
        let is_probed = matches!(self.phase, Phase::ProbeRoundTrip { .. }) && self.is_round_trip_old(now);
        if is_probed || self.round_trip.is_none_or(|shortest| sample <= shortest) {
            self.round_trip = Some(sample);
            self.round_trip_at = now;
        }
    }

    fn is_round_trip_old(&self, now: Instant) -> bool {
        now - self.round_trip_at > ROUND_TRIP_LIFE
    }

    /// Returns the rate at which the packet sent at `sent` was delivered, and the bytes delivered by the time it was sent.
    fn sample(&mut self, now: Instant, sent: Instant) -> Option<(f64, u64)> {
        while self.marks.get(1).is_some_and(|mark| mark.at <= sent) {
            self.marks.pop_front();
        }
        let mark = self.marks.front().filter(|mark| mark.at <= sent)?;
        // The slower of the rates at which it was sent and acknowledged.
        let elapsed = (now - mark.at).max(sent.saturating_duration_since(mark.sent));
        if elapsed.is_zero() || self.round_trip.is_some_and(|shortest| now - mark.at < shortest) {
            return None;
        }
        Some(((self.delivered - mark.delivered) as f64 / elapsed.as_secs_f64(), mark.delivered))
    }

    fn note_rate(&mut self, rate: f64, is_limited: bool) {
        if is_limited && self.rates.front().is_some_and(|(_, largest)| rate <= *largest) {
            return;
        }
        while self.rates.back().is_some_and(|(_, older)| *older <= rate) {
            self.rates.pop_back();
        }
        self.rates.push_back((self.round.count, rate));
        while self.rates.front().is_some_and(|(round, _)| round + RATE_ROUNDS < self.round.count) {
            self.rates.pop_front();
        }
    }

    fn end_round(&mut self, is_limited: bool) {
        let next = Round { count: self.round.count + 1, end: self.delivered, ..Round::default() };
        let ended = std::mem::replace(&mut self.round, next);
        if self.phase == Phase::Startup && !is_limited && self.is_full(&ended) {
            self.phase = Phase::Drain;
        }
    }

    fn is_full(&mut self, round: &Round) -> bool {
        let rate = self.rates.front().map_or(0.0, |(_, rate)| *rate);
        let loss = round.lost as f64 / (round.lost + round.acked).max(1) as f64;
        let queues = round.shortest.zip(self.round_trip).is_some_and(|(now, least)| now > least + QUEUE.max(least / 4));
        let has_grown = rate >= self.full.rate * GROWTH;
        self.full.rate = self.full.rate.max(rate);
        self.full.rounds = match (loss > OVERFLOW || queues, has_grown) {
            (false, true) => 0,
            (true, false) => FULL_ROUNDS,
            _ => self.full.rounds + 1,
        };
        self.full.rounds >= FULL_ROUNDS
    }

    fn enter_next_phase(&mut self, now: Instant) {
        let (Some(round_trip), Some(holds)) = (self.round_trip, self.holds(1.0)) else { return };
        let is_above = self.in_flight as f64 >= 1.2 * holds as f64;
        self.phase = match self.phase {
            Phase::ProbeRoundTrip { until: None } if self.in_flight <= self.probe_window() => {
                Phase::ProbeRoundTrip { until: Some(now + ROUND_TRIP_PROBE.max(round_trip)) }
            }
            Phase::ProbeRoundTrip { until: Some(until) } if now >= until => {
                self.round_trip_at = now;
                self.cruise(now, round_trip)
            }
            phase @ (Phase::Startup | Phase::ProbeRoundTrip { .. }) => phase,
            _ if self.is_round_trip_old(now) => Phase::ProbeRoundTrip { until: None },
            Phase::Drain if self.in_flight <= holds => self.cruise(now, round_trip),
            Phase::Up { until } if now >= until && is_above || now >= until + 2 * round_trip => {
                Phase::Down { until: now + round_trip }
            }
            Phase::Down { until } if self.in_flight <= holds || now >= until => self.cruise(now, round_trip),
            Phase::Cruise { until } if now >= until => Phase::Up { until: now + round_trip },
            phase => phase,
        };
    }

    /// Returns a cruise of four to seven round trips: flows that share a path must not probe in step.
    fn cruise(&self, now: Instant, round_trip: Duration) -> Phase {
        Phase::Cruise { until: now + round_trip * fastrand::u32(4..8) }
    }

    fn probe_window(&self) -> u64 {
        self.holds(0.5).unwrap_or(0).max(MIN_PACKETS * self.mtu)
    }

    fn set_window(&mut self, acked: u64) {
        let Some(target) = self.holds(WINDOW_GAIN) else {
            self.window += acked;
            return;
        };
        let target = target + BURST_PACKETS * self.mtu;
        let grown = self.window + acked;
        self.window = match self.phase {
            Phase::Startup => grown.min(target).max(self.window),
            Phase::ProbeRoundTrip { .. } => grown.min(self.probe_window()),
            _ => grown.min(target),
        };
        self.window = self.window.max(MIN_PACKETS * self.mtu);
    }
}
