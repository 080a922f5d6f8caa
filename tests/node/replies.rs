//! Replies, and those that nobody waits for any more.

use std::{collections::HashSet, future::pending};

use flower_iroh_funnel::node::{Array, ArrayRecord, MetricRecord, RecordDict};
use ndarray::Array1;
use tokio::sync::oneshot;
use tonic::Status;

use crate::{
    fleet::{Call, Lab, SESSION, object_id},
    forged::{RUN, small_message},
};

fn content() -> RecordDict {
    let arrays = ArrayRecord::from_arrays([Array::from_ndarray(&ndarray::arr1(&[1.0_f32, 2.0]))]);
    RecordDict::new().with("arrays", arrays).with("metrics", MetricRecord::new().with("num-examples", 2_usize))
}

/// The id of the only chunk of the content's array.
fn chunk_id() -> String {
    let data = Array::from_ndarray(&ndarray::arr1(&[1.0_f32, 2.0])).data().clone();
    object_id(&[format!("ArrayChunk  {}\0", data.len()).as_bytes(), &data].concat())
}

#[test]
fn a_reply_goes_to_the_sender_of_its_message() {
    Lab::run(async |mut lab| {
        let node = lab.node().await;
        lab.offer(small_message());
        let message = node.pull_message().await.unwrap();
        node.push_reply(message.reply(content())).await.unwrap();
        let pushed = lab.reply().await;
        assert!(pushed.clientapp_runtime_list[0] >= 0.0);
        let reply = &pushed.messages_list[0];
        assert!(reply.content.as_ref().is_some_and(|content| content.items.is_empty()) && reply.error.is_none());
        let (reply, message) = (reply.metadata.as_ref().unwrap(), message.metadata());
        assert_eq!((reply.run_id, &reply.reply_to_message_id), (RUN, &message.message_id));
        assert_eq!((reply.src_node_id, reply.dst_node_id), (message.dst_node_id, message.src_node_id));
        assert_eq!((reply.src_task_id, reply.dst_task_id), (None, Some(5)));
        assert_eq!((&*reply.group_id, &*reply.message_type), ("3", "train"));
        assert!(reply.created_at + reply.ttl <= message.created_at + message.ttl + 0.001);
        assert_eq!(reply.message_id, pushed.message_object_trees[0].object_id);
        lab.stop().await;
    });
}

#[test]
fn a_large_reply_is_pushed_in_chunks_two_at_a_time_and_in_its_session() {
    Lab::run(async |mut lab| {
        let node = lab.node().await;
        lab.offer(small_message());
        let message = node.pull_message().await.unwrap();
        let large = Array::from_ndarray(&Array1::from_iter((0..3_000_000).map(|value| value as f32)));
        let arrays = ArrayRecord::from_arrays([large.clone()]);
        let reply = message.reply(RecordDict::new().with("arrays", arrays));
        let (pushed, most) = lab.count_transfers(node.push_reply(reply)).await;
        pushed.unwrap();
        assert_eq!(most, 2);

        let sessions = lab.calls().into_iter().filter_map(|call| match call {
            Call::PushObject { session_id, .. } => Some(session_id),
            _ => None,
        });
        assert!(sessions.into_iter().all(|session_id| session_id == SESSION));
        let mut sizes = lab.state().pushed_chunks();
        sizes.sort_unstable();
        assert_eq!(sizes, [large.data().len() - (10 << 20), 5 << 20, 5 << 20]);
        lab.stop().await;
    });
}

#[test]
fn only_objects_that_are_asked_for_are_pushed() {
    Lab::run(async |lab| {
        let node = lab.node().await;
        lab.offer(small_message());
        let message = node.pull_message().await.unwrap();
        let present = chunk_id();
        lab.state().present.insert(present.clone());
        node.push_reply(message.reply(content())).await.unwrap();
        let pushed: HashSet<_> = lab.state().pushed.keys().cloned().collect();
        // The message, the record dict, two records and the array.
        assert_eq!((pushed.len(), pushed.contains(&present)), (5, false));
        lab.stop().await;
    });
}

#[test]
fn an_error_reply_carries_its_reason() {
    Lab::run(async |mut lab| {
        let node = lab.node().await;
        lab.offer(small_message());
        let message = node.pull_message().await.unwrap();
        node.push_reply(message.error_reply("no data here")).await.unwrap();
        let reply = lab.reply().await.messages_list.remove(0);
        assert_eq!((reply.error.unwrap().reason, reply.content), ("no data here".to_owned(), None));
        assert_eq!(lab.state().pushed.len(), 1);
        lab.stop().await;
    });
}

