//! Warnings that come seldom, however often there is a reason.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Between two: whoever asks again and again fills no disk.
const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Lets `tell` tell, unless something was told a short while ago.
    pub(crate) fn tell(&self, tell: impl FnOnce()) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= INTERVAL) {
            *told = Some(Instant::now());
            tell();
        }
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
        *seldom.0.lock().unwrap() = Some(Instant::now() - INTERVAL);
        seldom.tell(|| heard += 1);
        assert_eq!(heard, 2);
    }
}
