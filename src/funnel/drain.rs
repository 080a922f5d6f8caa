//! The end of a funnel: no new calls, time for the calls under way, then the links and the endpoint.

use std::time::Duration;

use tokio::{task::spawn_blocking, time::timeout};
use tracing::{info, warn};

use super::{Inner, Serving, endpoint::close_endpoint};
use crate::transport::{Code, IrohIncoming};

/// The wait for the answers to calls that were cut.
const LAST_ANSWERS_TIMEOUT: Duration = Duration::from_millis(300);

impl Inner {
    pub(super) async fn drain(&self, mut serving: Serving) {
        self.stop.cancel();
        // Kept until the links are closed: dropped, it would close them without a reason.
        let mut incoming = Vec::new();
        match timeout(self.drain_timeout, finish(&mut serving, &mut incoming)).await {
            Ok(()) => info!("drained: no call was cut"),
            Err(_) => warn!(timeout = ?self.drain_timeout, "calls were cut: they took longer than the drain timeout"),
        }
        self.close_links();
        // The callers that were cut get their answers.
        let _ = timeout(LAST_ANSWERS_TIMEOUT, finish(&mut serving, &mut incoming)).await;
        serving.shutdown().await;
        close_endpoint(&self.endpoint).await;
        self.end_audit().await;
    }

    pub(super) async fn end_audit(&self) {
        let audit = self.audit.clone();
        // It cannot fail but with the runtime.
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
