//! What a site says of itself in the place of a proxy does not reach a SuperLink, byte by byte.

use std::{collections::BTreeSet, net::SocketAddr};

use bytes::Bytes;
use flower_iroh_funnel::{ALPN, Api, Exposed, SecretKey, protocol::Wire};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{
    support::{Body, LocalClient, Pair, RawPeer, Running, Upstream, full, grpc_call, guarded, http_call, loopback},
    translation::{frame, grpc_reply},
};

/// What proxies report and servers believe, in several spellings.
const LIES: [(&str, &str); 36] = [
    ("forwarded", "for=203.0.113.9;host=superlink;proto=https"),
    ("via", "1.1 proxy"),
    ("x-forwarded-for", "203.0.113.9"),
    ("x_forwarded_for", "203.0.113.9"),
    ("x.forwarded.for", "203.0.113.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "superlink"),
    ("x-forwarded-port", "443"),
    ("x-forwarded-prefix", "/v1/control"),
    ("x-forwarded-uri", "/v1/control/list-runs"),
    ("x-forwarded-method", "GET"),
    ("x-forwarded-user", "root"),
    ("x-forwarded-client-cert", "Subject=\"CN=root\""),
    ("x-forwarded-tls-client-cert-info", "root"),
    ("x-forwarded-a-name-of-tomorrow", "1"),
    ("x-real-ip", "203.0.113.9"),
    ("x-client-ip", "203.0.113.9"),
    ("x-cluster-client-ip", "203.0.113.9"),
    ("true-client-ip", "203.0.113.9"),
    ("client-ip", "203.0.113.9"),
    ("cf-connecting-ip", "203.0.113.9"),
    ("fastly-client-ip", "203.0.113.9"),
    ("x-original-forwarded-for", "203.0.113.9"),
    ("x-original-url", "/v1/control/list-runs"),
    ("x-rewrite-url", "/v1/control/list-runs"),
    ("x-envoy-external-address", "203.0.113.9"),
    ("x-http-method-override", "DELETE"),
    ("x-method-override", "DELETE"),
    ("x-host", "superlink"),
    ("proxy", "http://203.0.113.9"),
    ("proxy-authorization", "Basic cm9vdA=="),
    ("remote-user", "root"),
    ("x-remote-user", "root"),
    ("ssl-client-verify", "SUCCESS"),
    ("client-cert", ":cm9vdA==:"),
    ("x-auth-request-email", "root@example.org"),
];
/// What Flower's clients, gRPC and plugins send.
const HONEST: [(&str, &str); 7] = [
    ("authorization", "Bearer abc"),
    ("flwr-package-version", "1.42.0"),
    ("flwr-timestamp", "2026-01-01T00:00:00+00:00"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("user-agent", "python-httpx/0.28.1"),
    ("x-api-key", "a plugin's"),
    ("x-flwr-client", "cli"),
];

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// A body with trailers, in which a header could be smuggled.
fn with_trailers(data: Bytes) -> Body {
    let frames = [Ok(Frame::data(data)), Ok(Frame::trailers(headers(&LIES)))];
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

/// A server over HTTP/1.1 that keeps every byte of each call, without one of hyper in between.
async fn recorder() -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (seen, calls) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(record(socket, seen.clone()));
        }
    });
    (addr, calls)
}

async fn record(mut socket: TcpStream, seen: mpsc::UnboundedSender<Vec<u8>>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    // The body of each call ends with this word, and with the last chunk if it has no length.
    while !bytes.ends_with(b"call") && !bytes.ends_with(b"\r\n0\r\n\r\n") && !bytes.starts_with(b"GET ") {
        match socket.read(&mut chunk).await {
            Ok(length @ 1..) => bytes.extend_from_slice(&chunk[..length]),
            _ => return,
        }
    }
    if bytes.starts_with(b"GET ") {
        let _ = socket.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\n\r\n").await;
        return;
    }
    seen.send(bytes).unwrap();
    let answer =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _ = socket.write_all(answer).await;
    // Whatever follows the body would be another call.
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "{rest:?}");
}

