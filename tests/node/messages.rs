//! Messages, and the ways in which they can be invalid.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use flower_iroh_funnel::node::{Array, Message, MetricRecord, NodeError, RecordDict};
use ndarray::Array1;
use tonic::Status;

use crate::{
    fleet::{Call, Lab},
    forged::{Forged, Objects, RUN, array_message, small_message},
};

/// A tiny app: the sum of the numbers.
async fn sum(message: Message) -> Result<RecordDict, NodeError> {
    let sum = message.content()?.arrays("arrays")?.array("0")?.to_ndarray::<f32>()?.sum();
    Ok(RecordDict::new().with("metrics", MetricRecord::new().with("sum", sum)))
}

/// Serves an invalid message and then a valid one, and returns the reason in the answer to the invalid one.
fn answer_to(bad: Forged) -> String {
    let mut reason = String::new();
    Lab::run(async |mut lab| {
        let node = lab.node().await;
        lab.offer(bad);
        // Its objects differ from those of the invalid ones.
        lab.offer(array_message(&Array::from_ndarray(&ndarray::arr0(7.0_f32))));
        let answered = async {
            let bad = lab.reply().await.messages_list.remove(0);
            let good = lab.reply().await.messages_list.remove(0);
            assert_eq!(good.error, None, "the node goes on");
            (bad, lab)
        };
        let (bad, lab) = tokio::select! {
            ended = node.serve(sum) => panic!("the node ended: {ended:?}"),
            answered = answered => answered,
        };
        let error = bad.error.expect("an invalid message is answered with an error");
        assert_eq!((error.code, bad.content), (2, None));
        reason = error.reason;
        lab.stop().await;
    });
    reason
}

#[test]
fn a_message_is_pulled_confirmed_and_read() {
    Lab::run(async |mut lab| {
        let node = lab.node().await;
        let offered = small_message();
        let (id, ids) = (offered.tree.object_id.clone(), offered.objects.keys().cloned().collect::<Vec<_>>());
        lab.offer(offered);
        let message = node.pull_message().await.unwrap();
        assert_eq!((message.run_id(), message.message_type()), (RUN, "train"));
        let array = message.content().unwrap().arrays("arrays").unwrap().array("0").unwrap();
        assert_eq!(array.to_ndarray::<f32>().unwrap(), ndarray::arr1(&[1.0, 2.0, 3.0]).into_dyn());
        let calls = lab.calls();
        assert_eq!(calls.last(), Some(&Call::Confirm(id)));
        for id in ids {
            assert!(calls.contains(&Call::PullObject(id)));
        }
        lab.stop().await;
    });
}

#[test]
fn an_object_with_a_wrong_hash_is_an_error_of_its_message() {
    let mut forged = small_message();
    let chunk = forged.objects.values_mut().find(|content| content.starts_with(b"ArrayChunk")).unwrap();
    let mut damaged = chunk.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    *chunk = damaged.into();
    let reason = answer_to(forged);
    assert!(reason.contains("SHA-256"), "{reason}");
}

#[test]
fn an_unknown_record_type_is_an_error_of_its_message() {
    let mut objects = Objects::default();
    let record = objects.add("TensorRecord", vec![], b"");
    let reason = answer_to(objects.message(record));
    assert!(reason.contains("\"TensorRecord\" is unknown"), "{reason}");
}

#[test]
fn an_unsupported_dtype_is_an_error_of_its_message() {
    let header = format!("{:<117}\n", "{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }");
    let data = [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), &[0, 0]].concat();
    let half = Array::new("float16", vec![1], "numpy.ndarray", data);
    let reason = answer_to(array_message(&half));
    assert!(reason.contains("float16") && reason.contains("are supported"), "{reason}");
}

#[test]
fn an_object_that_is_missing_is_an_error_of_its_message() {
    let mut forged = small_message();
    forged.objects.retain(|_, content| !content.starts_with(b"Array "));
    let reason = answer_to(forged);
    assert!(reason.contains("does not have it"), "{reason}");
}

#[test]
fn a_tree_that_is_too_deep_is_an_error_of_its_message() {
    let mut forged = small_message();
    for _ in 0..20 {
        let inner = forged.tree.clone();
        forged.tree.children = vec![inner];
    }
    let reason = answer_to(forged);
    assert!(reason.contains("levels"), "{reason}");
}

#[test]
fn a_message_that_is_too_large_is_answered_with_an_error() {
    Lab::run(async |mut lab| {
        let node = lab.builder().max_message_size(1000).register().await.unwrap();
        lab.offer(array_message(&Array::from_ndarray(&Array1::<f32>::zeros(1000))));
        let message = node.pull_message().await.unwrap();
        let error = message.content().unwrap_err();
        assert!(error.is_bad_content() && error.to_string().contains("larger than 1000"), "{error}");
        assert!(!lab.calls().iter().any(|call| matches!(call, Call::Confirm(_))));
        lab.stop().await;
    });
}

#[test]
fn an_object_that_is_not_available_yet_is_pulled_again() {
    Lab::run(async |lab| {
        let node = lab.node().await;
        let forged = small_message();
        lab.state().pending.extend(forged.objects.keys().cloned());
        lab.offer(forged);
        node.pull_message().await.unwrap().content().unwrap();
        lab.stop().await;
    });
}

#[test]
fn a_message_of_a_run_that_stopped_is_skipped() {
    Lab::run(async |lab| {
        let node = lab.node().await;
        lab.fail("PullObject", Status::permission_denied("the run is not running"), 1);
        let (stopped, next) = (small_message(), array_message(&Array::from_ndarray(&ndarray::arr0(7.0_f32))));
        let next_id = next.tree.object_id.clone();
        lab.offer(stopped);
        lab.offer(next);
        let message = node.pull_message().await.unwrap();
        assert_eq!(message.metadata().message_id, next_id);
        lab.stop().await;
    });
}

#[test]
fn an_array_of_many_chunks_is_pulled_two_objects_at_a_time() {
    Lab::run(async |mut lab| {
        let node = lab.node().await;
        let array = Array1::from_iter((0..3_000_000).map(|value| value as f32));
        lab.offer(array_message(&Array::from_ndarray(&array)));
        let (message, most) = lab.count_transfers(node.pull_message()).await;
        let message = message.unwrap();
        let pulled = message.content().unwrap().arrays("arrays").unwrap().array("0").unwrap().to_ndarray::<f32>();
        assert_eq!(pulled.unwrap(), array.into_dyn());
        assert_eq!(most, 2);
        lab.stop().await;
    });
}

#[test]
fn objects_of_flower_itself_are_read() {
    let lines = include_str!("../data/flower_objects.tsv").lines().filter_map(|line| line.strip_prefix("full\t"));
    let objects: Vec<_> = lines.map(|line| line.split_once('\t').unwrap()).collect();
    Lab::run(async |lab| {
        let node = lab.node().await;
        let mut forged = small_message();
        forged.tree.object_id = objects.last().unwrap().0.to_owned();
        let leaf = |id: &str| flower_iroh_funnel::proto::ObjectTree { object_id: id.to_owned(), children: vec![] };
        forged.tree.children = objects.iter().rev().skip(1).map(|(id, _)| leaf(id)).collect();
        let decode = |hex: &str| Bytes::from(HEXLOWER.decode(hex.as_bytes()).unwrap());
        forged.objects = objects.iter().map(|(id, hex)| ((*id).to_owned(), decode(hex))).collect();
        lab.offer(forged);
        let message = node.pull_message().await.unwrap();
        let names: Vec<_> = message.content().unwrap().iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["arrays", "metrics", "config", "again", "none"]);
        lab.stop().await;
    });
}
