//! Which links are emulated.

mod matrix;

use std::{fmt, str::FromStr, time::Duration};

/// What `--links` may say.
#[derive(Clone, Debug)]
pub(crate) enum Links {
    /// This machine alone.
    Loopback,
    /// The links of the table.
    All,
    /// A selection of round trips, losses, rates and queues.
    Matrix,
    /// One link.
    One(Conditions),
}

/// A link from end to end, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Conditions {
    /// One way.
    pub(crate) delay_ms: u64,
    /// Of packets, at random.
    pub(crate) loss_percent: f64,
    /// Of IP packets.
    pub(crate) rate_mbit_s: f64,
    /// How long a packet may wait at the bottleneck.
    pub(crate) queue_ms: u64,
}

/// From a city to another continent, and from a clean line to a bad radio link.
const TABLE: [Conditions; 8] = [
    Conditions::new(10, 0.0, 100.0),
    Conditions::new(10, 0.1, 100.0),
    Conditions::new(50, 0.0, 200.0),
    Conditions::new(50, 0.1, 200.0),
    Conditions::new(50, 1.0, 200.0),
    Conditions::new(100, 0.0, 50.0),
    Conditions::new(100, 0.5, 50.0),
    Conditions::new(25, 3.0, 50.0),
];
/// The queue of a link for which none was asked.
const QUEUE_MS: u64 = 100;

impl Conditions {
    const fn new(delay_ms: u64, loss_percent: f64, rate_mbit_s: f64) -> Self {
        Self { delay_ms, loss_percent, rate_mbit_s, queue_ms: QUEUE_MS }
    }

    /// The most that IP packets can carry.
    pub(crate) fn limit_mib_s(self) -> f64 {
        self.rate_mbit_s * 1e6 / 8.0 / crate::metric::MIB
    }
}

impl Links {
    /// The emulated links it stands for.
    pub(crate) fn conditions(&self) -> Vec<Conditions> {
        match self {
            Self::Loopback => Vec::new(),
            Self::All => TABLE.to_vec(),
            Self::Matrix => matrix::links(),
            Self::One(conditions) => vec![*conditions],
        }
    }
}

impl FromStr for Links {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "loopback" => Ok(Self::Loopback),
            "all" => Ok(Self::All),
            "matrix" => Ok(Self::Matrix),
            link => Ok(Self::One(link.parse()?)),
        }
    }
}

impl FromStr for Conditions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split('/').collect();
        let (delay, loss, rate, queue) = match parts[..] {
            [delay, loss, rate] => (delay, loss, rate, None),
            [delay, loss, rate, queue] => (delay, loss, rate, Some(queue)),
            _ => return Err("write loopback, all, matrix, or DELAY/LOSS/RATE/QUEUE, such as 50/0.1/200/20".to_owned()),
        };
        let number = |text: &str| text.parse::<f64>().map_err(|error| format!("{text}: {error}"));
        let time = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        Ok(Self {
            delay_ms: time(delay)?,
            loss_percent: number(loss)?,
            rate_mbit_s: number(rate)?,
            queue_ms: queue.map_or(Ok(QUEUE_MS), time)?,
        })
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.delay_ms, self.loss_percent, self.rate_mbit_s)?;
        if self.queue_ms == QUEUE_MS { Ok(()) } else { write!(f, "/{}", self.queue_ms) }
    }
}

impl From<Conditions> for lab::Conditions {
    fn from(link: Conditions) -> Self {
        Self {
            delay: Duration::from_millis(link.delay_ms),
            loss: link.loss_percent,
            rate: link.rate_mbit_s,
            queue: Duration::from_millis(link.queue_ms),
        }
    }
}
