//! Reads again what may change while a funnel runs.

use std::time::Duration;

use tokio::time::timeout;

use super::Funnel;
use crate::{admission::Admission, error::Error};

/// The wait until a roster is in force. It takes as long as its disk, which may hang.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(5);

impl Funnel {
    /// Reads the roster again, while the funnel [serves](Self::serve), and opens the audit log again, which another program may
    /// have renamed.
    ///
    /// # Errors
    /// If the roster cannot be used; the last valid one stays in force. The audit log is opened all the same.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop it.
    pub async fn reload(&self) -> Result<(), Error> {
        self.inner.audit.reopen();
        match self.inner.inbound {
            Some(_) => reload_roster(&self.inner.admission).await.map_err(Error::reload),
            None => Ok(()),
        }
    }
}

/// Waits until the roster's present content is in force.
///
/// # Errors
/// Why it is not.
pub(super) async fn reload_roster(admission: &Admission) -> Result<(), String> {
    timeout(RELOAD_TIMEOUT, admission.reload_roster()).await.unwrap_or_else(|_| {
        let seconds = RELOAD_TIMEOUT.as_secs();
        Err(format!("the funnel could not read the roster within {seconds} s"))
    })
}
