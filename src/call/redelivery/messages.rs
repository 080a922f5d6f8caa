//! The fields of Fleet messages that redelivery reads, with the numbers that they have in Flower 1.30 to 1.42.
//!
//! prost skips all others. An answer that has to say something else is never written again from these: fields are appended
//! to its bytes, of which the last one counts, so that what a later Flower has added stays in it.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::field_reader::{FieldReader, Value};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(uint64, tag = "1")]
    pub(super) node_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PullMessagesRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PullMessagesResponse {
    #[prost(message, repeated, tag = "2")]
    messages_list: Vec<FlowerMessage>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    message_object_trees: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfirmMessageReceivedRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(string, tag = "3")]
    pub(super) message_object_id: String,
}

/// `flwr.proto.Message`.
#[derive(Clone, PartialEq, Message)]
struct FlowerMessage {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(uint64, tag = "1")]
    run_id: u64,
    #[prost(string, tag = "2")]
    message_id: String,
    #[prost(string, tag = "5")]
    reply_to_message_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct PushMessagesRequest {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
    #[prost(message, repeated, tag = "2")]
    messages_list: Vec<FlowerMessage>,
    /// Each an [`ObjectTree`].
    #[prost(bytes = "bytes", repeated, tag = "3")]
    message_object_trees: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct ObjectTree {
    #[prost(string, tag = "1")]
    object_id: String,
    #[prost(message, repeated, tag = "2")]
    children: Vec<ObjectTree>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PushMessagesResponse {
    #[prost(string, repeated, tag = "3")]
    pub(super) objects_to_push: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) session_id: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PushObjectResponse {
    #[prost(bool, tag = "1")]
    pub(super) stored: bool,
}

/// What is appended to a `PushMessagesResponse`. A field that is optional is written even if it is empty.
#[derive(Clone, PartialEq, Message)]
struct AllInNoSession {
    #[prost(string, repeated, tag = "3")]
    objects_to_push: Vec<String>,
    #[prost(string, optional, tag = "4")]
    session_id: Option<String>,
}

impl PullMessagesResponse {
    /// The id of the message that is handed out, if its content is to be pulled: no other is ever confirmed.
    pub(super) fn message_id(mut self) -> Option<String> {
        let has_content = !self.message_object_trees.is_empty();
        let first = self.messages_list.drain(..).next().filter(|_| has_content)?;
        Some(first.metadata.unwrap_or_default().message_id)
    }
}

/// A reply that is pushed: the only message of a `PushMessagesRequest`.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) node: u64,
    pub(super) run: u64,
    pub(super) id: String,
    /// The message that it answers.
    pub(super) to: String,
    tree: Bytes,
}

impl Reply {
    /// `None` unless the request names a node, and a message with an id.
    pub(super) fn read(request: Bytes) -> Option<Self> {
        let mut request = PushMessagesRequest::decode(request).ok()?;
        let node = request.node?.node_id;
        let metadata = request.messages_list.drain(..).next()?.metadata?;
        let tree = request.message_object_trees.drain(..).next().unwrap_or_default();
        let Metadata { run_id: run, message_id: id, reply_to_message_id: to } = metadata;
        (!id.is_empty()).then_some(Self { node, run, id, to, tree })
    }

    /// The ids of all objects that the reply consists of; `None` if its tree is not a tree of objects.
    pub(super) fn objects(&self) -> Option<BTreeSet<String>> {
        let (mut objects, mut trees) = (BTreeSet::new(), vec![ObjectTree::decode(self.tree.clone()).ok()?]);
        while let Some(tree) = trees.pop() {
            objects.insert(tree.object_id);
            trees.extend(tree.children);
        }
        Some(objects)
    }
}

/// A `PushObjectRequest` without its content.
#[derive(Debug)]
pub(super) struct ObjectPush {
    pub(super) node: u64,
    pub(super) run: u64,
    pub(super) id: String,
    pub(super) session: String,
}

impl ObjectPush {
    /// `None` unless all of the request has passed, and each of these fields at most once and short: where one comes twice,
    /// the SuperLink may have read another value than the one that is read here.
    pub(super) fn read(reader: &FieldReader) -> Option<Self> {
        let fields = reader.fields()?;
        let node = Node::decode(bytes(fields, 1)??).ok()?.node_id;
        let id = text(fields, 3)?.filter(|id| !id.is_empty())?;
        let run = match values(fields, 2).as_slice() {
            [Value::Number(run)] => *run,
            _ => return None,
        };
        Some(Self { node, run, id, session: text(fields, 5)?.unwrap_or_default() })
    }
}

fn values(fields: &[(u64, Value)], wanted: u64) -> Vec<&Value> {
    fields.iter().filter(|(field, _)| *field == wanted).map(|(_, value)| value).collect()
}

/// The bytes of a field, if it is there; `None` if it is anything else.
fn bytes(fields: &[(u64, Value)], wanted: u64) -> Option<Option<&[u8]>> {
    match values(fields, wanted).as_slice() {
        [] => Some(None),
        [Value::Bytes(bytes)] => Some(Some(bytes)),
        _ => None,
    }
}

fn text(fields: &[(u64, Value)], wanted: u64) -> Option<Option<String>> {
    match bytes(fields, wanted)? {
        None => Some(None),
        Some(bytes) => String::from_utf8(bytes.to_vec()).ok().map(Some),
    }
}

/// The same `PushMessagesResponse`, which asks for all of these objects, in no session.
pub(super) fn ask_for_all(answer: &Bytes, objects: BTreeSet<String>) -> Bytes {
    let all = AllInNoSession { objects_to_push: objects.into_iter().collect(), session_id: Some(String::new()) };
    append(answer, &all)
}

/// The same `PushObjectResponse`, which says that the object is stored.
pub(super) fn stored(answer: &Bytes) -> Bytes {
    append(answer, &PushObjectResponse { stored: true })
}

fn append(answer: &Bytes, fields: &impl Message) -> Bytes {
    let mut appended = BytesMut::from(answer.as_ref());
    appended.reserve(fields.encoded_len());
    fields.encode(&mut appended).expect("a buffer in memory grows");
    appended.freeze()
}
