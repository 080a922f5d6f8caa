//! What callers see when something is down, breaks or goes away.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use flower_iroh_funnel::{ALPN, Api, Exposed, SecretKey};
use http::{Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    ports::free_addr,
    support::{
        Body, LocalClient, Pair, RawPeer, Running, Upstream, detail, echo, full, grpc_call, guarded, http_call, join,
        loopback,
    },
};

#[tokio::test]
async fn a_missing_upstream_is_unavailable_and_one_that_comes_later_is_used() {
    guarded(async {
        let addr = free_addr();
        let superlink = |scheme: &str| format!("{scheme}://{addr}").parse().unwrap();
        let exposed = Exposed::new().superlink(superlink("http")).superlink(superlink("grpc"));
        let pair = Pair::start(exposed, &[Api::Fleet]).await;
        let (http, grpc) = (LocalClient::http(pair.dial), LocalClient::grpc(pair.dial));

        let response = http.send(http_call("/v1/fleet/pull-messages", "x")).await.unwrap();
        assert_eq!(response.status(), 503);
        let detail = detail(response).await;
        assert!(detail.contains(&addr.to_string()) && detail.contains("refused"), "{detail}");
        let response = grpc.send(grpc_call("/flwr.proto.Fleet/PullMessages", "x")).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "14");
        assert!(response.headers()["grpc-message"].to_str().unwrap().contains("refused"));

        let _upstream = Upstream::on(TcpListener::bind(addr).await.unwrap(), echo);
        let response = http.send(http_call("/v1/fleet/pull-messages", "x")).await.unwrap();
        assert_eq!(response.status(), 200);
        let response = grpc.send(grpc_call("/flwr.proto.Fleet/PullMessages", "x")).await.unwrap();
        assert_eq!(response.headers().get("grpc-status"), None);
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn calls_outlive_a_restart_of_the_inbound_funnel() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let (inbound_key, outbound_key) = (SecretKey::generate(), SecretKey::generate());
        let exposed = Exposed::new().superlink(upstream.url("http")).allow(outbound_key.public(), [Api::Fleet]);
        let addr = free_addr();
        let config = || {
            let builder = loopback().secret_key(inbound_key.clone()).bind_addr(addr);
            builder.expose(exposed.clone()).build().unwrap()
        };
        let inbound = Running::start_on_used_port(config()).await;
        let outbound = join(inbound.funnel.endpoint_addr().await, outbound_key).await;
        let client = LocalClient::http(outbound.funnel.local_addrs()[0]);
        let call = || client.send(http_call("/v1/fleet/pull-messages", "x"));
        assert_eq!(call().await.unwrap().status(), 200);

        inbound.stop().await;
        let inbound = Running::start_on_used_port(config()).await;
        let peer = inbound.funnel.endpoint_id();
        let tunnel = outbound.funnel.peer(peer);
        // The link's end is known at once, since the inbound funnel says good-bye; the next one is being dialled.
        tunnel.ready(|_| {}).await;
        while call().await.unwrap().status() != 200 {}
        outbound.stop().await;
        inbound.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_under_way_when_the_link_is_lost_ends_as_unavailable_with_the_reason() {
    guarded(async {
        let arrived = Arc::new(Notify::new());
        let upstream = Upstream::start({
            let arrived = Arc::clone(&arrived);
            move |request| {
                let arrived = Arc::clone(&arrived);
                async move {
                    drop(request);
                    arrived.notify_one();
                    std::future::pending::<Response<Body>>().await
                }
            }
        })
        .await;
        let Pair { inbound, outbound, dial, .. } = Pair::hasty(upstream.both_wires(), &[Api::Fleet]).await;
        let (http, grpc) = (LocalClient::http(dial), LocalClient::grpc(dial));
        let over_http = tokio::spawn(async move { http.send(http_call("/v1/fleet/pull-messages", "x")).await });
        arrived.notified().await;
        let over_grpc = tokio::spawn(async move { grpc.send(grpc_call("/flwr.proto.Fleet/GetRun", "x")).await });
        arrived.notified().await;

        inbound.stop().await;
        let response = over_http.await.unwrap().unwrap();
        assert_eq!(response.status(), 503);
        let detail = detail(response).await;
        assert!(detail.contains("shutdown (code 1): the funnel is stopping"), "{detail}");
        let response = over_grpc.await.unwrap().unwrap();
        assert_eq!(response.headers()["grpc-status"], "14");
        assert!(response.headers()["grpc-message"].to_str().unwrap().contains("the funnel is stopping"));
        outbound.stop().await;
    })
    .await;
}

/// A response that sends a piece and then breaks.
async fn half(content_type: &'static str) -> Response<Body> {
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, std::convert::Infallible>>(1);
    let mut response = Response::new(StreamBody::new(ReceiverStream::new(receiver)).boxed());
    response.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
    tokio::spawn(async move {
        let _ = sender.send(Ok(Frame::data("half".into()))).await;
        sender.closed().await;
    });
    response
}

#[tokio::test]
async fn a_stream_cut_in_the_middle_ends_as_unavailable_and_never_as_complete() {
    guarded(async {
        let upstream = Upstream::start(async |request: http::Request<hyper::body::Incoming>| {
            if request.uri().path().starts_with("/flwr") {
                half("application/grpc").await
            } else {
                half("application/protobuf").await
            }
        })
        .await;
        let Pair { inbound, outbound, dial, .. } = Pair::hasty(upstream.both_wires(), &[Api::Fleet]).await;
        let mut over_http =
            LocalClient::http(dial).send(http_call("/v1/fleet/pull-object", "x")).await.unwrap().into_body();
        let mut over_grpc =
            LocalClient::grpc(dial).send(grpc_call("/flwr.proto.Fleet/PullObject", "x")).await.unwrap().into_body();
        for body in [&mut over_http, &mut over_grpc] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        }
        inbound.stop().await;
        over_http.frame().await.expect("the body has not ended").expect_err("it broke");
        let trailers = over_grpc.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "14");
        assert!(!trailers["grpc-message"].is_empty());
        outbound.stop().await;
    })
    .await;
}

