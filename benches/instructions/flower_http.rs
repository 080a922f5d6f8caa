//! `FlowerHttp` before a gRPC service that costs next to nothing.

use std::convert::Infallible;

use bytes::Bytes;
use flower_iroh_funnel::{Api, FlowerHttpLayer};
use http::{HeaderMap, HeaderValue, Request, Response, Version, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::frames::Frames;

/// Larger than any message here but an object.
const UNCUT: usize = 16 << 10;
const OBJECT: usize = 5 << 20;
const SMALL: &[u8] = &[7; 64];
const STREAMED: &[u8] = &[7; 200];
const ERROR: &str = r#"{"code": 16, "public_message": "no such run", "public_details": "it was deleted"}"#;

/// A gRPC call that passes as it is.
pub(crate) async fn passed(calls: u32) {
    let frames = || Frames::new(grpc_message(SMALL), UNCUT);
    let request = || grpc_request("/flwr.proto.Fleet/SendNodeHeartbeat", frames());
    assert_eq!(work(calls, request, &replied(frames())).await, (200, 64 + 5));
}

/// An HTTP call and its answer.
pub(crate) async fn translated(calls: u32) {
    let request = || http_request("/v1/fleet/send-node-heartbeat", Frames::new(SMALL.into(), UNCUT));
    assert_eq!(work(calls, request, &replied(Frames::new(grpc_message(SMALL), UNCUT))).await, (200, 64));
}

/// An HTTP call and its answer, an error with a code of Flower's.
pub(crate) async fn error(calls: u32) {
    let request = || http_request("/v1/fleet/get-run", Frames::new(SMALL.into(), UNCUT));
    let mut reply = replied(Frames::new(Bytes::new(), UNCUT));
    reply.headers_mut().extend(status("5", ERROR));
    let (status, length) = work(calls, request, &reply).await;
    assert!(status == 404 && length > 20, "{status}, {length} bytes");
}

/// An HTTP call, and a hundred messages for an answer.
pub(crate) async fn stream(calls: u32) {
    let request = || http_request("/v1/control/stream-logs", Frames::new(SMALL.into(), UNCUT));
    let message = grpc_message(STREAMED);
    let reply = replied(Frames::new(message.repeat(100).into(), message.len()));
    assert_eq!(work(calls, request, &reply).await, (200, 100 * (200 + 4)));
}

/// An HTTP call with an object, in frames of this size.
pub(crate) async fn up(calls: u32, frame: usize) {
    let object = Frames::new(vec![7; OBJECT].into(), frame);
    let request = || http_request("/v1/fleet/push-object", object.clone());
    assert_eq!(work(calls, request, &replied(Frames::new(grpc_message(SMALL), UNCUT))).await, (200, 64));
}

/// An HTTP call whose answer is an object, in frames of this size.
pub(crate) async fn down(calls: u32, frame: usize) {
    let request = || http_request("/v1/fleet/pull-object", Frames::new(SMALL.into(), UNCUT));
    let reply = replied(Frames::new(grpc_message(&vec![7; OBJECT]), frame));
    assert_eq!(work(calls, request, &reply).await, (200, OBJECT));
}

/// Makes calls that are all answered with `reply`; returns status and length of what came of the last.
async fn work(calls: u32, request: impl Fn() -> Request<Frames>, reply: &Response<Frames>) -> (u16, usize) {
    let reply = reply.clone();
    let inner = service_fn(move |request: Request<tonic::body::Body>| {
        let reply = reply.clone();
        async move {
            length(request.into_body()).await;
            Ok::<_, Infallible>(reply)
        }
    });
    let mut server = FlowerHttpLayer::new([Api::Fleet, Api::Control]).layer(inner);
    let mut outcome = (0, 0);
    for _ in 0..calls {
        let server = ServiceExt::<Request<Frames>>::ready(&mut server).await.expect("it cannot fail");
        let response = server.call(request()).await.expect("it cannot fail");
        outcome = (response.status().as_u16(), length(response.into_body()).await);
    }
    outcome
}

/// Reads a body to its end.
async fn length<B: Body<Data = Bytes> + Unpin>(mut body: B) -> usize {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { panic!("a body breaks") };
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

fn grpc_message(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("no message is that large");
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}

fn grpc_request(path: &str, body: Frames) -> Request<Frames> {
    let mut request = post(path, "application/grpc", body);
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    request
}

fn http_request(path: &str, body: Frames) -> Request<Frames> {
    post(path, "application/protobuf", body)
}

fn post(path: &str, content_type: &'static str, body: Frames) -> Request<Frames> {
    Request::post(path).header(CONTENT_TYPE, content_type).body(body).expect("the parts are right")
}

/// A gRPC answer that ends well.
fn replied(frames: Frames) -> Response<Frames> {
    let is_empty = frames.is_end_stream();
    let mut response = Response::new(if is_empty { frames } else { frames.with_trailers(status("0", "")) });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn status(code: &'static str, message: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    trailers.insert("grpc-message", HeaderValue::from_static(message));
    trailers
}
