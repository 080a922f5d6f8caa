//! Reads again what may change while a relay runs.

use std::time::Duration;

use tokio::time::timeout;

use super::RelayServer;
use crate::{config::RelayToken, error::Error, report::chain};

/// The wait until a roster is in force. It takes as long as its disk, which may hang.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(5);

impl RelayServer {
    /// Reads the certificate's files and the roster again, and replaces the token if there is another one. Clients that are no
    /// longer admitted are disconnected.
    ///
    /// # Errors
    /// If a file cannot be used; what it had before stays in force. The others are read all the same.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo what was done.
    pub async fn reload(&self, token: Option<RelayToken>) -> Result<(), Error> {
        if let Some(token) = token {
            self.gate.set_token(token);
            self.gate.disconnect_denied(self.service.clients());
        }
        let certificate = match &self.certificate_files {
            Some(files) => files.reload().await.map_err(|error| Error::relay_certificate(chain(&*error))),
            None => Ok(()),
        };
        if self._following.is_none() {
            return certificate;
        }
        let read = timeout(RELOAD_TIMEOUT, self.watch.reload()).await;
        certificate?;
        let seconds = RELOAD_TIMEOUT.as_secs();
        read.map_err(|_| Error::reload(format!("it could not be read within {seconds} s")))?;
        self.watch.health().problem.map_or(Ok(()), |problem| Err(Error::reload(problem)))
    }
}
