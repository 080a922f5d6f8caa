//! Heartbeats, without which the SuperLink considers a node offline.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::Code;

use super::{fleet::Channel, retry::is_unavailable, session::Session};
use crate::proto::SendNodeHeartbeatRequest;

/// The wait for the answer to one heartbeat.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends heartbeats until the returned set is dropped.
pub(super) fn start<S: Channel>(session: &Arc<Session<S>>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(beat(Arc::downgrade(session)));
    tasks
}

async fn beat<S: Channel>(session: Weak<Session<S>>) {
    while let Some(session) = session.upgrade() {
        send(&session).await;
        // 17.5 to 22.5 s of Flower's 30: this leaves time for a call, and spreads the nodes.
        let pause = session.settings.heartbeat_interval.mul_f64(5.0 / 6.0 * (0.7 + 0.2 * fastrand::f64()));
        drop(session);
        sleep(pause).await;
    }
}

/// Sends one heartbeat, and retries it while the SuperLink is unreachable.
async fn send<S: Channel>(session: &Session<S>) {
    let mut retries = 0;
    loop {
        let node = session.node();
        let request = SendNodeHeartbeatRequest {
            node: Some(node),
            heartbeat_interval: session.settings.heartbeat_interval.as_secs_f64(),
        };
        let sent = session
            .fleet
            .try_call(request, |mut client, request| async move { client.send_node_heartbeat(request).await });
        let reason = match timeout(HEARTBEAT_TIMEOUT, sent).await {
            Ok(Ok(response)) if response.success => return,
            Ok(Ok(_)) => return session.forgotten(node, "it does not know the node that sent the heartbeat"),
            Ok(Err(status)) if status.code() == Code::Unauthenticated => {
                return session.forgotten(node, status.message());
            }
            Ok(Err(status)) if is_unavailable(&status) => status.message().to_owned(),
            Ok(Err(status)) => return tracing::warn!(%status, "a heartbeat was rejected"),
            Err(_) => format!("no answer within {HEARTBEAT_TIMEOUT:?}"),
        };
        let wait = session.fleet.backoff().wait(retries);
        tracing::warn!(reason, ?wait, "a heartbeat was not answered");
        sleep(wait).await;
        retries = retries.saturating_add(1);
    }
}