#[tokio::test]
async fn calls_under_way_are_finished_when_a_funnel_stops() {
    guarded(async {
        let (arrived, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let upstream = Upstream::start({
            let (arrived, answer) = (Arc::clone(&arrived), Arc::clone(&answer));
            move |request| {
                let (arrived, answer) = (Arc::clone(&arrived), Arc::clone(&answer));
                async move {
                    drop(request);
                    arrived.notify_one();
                    answer.notified().await;
                    full(StatusCode::OK, "application/protobuf", "done")
                }
            }
        })
        .await;
        for stops_inbound in [true, false] {
            let pair = Pair::start(Exposed::new().superlink(upstream.url("http")), &[Api::Fleet]).await;
            let client = LocalClient::http(pair.dial);
            let calling = tokio::spawn(async move { client.send(http_call("/v1/fleet/push-object", "x")).await });
            arrived.notified().await;
            let (stopped, other) =
                if stops_inbound { (pair.inbound, pair.outbound) } else { (pair.outbound, pair.inbound) };
            stopped.funnel.shutdown();
            answer.notify_one();
            let body = calling.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "done");
            stopped.stop().await;
            other.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_a_stopping_funnel_does_not_take_up_is_made_when_it_is_back() {
    guarded(async {
        let (arrived, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let upstream = Upstream::start({
            let (arrived, answer) = (Arc::clone(&arrived), Arc::clone(&answer));
            move |request| {
                let (arrived, answer) = (Arc::clone(&arrived), Arc::clone(&answer));
                async move {
                    if request.uri().path().ends_with("push-object") {
                        arrived.notify_one();
                        answer.notified().await;
                    }
                    full(StatusCode::OK, "application/protobuf", "done")
                }
            }
        })
        .await;
        let (inbound_key, outbound_key) = (SecretKey::generate(), SecretKey::generate());
        let exposed = Exposed::new().superlink(upstream.url("http")).allow(outbound_key.public(), [Api::Fleet]);
        let addr = free_addr();
        let config = || {
            let builder = loopback().secret_key(inbound_key.clone()).bind_addr(addr);
            builder.expose(exposed.clone()).build().unwrap()
        };
        let inbound = Running::start_on_used_port(config()).await;
        let outbound = join(inbound.funnel.endpoint_addr().await, outbound_key).await;
        let client = LocalClient::http(outbound.funnel.local_addrs()[0]);
        let calling = tokio::spawn({
            let client = client.clone();
            async move { client.send(http_call("/v1/fleet/push-object", "x")).await.unwrap().status() }
        });
        arrived.notified().await;
        inbound.funnel.shutdown();
        // Calls until one is not taken up, and has to wait.
        let waiting = loop {
            let mut call = Box::pin(client.send(http_call("/v1/fleet/pull-messages", "x")));
            match timeout(Duration::from_secs(1), &mut call).await {
                Ok(response) => assert_eq!(response.unwrap().status(), 200),
                Err(_) => break call,
            }
        };
        answer.notify_one();
        inbound.stop().await;
        let inbound = Running::start_on_used_port(config()).await;
        assert_eq!(waiting.await.unwrap().status(), 200);
        assert_eq!(calling.await.unwrap(), 200);
        outbound.stop().await;
        inbound.stop().await;
    })
    .await;
}

#[tokio::test]
async fn garbage_costs_the_one_who_sent_it_his_connection_and_nobody_else() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let key = SecretKey::generate();
        let exposed = Exposed::new().superlink(upstream.url("http")).allow(key.public(), [Api::Fleet]);
        let pair = Pair::start(exposed, &[Api::Fleet]).await;
        let honest = LocalClient::http(pair.dial);
        let oversized = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
        for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"\0\0\0\0", b"GET\r\n\r\n", &oversized] {
            let mut socket = TcpStream::connect(pair.dial).await.unwrap();
            socket.write_all(garbage).await.unwrap();
            socket.shutdown().await.unwrap();
            // It is answered with an error or closed, but it ends.
            let _ = socket.read_to_end(&mut Vec::new()).await;

            let raw = RawPeer::new(key.clone(), pair.peer.clone(), ALPN).await;
            let mut stream = raw.connector.open(pair.peer.id).await.unwrap();
            stream.write_all(garbage).await.unwrap();
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            assert_eq!(raw.send(http_call("/v1/fleet/get-run", "x")).await.unwrap().status(), 200);
            raw.endpoint.close().await;
            assert_eq!(honest.send(http_call("/v1/fleet/get-run", "x")).await.unwrap().status(), 200);
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_call_never_passes_a_third_funnel() {
    guarded(async {
        let reached = Arc::new(std::sync::Mutex::new(Vec::new()));
        let upstream = Upstream::start({
            let reached = Arc::clone(&reached);
            move |request| {
                reached.lock().unwrap().push(request.uri().path().to_owned());
                echo(request)
            }
        })
        .await;
        let third_party = Pair::start(upstream.both_wires(), &[Api::Fleet]).await;
        let circle = |scheme: &str| format!("{scheme}://{}", third_party.dial).parse().unwrap();
        let exposed = Exposed::new().superlink(circle("http")).superlink(circle("grpc"));
        let pair = Pair::start(exposed, &[Api::Fleet]).await;
        let response = LocalClient::http(pair.dial).send(http_call("/v1/fleet/pull-messages", "x")).await.unwrap();
        assert!(!response.status().is_success(), "{}", response.status());
        let response = LocalClient::grpc(pair.dial).send(grpc_call("/flwr.proto.Fleet/GetRun", "x")).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "14");
        pair.stop().await;
        third_party.stop().await;
        assert_eq!(*reached.lock().unwrap(), [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    guarded(async {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = taken.local_addr().unwrap();
        let peer = flower_iroh_funnel::PeerConfig::new(SecretKey::generate().public());
        let config = loopback().flower_grpc_addr(addr).peer(peer).build().unwrap();
        let error = flower_iroh_funnel::Funnel::new(config).await.unwrap_err();
        assert!(error.is_listen() && error.to_string().contains(&addr.to_string()), "{error}");
    })
    .await;
}
