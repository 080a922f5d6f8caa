//! What a link is asked to be.

#[cfg(target_os = "linux")]
use std::io;
use std::{fmt, time::Duration};

/// What a link does to packets, the same in both directions. The default is a perfect link.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// How long a packet takes one way, besides waiting in the queue.
    pub delay: Duration,
    /// Percent of packets lost at random each way, before they reach the queue.
    pub loss: f64,
    /// Mbit/s of IP packets each way; 0 is unlimited.
    pub rate: f64,
    /// How long a packet may wait for its turn at `rate`; what would wait longer is dropped. Without a rate: nothing.
    pub queue: Duration,
}

impl Conditions {
    /// What a packet takes there and back while nothing waits.
    pub fn round_trip(&self) -> Duration {
        2 * self.delay
    }

    /// How long the line takes to send `bytes`.
    #[cfg(target_os = "linux")]
    pub(crate) fn sending(&self, bytes: usize) -> Duration {
        if self.rate > 0.0 { Duration::from_secs_f64(bytes as f64 * 8.0 / (self.rate * 1e6)) } else { Duration::ZERO }
    }

    /// Refuses what no link can be.
    #[cfg(target_os = "linux")]
    pub(crate) fn check(&self) -> io::Result<()> {
        let refuse = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no link has {what}")));
        if !(0.0..=100.0).contains(&self.loss) {
            return refuse(format!("a loss of {} %: ask for 0 to 100", self.loss));
        }
        if !(self.rate == 0.0 || (0.01..=1e6).contains(&self.rate)) {
            return refuse(format!("a rate of {} Mbit/s: ask for 0.01 or more, or 0 for unlimited", self.rate));
        }
        Ok(())
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(f, "round trip {:.1} ms, loss {} %, ", ms(self.round_trip()), self.loss)?;
        if self.rate == 0.0 {
            return write!(f, "rate unlimited");
        }
        write!(f, "rate {} Mbit/s, queue {:.1} ms", self.rate, ms(self.queue))
    }
}
