//! Signals: the first drains, the second ends at once.
#![cfg(unix)]

use std::sync::Arc;

use tokio::{io::AsyncWriteExt, sync::Notify};

use crate::sides::{Sides, begin_call, guarded, http_server, read_head, response_head, status};

/// A SuperLink that answers pushes when it is told to.
async fn waiting_superlink(arrived: Arc<Notify>, answer: Arc<Notify>) -> std::net::SocketAddr {
    http_server(move |mut socket, head| {
        let (arrived, answer) = (Arc::clone(&arrived), Arc::clone(&answer));
        async move {
            if head.starts_with("POST") {
                arrived.notify_one();
                answer.notified().await;
                let _ = socket.write_all(response_head(0).as_bytes()).await;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_is_finished_after_sigterm_and_the_process_ends_well() {
    guarded(async {
        let (arrived, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let sides = Sides::start(waiting_superlink(Arc::clone(&arrived), Arc::clone(&answer)).await).await;
        let mut call = begin_call(sides.dial, "/v1/fleet/push-object", 0).await;
        arrived.notified().await;
        let (inbound, outbound) = (sides.inbound, sides.outbound);
        outbound.terminate().unwrap();
        inbound.terminate().unwrap();
        for funnel in [&inbound, &outbound] {
            funnel.logged("stopping").await.unwrap();
        }
        answer.notify_one();
        assert_eq!(status(&read_head(&mut call).await.unwrap()), "200");
        for funnel in [outbound, inbound] {
            assert!(funnel.ended().await.unwrap().success());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_although_a_call_is_under_way() {
    guarded(async {
        let (arrived, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let sides = Sides::start(waiting_superlink(Arc::clone(&arrived), answer).await).await;
        let mut call = begin_call(sides.dial, "/v1/fleet/push-object", 0).await;
        arrived.notified().await;
        let outbound = sides.outbound;
        outbound.terminate().unwrap();
        outbound.logged("stopping").await.unwrap();
        outbound.terminate().unwrap();
        assert_eq!(outbound.ended().await.unwrap().code(), Some(130));
        assert_eq!(read_head(&mut call).await, None, "the caller's socket is closed");
    })
    .await;
}
