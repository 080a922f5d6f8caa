//! What a SuperLink answers once, and a caller that is gone before the answer comes.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use flower_iroh_funnel::{Api, protocol::Wire};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::{Notify, Semaphore};

use super::support::{Body, LocalClient, Pair, Upstream, full, grpc_call, guarded, http_call};

/// `PullMessagesResponse` with one message, named `m`, and its tree of objects.
const MESSAGE: &[u8] = &[0x12, 5, 0x0a, 3, 0x12, 1, b'm', 0x1a, 3, 0x0a, 1, b'm'];
const STORED: &[u8] = &[0x08, 1];
const BOTH: [Wire; 2] = [Wire::Grpc, Wire::Http];

/// `PullMessagesRequest`.
fn pull(node: u8) -> Vec<u8> {
    vec![0x0a, 2, 0x08, node]
}

/// `ConfirmMessageReceivedRequest`.
fn confirm(node: u8) -> Vec<u8> {
    vec![0x0a, 2, 0x08, node, 0x10, 1, 0x1a, 1, b'm']
}

/// `PushObjectRequest`, with content that is longer than what is kept of a field.
fn push(push: u8) -> Vec<u8> {
    [&[0x0a, 2, 0x08, 7, 0x10, 1, 0x1a, 1, b'o', 0x22, 0xe8, 7][..], &[9; 1000], &[0x2a, 1, push]].concat()
}

/// Hands out one message, stores each object once, and answers when it may.
struct SuperLink {
    message: Mutex<Option<&'static [u8]>>,
    objects: Mutex<HashSet<Bytes>>,
    asked: Notify,
    may_answer: Semaphore,
}

impl SuperLink {
    async fn start() -> (Arc<Self>, Upstream) {
        let superlink = Self {
            message: Mutex::new(Some(MESSAGE)),
            objects: Mutex::default(),
            asked: Notify::new(),
            may_answer: Semaphore::new(0),
        };
        let superlink = Arc::new(superlink);
        let upstream = Upstream::start({
            let superlink = Arc::clone(&superlink);
            move |request| Arc::clone(&superlink).answer(request)
        });
        (Arc::clone(&superlink), upstream.await)
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let is_grpc = path.starts_with("/flwr");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let message = if is_grpc { body.slice(5..) } else { body };
        let answer = match path.rsplit('/').next().unwrap() {
            "PullMessages" | "pull-messages" if message[3] == 7 => {
                self.message.lock().unwrap().take().unwrap_or_default()
            }
            "PushObject" | "push-object" if self.objects.lock().unwrap().insert(message.clone()) => STORED,
            _ => &[],
        };
        self.asked.notify_one();
        let _may = self.may_answer.acquire().await.unwrap();
        if is_grpc { in_grpc(answer) } else { full(StatusCode::OK, "application/protobuf", answer) }
    }

    /// A call that is whole, and whose caller goes before it is answered.
    async fn swallow(&self, pair: &Pair, wire: Wire, method: &str, message: Vec<u8>) {
        tokio::select! {
            answer = call(pair, wire, method, message) => panic!("answered too early: {answer:?}"),
            () = self.asked.notified() => {}
        }
        self.may_answer.add_permits(1000);
    }
}

fn in_grpc(message: &[u8]) -> Response<Body> {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let frames =
        [Frame::data(framed(message).into()), Frame::trailers(trailers)].map(Ok::<_, std::convert::Infallible>);
    let mut response = full(StatusCode::OK, "application/grpc", "");
    *response.body_mut() = BodyExt::boxed(StreamBody::new(tokio_stream::iter(frames)));
    response
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

/// The message of the answer.
async fn call(pair: &Pair, wire: Wire, method: &str, message: Vec<u8>) -> Bytes {
    let request = match wire {
        Wire::Http => http_call(&format!("/v1/fleet/{method}"), message),
        Wire::Grpc => {
            let words = method.split('-').map(|word| word[..1].to_uppercase() + &word[1..]);
            grpc_call(&format!("/flwr.proto.Fleet/{}", words.collect::<String>()), framed(&message))
        }
    };
    let client = match wire {
        Wire::Http => LocalClient::http(pair.dial),
        Wire::Grpc => LocalClient::grpc(pair.dial),
    };
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let collected = answer.into_body().collect().await.unwrap();
    match wire {
        Wire::Http => collected.to_bytes(),
        Wire::Grpc => {
            assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
            let body = collected.to_bytes();
            assert_eq!(body[..5], framed(&body[5..])[..5]);
            body.slice(5..)
        }
    }
}

#[tokio::test]
async fn a_message_whose_node_was_gone_is_handed_out_again_until_it_is_confirmed() {
    guarded(async {
        for (wire, spoken) in BOTH.into_iter().flat_map(|wire| BOTH.map(|spoken| (wire, spoken))) {
            let (superlink, upstream) = SuperLink::start().await;
            let pair = Pair::start(upstream.speaking(spoken), &[Api::Fleet]).await;
            superlink.swallow(&pair, wire, "pull-messages", pull(7)).await;
            // The answer to the first call may come after this one's.
            while call(&pair, wire, "pull-messages", pull(7)).await != MESSAGE {}
            assert_eq!(call(&pair, wire, "pull-messages", pull(8)).await, "", "it is another node's");
            assert_eq!(call(&pair, wire.other(), "pull-messages", pull(7)).await, MESSAGE, "not confirmed yet");
            call(&pair, wire, "confirm-message-received", confirm(7)).await;
            assert_eq!(call(&pair, wire, "pull-messages", pull(7)).await, "", "{wire} {spoken}");
            pair.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_object_whose_node_was_gone_is_stored_when_it_comes_again() {
    guarded(async {
        for (wire, spoken) in BOTH.into_iter().flat_map(|wire| BOTH.map(|spoken| (wire, spoken))) {
            let (superlink, upstream) = SuperLink::start().await;
            let pair = Pair::start(upstream.speaking(spoken), &[Api::Fleet]).await;
            superlink.swallow(&pair, wire, "push-object", push(b'a')).await;
            while call(&pair, wire, "push-object", push(b'a')).await != STORED {}
            superlink.objects.lock().unwrap().insert(push(b'b').into());
            assert_eq!(call(&pair, wire, "push-object", push(b'b')).await, "", "this push is another: {wire} {spoken}");
            pair.stop().await;
        }
    })
    .await;
}
