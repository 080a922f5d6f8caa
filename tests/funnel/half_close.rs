//! Clients over HTTP/1.1 that end their side after the request.

use std::{sync::Arc, time::Duration};

use flower_iroh_funnel::Api;
use http::Response;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::sleep,
};

use super::support::{Body, Pair, Upstream, full, guarded};

const REQUEST: &[u8] =
    b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/protobuf\r\n\
    content-length: 5\r\n\r\nhello";
/// Long enough for several looks whether the client is gone.
const PAUSE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_client_that_ends_its_side_after_the_request_gets_its_answer_and_then_the_end() {
    guarded(async {
        let slow = Upstream::start(|request| async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            sleep(PAUSE).await;
            full(http::StatusCode::OK, "application/protobuf", body)
        })
        .await;
        let pair = Pair::start(slow.both_wires(), &[Api::Fleet]).await;
        let mut client = TcpStream::connect(pair.dial).await.unwrap();
        client.write_all(REQUEST).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let last = answer.rsplit("HTTP/1.1 100 Continue\r\n\r\n").next().unwrap();
        assert!(last.starts_with("HTTP/1.1 200 OK\r\n") && last.ends_with("\r\n\r\nhello"), "{answer}");
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_ends_its_side_in_the_middle_of_the_request_is_gone() {
    guarded(async {
        let echo = Upstream::echo().await;
        let pair = Pair::start(echo.both_wires(), &[Api::Fleet]).await;
        let mut client = TcpStream::connect(pair.dial).await.unwrap();
        client.write_all(&REQUEST[..REQUEST.len() - 1]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        assert!(!answer.ends_with(b"hell"), "{}", String::from_utf8_lossy(&answer));
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_ends_its_side_and_then_goes_is_gone_at_the_upstream_too() {
    guarded(async {
        struct OnDrop(Arc<Notify>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let (arrived, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let upstream = Upstream::start({
            let (arrived, gone) = (Arc::clone(&arrived), Arc::clone(&gone));
            move |request| {
                let (arrived, gone) = (Arc::clone(&arrived), Arc::clone(&gone));
                async move {
                    drop(request);
                    let _gone = OnDrop(gone);
                    arrived.notify_one();
                    std::future::pending::<Response<Body>>().await
                }
            }
        })
        .await;
        let pair = Pair::start(upstream.both_wires(), &[Api::Fleet]).await;
        let mut client = TcpStream::connect(pair.dial).await.unwrap();
        client.write_all(REQUEST).await.unwrap();
        client.shutdown().await.unwrap();
        arrived.notified().await;
        sleep(PAUSE).await;
        drop(client);
        gone.notified().await;
        pair.stop().await;
    })
    .await;
}
