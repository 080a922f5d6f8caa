//! Calls whose two ends speak different wires.

use std::sync::Arc;

use bytes::Bytes;
use flower_iroh_funnel::{
    Api,
    protocol::{Method, Wire},
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::{Notify, mpsc};

use super::support::{Body, LocalClient, Pair, Upstream, detail, full, grpc_call, guarded, http_call, piecewise};

/// Code, gRPC status, HTTP status of every error of Flower 1.42.
const ERRORS: &str = include_str!("../data/flower_errors.tsv");
const PROTOBUF: &str = "application/protobuf";
const STREAM: &str = "application/flower-protobuf-stream";

/// A message as gRPC frames it.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat().into()
}

/// A message as Flower's HTTP streams frame it.
fn stream_frame(message: &[u8]) -> Bytes {
    frame(message).slice(1..)
}

fn trailers(status: &str, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers.insert("grpc-message", message.parse().unwrap());
    trailers
}

/// A gRPC server's reply.
pub(crate) fn grpc_reply(frames: impl Into<Bytes>) -> Response<Body> {
    let frames = [Ok(Frame::data(frames.into())), Ok(Frame::trailers(trailers("0", "")))];
    grpc_response(StreamBody::new(futures_util::stream::iter(frames)).boxed())
}

fn grpc_response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A gRPC server's error: trailers alone.
fn grpc_error(status: &str, message: &str) -> Response<Body> {
    let mut response = grpc_response(Full::default().boxed());
    response.headers_mut().extend(trailers(status, message));
    response
}

/// What a gRPC client reads: the status, its message, the bytes of all messages.
async fn outcome(response: Response<Incoming>) -> (String, String, Bytes) {
    assert_eq!(
        (response.status(), &response.headers()[CONTENT_TYPE]),
        (StatusCode::OK, &"application/grpc".parse().unwrap())
    );
    let headers = response.headers().clone();
    let body = response.into_body().collect().await.unwrap();
    let said = body.trailers().cloned().unwrap_or(headers);
    let text = |name| said.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    (text("grpc-status"), text("grpc-message"), body.to_bytes())
}

/// A pair whose upstream speaks one wire and answers with `handler`.
async fn pair<F>(wire: Wire, handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> (Pair, Upstream)
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let upstream = Upstream::start(handler).await;
    (Pair::start(upstream.speaking(wire), &[Api::Fleet, Api::Control]).await, upstream)
}

fn methods() -> impl Iterator<Item = &'static Method> {
    Method::ALL.iter().filter(|method| matches!(method.api(), Api::Fleet | Api::Control))
}

fn streams(path: &str) -> bool {
    methods()
        .any(|method| method.streams() && [Wire::Grpc, Wire::Http].map(|wire| method.path(wire)).contains(&path.into()))
}

