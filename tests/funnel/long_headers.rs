//! Requests with too many bytes of headers, beside the calls of others.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use flower_iroh_funnel::{Api, Exposed};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::{
    nginx::Nginx,
    support::{Body, LocalClient, Pair, Upstream, grpc_call, guarded, http_call},
    translation::frame,
};

const ROUNDS: usize = 10;

/// Heartbeats that must all succeed.
struct Heartbeats {
    stop: Arc<AtomicBool>,
    callers: JoinSet<usize>,
}

impl Heartbeats {
    /// Sends them with these clients.
    fn start(clients: &[LocalClient]) -> Self {
        let (stop, mut callers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for client in clients {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            callers.spawn(async move {
                let mut calls = 0;
                while !stop.load(SeqCst) {
                    let response = client.send(http_call("/v1/fleet/send-node-heartbeat", "beat")).await.unwrap();
                    assert_eq!(response.status(), 200, "heartbeat {calls}");
                    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "beat");
                    let call = grpc_call("/flwr.proto.Fleet/SendNodeHeartbeat", frame(b"beat"));
                    let response = client.send(call).await.unwrap();
                    assert_eq!(response.headers().get("grpc-status"), None, "heartbeat {calls}");
                    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), frame(b"beat"));
                    calls += 2;
                }
                calls
            });
        }
        Self { stop, callers }
    }

    async fn end(self) {
        self.stop.store(true, SeqCst);
        let calls = self.callers.join_all().await;
        assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
    }
}

/// What an HTTP/1.1 client of its own receives, which sends these headers.
async fn http1(dial: SocketAddr, headers: &str) -> String {
    let mut socket = TcpStream::connect(dial).await.unwrap();
    let head = format!(
        "POST /v1/fleet/send-node-heartbeat HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/protobuf\r\n\
         content-length: 4\r\nconnection: close\r\n{headers}\r\nbeat"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Headers of about 300 KiB: one, some, and very many.
fn too_long() -> [HeaderMap; 3] {
    [(1, 300 << 10), (80, 3800), (3000, 60)].map(|(number, length)| {
        let header = |index| {
            let name = HeaderName::try_from(format!("x-long-{index}")).unwrap();
            (name, HeaderValue::try_from("v".repeat(length)).unwrap())
        };
        (0..number).map(header).collect()
    })
}

fn with(mut request: Request<Body>, headers: &HeaderMap) -> Request<Body> {
    request.headers_mut().extend(headers.clone());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_300_kib_of_headers_are_refused_and_leave_the_calls_of_others_alone() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let pair = Pair::start(upstream.both_wires(), &[Api::Fleet]).await;
        let shared = LocalClient::grpc(pair.dial);
        let heartbeats =
            Heartbeats::start(&[LocalClient::http(pair.dial), LocalClient::grpc(pair.dial), shared.clone()]);
        for _ in 0..ROUNDS {
            for headers in too_long() {
                let lines = headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
                let answer = http1(pair.dial, &lines.collect::<String>()).await;
                assert!(answer.starts_with("HTTP/1.1 431 "), "{} headers: {answer}", headers.len());
                // On a connection of its own, which may not know the funnel's settings yet, and on one with heartbeats.
                for client in [&LocalClient::grpc(pair.dial), &shared] {
                    let call = with(http_call("/v1/fleet/send-node-heartbeat", "beat"), &headers);
                    assert_eq!(client.send(call).await.unwrap().status(), 431, "{} headers", headers.len());
                    let call = with(grpc_call("/flwr.proto.Fleet/SendNodeHeartbeat", frame(b"beat")), &headers);
                    let response = client.send(call).await.unwrap();
                    assert_eq!(response.status(), 200);
                    assert_eq!(response.headers()["grpc-status"], "8", "{} headers", headers.len());
                }
            }
        }
        heartbeats.end().await;
        pair.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_300_kib_leave_the_calls_of_others_alone() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let pair = Pair::start(upstream.both_wires(), &[Api::Fleet]).await;
        let shared = LocalClient::grpc(pair.dial);
        let heartbeats = Heartbeats::start(&[LocalClient::http(pair.dial), shared.clone()]);
        for _ in 0..ROUNDS {
            for trailers in too_long() {
                for client in [&LocalClient::grpc(pair.dial), &shared] {
                    let frames = [Frame::data(frame(b"beat")), Frame::trailers(trailers.clone())].map(Ok);
                    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
                    let call = grpc_call("/flwr.proto.Fleet/SendNodeHeartbeat", Bytes::new()).map(|_| body);
                    // They are dropped.
                    let response = client.send(call).await.unwrap();
                    assert_eq!(response.headers().get("grpc-status"), None, "{} trailers", trailers.len());
                }
            }
        }
        heartbeats.end().await;
        pair.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_60_kb_of_headers_pass_beside_the_calls_of_others() {
    guarded(async {
        let upstream = Upstream::echo().await;
        let pair = Pair::start(upstream.both_wires(), &[Api::Fleet]).await;
        let heartbeats = Heartbeats::start(&[LocalClient::http(pair.dial), LocalClient::grpc(pair.dial)]);
        // The last two take up to four times as much in HTTP/2's code.
        for (value, status) in [
            (vec![b'v'; 60_000], 200),
            (vec![b'\"'; 45_000], 200),
            (vec![0xf9; 23_000], 200),
            (vec![0xf9; 60_000], 431),
        ] {
            for _ in 0..ROUNDS {
                let headers = [(HeaderName::from_static("y-long"), HeaderValue::from_bytes(&value).unwrap())];
                let headers = headers.into_iter().collect();
                let call = with(http_call("/v1/fleet/send-node-heartbeat", "beat"), &headers);
                let response = LocalClient::http(pair.dial).send(call).await.unwrap();
                assert_eq!(response.status(), status, "{} times {:?}", value.len(), char::from(value[0]));
            }
        }
        heartbeats.end().await;
        pair.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_for_which_an_upstream_ends_its_connection_leave_the_calls_of_others_alone() {
    const SERVERS: &str = "
        http {
          access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
          uwsgi_temp_path uwsgi; scgi_temp_path scgi;
          server { listen LISTEN http2; location / { grpc_pass grpc://UPSTREAM; } }
        }";
    if !Nginx::is_here() {
        return;
    }
    guarded(async {
        let superlink = Upstream::echo().await;
        let nginx = Nginx::start(SERVERS, superlink.addr).await;
        let upstream = format!("grpc://{}", nginx.addr).parse().unwrap();
        let pair = Pair::start(Exposed::new().upstream(Api::Fleet, upstream), &[Api::Fleet]).await;
        let call = || grpc_call("/flwr.proto.Fleet/SendNodeHeartbeat", frame(b"beat"));
        let others = tokio::spawn({
            let client = LocalClient::grpc(pair.dial);
            async move {
                for beat in 0..200 {
                    let response = client.send(call()).await.unwrap();
                    assert_eq!(response.headers().get("grpc-status"), None, "{beat}: {:?}", response.headers());
                }
            }
        });
        while !others.is_finished() {
            let header = (HeaderName::from_static("x-long"), HeaderValue::try_from("v".repeat(40_000)).unwrap());
            let headers: HeaderMap = [header].into_iter().collect();
            let response = LocalClient::grpc(pair.dial).send(with(call(), &headers)).await.unwrap();
            let message = response.headers()["grpc-message"].to_str().unwrap();
            assert!(message.contains("broke off the call, perhaps for its 40"), "{message}");
        }
        others.await.unwrap();
        pair.stop().await;
    })
    .await;
}
