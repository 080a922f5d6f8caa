//! A peer that falls silent without a word.
#![cfg(unix)]

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    time::timeout,
};

use crate::sides::{Sides, begin_call, guarded, http_server, read_head, response_head, status};

/// This only keeps a hang from looking like patience.
const HANG: std::time::Duration = std::time::Duration::from_secs(60);

#[test]
fn a_silent_peer_is_known_lost_within_flowers_twelve_seconds() {
    // A keep-alive every 5 s (iroh's, which cannot be longer) may restart the idle timer once.
    let keep_alive = std::time::Duration::from_secs(5);
    assert!(flower_iroh_funnel::transport::IDLE_TIMEOUT + keep_alive <= std::time::Duration::from_secs(12));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_peer_is_frozen_calls_under_way_end_and_new_ones_are_answered() {
    guarded(async {
        let arrived = Arc::new(Notify::new());
        let superlink = http_server({
            let arrived = Arc::clone(&arrived);
            move |mut socket, head| {
                let arrived = Arc::clone(&arrived);
                async move {
                    if head.starts_with("POST /v1/fleet/push-object") {
                        arrived.notify_one();
                        std::future::pending::<()>().await;
                    }
                    let _ = socket.write_all(response_head(0).as_bytes()).await;
                }
            }
        })
        .await;
        let sides = Sides::start(superlink).await;
        let mut call = begin_call(sides.dial, "/v1/fleet/push-object", 0).await;
        arrived.notified().await;

        sides.inbound.freeze().unwrap();
        let head = timeout(HANG, read_head(&mut call)).await.expect("the call hangs").unwrap();
        assert_eq!(status(&head), "503");
        let mut later = begin_call(sides.dial, "/v1/fleet/pull-messages", 0).await;
        let head = timeout(HANG, read_head(&mut later)).await.expect("the later call hangs").unwrap();
        assert_eq!(status(&head), "503");
        let mut body = vec![0; 11];
        later.read_exact(&mut body).await.unwrap();
        assert_eq!(body, br#"{"detail":""#);

        sides.inbound.thaw().unwrap();
        // The frozen process comes back with a dead link; the next calls use a new one.
        let recovered = async {
            loop {
                let mut call = begin_call(sides.dial, "/v1/fleet/pull-messages", 0).await;
                if status(&read_head(&mut call).await.unwrap()) == "200" {
                    return;
                }
            }
        };
        timeout(HANG, recovered).await.expect("the tunnel does not come back");
    })
    .await;
}
