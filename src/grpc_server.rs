//! Terminates HTTP: on the local port, which accepts both gRPC and Flower's HTTP API, and on the sessions that arrive
//! through the tunnel.

mod half_close;
mod lingering;
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

/// The wait for the first complete request head of a connection or session, which arrives immediately or never.
const FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a connection or session has received a call. Clones share one state.
#[derive(Clone, Debug, Default)]
struct FirstCall(Arc<AtomicBool>);

impl FirstCall {
    fn record(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Completes if no call arrived in time: the connection was opened, perhaps with half a preface, and then left idle.
    /// Otherwise never completes.
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

/// Sends GOAWAY and waits for the calls in progress.
async fn finish(graceful: GracefulShutdown, mut connections: JoinSet<()>) {
    graceful.shutdown().await;
    while connections.join_next().await.is_some() {}
}
