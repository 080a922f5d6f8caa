//! Which wire an API is served in: found, found again, or told.

use std::net::SocketAddr;

use bytes::Bytes;
use flower_iroh_funnel::{
    ALPN, Api, Exposed, Hello, SecretKey, Security, Upstream as Address, UpstreamState,
    protocol::{HELLO_PATH, Wire},
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use super::{
    ports::free_addr,
    support::{Body, LocalClient, Pair, RawPeer, Upstream, detail, full, grpc_call, guarded, http_call},
    translation::{frame, grpc_reply},
};

/// A SuperLink that serves Fleet in one wire only, and Control over HTTP, as Flower 1.39 and 1.41 do.
fn superlink(listener: TcpListener, fleet: Wire) -> Upstream {
    Upstream::unprobed(listener, move |request: Request<Incoming>| async move { answer(&request, fleet) })
}

fn answer(request: &Request<Incoming>, fleet: Wire) -> Response<Body> {
    let missing = || full(StatusCode::NOT_FOUND, "application/json", r#"{"detail":"Not Found"}"#);
    match (request.uri().path(), fleet) {
        ("/flwr.proto.Fleet/FunnelProbe", Wire::Grpc) => grpc_reply(""),
        ("/v1/fleet/pull-messages", Wire::Http) if request.method() == "GET" => {
            full(StatusCode::METHOD_NOT_ALLOWED, "application/json", r#"{"detail":"Method Not Allowed"}"#)
        }
        ("/flwr.proto.Fleet/PullMessages", Wire::Grpc) => grpc_reply(frame(b"over grpc")),
        ("/v1/fleet/pull-messages", Wire::Http) => full(StatusCode::OK, "application/protobuf", "over http"),
        _ => missing(),
    }
}

/// Calls until the answer is this one, as Flower's clients do; nobody announces what the funnel has found.
async fn answered_with(mut call: impl AsyncFnMut() -> String, wanted: &str) {
    while call().await != wanted {}
}

async fn over_http(dial: SocketAddr) -> String {
    let response = LocalClient::http(dial).send(http_call("/v1/fleet/pull-messages", "x")).await.unwrap();
    let status = response.status();
    assert!([StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status), "{status}");
    String::from_utf8_lossy(&response.into_body().collect().await.unwrap().to_bytes()).into_owned()
}

async fn over_grpc(dial: SocketAddr) -> String {
    let call = grpc_call("/flwr.proto.Fleet/PullMessages", frame(b"x"));
    let response = LocalClient::grpc(dial).send(call).await.unwrap();
    let status = response.headers().get("grpc-status").cloned();
    assert!(status.as_ref().is_none_or(|status| status == "14"), "{status:?}");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8_lossy(body.get(5..).unwrap_or_default()).into_owned()
}

/// What a peer that comes now is told of the Fleet API's upstream in this wire.
async fn hello(pair: &Pair, wire: Wire) -> String {
    let peer = RawPeer::new(SecretKey::generate(), pair.peer.clone(), ALPN).await;
    let ask = Request::get(HELLO_PATH).body(Full::<Bytes>::default().boxed()).unwrap();
    let body = peer.send(ask).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    peer.endpoint.close().await;
    let hello: Hello = serde_json::from_slice(&body).unwrap();
    let reports = hello.apis.into_iter().filter(|report| report.api == "fleet").flat_map(|report| report.wires);
    reports.filter(|report| report.wire == wire.to_string()).map(|report| report.state).collect()
}

#[tokio::test]
async fn the_wire_is_found_and_found_again_when_another_version_starts() {
    guarded(async {
        let addr = free_addr();
        let mut listener = Some(TcpListener::bind(addr).await.unwrap());
        let candidates = Address::candidates(&addr.to_string(), Security::Plain).unwrap();
        let exposed =
            candidates.into_iter().fold(Exposed::new(), |exposed, upstream| exposed.upstream(Api::Fleet, upstream));
        let pair = Pair::start(exposed.allow_any([Api::Fleet]), &[Api::Fleet]).await;
        for (wire, text) in [(Wire::Http, "over http"), (Wire::Grpc, "over grpc"), (Wire::Http, "over http")] {
            let listener = match listener.take() {
                Some(listener) => listener,
                None => TcpListener::bind(addr).await.unwrap(),
            };
            let superlink = superlink(listener, wire);
            answered_with(async || over_http(pair.dial).await, text).await;
            answered_with(async || over_grpc(pair.dial).await, text).await;
            let states: Vec<_> = pair.inbound.funnel.upstreams().await;
            assert!(
                states.iter().any(|(_, upstream, state)| upstream.wire() == wire && *state == UpstreamState::Up),
                "{states:?}"
            );
            assert_eq!(hello(&pair, wire).await, "up", "{wire}");
            superlink.stop().await;
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_pinned_wire_stays() {
    guarded(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let _superlink = superlink(listener, Wire::Grpc);
        let pinned = Exposed::new().upstream(Api::Fleet, format!("http://{addr}").parse().unwrap());
        let pair = Pair::start(pinned, &[Api::Fleet]).await;
        for _ in 0..2 {
            let response = LocalClient::http(pair.dial).send(http_call("/v1/fleet/pull-messages", "x")).await.unwrap();
            assert_eq!(response.status(), 503, "a 404 would end a SuperNode");
            let detail = detail(response).await;
            assert!(detail.contains("does not serve the fleet API"), "{detail}");
        }
        pair.stop().await;
    })
    .await;
}
