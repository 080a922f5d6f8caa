//! Web pages cannot call through the local port: neither with what a browser says of them, nor with a name of theirs that leads
//! here.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use flower_iroh_funnel::{Api, FunnelConfigBuilder, SecretKey};
use http::{Method, Request, Response, header::HOST};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    secure::{self, roots},
    support::{Body, LocalClient, Pair, Upstream, detail, echo, grpc_call, guarded, http_call, loopback},
};

/// A pair, how many calls have reached its SuperLink, and the SuperLink.
type Counted = (Pair, Arc<AtomicUsize>, Upstream);

async fn pair(set: impl FnOnce(FunnelConfigBuilder) -> FunnelConfigBuilder) -> Counted {
    let key = SecretKey::generate();
    pair_of(set(loopback().secret_key(key.clone())), key).await
}

async fn pair_of(outbound: FunnelConfigBuilder, key: SecretKey) -> Counted {
    let reached = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::start({
        let reached = Arc::clone(&reached);
        move |request| {
            reached.fetch_add(1, SeqCst);
            echo(request)
        }
    })
    .await;
    let pair = Pair::between(loopback(), outbound, key, upstream.both_wires(), &[Api::Fleet]).await;
    (pair, reached, upstream)
}

/// Calls in both wires, each with these headers.
fn calls(headers: &[(&'static str, &str)]) -> [Request<Body>; 2] {
    [http_call("/v1/fleet/pull-object", "x"), grpc_call("/flwr.proto.Fleet/PullObject", "\0\0\0\0\u{1}x")].map(
        |mut call| {
            for (name, value) in headers {
                call.headers_mut().insert(*name, value.parse().unwrap());
            }
            call
        },
    )
}

/// The reason for which a call was refused in its wire; `None` if it was answered.
async fn refusal(response: Response<Incoming>) -> Option<String> {
    match (response.status().as_u16(), response.headers().get("grpc-status")) {
        (200, None) => None,
        (200, Some(status)) => {
            assert_eq!(status, "7");
            Some(response.headers()["grpc-message"].to_str().unwrap().to_owned())
        }
        (status, _) => {
            assert_eq!(status, 403);
            Some(detail(response).await)
        }
    }
}

/// Sends a call to the local port under this name, over HTTP/1.1 or HTTP/2.
async fn send_to(dial: SocketAddr, name: &str, mut request: Request<Body>) -> Response<Incoming> {
    let io = TokioIo::new(TcpStream::connect(dial).await.unwrap());
    if request.headers().contains_key("te") {
        let (mut requests, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        *request.uri_mut() = format!("http://{name}{}", request.uri().path()).parse().unwrap();
        return requests.send_request(request).await.unwrap();
    }
    let (mut requests, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    request.headers_mut().insert(HOST, name.parse().unwrap());
    requests.send_request(request).await.unwrap()
}

#[tokio::test]
async fn what_only_a_browser_sends_is_refused_in_both_wires() {
    guarded(async {
        let (pair, reached, _upstream) = pair(|outbound| outbound).await;
        for headers in [
            &[("origin", "https://page.example")][..],
            &[("origin", "null")],
            &[("origin", "http://127.0.0.1:9092")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
        ] {
            let [over_http, over_grpc] = calls(headers);
            for response in [
                LocalClient::http(pair.dial).send(over_http).await.unwrap(),
                LocalClient::grpc(pair.dial).send(over_grpc).await.unwrap(),
            ] {
                assert_eq!(response.headers().get("access-control-allow-origin"), None);
                let reason = refusal(response).await.expect("a page is refused");
                assert!(reason.contains("not for web pages") && reason.contains(headers[0].0), "{reason}");
            }
        }
        assert_eq!(reached.load(SeqCst), 0);
        let [over_http, over_grpc] = calls(&[]);
        for response in [
            LocalClient::http(pair.dial).send(over_http).await.unwrap(),
            LocalClient::grpc(pair.dial).send(over_grpc).await.unwrap(),
        ] {
            assert_eq!(refusal(response).await, None);
        }
        assert_eq!(reached.load(SeqCst), 2);
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_preflight_and_a_picture_of_a_page_are_refused() {
    guarded(async {
        let (pair, reached, _upstream) = pair(|outbound| outbound).await;
        let preflight = |path| {
            let request = Request::builder().method(Method::OPTIONS).uri(path);
            request
                .header("origin", "https://page.example")
                .header("access-control-request-method", "POST")
                .header("access-control-request-private-network", "true")
        };
        for client in [LocalClient::http(pair.dial), LocalClient::grpc(pair.dial)] {
            for path in ["/v1/fleet/pull-object", "/flwr.proto.Fleet/PullObject", "/health"] {
                let response = client.send(preflight(path).body(Body::default()).unwrap()).await.unwrap();
                assert_eq!(response.status(), 403, "{path}");
                let allows = response.headers().keys().any(|name| name.as_str().starts_with("access-control-"));
                assert!(!allows, "{:?}", response.headers());
            }
            // A page's picture has no origin.
            for (site, mode) in [("cross-site", "no-cors"), ("none", "navigate")] {
                let picture = Request::get("/health").header("sec-fetch-site", site).header("sec-fetch-mode", mode);
                let response = client.send(picture.body(Body::default()).unwrap()).await.unwrap();
                assert_eq!(response.status(), 403, "{site}");
            }
        }
        assert_eq!(reached.load(SeqCst), 0);
        let health = Request::get("/health").body(Body::default()).unwrap();
        assert_eq!(LocalClient::http(pair.dial).send(health).await.unwrap().status(), 200);
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_name_that_a_page_can_have_does_not_lead_here_unless_it_is_configured() {
    guarded(async {
        let (pair, reached, _upstream) = pair(|outbound| outbound.listen_name("funnel.example.org")).await;
        let port = pair.dial.port();
        for name in ["page.example", "localhost.page.example", "127.0.0.1.page.example", "a.funnel.example.org"] {
            for name in [name.to_owned(), format!("{name}:{port}")] {
                for call in calls(&[]) {
                    let reason = refusal(send_to(pair.dial, &name, call).await).await.expect("the name is refused");
                    assert!(reason.contains(&name) && reason.contains("--listen-name"), "{reason}");
                }
            }
        }
        // HTTP/2 may carry both.
        for call in calls(&[("host", "page.example")]).into_iter().skip(1) {
            assert!(refusal(send_to(pair.dial, "localhost", call).await).await.is_some());
        }
        assert_eq!(reached.load(SeqCst), 0);
        let taken = ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "192.0.2.7", "funnel", "Funnel.Example.org"];
        for name in taken {
            for name in [name.to_owned(), format!("{name}:{port}")] {
                for call in calls(&[]) {
                    assert_eq!(refusal(send_to(pair.dial, &name, call).await).await, None, "{name}");
                }
            }
        }
        assert_eq!(reached.load(SeqCst), 4 * taken.len());
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn of_several_hosts_each_is_looked_at_and_none_is_needed() {
    guarded(async {
        let (pair, reached, _upstream) = pair(|outbound| outbound).await;
        for (hosts, wanted) in [
            ("host: localhost\r\nhost: page.example\r\n", "403"),
            ("host: page.example\r\nhost: localhost\r\n", "403"),
            ("host: localhost@page.example\r\n", "403"),
            ("host: page.example@localhost\r\n", "403"),
            ("host: \r\n", "200"),
            ("", "200"),
        ] {
            let mut socket = TcpStream::connect(pair.dial).await.unwrap();
            let request = format!(
                "POST /v1/fleet/pull-object HTTP/1.1\r\n{hosts}content-type: application/protobuf\r\ncontent-length: \
                 0\r\nconnection: close\r\n\r\n"
            );
            socket.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer.split(' ').nth(1), Some(wanted), "{hosts}: {answer}");
        }
        assert_eq!(reached.load(SeqCst), 2);
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_same_holds_with_tls_at_the_local_port() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("secret.key");
        let key = flower_iroh_funnel::identity::load_or_create(&key_file).unwrap();
        let (pair, reached, _upstream) = pair_of(loopback().key_file(key_file).local_tls(), key).await;
        let ca = std::fs::read(folder.path().join("secret.ca.pem")).unwrap();
        for (call, protocol) in calls(&[("origin", "https://page.example")]).into_iter().zip([&b"http/1.1"[..], b"h2"])
        {
            let stream = secure::connect(pair.dial, roots(&ca), "localhost", protocol).await.unwrap();
            let reason = refusal(secure::send(stream, call).await).await.expect("a page is refused");
            assert!(reason.contains("not for web pages"), "{reason}");
        }
        assert_eq!(reached.load(SeqCst), 0);
        for (call, protocol) in calls(&[]).into_iter().zip([&b"http/1.1"[..], b"h2"]) {
            let stream = secure::connect(pair.dial, roots(&ca), "localhost", protocol).await.unwrap();
            let response = secure::send(stream, call).await;
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap();
        }
        assert_eq!(reached.load(SeqCst), 2);
        pair.stop().await;
    })
    .await;
}