#[test]
fn a_reply_to_a_run_that_stopped_says_so() {
    Lab::run(async |lab| {
        let node = lab.node().await;
        for method in ["PushMessages", "PushObject"] {
            lab.offer(small_message());
            let message = node.pull_message().await.unwrap();
            lab.fail(method, Status::permission_denied("the run is not running"), 1);
            let error = node.push_reply(message.reply(content())).await.unwrap_err();
            assert!(error.is_run_stopped() && error.to_string().contains("run 11"), "{error}");
        }
        lab.stop().await;
    });
}

#[test]
fn a_reply_that_is_too_late_says_so() {
    Lab::run(async |mut lab| {
        let node = lab.node().await;
        lab.offer(small_message());
        let message = node.pull_message().await.unwrap();
        lab.state().takes_no_reply = true;
        let error = node.push_reply(message.reply(content())).await.unwrap_err();
        assert!(error.is_too_late() && error.to_string().contains("answered already"), "{error}");

        lab.state().takes_no_reply = false;
        lab.state().stores_nothing = true;
        let error = node.push_reply(message.reply(content())).await.unwrap_err();
        assert!(error.is_too_late(), "{error}");

        let mut expired = small_message();
        expired.message.metadata.as_mut().unwrap().ttl = -1.0;
        lab.offer(expired);
        let message = node.pull_message().await.unwrap();
        lab.calls();
        let error = node.push_reply(message.reply(content())).await.unwrap_err();
        assert!(error.is_too_late() && error.to_string().contains("expired"), "{error}");
        assert!(!lab.calls().iter().any(|call| matches!(call, Call::PushMessages(_))));
        lab.stop().await;
    });
}

#[test]
fn a_reply_succeeds_though_the_answers_to_its_objects_are_lost() {
    Lab::run(async |lab| {
        let node = lab.node().await;
        lab.offer(small_message());
        let message = node.pull_message().await.unwrap();
        lab.state().stores_once = true;
        node.push_reply(message.reply(content())).await.unwrap();
        assert_eq!(lab.state().pushed.len(), 6);
        lab.stop().await;
    });
}

#[test]
fn a_reply_succeeds_though_the_answer_that_asks_for_its_objects_is_lost() {
    Lab::run(async |mut lab| {
        let node = lab.node().await;
        lab.offer(small_message());
        let message = node.pull_message().await.unwrap();
        lab.state().asks_once = true;
        lab.state().present.insert(chunk_id());
        node.push_reply(message.reply(content())).await.unwrap();
        assert_eq!(lab.state().pushed.len(), 6);
        let sessions = lab.calls().into_iter().filter_map(|call| match call {
            Call::PushObject { session_id, .. } => Some(session_id),
            _ => None,
        });
        assert!(sessions.eq(std::iter::repeat_n("", 6)), "the session is unknown");
        lab.stop().await;
    });
}

#[test]
fn a_reply_succeeds_once_the_superlink_is_back() {
    Lab::run(async |lab| {
        let node = lab.node().await;
        lab.offer(small_message());
        let message = node.pull_message().await.unwrap();
        lab.fail("PushMessages", Status::unavailable("on its way"), 3);
        lab.fail("PushObject", Status::unavailable("on its way"), 3);
        node.push_reply(message.reply(content())).await.unwrap();
        assert_eq!(lab.state().pushed.len(), 6);
        lab.stop().await;
    });
}

#[test]
fn work_for_a_run_that_stops_is_dropped_and_the_node_goes_on() {
    Lab::run(async |mut lab| {
        let node = lab.node().await;
        lab.offer(small_message());
        lab.offer(small_message());
        let (dropped, mut seen) = oneshot::channel::<()>();
        let mut dropped = Some(dropped);
        let serving = node.serve(|_| {
            let first = dropped.take();
            async move {
                if let Some(dropped) = first {
                    pending::<()>().await;
                    drop(dropped);
                }
                Ok::<_, String>(content())
            }
        });
        let answered = async {
            lab.call(|call| (call == Call::GetRun).then_some(())).await;
            lab.fail("GetRun", Status::permission_denied("the run is not running"), 1);
            let reply = lab.reply().await;
            (reply, lab)
        };
        let (reply, lab) = tokio::select! {
            ended = serving => panic!("the node ended: {ended:?}"),
            answered = answered => answered,
        };
        assert!(reply.messages_list[0].error.is_none());
        assert!(seen.try_recv().is_err());
        lab.stop().await;
    });
}
