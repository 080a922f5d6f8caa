//! The fields of Fleet messages that redelivery reads, with their numbers in Flower 1.30 to 1.42.
//!
//! A message is decoded only if its schema allows it: every reader must read the same. prost skips all other fields. An answer
//! that must change is never encoded from these types: only the fields that change are removed and appended, so that fields of
//! later Flower versions are preserved.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use prost::Message;
use tracing::debug;

use super::{
    field_reader::FieldReader,
    strict::{Field, Kind, Schema, without},
};
use crate::protocol::Wire;

/// A message that is read only if every reader reads the same from it.
pub(super) trait StrictMessage: Message + Default {
    const SCHEMA: &Schema;

    /// Decodes a complete message; `None` if readers may differ about it.
    fn read(message: Bytes) -> Option<Self> {
        if Self::SCHEMA.check(&message).is_err() {
            debug!("protobuf readers could read different values from this message: it is forwarded unread");
            return None;
        }
        Self::decode(message).ok()
    }
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Node {
    #[prost(uint64, tag = "1")]
    pub(super) node_id: u64,
}

static NODE: Schema = Schema(&[Field::once(1, Kind::Number)]);

#[derive(Clone, PartialEq, Message)]
pub(super) struct PullMessagesRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
}

impl StrictMessage for PullMessagesRequest {
    const SCHEMA: &Schema = &Schema(&[Field::once(1, Kind::Message(&NODE))]);
}

/// At most one message and its tree, in repeated fields.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PullMessagesResponse {
    #[prost(message, optional, tag = "2")]
    pub(super) message: Option<FlowerMessage>,
    /// An [`ObjectTree`].
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) tree: Option<Bytes>,
}

impl StrictMessage for PullMessagesResponse {
    const SCHEMA: &Schema =
        &Schema(&[Field::once(2, Kind::Message(&FLOWER_MESSAGE)), Field::once(3, Kind::Message(&TREE))]);
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfirmMessageReceivedRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(string, tag = "3")]
    pub(super) message_object_id: String,
}

impl StrictMessage for ConfirmMessageReceivedRequest {
    const SCHEMA: &Schema = &Schema(&[Field::once(1, Kind::Message(&NODE)), Field::once(3, Kind::Text)]);
}

/// `flwr.proto.Message`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FlowerMessage {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<Metadata>,
}

static FLOWER_MESSAGE: Schema = Schema(&[Field::once(1, Kind::Message(&METADATA))]);

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metadata {
    #[prost(uint64, tag = "1")]
    pub(super) run_id: u64,
    #[prost(string, tag = "2")]
    pub(super) message_id: String,
    #[prost(string, tag = "5")]
    pub(super) reply_to_message_id: String,
}

static METADATA: Schema =
    Schema(&[Field::once(1, Kind::Number), Field::once(2, Kind::Text), Field::once(5, Kind::Text)]);

/// At most one message and its tree, in repeated fields.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PushMessagesRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(message, optional, tag = "2")]
    pub(super) message: Option<FlowerMessage>,
    /// An [`ObjectTree`].
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(super) tree: Option<Bytes>,
}

impl StrictMessage for PushMessagesRequest {
    const SCHEMA: &Schema = &Schema(&[
        Field::once(1, Kind::Message(&NODE)),
        Field::once(2, Kind::Message(&FLOWER_MESSAGE)),
        Field::once(3, Kind::Message(&TREE)),
    ]);
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectTree {
    #[prost(string, tag = "1")]
    pub(super) object_id: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) children: Vec<ObjectTree>,
}

static TREE: Schema = Schema(&[Field::once(1, Kind::Text), Field::repeated(2, Kind::Message(&TREE))]);

#[derive(Clone, PartialEq, Message)]
pub(super) struct PushMessagesResponse {
    #[prost(string, repeated, tag = "3")]
    pub(super) objects_to_push: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) session_id: String,
}

impl StrictMessage for PushMessagesResponse {
    const SCHEMA: &Schema = &Schema(&[Field::repeated(3, Kind::Text), Field::once(4, Kind::Text)]);
}

/// Without its content, which is long.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PushObjectRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<Node>,
    #[prost(uint64, tag = "2")]
    pub(super) run_id: u64,
    #[prost(string, tag = "3")]
    pub(super) object_id: String,
    #[prost(string, tag = "5")]
    pub(super) session_id: String,
}

impl StrictMessage for PushObjectRequest {
    const SCHEMA: &Schema = &Schema(&[
        Field::once(1, Kind::Message(&NODE)),
        Field::once(2, Kind::Number),
        Field::once(3, Kind::Text),
        Field::once(5, Kind::Text),
    ]);
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PushObjectResponse {
    #[prost(bool, tag = "1")]
    pub(super) stored: bool,
}

impl StrictMessage for PushObjectResponse {
    const SCHEMA: &Schema = &Schema(&[Field::once(1, Kind::Flag)]);
}

/// What a SuperLink hands out when it is asked for a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pulled {
    /// A message with this id, which the node confirms or answers.
    Message(String),
    /// A message without an id or without content to pull, which is never confirmed.
    Unconfirmed,
    Nothing,
}

impl PullMessagesResponse {
    pub(super) fn pulled(self) -> Pulled {
        match (self.message, self.tree) {
            (None, None) => Pulled::Nothing,
            (Some(FlowerMessage { metadata: Some(metadata) }), Some(_)) if !metadata.message_id.is_empty() => {
                Pulled::Message(metadata.message_id)
            }
            _ => Pulled::Unconfirmed,
        }
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
        let PushMessagesRequest { node, message, tree } = PushMessagesRequest::read(request)?;
        let Metadata { run_id: run, message_id: id, reply_to_message_id: to } = message?.metadata?;
        let (node, tree) = (node?.node_id, tree.unwrap_or_default());
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
    /// Creates a reader for the request in a body of this wire.
    pub(super) fn reader(wire: Wire) -> FieldReader {
        FieldReader::new(wire, PushObjectRequest::SCHEMA)
    }

    /// Returns the fields of the request; `None` unless it is complete, and names a node and an object.
    pub(super) fn read(reader: &FieldReader) -> Option<Self> {
        let request = PushObjectRequest::read(Bytes::copy_from_slice(reader.message()?))?;
        let PushObjectRequest { node, run_id: run, object_id: id, session_id: session } = request;
        let node = node?.node_id;
        (!id.is_empty()).then_some(Self { node, run, id, session })
    }
}

/// Changes a `PushMessagesResponse` to ask for all of these objects, without a session; `None` if it is ambiguous.
pub(super) fn ask_for_all(answer: &[u8], objects: BTreeSet<String>) -> Option<Bytes> {
    let objects_to_push = objects.into_iter().collect();
    replace(answer, &PushMessagesResponse { objects_to_push, session_id: String::new() })
}

/// Changes a `PushObjectResponse` to report that the object is stored; `None` if it is ambiguous.
pub(super) fn stored(answer: &[u8]) -> Option<Bytes> {
    replace(answer, &PushObjectResponse { stored: true })
}

/// Replaces the fields of a message that are read. No field is repeated that should not be, so that it can be read again.
fn replace<M: StrictMessage>(message: &[u8], fields: &M) -> Option<Bytes> {
    let mut replaced = BytesMut::from(&without(message, M::SCHEMA).ok()?[..]);
    replaced.reserve(fields.encoded_len());
    fields.encode(&mut replaced).expect("the buffer grows as needed");
    Some(replaced.freeze())
}
