//! Entry points for the fuzz targets.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;

use super::messages::{
    ConfirmMessageReceivedRequest, FlowerMessage, Metadata, Node, ObjectPush, ObjectTree, PullMessagesRequest,
    PullMessagesResponse, PushMessagesRequest, PushMessagesResponse, PushObjectRequest, PushObjectResponse, Reply,
    StrictMessage, ask_for_all,
};
use crate::protocol::Wire;

/// A message that redelivery reads.
#[allow(missing_docs, reason = "Flower's names")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    PullMessagesRequest,
    PullMessagesResponse,
    ConfirmMessageReceivedRequest,
    PushMessagesRequest,
    PushMessagesResponse,
    PushObjectRequest,
    PushObjectResponse,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::PullMessagesRequest,
        Self::PullMessagesResponse,
        Self::ConfirmMessageReceivedRequest,
        Self::PushMessagesRequest,
        Self::PushMessagesResponse,
        Self::PushObjectRequest,
        Self::PushObjectResponse,
    ];
}

/// The values that were read: numbers as text, and lists one by one.
pub type Values = Vec<(&'static str, String)>;

/// Reads a message; `None` if readers may differ about it. Also returns what was read, encoded again.
pub(crate) fn read(kind: Kind, message: &[u8]) -> Option<(Values, Vec<u8>)> {
    let message = Bytes::copy_from_slice(message);
    match kind {
        Kind::PullMessagesRequest => values(message, |read: PullMessagesRequest| of_node(read.node)),
        Kind::PullMessagesResponse => values(message, |read: PullMessagesResponse| in_list(read.message, read.tree)),
        Kind::ConfirmMessageReceivedRequest => values(message, |read: ConfirmMessageReceivedRequest| {
            [of_node(read.node), vec![("message", read.message_object_id)]].concat()
        }),
        Kind::PushMessagesRequest => {
            values(message, |read: PushMessagesRequest| [of_node(read.node), in_list(read.message, read.tree)].concat())
        }
        Kind::PushMessagesResponse => values(message, |read: PushMessagesResponse| {
            let objects = read.objects_to_push.into_iter().map(|object| ("object", object));
            objects.chain([("session", read.session_id)]).collect()
        }),
        Kind::PushObjectRequest => values(message, |read: PushObjectRequest| {
            let PushObjectRequest { node, run_id, object_id, session_id } = read;
            [of_node(node), vec![("run", run_id.to_string()), ("object", object_id), ("session", session_id)]].concat()
        }),
        Kind::PushObjectResponse => {
            values(message, |read: PushObjectResponse| vec![("stored", u8::from(read.stored).to_string())])
        }
    }
}

fn values<M: StrictMessage>(message: Bytes, values: impl Fn(M) -> Values) -> Option<(Values, Vec<u8>)> {
    let read = M::read(message)?;
    let encoded = read.encode_to_vec();
    Some((values(read), encoded))
}

fn of_node(node: Option<Node>) -> Values {
    node.map(|node| ("node", node.node_id.to_string())).into_iter().collect()
}

/// The first message of a list, and the ids of its tree, each before those below it.
fn in_list(message: Option<FlowerMessage>, tree: Option<Bytes>) -> Values {
    let metadata = message.and_then(|message| message.metadata);
    let metadata = metadata.map(|Metadata { run_id, message_id, reply_to_message_id }| {
        [("run", run_id.to_string()), ("message", message_id), ("reply to", reply_to_message_id)]
    });
    let tree = tree.map(|tree| ObjectTree::decode(tree).expect("the schema has a tree"));
    let ids = tree.into_iter().flat_map(ids).map(|object| ("in tree", object));
    metadata.into_iter().flatten().chain(ids).collect()
}

fn ids(tree: ObjectTree) -> Vec<String> {
    std::iter::once(tree.object_id).chain(tree.children.into_iter().flat_map(ids)).collect()
}

/// Reads a `PushObjectRequest` whose body arrives in these pieces, as redelivery does: node, run, object and session.
pub(crate) fn read_push<'a>(
    is_grpc: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Option<(u64, u64, String, String)> {
    let mut reader = ObjectPush::reader(if is_grpc { Wire::Grpc } else { Wire::Http });
    pieces.into_iter().for_each(|piece| reader.feed(piece));
    reader.end();
    ObjectPush::read(&reader).map(|push| (push.node, push.run, push.id, push.session))
}

/// Reads the objects of a pushed reply, and turns `answer` into one that asks for all of them. Returns the objects, and the
/// objects and the session of the new answer. `None` if the request or the answer is ambiguous.
pub(crate) fn ask_again(request: &[u8], answer: &[u8]) -> Option<(BTreeSet<String>, Option<(Vec<String>, String)>)> {
    let objects = Reply::read(Bytes::copy_from_slice(request))?.objects()?;
    PushMessagesResponse::read(Bytes::copy_from_slice(answer))?;
    let asking = ask_for_all(answer, objects.clone()).and_then(PushMessagesResponse::read);
    Some((objects, asking.map(|asking| (asking.objects_to_push, asking.session_id))))
}
