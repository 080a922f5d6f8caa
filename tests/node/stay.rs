//! A node's session at the SuperLink, from registration to its end.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use flower_iroh_funnel::node::NodeKey;
use http::Request;
use tokio::sync::mpsc;
use tonic::{Status, body::Body};
use tower::Service;

use crate::{
    fleet::{Call, Lab},
    forged::small_message,
};

#[test]
fn a_node_registers_sends_heartbeats_and_leaves() {
    Lab::run(async |mut lab| {
        let node = lab.node().await;
        assert_eq!(node.id(), 1);
        lab.call(|call| (call == Call::Heartbeat).then_some(())).await;
        node.close().await.unwrap();
        assert_eq!(lab.calls(), [Call::Deactivate, Call::Unregister]);
        lab.stop().await;
    });
}

#[test]
fn the_first_calls_register_and_activate_and_each_is_signed() {
    Lab::run(async |mut lab| {
        // The Fleet API of the test reports no call whose signature it cannot verify.
        let node = lab.node().await;
        assert_eq!((lab.call(Some).await, lab.call(Some).await), (Call::Register, Call::Activate));
        node.close().await.unwrap();
        lab.stop().await;
    });
}

#[test]
fn a_key_that_was_registered_before_is_only_activated() {
    Lab::run(async |mut lab| {
        let key = NodeKey::generate();
        lab.state().register(&key);
        let node = lab.builder_with(key).activate().await.unwrap();
        assert_eq!(lab.call(Some).await, Call::Activate);
        lab.call(|call| (call == Call::Heartbeat).then_some(())).await;
        node.close().await.unwrap();
        assert_eq!(lab.calls(), [Call::Deactivate]);
        lab.stop().await;
    });
}

#[test]
fn a_key_that_nobody_registered_is_refused() {
    Lab::run(async |lab| {
        let error = lab.builder().activate().await.unwrap_err();
        assert!(error.is_refused() && error.to_string().contains("registered"), "{error}");
        lab.stop().await;
    });
}

#[test]
fn a_key_that_is_in_use_says_what_to_do() {
    Lab::run(async |lab| {
        let key = NodeKey::generate();
        lab.state().register(&key);
        let message = r#"{"code": 7, "public_message": "In use.", "public_details": null}"#;
        lab.fail("RegisterNode", Status::failed_precondition(message), 1);
        lab.fail("ActivateNode", Status::failed_precondition(""), 1);
        let error = lab.builder_with(key).register().await.unwrap_err().to_string();
        assert!(error.contains("RegisterNode") && error.contains("In use. (code 7); a key registers once"), "{error}");
        lab.stop().await;
    });
}

#[test]
fn a_registration_whose_answer_was_lost_is_used() {
    Lab::run(async |lab| {
        let key = NodeKey::generate();
        lab.state().register(&key);
        lab.fail("RegisterNode", Status::failed_precondition("in use"), 1);
        assert_eq!(lab.builder_with(key).register().await.unwrap().id(), 1);
        lab.stop().await;
    });
}

#[test]
fn an_unreachable_superlink_is_waited_for() {
    Lab::run(async |lab| {
        for method in ["RegisterNode", "ActivateNode", "PullMessages", "PullObject", "ConfirmMessageReceived"] {
            lab.fail(method, Status::unavailable("on its way"), 3);
        }
        lab.offer(small_message());
        let node = lab.node().await;
        node.pull_message().await.unwrap().content().unwrap();
        lab.stop().await;
    });
}

#[test]
fn heartbeats_continue_after_one_fails() {
    Lab::run(async |mut lab| {
        lab.fail("SendNodeHeartbeat", Status::unavailable("on its way"), 2);
        let node = lab.builder().heartbeat_interval(Duration::from_millis(20)).register().await.unwrap();
        for status in [Status::internal("a bug"), Status::unavailable("again"), Status::unknown("who knows")] {
            lab.call(|call| (call == Call::Heartbeat).then_some(())).await;
            lab.fail("SendNodeHeartbeat", status, 1);
        }
        for _ in 0..5 {
            lab.call(|call| (call == Call::Heartbeat).then_some(())).await;
        }
        node.close().await.unwrap();
        lab.stop().await;
    });
}

#[test]
fn a_node_that_is_dropped_sends_no_more_heartbeats() {
    Lab::run(async |mut lab| {
        let (held, mut released) = mpsc::channel::<()>(1);
        let node = lab.builder_over(|channel| Held { channel, _held: held }).register().await.unwrap();
        lab.call(|call| (call == Call::Heartbeat).then_some(())).await;
        drop(node);
        // The heartbeat's own clone of the channel is dropped, too.
        assert_eq!(released.recv().await, None);
        lab.stop().await;
    });
}

/// A channel whose last clone releases something.
#[derive(Clone)]
struct Held<S> {
    channel: S,
    _held: mpsc::Sender<()>,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Held<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.channel.call(request)
    }
}

#[test]
fn a_node_that_was_forgotten_joins_again() {
    Lab::run(async |mut lab| {
        let node = lab.builder().heartbeat_interval(Duration::from_millis(20)).register().await.unwrap();
        lab.state().knows_no_heartbeat = true;
        let joins_again = async {
            lab.call(|call| (call == Call::Register).then_some(())).await;
            lab.call(|call| (call == Call::Register).then_some(())).await;
            lab.offer(small_message());
        };
        let (message, ()) = tokio::join!(node.pull_message(), joins_again);
        message.unwrap().content().unwrap();
        assert_eq!(node.id(), 2);
        lab.stop().await;
    });
}

#[test]
fn a_node_joins_a_restarted_superlink_again() {
    Lab::run(async |lab| {
        let node = lab.node().await;
        lab.state().node_id = 40;
        lab.offer(small_message());
        node.pull_message().await.unwrap().content().unwrap();
        assert_eq!(node.id(), 41);
        lab.stop().await;
    });
}

#[test]
fn a_node_that_is_refused_again_ends() {
    Lab::run(async |lab| {
        let node = lab.node().await;
        lab.fail("PullMessages", Status::unauthenticated("Invalid timestamp"), usize::MAX);
        let error = node.pull_message().await.unwrap_err();
        assert!(error.is_refused() && error.to_string().contains("clock"), "{error}");
        lab.stop().await;
    });
}

#[test]
fn polling_continues_after_a_failure() {
    Lab::run(async |lab| {
        let node = lab.node().await;
        for status in [Status::permission_denied("not now"), Status::internal("a bug")] {
            lab.fail("PullMessages", status, 3);
            lab.offer(small_message());
            node.pull_message().await.unwrap().content().unwrap();
        }
        lab.stop().await;
    });
}
