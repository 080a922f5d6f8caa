//! What the rest of a funnel has of its roster's watcher.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::super::{FileThread, RosterHealth};

/// The shortest interval between two looks that strangers cause.
const REFRESH_INTERVAL: Duration = Duration::from_millis(250);

/// Makes a watcher look at the files at once, tells whether they can be followed, and has the thread for changes of them.
/// Clones share the watcher.
#[derive(Clone, Debug)]
pub(crate) struct WatchHandle {
    requested: watch::Sender<u64>,
    done: watch::Sender<u64>,
    health: watch::Sender<RosterHealth>,
    /// When the last look on behalf of strangers was made, or the next one will be.
    refresh: Arc<Mutex<Option<Instant>>>,
    /// For changes of the files, which wait for their lock.
    changes: Arc<FileThread>,
}

impl Default for WatchHandle {
    fn default() -> Self {
        Self {
            requested: watch::Sender::default(),
            done: watch::Sender::default(),
            health: watch::Sender::default(),
            refresh: Arc::default(),
            changes: Arc::new(FileThread::new("roster-change")),
        }
    }
}

impl WatchHandle {
    /// Waits until the files' content as of this call, or a newer one, is in force, or is known not to be usable. Waits as
    /// long as a look takes: set a deadline.
    pub(crate) async fn reload(&self) {
        let mut number = 0;
        self.requested.send_modify(|requested| {
            *requested += 1;
            number = *requested;
        });
        // It cannot fail: self holds the sender.
        let _ = self.done.subscribe().wait_for(|done| *done >= number).await;
    }

    /// Does the same on behalf of a stranger: those who come within a quarter of a second share a look.
    pub(crate) async fn refresh(&self) {
        let at = self.next_refresh(Instant::now());
        sleep_until(at).await;
        self.reload().await;
    }

    fn next_refresh(&self, now: Instant) -> Instant {
        let mut next = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        match *next {
            Some(planned) if planned > now => planned,
            last => *next.insert(last.map_or(now, |last| now.max(last + REFRESH_INTERVAL))),
        }
    }

    /// Returns whether the roster can be followed.
    pub(crate) fn health(&self) -> RosterHealth {
        self.health.borrow().clone()
    }

    /// Returns the thread for changes of the files.
    pub(crate) fn changes(&self) -> &FileThread {
        &self.changes
    }

    pub(super) fn set_problem(&self, problem: Option<String>) {
        self.health.send_if_modified(|health| health.set(problem));
    }

    pub(super) fn requests(&self) -> watch::Receiver<u64> {
        self.requested.subscribe()
    }

    pub(super) fn is_undone(&self, number: u64) -> bool {
        number > *self.done.borrow()
    }

    pub(super) fn set_done(&self, number: u64) {
        self.done.send_replace(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn strangers_cause_four_looks_a_second_however_many_they_are() {
        let (handle, start) = (WatchHandle::default(), Instant::now());
        let mut looks: Vec<_> =
            (0..1000).map(|number| handle.next_refresh(start + Duration::from_millis(number))).collect();
        assert_eq!(looks[0], start, "the first one does not wait");
        looks.dedup();
        assert!(looks.len() <= 5, "{}", looks.len());
        assert!(looks.windows(2).all(|pair| pair[1] - pair[0] >= REFRESH_INTERVAL));
    }
}
