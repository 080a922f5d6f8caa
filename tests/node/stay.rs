//! From the registration to the end, with what comes in between.

use std::time::Duration;

use tonic::Status;

use crate::{
    fleet::{Call, Lab},
    forged::small_message,
};

#[test]
fn a_node_registers_lives_and_leaves() {
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
        lab.fail("RegisterNode", Status::failed_precondition("taken"), 1);
        let error = lab.builder().activate().await.unwrap_err();
        assert!(error.is_refused() && lab.calls().is_empty(), "{error}");
        lab.stop().await;
    });
}

#[test]
fn a_key_that_is_refused_says_what_to_do() {
    Lab::run(async |lab| {
        let message = r#"{"code": 7, "public_message": "In use.", "public_details": null}"#;
        lab.fail("RegisterNode", Status::failed_precondition(message), 1);
        lab.fail("ActivateNode", Status::failed_precondition(""), 1);
        let error = lab.builder().register().await.unwrap_err().to_string();
        assert!(error.contains("flwr supernode register") || error.contains("key"), "{error}");
        lab.stop().await;
    });
}

#[test]
fn a_superlink_out_of_reach_is_waited_for() {
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
fn heartbeats_go_on_whatever_becomes_of_one() {
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
        let node = lab.builder().heartbeat_interval(Duration::from_millis(20)).register().await.unwrap();
        lab.call(|call| (call == Call::Heartbeat).then_some(())).await;
        drop(node);
        let other = lab.node().await;
        lab.call(|call| (call == Call::Register).then_some(())).await;
        assert_eq!(other.id(), 2);
        lab.stop().await;
    });
}

#[test]
fn a_node_that_was_forgotten_joins_again() {
    Lab::run(async |mut lab| {
        let node = lab.builder().heartbeat_interval(Duration::from_millis(20)).register().await.unwrap();
        lab.state().knows_no_heartbeat = true;
        let pulled = async {
            lab.call(|call| (call == Call::Activate).then_some(())).await;
            lab.call(|call| (call == Call::Activate).then_some(())).await;
            lab.offer(small_message());
            std::future::pending::<()>().await;
        };
        tokio::select! {
            message = node.pull_message() => { message.unwrap().content().unwrap(); }
            () = pulled => {}
        }
        assert_eq!(node.id(), 2);
        lab.stop().await;
    });
}

#[test]
fn a_superlink_that_was_restarted_gets_the_node_again() {
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
fn a_node_that_is_refused_for_good_ends() {
    Lab::run(async |lab| {
        let node = lab.node().await;
        lab.fail("PullMessages", Status::unauthenticated("Invalid timestamp"), usize::MAX);
        let error = node.pull_message().await.unwrap_err();
        assert!(error.is_refused() && error.to_string().contains("clock"), "{error}");
        lab.stop().await;
    });
}

#[test]
fn polls_that_are_denied_go_on() {
    Lab::run(async |lab| {
        let node = lab.node().await;
        lab.fail("PullMessages", Status::permission_denied("not now"), 3);
        lab.offer(small_message());
        node.pull_message().await.unwrap().content().unwrap();
        lab.stop().await;
    });
}
