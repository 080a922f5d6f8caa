//! Terminates HTTP: the local port, which takes gRPC and Flower's HTTP API at once, and the sessions that come through
//! the tunnel.

mod descriptor_reserve;
mod local;
mod sessions;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper_util::server::graceful::GracefulShutdown;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    local::{LocalProtocol, serve_local},
    sessions::serve_sessions,
};

/// The wait for the first whole request of a connection or session, which comes at once or never.
const FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a connection or session has carried a call. Clones share one answer.
#[derive(Clone, Debug, Default)]
struct FirstCall(Arc<AtomicBool>);

impl FirstCall {
    fn record(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Completes if there was no call in time: the connection was opened, perhaps with half a preface, and carries
    /// nothing. Otherwise never completes.
    async fn missed(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(FIRST_CALL_TIMEOUT) => {}
        }
        if self.0.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }
}

/// Sends GOAWAY and waits for the calls under way.
async fn finish(graceful: GracefulShutdown, mut connections: JoinSet<()>) {
    graceful.shutdown().await;
    while connections.join_next().await.is_some() {}
}