#[tokio::test]
async fn every_grpc_call_reaches_an_http_superlink() {
    guarded(async {
        let (pair, _upstream) = pair(Wire::Http, async |request: Request<Incoming>| {
            let path = request.uri().path().to_owned();
            assert_eq!(request.headers()[CONTENT_TYPE], PROTOBUF);
            assert_eq!(request.headers()["content-length"], path.len().to_string());
            assert!(request.headers().keys().all(|name| !name.as_str().starts_with("grpc-") && name != "te"));
            let message = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(message, path);
            match streams(&path) {
                true => full(StatusCode::OK, STREAM, [stream_frame(&message), stream_frame(b"")].concat()),
                false => full(StatusCode::OK, PROTOBUF, message),
            }
        })
        .await;
        let client = LocalClient::grpc(pair.dial);
        for method in methods() {
            let message = method.path(Wire::Http);
            let call = grpc_call(&method.path(Wire::Grpc), frame(message.as_bytes()));
            let (status, _, frames) = outcome(client.send(call).await.unwrap()).await;
            let wanted = [frame(message.as_bytes()), if method.streams() { frame(b"") } else { Bytes::new() }];
            assert_eq!((status, frames), ("0".to_owned(), wanted.concat().into()), "{method:?}");
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn every_http_call_reaches_a_grpc_superlink() {
    guarded(async {
        let (pair, _upstream) = pair(Wire::Grpc, async |request: Request<Incoming>| {
            let path = request.uri().path().to_owned();
            assert_eq!(
                (&request.headers()[CONTENT_TYPE], &request.headers()["te"]),
                (&"application/grpc".parse().unwrap(), &"trailers".parse().unwrap())
            );
            let frames = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(frames, frame(path.as_bytes()));
            grpc_reply(if streams(&path) { [frames, frame(b"")].concat().into() } else { frames })
        })
        .await;
        let client = LocalClient::http(pair.dial);
        for method in methods() {
            let message = method.path(Wire::Grpc);
            let response = client.send(http_call(&method.path(Wire::Http), message.clone())).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{method:?}");
            let (content_type, wanted) = match method.streams() {
                true => (STREAM, [stream_frame(message.as_bytes()), stream_frame(b"")].concat()),
                false => (PROTOBUF, message.into_bytes()),
            };
            assert_eq!(response.headers()[CONTENT_TYPE], content_type);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), wanted, "{method:?}");
        }
        pair.stop().await;
    })
    .await;
}

fn headers(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

fn contains(all: &HeaderMap, wanted: &HeaderMap) -> bool {
    wanted.iter().all(|(name, value)| all.get_all(name).iter().any(|found| found == value))
}

#[tokio::test]
async fn headers_are_metadata_at_the_other_end() {
    guarded(async {
        let http = headers(&[
            ("flwr-public-key", "AAH/+w=="),
            ("flwr-signature", "/+8="),
            ("flwr-timestamp", "2026-01-01T00:00:00+00:00"),
            ("flwr-package-version", "1.41.0"),
        ]);
        let grpc = headers(&[
            ("flwr-public-key-bin", "AAH/+w"),
            ("flwr-signature-bin", "/+8"),
            ("flwr-timestamp", "2026-01-01T00:00:00+00:00"),
            ("flwr-package-version", "1.41.0"),
        ]);
        let said = headers(&[("flwr-version-incompatibility-message", "old")]);
        for (upstream_wire, sent, wanted) in [(Wire::Http, &grpc, &http), (Wire::Grpc, &http, &grpc)] {
            let (seen, mut requests) = mpsc::unbounded_channel();
            let (pair, _upstream) = pair(upstream_wire, {
                let said = said.clone();
                move |request: Request<Incoming>| {
                    seen.send(request.headers().clone()).unwrap();
                    let mut response = match upstream_wire {
                        Wire::Http => full(StatusCode::OK, PROTOBUF, ""),
                        Wire::Grpc => grpc_reply(frame(b"")),
                    };
                    response.headers_mut().extend(said.clone());
                    async move { response }
                }
            })
            .await;
            let (client, mut call) = match upstream_wire {
                Wire::Http => (LocalClient::grpc(pair.dial), grpc_call("/flwr.proto.Fleet/PullMessages", frame(b""))),
                Wire::Grpc => (LocalClient::http(pair.dial), http_call("/v1/fleet/pull-messages", "")),
            };
            call.headers_mut().extend(sent.clone());
            let response = client.send(call).await.unwrap();
            assert!(contains(response.headers(), &said), "{:?}", response.headers());
            let seen = requests.recv().await.unwrap();
            assert!(contains(&seen, wanted), "{seen:?}");
            pair.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn every_error_of_flower_is_the_same_error_in_the_other_wire() {
    guarded(async {
        // The upstream answers with the error whose numbers are the request's message.
        let (to_http, _upstream) = pair(Wire::Http, async |request: Request<Incoming>| {
            let numbers = request.into_body().collect().await.unwrap().to_bytes();
            let numbers: Vec<&str> = std::str::from_utf8(&numbers).unwrap().split('\t').collect();
            let json = format!(r#"{{"code": {}, "detail": "what œ", "extra": "more"}}"#, numbers[0]);
            full(numbers[2].parse().unwrap(), "application/json", json)
        })
        .await;
        let (to_grpc, _upstream) = pair(Wire::Grpc, async |request: Request<Incoming>| {
            let frames = request.into_body().collect().await.unwrap().to_bytes();
            let numbers: Vec<&str> = std::str::from_utf8(&frames[5..]).unwrap().split('\t').collect();
            let json = format!(r#"{{"code": {}, "public_message": "what", "public_details": null}}"#, numbers[0]);
            grpc_error(numbers[1], &json)
        })
        .await;
        let (grpc, http) = (LocalClient::grpc(to_http.dial), LocalClient::http(to_grpc.dial));
        for line in ERRORS.lines().filter(|line| !line.starts_with('#')) {
            let numbers: Vec<u16> = line.split('\t').map(|number| number.parse().unwrap()).collect();
            for api in ["Fleet/PullMessages", "Control/StreamLogs"] {
                let call = grpc_call(&format!("/flwr.proto.{api}"), frame(line.as_bytes()));
                let (status, message, _) = outcome(grpc.send(call).await.unwrap()).await;
                let json =
                    format!(r#"{{"code":{},"public_details":"more","public_message":"what %C5%93"}}"#, numbers[0]);
                assert_eq!((status, message), (numbers[1].to_string(), json));
            }
            for path in ["/v1/fleet/pull-messages", "/v1/control/stream-logs"] {
                let response = http.send(http_call(path, line)).await.unwrap();
                assert_eq!(response.status(), numbers[2], "{line}");
                let json = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(json, format!(r#"{{"code":{},"detail":"what"}}"#, numbers[0]));
            }
        }
        to_http.stop().await;
        to_grpc.stop().await;
    })
    .await;
}

/// A status that the caller's wire does not have, or a web server's own 404, must not end a SuperNode.
#[tokio::test]
async fn a_status_without_a_like_lets_a_supernode_try_again() {
    guarded(async {
        let (to_http, _upstream) = pair(Wire::Http, async |request: Request<Incoming>| {
            let status = request.into_body().collect().await.unwrap().to_bytes();
            full(StatusCode::from_bytes(&status).unwrap(), "application/json", r#"{"detail": "plain"}"#)
        })
        .await;
        let (to_grpc, _upstream) = pair(Wire::Grpc, async |request: Request<Incoming>| {
            let frames = request.into_body().collect().await.unwrap().to_bytes();
            grpc_error(std::str::from_utf8(&frames[5..]).unwrap(), "plain")
        })
        .await;
        for (http_status, wanted) in
            [("404", "14"), ("405", "14"), ("429", "14"), ("502", "14"), ("504", "14"), ("401", "16"), ("403", "7")]
        {
            let call = grpc_call("/flwr.proto.Fleet/PullMessages", frame(http_status.as_bytes()));
            let (status, message, _) = outcome(LocalClient::grpc(to_http.dial).send(call).await.unwrap()).await;
            assert_eq!((&*status, &*message), (wanted, "plain"), "{http_status}");
        }
        for (grpc_status, wanted) in [
            ("1", 503),
            ("2", 503),
            ("4", 504),
            ("8", 503),
            ("10", 503),
            ("12", 503),
            ("14", 503),
            ("16", 401),
            ("7", 403),
        ] {
            let call = http_call("/v1/fleet/pull-messages", grpc_status);
            let response = LocalClient::http(to_grpc.dial).send(call).await.unwrap();
            assert_eq!(response.status(), wanted, "{grpc_status}");
            assert_eq!(detail(response).await, "plain");
        }
        to_http.stop().await;
        to_grpc.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_large_object_passes_while_it_comes() {
    const HALF: usize = 8 << 20;
    guarded(async {
        let half = Bytes::from(vec![7; HALF]);
        for upstream_wire in [Wire::Http, Wire::Grpc] {
            let arrived = Arc::new(Notify::new());
            let (pair, _upstream) = pair(upstream_wire, {
                let arrived = Arc::clone(&arrived);
                move |request: Request<Incoming>| {
                    let arrived = Arc::clone(&arrived);
                    async move {
                        let (mut body, mut seen) = (request.into_body(), 0);
                        while let Some(frame) = body.frame().await {
                            seen += frame.unwrap().into_data().map_or(0, |data| data.len());
                            if seen >= HALF / 2 {
                                arrived.notify_one();
                            }
                        }
                        let reply = Bytes::from(vec![9; seen]);
                        match upstream_wire {
                            Wire::Http => full(StatusCode::OK, PROTOBUF, reply),
                            Wire::Grpc => grpc_reply(frame(&reply)),
                        }
                    }
                }
            })
            .await;
            let (pieces, body) = piecewise();
            let length = 2 * HALF;
            let (client, call, sent, header) = match upstream_wire {
                Wire::Http => {
                    let call = grpc_call("/flwr.proto.Fleet/PushObject", "").map(|_| body);
                    let header = [&[0][..], &u32::try_from(length).unwrap().to_be_bytes()].concat();
                    (LocalClient::grpc(pair.dial), call, length, Bytes::from(header))
                }
                Wire::Grpc => {
                    let mut call = http_call("/v1/fleet/push-object", "").map(|_| body);
                    call.headers_mut().insert("content-length", HeaderValue::from(length));
                    (LocalClient::http(pair.dial), call, length + 5, Bytes::new())
                }
            };
            let calling = tokio::spawn(async move { client.send(call).await.unwrap() });
            pieces.send(Ok(Frame::data(header))).await.unwrap();
            pieces.send(Ok(Frame::data(half.clone()))).await.unwrap();
            arrived.notified().await;
            pieces.send(Ok(Frame::data(half.clone()))).await.unwrap();
            drop(pieces);
            let reply = calling.await.unwrap().into_body().collect().await.unwrap().to_bytes();
            let wanted = vec![9; sent];
            match upstream_wire {
                Wire::Http => assert!(reply == frame(&wanted)),
                Wire::Grpc => assert!(reply == wanted),
            }
            pair.stop().await;
        }
    })
    .await;
}

/// An upstream whose stream the test writes.
async fn streaming(wire: Wire) -> (Pair, Upstream, mpsc::Sender<Result<Frame<Bytes>, std::convert::Infallible>>) {
    let (pieces, body) = piecewise();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let (pair, upstream) = pair(wire, move |_| {
        let mut response = grpc_response(body.lock().unwrap().take().expect("one call"));
        if wire == Wire::Http {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(STREAM));
        }
        async move { response }
    })
    .await;
    (pair, upstream, pieces)
}

#[tokio::test]
async fn each_message_of_a_stream_arrives_before_the_next_is_sent() {
    guarded(async {
        let messages: [&[u8]; 3] = [b"first", b"", b"third"];
        let (pair, _upstream, pieces) = streaming(Wire::Http).await;
        let client = LocalClient::grpc(pair.dial);
        let mut response = client.send(grpc_call("/flwr.proto.Control/StreamLogs", frame(b"run"))).await.unwrap();
        for message in messages {
            // A frame may come in any pieces.
            for byte in stream_frame(message) {
                pieces.send(Ok(Frame::data(Bytes::copy_from_slice(&[byte])))).await.unwrap();
            }
            assert_eq!(read(&mut response, 5 + message.len()).await, frame(message));
        }
        drop(pieces);
        assert_eq!(outcome(response).await, ("0".into(), String::new(), Bytes::new()));
        pair.stop().await;

        let (pair, _upstream, pieces) = streaming(Wire::Grpc).await;
        let client = LocalClient::http(pair.dial);
        pieces.send(Ok(Frame::data(frame(b"zero")))).await.unwrap();
        let mut response = client.send(http_call("/v1/control/stream-logs", "run")).await.unwrap();
        assert_eq!(read(&mut response, 8).await, stream_frame(b"zero"));
        for message in messages {
            pieces.send(Ok(Frame::data(frame(message)))).await.unwrap();
            assert_eq!(read(&mut response, 4 + message.len()).await, stream_frame(message));
        }
        pieces.send(Ok(Frame::trailers(trailers("0", "")))).await.unwrap();
        drop(pieces);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), Bytes::new());
        pair.stop().await;
    })
    .await;
}

/// A gRPC server's head comes with its first message, and Flower's HTTP client does not wait for it for ever.
#[tokio::test]
async fn a_stream_begins_before_its_first_message() {
    guarded(async {
        let logged = Arc::new(Notify::new());
        let (pair, _upstream) = pair(Wire::Grpc, {
            let logged = Arc::clone(&logged);
            move |_| {
                let logged = Arc::clone(&logged);
                async move {
                    logged.notified().await;
                    grpc_reply(frame(b"first"))
                }
            }
        })
        .await;
        let client = LocalClient::http(pair.dial);
        let response = client.send(http_call("/v1/control/stream-logs", "run")).await.unwrap();
        assert_eq!((response.status(), &response.headers()[CONTENT_TYPE]), (StatusCode::OK, &STREAM.parse().unwrap()));
        logged.notify_one();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), stream_frame(b"first"));
        pair.stop().await;
    })
    .await;
}

async fn read(response: &mut Response<Incoming>, length: usize) -> Bytes {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend_from_slice(&response.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    bytes.into()
}

/// An answer that is not whole is never taken for it.
#[tokio::test]
async fn a_broken_answer_ends_as_one() {
    guarded(async {
        let half = stream_frame(b"message").slice(..6);
        let (pair, _upstream, pieces) = streaming(Wire::Http).await;
        let client = LocalClient::grpc(pair.dial);
        let response = client.send(grpc_call("/flwr.proto.Control/StreamLogs", frame(b"run"))).await.unwrap();
        pieces.send(Ok(Frame::data(half))).await.unwrap();
        drop(pieces);
        let (status, message, _) = outcome(response).await;
        assert_eq!(status, "14");
        assert!(message.contains("ends 5 bytes before its message does"), "{message}");
        pair.stop().await;

        for (ending, path) in [("14", "/v1/control/stream-logs"), ("14", "/v1/fleet/pull-object")] {
            let (pair, _upstream, pieces) = streaming(Wire::Grpc).await;
            pieces.send(Ok(Frame::data(frame(b"message")))).await.unwrap();
            let client = LocalClient::http(pair.dial);
            let response = client.send(http_call(path, "run")).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            pieces.send(Ok(Frame::trailers(trailers(ending, "broken")))).await.unwrap();
            drop(pieces);
            response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_err();
            pair.stop().await;
        }

        let replies: [(&[u8], &str); 4] = [
            (&[0, 0, 0, 0, 9, b'x'], "a short one"),
            (&[1, 0, 0, 0, 1, b'x'], "a compressed one"),
            (&[0, 0xff, 0xff, 0xff, 0xff], "one of 4 GiB"),
            (b"", "none"),
        ];
        let (pair, _upstream) = self::pair(Wire::Grpc, async |request: Request<Incoming>| {
            let frames = request.into_body().collect().await.unwrap().to_bytes();
            grpc_reply(frames.slice(5..))
        })
        .await;
        let client = LocalClient::http(pair.dial);
        for (reply, what) in replies {
            let response = client.send(http_call("/v1/fleet/pull-messages", reply)).await.unwrap();
            match response.status() {
                StatusCode::OK => _ = response.into_body().collect().await.map(|body| body.to_bytes()).expect_err(what),
                status => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{what}"),
            }
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_grpc_request_that_is_not_one_message_never_reaches_an_http_superlink() {
    guarded(async {
        let (reached, mut requests) = mpsc::unbounded_channel();
        let (pair, _upstream) = pair(Wire::Http, move |request: Request<Incoming>| {
            let reached = reached.clone();
            async move {
                if let Ok(body) = request.into_body().collect().await {
                    reached.send(body.to_bytes()).unwrap();
                }
                full(StatusCode::OK, PROTOBUF, "")
            }
        })
        .await;
        let two = [frame(b"one"), frame(b"two")].concat();
        let requests_and_outcomes: [(&[u8], &str, &str); 8] = [
            (b"", "12", "has no message"),
            (&two, "12", "goes on after its message"),
            (b"\0\0\0\0\x05abc", "13", "ends 2 bytes before its message does"),
            (b"\0\0\0", "13", "ends in the middle of a message's header"),
            (b"\x01\0\0\0\x03abc", "12", "is compressed, and only identity"),
            (b"\x02\0\0\0\x03abc", "13", "is not gRPC"),
            (b"\0\x80\0\0\0abc", "8", "announces a message of 2147483648 bytes"),
            (b"\0\0\0\0\x03abcd", "12", "goes on after its message"),
        ];
        let client = LocalClient::grpc(pair.dial);
        for (body, wanted, reason) in requests_and_outcomes {
            let call = grpc_call("/flwr.proto.Fleet/PushObject", Bytes::copy_from_slice(body));
            let (status, message, _) = outcome(client.send(call).await.unwrap()).await;
            assert_eq!(status, wanted, "{message}");
            assert!(message.contains(reason), "{message}");
        }
        let call = grpc_call("/flwr.proto.Fleet/PushObject", frame(b"whole"));
        assert_eq!(outcome(client.send(call).await.unwrap()).await.0, "0");
        assert_eq!(requests.recv().await.unwrap(), "whole", "and nothing before it");
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_http_request_that_cannot_be_grpc_is_refused_with_its_status() {
    guarded(async {
        let (pair, _upstream) = pair(Wire::Grpc, async |_| grpc_reply(frame(b""))).await;
        let client = LocalClient::http(pair.dial);
        let chunked = {
            let (pieces, body) = piecewise();
            drop(pieces);
            http_call("/v1/fleet/push-object", "").map(|_| body)
        };
        let json = {
            let mut call = http_call("/v1/fleet/push-object", "{}");
            call.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            call
        };
        let unsigned = {
            let mut call = http_call("/v1/fleet/push-object", "x");
            call.headers_mut().insert("flwr-signature", HeaderValue::from_static("no base64!"));
            call
        };
        let zipped = {
            let mut call = http_call("/v1/fleet/push-object", "x");
            call.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
            call
        };
        for (call, status, reason) in [
            (zipped, 415, "a Content-Encoding"),
            (chunked, 411, "no Content-Length"),
            (json, 415, "not application/protobuf"),
            (unsigned, 400, "the header flwr-signature cannot be translated"),
            (http_call("/v1/fleet/no-such-method", "x"), 503, "knows no such method"),
            (http_call("/v1/control/no-such-method", "x"), 501, "knows no such method"),
        ] {
            let response = client.send(call).await.unwrap();
            assert_eq!(response.status(), status);
            let detail = detail(response).await;
            assert!(detail.contains(reason), "{detail}");
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_services_old_paths_are_not_taken_for_its_new_ones() {
    guarded(async {
        let (pair, _upstream) = pair(Wire::Http, async |_| full(StatusCode::OK, PROTOBUF, "")).await;
        for (path, wanted) in [("/flwr.proto.GrpcAdapter/SendReceive", "14"), ("/flwr.proto.Exec/StartRun", "12")] {
            let response = LocalClient::grpc(pair.dial).send(grpc_call(path, frame(b""))).await.unwrap();
            let (status, message, _) = outcome(response).await;
            assert_eq!(status, wanted);
            assert!(message.contains(path), "{message}");
        }
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_callers_deadline_is_kept() {
    guarded(async {
        let deadline = |path, timeout: &str| {
            let mut call = grpc_call(path, frame(b""));
            call.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
            call
        };
        let (silent, _upstream) = pair(Wire::Http, async |_| std::future::pending::<Response<Body>>().await).await;
        let client = LocalClient::grpc(silent.dial);
        let (status, message, _) =
            outcome(client.send(deadline("/flwr.proto.Fleet/SendNodeHeartbeat", "300m")).await.unwrap()).await;
        assert_eq!(status, "4");
        assert!(message.contains("took longer than the caller's 300ms"), "{message}");
        silent.stop().await;

        // On a busy machine the line takes longer than the first of these.
        for patience in ["1S", "4S", "16S", "64S"] {
            let (lasting, _upstream, pieces) = streaming(Wire::Http).await;
            pieces.send(Ok(Frame::data(stream_frame(b"a line")))).await.unwrap();
            let call = deadline("/flwr.proto.Control/StreamLogs", patience);
            let (status, _, frames) = outcome(LocalClient::grpc(lasting.dial).send(call).await.unwrap()).await;
            assert_eq!(status, "4");
            drop(pieces);
            lasting.stop().await;
            if frames == frame(b"a line") {
                return;
            }
        }
        panic!("the line does not come");
    })
    .await;
}
