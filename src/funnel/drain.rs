//! Stops a funnel: it accepts no new calls, lets those in progress finish, then closes the links and the endpoint.

use std::time::Duration;

use tokio::{task::spawn_blocking, time::timeout};
use tracing::{info, warn};

use super::{Inner, Serving, endpoint::close_endpoint};
use crate::transport::{Code, IrohIncoming};

/// The wait until the callers of calls that were cut off have their answers.
const LAST_ANSWERS_TIMEOUT: Duration = Duration::from_millis(300);

impl Inner {
    pub(super) async fn drain(&self, mut serving: Serving) {
        self.stop.cancel();
        // Dropping it would close the links without a reason, so it is kept until they are closed.
        let mut incoming = Vec::new();
        match timeout(self.drain_timeout, finish(&mut serving, &mut incoming)).await {
            Ok(()) => info!("drained: no call was cut"),
            Err(_) => warn!(timeout = ?self.drain_timeout, "calls were cut: they took longer than the drain timeout"),
        }
        self.close_links();
        // Callers whose calls were cut off still get an answer.
        let _ = timeout(LAST_ANSWERS_TIMEOUT, finish(&mut serving, &mut incoming)).await;
        serving.shutdown().await;
        close_endpoint(&self.endpoint).await;
        self.end_audit().await;
    }

    pub(super) async fn end_audit(&self) {
        let audit = self.audit.clone();
        // It fails only if the runtime shuts down.
        let _ = spawn_blocking(move || audit.close()).await;
    }

    pub(super) fn close_links(&self) {
        for tunnel in self.tunnels().values() {
            tunnel.close();
        }
        self.admission.close_links(Code::SHUTDOWN, "the funnel is stopping");
    }
}

async fn finish(serving: &mut Serving, incoming: &mut Vec<IrohIncoming>) {
    while let Some(role) = serving.join_next().await {
        incoming.extend(role.ok().flatten());
    }
}
