//! Which API a path belongs to, and which paths are refused.

use flower_iroh_funnel::{
    ALPN, Api, Exposed, SecretKey,
    protocol::{Method as FlowerMethod, Refusal, Route, Wire},
};
use http::{Method, Request, Version, uri::PathAndQuery};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::support::{Pair, RawPeer, Running, Upstream, grpc_call, guarded, http_call, loopback};

/// Every path of Flower 1.20 to 1.42, taken from its packages.
const PATHS: &str = include_str!("../data/flower_methods.tsv");

fn api_of(path: &str) -> Option<Api> {
    let name = path.trim_start_matches('/').split('/').next().unwrap();
    Some(match name {
        "flwr.proto.Fleet" | "flwr.proto.GrpcAdapter" | "flwr.proto.FlowerService" => Api::Fleet,
        "flwr.proto.Control" | "flwr.proto.Exec" => Api::Control,
        "flwr.proto.Runtime" => Api::Runtime,
        "flwr.proto.ServerAppIo" => Api::ServerAppIo,
        "flwr.proto.ClientAppIo" => Api::ClientAppIo,
        "v1" => return path.split('/').nth(2).unwrap().parse().ok(),
        _ => return None,
    })
}

#[test]
fn every_path_of_every_flower_leads_to_its_api() {
    let mut calls = 0;
    for line in PATHS.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let (path, wire) = (columns.next().unwrap(), columns.next().unwrap());
        if path == "/health" {
            assert_eq!(Route::of(&Request::get(path).body(()).unwrap()), Ok(Route::Health));
            continue;
        }
        let route = Route::of(&Request::post(path).body(()).unwrap());
        match api_of(path) {
            Some(api) => {
                let method = FlowerMethod::find(api, path.rsplit('/').next().unwrap());
                let wire = if wire == "grpc" { Wire::Grpc } else { Wire::Http };
                assert!(method.is_some(), "{path} is not in the list of methods");
                let path = PathAndQuery::from_static(path);
                assert_eq!(route, Ok(Route::Call { api, wire, method, path }));
                calls += 1;
            }
            // SimulationIo never leaves its machine; /api/v0 was an experiment of Flower 1.20 to 1.32.
            None => assert!(matches!(route, Err(Refusal::UnknownApi(_) | Refusal::Path)), "{path}"),
        }
    }
    assert!(calls > 200, "only {calls} paths were read");
}

/// Paths that a server behind the funnel might take for a call that this peer may not make.
const TRICKS: [&str; 17] = [
    "//v1/control/list-runs",
    "/v1//control/list-runs",
    "/v1/fleet/../control/list-runs",
    "/v1/fleet/./pull-messages",
    "/v1/fleet/%2e%2e/control/list-runs",
    "/v1/fleet/..%2fcontrol%2flist-runs",
    "/v1%2fcontrol%2flist-runs",
    "/v1/%63ontrol/list-runs",
    "/v1/control;x/list-runs",
    "/v1/fleet;/../control/list-runs",
    "/v1/control/list-runs/",
    "/v1/CONTROL/list-runs",
    "/V1/control/list-runs",
    "/v1/control/list-runs?x=/v1/fleet/pull-messages",
    "/flwr.proto.control/ListRuns",
    "/flwr.proto.Fleet/../flwr.proto.Control/ListRuns",
    "/api/v0/fleet/get-run",
];

async fn inbound_for(key: &SecretKey, upstream: &Upstream) -> Running {
    let exposed = Exposed::new()
        .superlink(upstream.url("http"))
        .superlink(upstream.url("grpc"))
        .allow(key.public(), [Api::Fleet]);
    Running::start(loopback().expose(exposed).build().unwrap()).await
}

#[tokio::test]
async fn no_trick_with_a_path_gets_a_peer_past_the_inbound_funnel() {
    guarded(async {
        let reached = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let upstream = Upstream::start({
            let reached = reached.clone();
            move |request| {
                reached.lock().unwrap().push(request.uri().path().to_owned());
                super::support::echo(request)
            }
        })
        .await;
        let key = SecretKey::generate();
        let inbound = inbound_for(&key, &upstream).await;
        let peer = RawPeer::new(key, inbound.funnel.endpoint_addr().await, ALPN).await;
        for path in TRICKS {
            let response = peer.send(http_call(path, "x")).await.unwrap();
            assert_eq!(response.status(), 403, "{path}");
            let response = peer.send(grpc_call(path, "x")).await.unwrap();
            assert_eq!(response.headers()["grpc-status"], "7", "{path}");
        }
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            let mut request = http_call("/v1/fleet/pull-messages", "");
            *request.method_mut() = method.clone();
            assert_eq!(peer.send(request).await.unwrap().status(), 403, "{method}");
        }
        for path in ["/v1/control/list-runs", "/v1/runtime/pull-messages"] {
            assert_eq!(peer.send(http_call(path, "")).await.unwrap().status(), 403, "{path}");
        }
        assert_eq!(peer.send(http_call("/v1/fleet/pull-messages", "x")).await.unwrap().status(), 200);
        assert_eq!(peer.send(http_call("/v1/fleet/a-method-of-tomorrow", "x")).await.unwrap().status(), 200);
        peer.endpoint.close().await;
        inbound.stop().await;
        let reached = reached.lock().unwrap().clone();
        assert_eq!(reached, ["/v1/fleet/pull-messages", "/v1/fleet/a-method-of-tomorrow"]);
    })
    .await;
}

/// Sends a request line as it stands and returns the status line's code.
async fn raw_status(addr: std::net::SocketAddr, request_line: &str) -> String {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    let request = format!("{request_line}\r\nhost: funnel\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).await.unwrap();
    response.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_local_port_refuses_the_same_tricks_over_http_1() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let pair = Pair::start(Exposed::new().superlink(upstream.url("http")), &[Api::Fleet]).await;
        for path in TRICKS {
            assert_eq!(raw_status(pair.dial, &format!("POST {path} HTTP/1.1")).await, "403", "{path}");
        }
        for line in [
            "POST http://elsewhere/v1/fleet/pull-messages HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "CONNECT 127.0.0.1:80 HTTP/1.1",
            "GET /.funnel/hello HTTP/1.1",
        ] {
            let status = raw_status(pair.dial, line).await;
            assert!(status == "403" || status == "400", "{line}: {status}");
        }
        assert_eq!(raw_status(pair.dial, "GET /health HTTP/1.1").await, "200");
        pair.stop().await;
    })
    .await;
}

#[test]
fn absolute_form_is_http_2s_own_form_and_nobody_elses() {
    let uri = "http://peer/v1/fleet/pull-messages";
    let request = |version| Request::post(uri).version(version).body(()).unwrap();
    assert!(Route::of(&request(Version::HTTP_2)).is_ok());
    assert_eq!(Route::of(&request(Version::HTTP_11)), Err(Refusal::Form));
}
