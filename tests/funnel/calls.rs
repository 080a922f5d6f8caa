//! What passes, and that it passes unchanged and as it comes.

use std::sync::Arc;

use bytes::Bytes;
use flower_iroh_funnel::Api;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::sync::Notify;

use super::support::{Body, LocalClient, Pair, Upstream, detail, full, grpc_call, guarded, http_call, piecewise};

#[tokio::test]
async fn grpc_passes_with_metadata_and_trailers_as_they_came() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let pair = Pair::start(upstream.both_wires(), &[Api::Fleet]).await;
        let mut call = grpc_call("/flwr.proto.Fleet/PullMessages", "\0\0\0\0\u{3}abc");
        call.headers_mut().insert("flwr-public-key-bin", HeaderValue::from_static("AAEC/w"));
        call.headers_mut().append("x-twice", HeaderValue::from_static("one"));
        call.headers_mut().append("x-twice", HeaderValue::from_static("two"));
        let response = LocalClient::grpc(pair.dial).send(call).await.unwrap();
        assert_eq!(response.headers()["x-path"], "/flwr.proto.Fleet/PullMessages");
        assert_eq!(response.headers()["flwr-public-key-bin"], "AAEC/w");
        let twice: Vec<_> = response.headers().get_all("x-twice").iter().collect();
        assert_eq!(twice, ["one", "two"]);
        let body = response.into_body().collect().await.unwrap();
        let trailers = body.trailers().unwrap().clone();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["x-trailer-bin"]),
            (&"0".parse().unwrap(), &"AAEC/w".parse().unwrap())
        );
        assert_eq!(body.to_bytes(), &b"\0\0\0\0\x03abc"[..]);
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn one_port_takes_both_wires_at_once() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let pair = Pair::start(upstream.both_wires(), &[Api::Fleet]).await;
        let (http, grpc) = (LocalClient::http(pair.dial), LocalClient::grpc(pair.dial));
        let calls = (0..20).map(|index| {
            let (http, grpc) = (http.clone(), grpc.clone());
            async move {
                let text = format!("call {index}");
                let over_http = http.send(http_call("/v1/fleet/push-object", text.clone())).await.unwrap();
                let over_grpc = grpc.send(grpc_call("/flwr.proto.Fleet/PushObject", text.clone())).await.unwrap();
                for response in [over_http, over_grpc] {
                    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), text.as_bytes());
                }
            }
        });
        futures_util::future::join_all(calls).await;
        pair.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_callers_at_once_are_all_answered() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let pair = Pair::start(upstream.both_wires(), &[Api::Fleet]).await;
        let client = LocalClient::grpc(pair.dial);
        let callers: Vec<_> = (0..200)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    let response = client.send(grpc_call("/flwr.proto.Fleet/PushObject", "x")).await.unwrap();
                    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "x");
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn each_piece_of_a_stream_arrives_before_the_next_is_sent_in_both_directions() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let pair = Pair::start(upstream.both_wires(), &[Api::Control]).await;
        for (client, path, content_type) in [
            (LocalClient::grpc(pair.dial), "/flwr.proto.Control/StreamLogs", "application/grpc"),
            (LocalClient::http(pair.dial), "/v1/control/stream-logs", "application/flower-protobuf-stream"),
        ] {
            let (pieces, body) = piecewise();
            let mut call = http_call(path, "").map(|_| body);
            call.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            let mut response = client.send(call).await.unwrap();
            for index in 0..5 {
                let piece = Bytes::from(format!("piece {index}"));
                pieces.send(Ok(Frame::data(piece.clone()))).await.unwrap();
                let frame = response.frame().await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), piece);
            }
            drop(pieces);
            while let Some(frame) = response.frame().await {
                assert!(frame.unwrap().is_trailers());
            }
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn flowers_own_errors_pass_as_they_are() {
    guarded(async {
        let upstream = Upstream::start(async |_| {
            full(StatusCode::NOT_FOUND, "application/json", r#"{"code":2,"detail":"no such federation"}"#)
        })
        .await;
        let pair = Pair::start(upstream.both_wires(), &[Api::Control]).await;
        let response = LocalClient::http(pair.dial).send(http_call("/v1/control/list-runs", "x")).await.unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(detail(response).await, "no such federation");
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_not_flower_is_not_passed_off_as_flower() {
    guarded(async {
        let upstream = Upstream::start(async |_| full(StatusCode::NOT_FOUND, "text/html", "<h1>404</h1>")).await;
        let pair = Pair::start(upstream.both_wires(), &[Api::Fleet]).await;
        let response = LocalClient::http(pair.dial).send(http_call("/v1/fleet/get-run", "x")).await.unwrap();
        assert_eq!(response.status(), 503);
        assert!(detail(response).await.contains("is no Flower SuperLink"));
        let response = LocalClient::grpc(pair.dial).send(grpc_call("/flwr.proto.Fleet/GetRun", "x")).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "14");
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_is_gone_at_the_upstream_too() {
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
        for (client, call) in [
            (LocalClient::http(pair.dial), http_call("/v1/fleet/pull-object", "x")),
            (LocalClient::grpc(pair.dial), grpc_call("/flwr.proto.Fleet/PullObject", "x")),
        ] {
            let calling = tokio::spawn(async move { client.send(call).await.map(drop) });
            arrived.notified().await;
            calling.abort();
            gone.notified().await;
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn many_calls_at_once_do_not_wait_for_one_that_lasts() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let pair = Pair::start(upstream.both_wires(), &[Api::Fleet]).await;
        let client = LocalClient::http(pair.dial);
        let mut lasting = Vec::new();
        for _ in 0..40 {
            let (pieces, body) = piecewise();
            let response = client.send(http_call("/v1/fleet/any-stream", "").map(|_| body)).await.unwrap();
            lasting.push((pieces, response));
        }
        for _ in 0..10 {
            let response = client.send(http_call("/v1/fleet/pull-messages", "quick")).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "quick");
        }
        for (pieces, response) in lasting {
            pieces.send(Ok(Frame::data("last".into()))).await.unwrap();
            drop(pieces);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "last");
        }
        pair.stop().await;
    })
    .await;
}
