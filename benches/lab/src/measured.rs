//! What a link turned out to be, and whether that is what was asked for.

use std::{error, fmt, time::Duration};

use crate::Conditions;

/// The chance below which a count of lost probes cannot be by chance.
const IMPLAUSIBLE: f64 = 1e-6;
/// How far off a measured time or rate may be, as a share of what was asked.
const TOLERANCE: f64 = 0.1;
/// How far off a measured time may be however short the time asked for.
const TOLERANCE_TIME: Duration = Duration::from_millis(2);

/// What probes saw of a link.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// The median time there plus the median time back, while nothing waits.
    pub round_trip: Duration,
    /// From the left host to the right one.
    pub rightward: MeasuredWay,
    /// From the right host to the left one.
    pub leftward: MeasuredWay,
}

/// What probes saw of one direction.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredWay {
    /// Probes sent to count the loss.
    pub probes: u64,
    /// How many of them did not arrive.
    pub lost: u64,
    /// Mbit/s of IP packets that arrived while more than that was sent; none for a link of unlimited rate.
    pub rate: Option<f64>,
    /// How long packets waited while the queue was full; none for a link of unlimited rate.
    pub queue: Option<Duration>,
}

/// What the emulator did in one direction since the link was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that the sending host gave to the link.
    pub taken: u64,
    /// Dropped at random.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub tail: u64,
    /// Dropped because the link was cut, or the receiving host's device down.
    pub cut: u64,
    /// Dropped because the emulator had no room, which spoils what is measured meanwhile.
    pub overflow: u64,
    /// Packets that the receiving host was given.
    pub delivered: u64,
    /// How many of those it was given more than 1 ms late: the machine was too busy, or stood still.
    pub late: u64,
}

impl Counts {
    /// All that was dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.lost + self.tail + self.cut + self.overflow
    }
}

/// A link that is not what was asked for.
#[derive(Debug)]
pub struct Mismatch(String);

impl MeasuredWay {
    /// Percent of the probes that did not arrive.
    pub fn loss(&self) -> f64 {
        self.lost as f64 * 100.0 / self.probes as f64
    }
}

impl Measured {
    /// Compares with what was asked.
    ///
    /// # Errors
    /// What is off: the round trip or the queue by more than 10 % and 2 ms, the rate by more than 10 %, the loss by more
    /// than chance does once in a million times.
    pub fn check(&self, asked: &Conditions) -> Result<(), Mismatch> {
        let mut off = Vec::new();
        if !close(self.round_trip, asked.round_trip(), Duration::ZERO) {
            off.push("round trip");
        }
        let ways = [&self.rightward, &self.leftward];
        if ways.iter().any(|way| !plausible(way.probes, asked.loss / 100.0, way.lost)) {
            off.push("loss");
        }
        if asked.rate > 0.0 {
            let off_by = |rate: f64| (rate / asked.rate - 1.0).abs();
            if ways.iter().any(|way| way.rate.is_none_or(|rate| off_by(rate) > TOLERANCE)) {
                off.push("rate");
            }
            let packet = Duration::from_secs_f64(1500.0 * 8.0 / (asked.rate * 1e6));
            if ways.iter().any(|way| way.queue.is_none_or(|queue| !close(queue, asked.queue, packet))) {
                off.push("queue");
            }
        }
        if off.is_empty() { Ok(()) } else { Err(Mismatch::off(asked, self, &off)) }
    }
}

impl Mismatch {
    fn off(asked: &Conditions, measured: &Measured, off: &[&str]) -> Self {
        Self(format!("the link is not what was asked for ({}): asked {asked}; measured {measured}", off.join(", ")))
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn unmeasured(asked: &Conditions, error: &std::io::Error) -> Self {
        Self(format!("the link cannot be measured: asked {asked}; {error}"))
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn with_late(self, late: u64) -> Self {
        if late == 0 {
            return self;
        }
        Self(format!("{}; {late} packets were more than 1 ms late: the machine is too busy for this link", self.0))
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (right, left) = (&self.rightward, &self.leftward);
        write!(f, "round trip {:.1} ms, ", self.round_trip.as_secs_f64() * 1e3)?;
        write!(f, "loss {:.3} and {:.3} % of {} probes", right.loss(), left.loss(), right.probes)?;
        if let (Some(right), Some(left)) = (right.rate, left.rate) {
            write!(f, ", rate {right:.2} and {left:.2} Mbit/s")?;
        }
        if let (Some(right), Some(left)) = (right.queue, left.queue) {
            write!(f, ", queue {:.1} and {:.1} ms", right.as_secs_f64() * 1e3, left.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl error::Error for Mismatch {}

fn close(measured: Duration, asked: Duration, besides: Duration) -> bool {
    measured.abs_diff(asked) <= asked.mul_f64(TOLERANCE).max(TOLERANCE_TIME) + besides
}

/// Whether `lost` of `probes` can be by chance, if each is lost with the chance `p`: the tail of the binomial distribution
/// on the side of `lost`.
fn plausible(probes: u64, p: f64, lost: u64) -> bool {
    if p <= 0.0 || p >= 1.0 {
        return lost as f64 == probes as f64 * p.clamp(0.0, 1.0);
    }
    let below = (lost as f64) < probes as f64 * p;
    let mut log_chance = probes as f64 * (1.0 - p).ln();
    let (mut tail, mut count) = (0.0, 0);
    loop {
        if if below { count <= lost } else { count >= lost } {
            tail += log_chance.exp();
        }
        if count == probes || (below && count == lost) {
            return tail >= IMPLAUSIBLE;
        }
        log_chance += ((probes - count) as f64 / (count + 1) as f64 * p / (1.0 - p)).ln();
        count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Conditions =
        Conditions { delay: Duration::from_millis(50), loss: 0.1, rate: 100.0, queue: Duration::from_millis(50) };

    fn as_asked() -> Measured {
        let way =
            MeasuredWay { probes: 16_000, lost: 16, rate: Some(99.9), queue: Some(Duration::from_micros(50_100)) };
        Measured { round_trip: Duration::from_micros(100_200), rightward: way, leftward: way }
    }

    #[test]
    fn a_link_that_is_as_asked_passes() {
        as_asked().check(&ASKED).unwrap();
    }

    #[test]
    fn whatever_is_off_is_named() {
        let off = |change: fn(&mut Measured)| {
            let mut measured = as_asked();
            change(&mut measured);
            measured.check(&ASKED).unwrap_err().to_string()
        };
        assert!(off(|link| link.round_trip = Duration::from_millis(111)).contains("asked for (round trip)"));
        assert!(off(|link| link.leftward.lost = 0).contains("asked for (loss)"));
        assert!(off(|link| link.rightward.lost = 60).contains("asked for (loss)"));
        assert!(off(|link| link.rightward.rate = Some(89.0)).contains("asked for (rate)"));
        assert!(off(|link| link.leftward.rate = None).contains("asked for (rate)"));
        assert!(off(|link| link.leftward.queue = Some(Duration::from_millis(40))).contains("asked for (queue)"));
    }

    #[test]
    fn no_loss_means_none() {
        assert!(plausible(16_000, 0.0, 0));
        assert!(!plausible(16_000, 0.0, 1));
    }

    /// The tails for 1,000 probes and 3 %: P(X <= 7) = 4.0e-7, P(X <= 8) = 1.6e-6; P(X >= 59) = 1.2e-6, P(X >= 60) = 5.8e-7.
    #[test]
    fn loss_is_judged_by_the_tails_of_the_binomial_distribution() {
        assert!((0..=1000).filter(|lost| plausible(1000, 0.03, *lost)).eq(8..=59));
    }
}