/// The lines of a head, of which all but the first may be in any order, and the body.
fn parsed(call: &[u8]) -> (String, BTreeSet<String>, String) {
    let text = String::from_utf8(call.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n").map(str::to_owned);
    (lines.next().unwrap(), lines.collect(), body.to_owned())
}

fn expected(superlink: SocketAddr, more: &[&str]) -> BTreeSet<String> {
    let honest = HONEST.iter().map(|(name, value)| format!("{name}: {value}"));
    let of_the_funnel = [format!("host: {superlink}"), "x-flower-iroh-funnel: inbound".to_owned()];
    honest.chain(of_the_funnel).chain(more.iter().map(|line| (*line).to_owned())).collect()
}

/// An inbound funnel before this SuperLink, a peer of it that has no funnel, and one that has.
async fn parties(exposed: Exposed) -> (Pair, RawPeer) {
    let key = SecretKey::generate();
    let pair = Pair::start(exposed.allow(key.public(), [Api::Fleet]), &[Api::Fleet]).await;
    let peer = RawPeer::new(key, pair.peer.clone(), ALPN).await;
    (pair, peer)
}

#[tokio::test]
async fn an_http_superlink_receives_no_byte_of_what_a_proxy_would_report() {
    guarded(async {
        let (superlink, mut calls) = recorder().await;
        let (pair, peer) = parties(Exposed::new().superlink(format!("http://{superlink}").parse().unwrap())).await;
        let content = ["content-type: application/protobuf", "content-length: 4"];

        // A client at the local port, which writes its own bytes.
        let lies: String = LIES.iter().map(|(name, value)| format!("{}: {value}\r\n", name.to_uppercase())).collect();
        let honest: String = HONEST.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "POST /v1/fleet/pull-object HTTP/1.1\r\nhost: {}\r\ncontent-type: application/protobuf\r\n{lies}{honest}\
             connection: close\r\n",
            pair.dial
        );
        let write = async |rest: &str| {
            let mut socket = TcpStream::connect(pair.dial).await.unwrap();
            socket.write_all(format!("{request}{rest}").as_bytes()).await.unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        };
        write("content-length: 4\r\n\r\ncall").await;
        let (line, head, body) = parsed(&calls.recv().await.unwrap());
        assert_eq!((&*line, &*body), ("POST /v1/fleet/pull-object HTTP/1.1", "call"));
        assert_eq!(head, expected(superlink, &content));

        // In chunks, with the same in the trailers. A small request is read whole, and has a length afterwards.
        write(&format!(
            "trailer: x-forwarded-for, x-api-key\r\ntransfer-encoding: chunked\r\n\r\n4\r\ncall\r\n0\r\n{lies}x-api-key: \
             a\r\n\r\n"
        ))
        .await;
        let (_, head, body) = parsed(&calls.recv().await.unwrap());
        assert_eq!((head, &*body), (expected(superlink, &content), "call"));

        // A peer with a program of its own in the funnel's place.
        let mut call = http_call("/v1/fleet/pull-object", "call");
        call.headers_mut().extend(headers(&LIES));
        call.headers_mut().extend(headers(&HONEST));
        assert_eq!(peer.send(call).await.unwrap().status(), StatusCode::OK);
        let (_, head, body) = parsed(&calls.recv().await.unwrap());
        assert_eq!((head, &*body), (expected(superlink, &content), "call"));

        let mut call = http_call("/v1/fleet/pull-object", "").map(|_| with_trailers(Bytes::from_static(b"call")));
        call.headers_mut().extend(headers(&HONEST));
        call.headers_mut().insert("trailer", HeaderValue::from_static("x-forwarded-for"));
        assert_eq!(peer.send(call).await.unwrap().status(), StatusCode::OK);
        let (_, head, body) = parsed(&calls.recv().await.unwrap());
        assert_eq!((head, &*body), (expected(superlink, &content), "call"));
        peer.endpoint.close().await;
        pair.stop().await;
    })
    .await;
}

/// What a server received of a call: its headers, its body and its trailers.
type Received = (HeaderMap, Bytes, Option<HeaderMap>);

/// A SuperLink that speaks one wire, and what it received.
async fn superlink(wire: Wire) -> (Upstream, mpsc::UnboundedReceiver<Received>) {
    let (seen, calls) = mpsc::unbounded_channel();
    let upstream = Upstream::start(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap();
            let trailers = body.trailers().cloned();
            seen.send((parts.headers, body.to_bytes(), trailers)).unwrap();
            match wire {
                Wire::Http => full(StatusCode::OK, "application/protobuf", "reply"),
                Wire::Grpc => grpc_reply(frame(b"reply")),
            }
        }
    })
    .await;
    (upstream, calls)
}

fn names(headers: &HeaderMap) -> BTreeSet<&str> {
    headers.keys().map(HeaderName::as_str).collect()
}

fn call(wire: Wire) -> Request<Body> {
    let mut call = match wire {
        Wire::Http => http_call("/v1/fleet/pull-object", "call"),
        Wire::Grpc => grpc_call("/flwr.proto.Fleet/PullObject", frame(b"call")),
    };
    call.headers_mut().extend(headers(&LIES));
    call.headers_mut().extend(headers(&HONEST));
    call
}

