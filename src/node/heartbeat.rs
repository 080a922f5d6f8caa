//! The sign of life, without which the SuperLink takes a node for offline.

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

/// Time for one heartbeat.
const DEADLINE: Duration = Duration::from_secs(5);

/// Sends heartbeats until the returned set is dropped.
pub(super) fn start<S: Channel>(session: &Arc<Session<S>>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(beat(Arc::downgrade(session)));
    tasks
}

async fn beat<S: Channel>(session: Weak<Session<S>>) {
    while let Some(session) = session.upgrade() {
        send(&session).await;
        // 17.5 to 22.5 s of Flower's 30: a call's deadline fits in between, and nodes spread.
        let pause = session.settings.heartbeat_interval.mul_f64(5.0 / 6.0 * (0.7 + 0.2 * fastrand::f64()));
        drop(session);
        sleep(pause).await;
    }
}

/// Sends one heartbeat, again and again while it does not get through.
async fn send<S: Channel>(session: &Session<S>) {
    let mut backoff = session.fleet.backoff();
    loop {
        let node = session.node();
        let request = SendNodeHeartbeatRequest {
            node: Some(node),
            heartbeat_interval: session.settings.heartbeat_interval.as_secs_f64(),
        };
        let sent = session
            .fleet
            .try_call(request, |mut client, request| async move { client.send_node_heartbeat(request).await });
        let reason = match timeout(DEADLINE, sent).await {
            Ok(Ok(response)) if response.success => return,
            Ok(Ok(_)) => return session.forgotten(node, "it does not know the node that sent the heartbeat"),
            Ok(Err(status)) if status.code() == Code::Unauthenticated => {
                return session.forgotten(node, status.message());
            }
            Ok(Err(status)) if is_unavailable(&status) => status.message().to_owned(),
            Ok(Err(status)) => return tracing::warn!(%status, "a heartbeat was not accepted"),
            Err(_) => format!("no answer within {DEADLINE:?}"),
        };
        let wait = backoff.next();
        tracing::warn!(reason, ?wait, "a heartbeat did not get through");
        sleep(wait).await;
    }
}
