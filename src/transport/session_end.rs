//! Why the sessions of one channel ended, for the calls that HTTP/2 ends without a reason.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::SessionError;

/// Why one session ended: set by its stream when it first fails, before HTTP/2 learns of it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionEnd(Arc<OnceLock<SessionError>>);

impl SessionEnd {
    pub(super) fn set(&self, error: &SessionError) {
        self.0.get_or_init(|| error.clone());
    }

    /// Returns why it ended, `None` while it has not failed.
    pub(crate) fn get(&self) -> Option<SessionError> {
        self.0.get().cloned()
    }
}

/// The end of the latest session of one channel, which has one at a time. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct LatestSession(Arc<Mutex<SessionEnd>>);

impl LatestSession {
    /// Starts a session, which becomes the latest.
    pub(super) fn start(&self) -> SessionEnd {
        let end = SessionEnd::default();
        *self.lock() = end.clone();
        end
    }

    /// Returns the latest session now.
    pub(super) fn now(&self) -> SessionEnd {
        self.lock().clone()
    }

    /// Returns why a call that started with the session `at_start` lost it: the end of the latest session, or of that one if
    /// another has started since. If the latest ended without a record, that is the reason of an earlier loss.
    pub(super) fn end_since(&self, at_start: &SessionEnd) -> Option<SessionError> {
        self.now().get().or_else(|| at_start.get())
    }

    fn lock(&self) -> MutexGuard<'_, SessionEnd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
