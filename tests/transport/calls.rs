//! Calls of every shape.

use futures_util::{StreamExt, future::join_all};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Status, metadata::MetadataValue};

use crate::{
    hello::v1::HelloRequest,
    support::{Probe, TestClient, TestServer, greet, named, run},
};

const LARGE: usize = 64 << 20;

#[test]
fn all_four_call_shapes_are_answered() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let mut hello = client.hello(server.id());

        assert_eq!(greet(&mut hello).await.unwrap(), "Hello, peer to peer!");

        let request = HelloRequest { count: 5, ..named("you") };
        let replies: Vec<_> = hello.server_stream(request).await.unwrap().into_inner().collect().await;
        assert_eq!(replies.len(), 5);
        assert!(replies.into_iter().all(|reply| reply.unwrap().greeting == "Hello, you!"));

        let requests = ["a", "b", "c"].map(|name| HelloRequest { payload: name.into(), ..named(name) });
        let reply = hello.client_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
        assert_eq!((reply.greeting.as_str(), reply.payload.as_slice()), ("Hello, a, b, c!", b"abc".as_slice()));

        let requests = tokio_stream::iter(["d", "e"].map(named));
        let replies: Vec<_> = hello.bidi(requests).await.unwrap().into_inner().collect().await;
        let greetings: Vec<_> = replies.into_iter().map(|reply| reply.unwrap().greeting).collect();
        assert_eq!(greetings, ["Hello, d!", "Hello, e!"]);
        server.close().await;
    });
}

#[test]
fn in_a_bidi_call_each_message_may_wait_for_the_reply_to_the_one_before() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let (requests, receiver) = mpsc::unbounded_channel();
        let call = client.hello(server.id()).bidi(UnboundedReceiverStream::new(receiver)).await;
        let mut replies = call.unwrap().into_inner();
        for turn in 0..200 {
            requests.send(named(&turn.to_string())).unwrap();
            assert_eq!(replies.message().await.unwrap().unwrap().greeting, format!("Hello, {turn}!"));
        }
        drop(requests);
        assert!(replies.message().await.unwrap().is_none());
        server.close().await;
    });
}

#[test]
fn a_message_of_64_mib_arrives_each_way() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let payload: Vec<u8> = (0..LARGE).map(|at| (at / 251) as u8).collect();
        let request = HelloRequest { payload: payload.clone(), ..named("large") };
        let reply = client.hello(server.id()).unary(request).await.unwrap().into_inner();
        assert!(reply.payload == payload);
        server.close().await;
    });
}

#[test]
fn metadata_and_trailers_arrive_text_and_binary() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let mut hello = client.hello(server.id());

        let mut request = Request::new(named("metadata"));
        request.metadata_mut().insert("text", "value".parse().unwrap());
        request.metadata_mut().insert_bin("raw-bin", MetadataValue::from_bytes(&[0, 1, 254, 255]));
        let response = hello.unary(request).await.unwrap();
        assert_eq!(response.metadata().get("text").unwrap(), "value");
        assert_eq!(response.metadata().get_bin("raw-bin").unwrap().to_bytes().unwrap().as_ref(), [0, 1, 254, 255]);

        assert_is_the_failure(&hello.unary(named("fail")).await.unwrap_err());

        let mut replies = hello.server_stream(named("fail")).await.unwrap().into_inner();
        assert!(replies.message().await.unwrap().is_some());
        assert_is_the_failure(&replies.message().await.unwrap_err());
        server.close().await;
    });
}

fn assert_is_the_failure(status: &Status) {
    let expected = Probe::failure();
    assert_eq!((status.code(), status.message()), (expected.code(), expected.message()));
    assert_eq!(status.details(), expected.details());
    assert_eq!(status.metadata().get("reason"), expected.metadata().get("reason"));
    assert_eq!(status.metadata().get_bin("reason-bin"), expected.metadata().get_bin("reason-bin"));
}

#[test]
fn a_call_that_the_client_cancels_ends_at_the_server() {
    run(async {
        let mut server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let mut hello = client.hello(server.id());

        let call = tokio::spawn({
            let mut hello = hello.clone();
            async move { hello.unary(named("stuck")).await }
        });
        server.stuck().await;
        call.abort();
        server.dropped().await;

        let mut replies = hello.server_stream(named("stuck")).await.unwrap().into_inner();
        assert!(replies.message().await.unwrap().is_some());
        server.stuck().await;
        drop(replies);
        server.dropped().await;

        greet(&mut hello).await.expect("a cancelled call costs nothing but itself");
        assert_eq!(server.watch.handshakes(), 1);
        server.close().await;
    });
}

#[test]
fn a_deadline_ends_its_call_alone() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let mut hello = client.hello(server.id());
        greet(&mut hello).await.unwrap();
        let mut request = Request::new(named("stuck"));
        request.set_timeout(std::time::Duration::from_millis(1));
        let status = hello.unary(request).await.unwrap_err();
        assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status:?}");
        greet(&mut hello).await.expect("a missed deadline costs nothing but its call");
        server.close().await;
    });
}

#[test]
fn a_call_that_the_server_ends_early_leaves_the_client_its_status() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let mut hello = client.hello(server.id());
        // The client would go on for ever.
        let endless = futures_util::stream::repeat_with(|| HelloRequest { payload: vec![7; 1024], ..named("more") });
        let refused = futures_util::stream::iter([named("refuse")]).chain(endless);
        let mut replies = hello.bidi(refused).await.unwrap().into_inner();
        let status = loop {
            match replies.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without its status"),
                Err(status) => break status,
            }
        };
        assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "no more"));
        greet(&mut hello).await.expect("the session goes on");
        assert_eq!(server.watch.handshakes(), 1);
        server.close().await;
    });
}

#[test]
fn many_callers_share_one_link() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let hello = client.hello(server.id());
        let calls = (0..200).map(|n| {
            let mut hello = hello.clone();
            async move {
                let request = HelloRequest { payload: vec![n as u8; 10_000], ..named("all") };
                assert_eq!(hello.unary(request).await.unwrap().into_inner().payload, vec![n as u8; 10_000]);
            }
        });
        join_all(calls).await;
        assert_eq!(server.watch.handshakes(), 1);
        server.close().await;
    });
}
