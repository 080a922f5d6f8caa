//! The fields of Fleet messages that redelivery reads, with their numbers in Flower 1.30 to 1.42.
//!
//! prost skips all other fields. An answer that must change is never encoded from these types: fields are appended to its
//! bytes, and the last value of a field counts, so that fields of later Flower versions are preserved.

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

/// The fields to append to a `PushMessagesResponse`. An optional field is encoded even if it is empty.
#[derive(Clone, PartialEq, Message)]
struct AllWithoutSession {
    #[prost(string, repeated, tag = "3")]
    objects_to_push: Vec<String>,
    #[prost(string, optional, tag = "4")]
    session_id: Option<String>,
}

impl PullMessagesResponse {
    /// Returns the id of the message that is handed out, if it has content to pull: no other message is ever confirmed.
    pub(super) fn message_id(mut self) -> Option<String> {
        let has_content = !self.message_object_trees.is_empty();
        let first = self.messages_list.drain(..).next().filter(|_| has_content)?;
        Some(first.metadata.unwrap_or_default().message_id)
    }
}

/// A pushed reply: the only message of a `PushMessagesRequest`.
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
    /// Decodes a request; `None` unless it names a node, and a message with an id.
    pub(super) fn read(request: Bytes) -> Option<Self> {
        let mut request = PushMessagesRequest::decode(request).ok()?;
        let node = request.node?.node_id;
        let metadata = request.messages_list.drain(..).next()?.metadata?;
        let tree = request.message_object_trees.drain(..).next().unwrap_or_default();
        let Metadata { run_id: run, message_id: id, reply_to_message_id: to } = metadata;
        (!id.is_empty()).then_some(Self { node, run, id, to, tree })
    }

    /// Returns the ids of all objects of the reply; `None` if its tree is malformed.
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
    /// Returns the fields of the request; `None` unless it is complete, and has each of them at most once and short: if one
    /// is repeated, the SuperLink may read another value than this funnel.
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

/// Returns the bytes of a field, if it is present; `None` if it has another type or is repeated.
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

/// Changes a `PushMessagesResponse` to ask for all of these objects, without a session.
pub(super) fn ask_for_all(answer: &Bytes, objects: BTreeSet<String>) -> Bytes {
    let all = AllWithoutSession { objects_to_push: objects.into_iter().collect(), session_id: Some(String::new()) };
    append(answer, &all)
}

/// Changes a `PushObjectResponse` to report that the object is stored.
pub(super) fn stored(answer: &Bytes) -> Bytes {
    append(answer, &PushObjectResponse { stored: true })
}

fn append(answer: &Bytes, fields: &impl Message) -> Bytes {
    let mut appended = BytesMut::from(answer.as_ref());
    appended.reserve(fields.encoded_len());
    fields.encode(&mut appended).expect("the buffer grows as needed");
    appended.freeze()
}
