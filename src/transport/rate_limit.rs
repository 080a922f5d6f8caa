//! Warnings that come seldom, however often there is a reason.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Between two, by default: whoever asks again and again fills no disk.
const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Seldom {
    interval: Duration,
    told: Mutex<Option<Instant>>,
}

impl Default for Seldom {
    fn default() -> Self {
        Self { interval: INTERVAL, told: Mutex::new(None) }
    }
}

impl Seldom {
    #[cfg_attr(not(feature = "funnel"), allow(dead_code, reason = "the transport alone has one interval"))]
    pub(crate) const fn every(interval: Duration) -> Self {
        Self { interval, told: Mutex::new(None) }
    }

    /// Lets `tell` tell, unless something was told a short while ago.
    pub(crate) fn tell(&self, tell: impl FnOnce()) {
        if self.is_due() {
            tell();
        }
    }

    /// Whether nothing was told a short while ago; whoever asks tells.
    pub(crate) fn is_due(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|at| at.elapsed() >= self.interval);
        if is_due {
            *told = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_told_again_and_again_is_heard_once() {
        let (seldom, mut heard) = (Seldom::default(), 0);
        for _ in 0..3 {
            seldom.tell(|| heard += 1);
        }
        assert_eq!(heard, 1);
        *seldom.told.lock().unwrap() = Some(Instant::now() - INTERVAL);
        seldom.tell(|| heard += 1);
        assert_eq!(heard, 2);
    }
}
