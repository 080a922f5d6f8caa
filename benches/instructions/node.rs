//! A node that calls its Fleet API as a function, without a socket.

use std::hint::black_box;

use flower_iroh_funnel::{
    node::{Array, ArrayRecord, Message, Node, NodeKey, RecordDict},
    proto::fleet_server::FleetServer,
};
use ndarray::{Array1, ArrayD};

use crate::fleet::{self, Fleet, RUN};

/// Numbers of four bytes in one MiB.
const NUMBERS: usize = 1 << 18;

/// A signed call.
pub(crate) async fn call(calls: u32) {
    let node = start().await;
    for _ in 0..calls {
        assert_eq!(node.run(RUN).await.expect("the run goes on").run_id, RUN);
    }
    node.close().await.expect("the Fleet API is up");
}

/// A MiB of numbers as Flower's bytes, and back.
pub(crate) async fn array(arrays: u32) {
    let mut numbers = numbers();
    for _ in 0..arrays {
        numbers = Array::from_ndarray(black_box(&numbers)).to_ndarray().expect("it is what was written");
    }
    assert_eq!(numbers[NUMBERS - 1], 1.5);
}

/// A message with a MiB of numbers, pulled, read, and answered with them: objects are hashed, named and checked.
pub(crate) async fn message(messages: u32) {
    let node = start().await;
    reply(&node, &node.pull_message().await.expect("the Fleet API is up"), &numbers()).await;
    for _ in 0..messages {
        let message = node.pull_message().await.expect("the Fleet API is up");
        let content = message.content().expect("it is what was pushed");
        let numbers = content.arrays("arrays").and_then(|arrays| arrays.array("0")?.to_ndarray());
        let numbers = numbers.expect("it is what was pushed");
        reply(&node, &message, &numbers).await;
    }
    node.close().await.expect("the Fleet API is up");
}

async fn start() -> Node<FleetServer<Fleet>> {
    Node::builder(fleet::server(), NodeKey::generate()).register().await.expect("the Fleet API is up")
}

async fn reply(node: &Node<FleetServer<Fleet>>, message: &Message, numbers: &ArrayD<f32>) {
    let arrays = ArrayRecord::from_arrays([Array::from_ndarray(numbers)]);
    let reply = message.reply(RecordDict::new().with("arrays", arrays));
    node.push_reply(reply).await.expect("the Fleet API takes it");
}

fn numbers() -> ArrayD<f32> {
    Array1::from_elem(NUMBERS, 1.5).into_dyn()
}