#[tokio::test]
async fn no_wire_and_no_translation_carries_what_a_proxy_would_report() {
    guarded(async {
        for (to, of_the_wire, message) in [
            (Wire::Http, &["content-type", "host"][..], Bytes::from_static(b"call")),
            (Wire::Grpc, &["content-type", "te"], frame(b"call")),
        ] {
            let (upstream, mut calls) = superlink(to).await;
            let (pair, peer) = parties(upstream.speaking(to)).await;
            let (http, grpc) = (LocalClient::http(pair.dial), LocalClient::grpc(pair.dial));
            for from in [Wire::Http, Wire::Grpc] {
                let client = if from == Wire::Http { &http } else { &grpc };
                for response in [client.send(call(from)).await.unwrap(), peer.send(call(from)).await.unwrap()] {
                    assert_eq!((response.status(), response.headers().get("grpc-status")), (StatusCode::OK, None));
                    let (received, body, trailers) = calls.recv().await.unwrap();
                    let mut names = names(&received);
                    // Where each wire has its own: set by the translation.
                    for name in ["accept", "content-length", "grpc-accept-encoding", "flwr-oidc-access-token"] {
                        names.remove(name);
                    }
                    let honest = HONEST.iter().map(|(name, _)| *name);
                    let wanted = honest.chain(["x-flower-iroh-funnel"]).chain(of_the_wire.iter().copied());
                    assert_eq!(names, wanted.collect(), "{from} to {to}");
                    assert!(HONEST.iter().all(|(name, value)| received[*name] == value), "{received:?}");
                    assert_eq!((body, trailers), (message.clone(), None), "{from} to {to}");
                }
            }
            peer.endpoint.close().await;
            pair.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn trailers_of_a_request_do_not_reach_a_superlink_in_either_wire() {
    guarded(async {
        for (from, to) in [(Wire::Grpc, Wire::Grpc), (Wire::Grpc, Wire::Http), (Wire::Http, Wire::Http)] {
            let (upstream, mut calls) = superlink(to).await;
            let (pair, peer) = parties(upstream.speaking(to)).await;
            // A push is replayed: its body is read on another way.
            for method in ["pull-object", "push-object", "push-messages"] {
                let call = || {
                    let (path, data) = match from {
                        Wire::Http => (format!("/v1/fleet/{method}"), Bytes::from_static(b"call")),
                        Wire::Grpc => (grpc_path(method), frame(b"call")),
                    };
                    let call = if from == Wire::Http { http_call(&path, "") } else { grpc_call(&path, "") };
                    call.map(|_| with_trailers(data))
                };
                for response in
                    [LocalClient::grpc(pair.dial).send(call()).await.unwrap(), peer.send(call()).await.unwrap()]
                {
                    assert_eq!((response.status(), response.headers().get("grpc-status")), (StatusCode::OK, None));
                    let (received, body, trailers) = calls.recv().await.unwrap();
                    assert!(body.ends_with(b"call") && trailers.is_none(), "{from} to {to}: {trailers:?}");
                    assert!(!received.contains_key("trailer") && !received.contains_key("x-forwarded-for"));
                }
            }
            peer.endpoint.close().await;
            pair.stop().await;
        }
    })
    .await;
}

fn grpc_path(method: &str) -> String {
    let name = match method {
        "pull-object" => "PullObject",
        "push-object" => "PushObject",
        _ => "PushMessages",
    };
    format!("/flwr.proto.Fleet/{name}")
}

#[tokio::test]
async fn the_health_check_carries_nothing_of_it_either() {
    guarded(async {
        let (upstream, mut calls) = superlink(Wire::Http).await;
        let key = SecretKey::generate();
        let exposed = upstream.speaking(Wire::Http).allow(key.public(), [Api::Fleet]);
        let inbound = Running::start(loopback().expose(exposed).build().unwrap()).await;
        let peer = RawPeer::new(key, inbound.funnel.endpoint_addr().await, ALPN).await;
        let mut request = Request::get("/health").body(with_trailers(Bytes::new())).unwrap();
        request.headers_mut().extend(headers(&LIES));
        assert_eq!(peer.send(request).await.unwrap().status(), StatusCode::OK);
        let (received, _, trailers) = calls.recv().await.unwrap();
        let wanted = BTreeSet::from(["host", "transfer-encoding", "x-flower-iroh-funnel"]);
        assert!(names(&received).is_subset(&wanted) && trailers.is_none(), "{received:?}");
        peer.endpoint.close().await;
        inbound.stop().await;
    })
    .await;
}
