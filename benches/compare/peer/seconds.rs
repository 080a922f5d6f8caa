//! What a receiver has counted, so that what was received in a part of the time is known.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::metric::MIB;

/// An hour, as bytes.
pub(crate) const MAX_LEN: usize = 3_600 * LEN;
const LEN: usize = size_of::<u64>();

/// Bytes that came in each second from the beginning.
#[derive(Clone, Debug)]
pub(crate) struct Seconds {
    began: Instant,
    bytes: Vec<u64>,
}

impl Seconds {
    /// Nothing, from now on.
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), bytes: Vec::new() }
    }

    /// So many bytes have come now.
    pub(crate) fn add(&mut self, bytes: usize) {
        let second = self.began.elapsed().as_secs() as usize;
        if self.bytes.len() <= second {
            self.bytes.resize(second + 1, 0);
        }
        self.bytes[second] += bytes as u64;
    }

    /// All bytes that came.
    pub(crate) fn total(&self) -> u64 {
        self.bytes.iter().sum()
    }

    /// The rate in `time` after `from`, both in whole seconds.
    pub(crate) fn mib_s(&self, from: Duration, time: Duration) -> f64 {
        let seconds = self.bytes.iter().skip(from.as_secs() as usize).take(time.as_secs() as usize);
        seconds.sum::<u64>() as f64 / MIB / time.as_secs_f64()
    }

    /// As a server answers.
    pub(super) fn to_bytes(&self) -> Bytes {
        self.bytes.iter().flat_map(|bytes| bytes.to_be_bytes()).collect()
    }

    /// What [`to_bytes`](Self::to_bytes) wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (seconds, _) = bytes.as_chunks::<LEN>();
        Self { bytes: seconds.iter().map(|second| u64::from_be_bytes(*second)).collect(), ..Self::begin() }
    }
}
