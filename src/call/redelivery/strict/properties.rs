//! Properties of messages that serializers write, and of each way in which a message can be ambiguous.

use std::fmt::Debug;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use prost::encoding::encode_varint;

use super::*;
use crate::{
    call::redelivery::messages::{
        ConfirmMessageReceivedRequest, FlowerMessage, Metadata, Node, ObjectPush, ObjectTree, PullMessagesRequest,
        PullMessagesResponse, PushMessagesRequest, PushMessagesResponse, PushObjectRequest, PushObjectResponse,
        StrictMessage,
    },
    protocol::Wire,
};

/// The number of a field that no schema has.
const UNKNOWN: u32 = 127;

fn number(field: u32, number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(u64::from(field << 3), &mut bytes);
    encode_varint(number, &mut bytes);
    bytes
}

fn content(field: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(u64::from(field << 3 | 2), &mut bytes);
    encode_varint(content.len() as u64, &mut bytes);
    [&bytes, content].concat()
}

/// A key and what follows it.
fn with_key(field: u32, wire_type: u32, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(u64::from(field << 3 | wire_type), &mut bytes);
    [&bytes, rest].concat()
}

/// The fields of a message, each with its number and its whole bytes.
fn split(message: &[u8]) -> Vec<(u32, &[u8])> {
    let (mut split, mut fields) = (Vec::new(), RawFields(message));
    while let Some(raw) = fields.next().unwrap() {
        split.push((raw.number, raw.whole));
    }
    split
}

/// What no message may have, whatever its schema.
fn never() -> Vec<Vec<u8>> {
    let of_number = |bytes: &[u8]| with_key(UNKNOWN, 0, bytes);
    vec![
        with_key(UNKNOWN, 3, &with_key(UNKNOWN, 4, &[])),
        with_key(1, 3, &[0x08, 7, 0x0c]),
        with_key(UNKNOWN, 4, &[]),
        with_key(UNKNOWN, 6, &[]),
        with_key(UNKNOWN, 7, &[]),
        vec![0, 0],
        vec![2, 0],
        vec![0xf8, 0x87, 0, 1],
        vec![0x88, 0x80, 0x80, 0x80, 0x10, 1],
        vec![0x88, 0x80, 0x80, 0x80, 0x80, 0, 1],
        of_number(&[0x80, 0]),
        of_number(&[&[0xff; 9][..], &[2]].concat()),
        of_number(&[&[0x80; 10][..], &[1]].concat()),
        with_key(UNKNOWN, 2, &[0x80, 0]),
        with_key(UNKNOWN, 2, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    ]
}

/// What is wrong for a field of this kind, whether or not it is also present as it should be.
fn wrong(field: &Field) -> Vec<Vec<u8>> {
    let (fixed_32, fixed_64) = (with_key(field.number, 5, &[7; 4]), with_key(field.number, 1, &[7; 8]));
    let of_kind = match field.kind {
        Kind::Number => vec![content(field.number, &[7])],
        Kind::Flag => vec![content(field.number, &[1]), number(field.number, 2), number(field.number, 1 << 63)],
        Kind::Text => {
            vec![number(field.number, 7), content(field.number, b"\xff"), content(field.number, b"\xed\xa0\x80")]
        }
        Kind::Message(_) => vec![number(field.number, 7), content(field.number, &[0x08])],
    };
    [vec![fixed_32, fixed_64], of_kind].concat()
}

/// Every message that differs from this one in one place, and is ambiguous.
fn ambiguous(message: &[u8], schema: &Schema) -> Vec<Vec<u8>> {
    let fields = split(message);
    let mut inserted = never();
    inserted.extend(schema.0.iter().flat_map(wrong));
    let once = |number| schema.0.iter().any(|field| field.number == number && !field.may_repeat);
    inserted.extend(fields.iter().filter(|(number, _)| once(*number)).map(|(_, whole)| whole.to_vec()));
    let mut all = Vec::new();
    let mut start = 0;
    for place in 0..=fields.len() {
        all.extend(inserted.iter().map(|bytes| [&message[..start], bytes, &message[start..]].concat()));
        let Some((number, whole)) = fields.get(place) else { break };
        let (before, after) = (&message[..start], &message[start + whole.len()..]);
        all.extend((1..whole.len()).map(|length| [before, &whole[..length]].concat()));
        if let Some(Kind::Message(nested)) =
            schema.0.iter().find(|field| field.number == *number).map(|field| &field.kind)
            && let Ok(Some(RawField { value: RawValue::Bytes(inner), .. })) = RawFields(whole).next()
        {
            let nested = ambiguous(inner, nested).into_iter().map(|inner| content(*number, &inner));
            all.extend(nested.map(|field| [before, &field, after].concat()));
        }
        start += whole.len();
    }
    all
}

/// Checks what is true of every message that a serializer writes.
fn check<M: StrictMessage + PartialEq + Debug>(message: &M) {
    let bytes = message.encode_to_vec();
    let read = |bytes: &[u8]| M::read(Bytes::copy_from_slice(bytes));
    assert_eq!(read(&bytes).as_ref(), Some(message));

    let unknown = [number(UNKNOWN, u64::MAX), content(UNKNOWN, b"\xff\x0b"), with_key(UNKNOWN, 1, &[0xff; 8])].concat();
    let fields: Vec<_> = split(&bytes).into_iter().map(|(_, whole)| whole.to_vec()).collect();
    let with_unknown: Vec<_> = fields.iter().flat_map(|field| [unknown.clone(), field.clone()]).collect();
    assert_eq!(read(&[with_unknown.concat(), unknown.clone()].concat()).as_ref(), Some(message));

    for bytes in ambiguous(&bytes, M::SCHEMA) {
        assert_eq!(read(&bytes), None, "{bytes:02x?}");
    }
}

fn node() -> impl Strategy<Value = Option<Node>> {
    proptest::option::of(any::<u64>().prop_map(|node_id| Node { node_id }))
}

fn message() -> impl Strategy<Value = Option<FlowerMessage>> {
    let metadata = (any::<u64>(), text(), text()).prop_map(|(run_id, message_id, reply_to_message_id)| Metadata {
        run_id,
        message_id,
        reply_to_message_id,
    });
    proptest::option::of(proptest::option::of(metadata).prop_map(|metadata| FlowerMessage { metadata }))
}

fn text() -> impl Strategy<Value = String> {
    "[a-z\u{0}é€😀]{0,4}"
}

fn tree() -> impl Strategy<Value = Option<Bytes>> {
    let leaf = text().prop_map(|object_id| ObjectTree { object_id, children: Vec::new() });
    let tree = leaf.prop_recursive(3, 5, 2, |child| {
        (text(), vec(child, 0..3)).prop_map(|(object_id, children)| ObjectTree { object_id, children })
    });
    proptest::option::of(tree.prop_map(|tree| prost::Message::encode_to_vec(&tree).into()))
}

/// A `PushObjectRequest` that is read in pieces: node, run, object and session.
fn in_pieces(message: &[u8], size: usize, wire: Wire) -> Option<(u64, u64, String, String)> {
    let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
    let mut reader = ObjectPush::reader(wire);
    let body = if wire == Wire::Grpc { &framed } else { message };
    body.chunks(size).for_each(|piece| reader.feed(piece));
    reader.end();
    ObjectPush::read(&reader).map(|push| (push.node, push.run, push.id, push.session))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn requests_are_read_only_if_all_readers_read_the_same(
        node in node(), message in message(), tree in tree(), message_object_id in text(),
    ) {
        check(&PullMessagesRequest { node });
        check(&ConfirmMessageReceivedRequest { node, message_object_id });
        check(&PushMessagesRequest { node, message, tree });
    }

    #[test]
    fn answers_are_read_only_if_all_readers_read_the_same(
        message in message(), tree in tree(), objects_to_push in vec(text(), 0..4), session_id in text(), stored: bool,
    ) {
        check(&PullMessagesResponse { message, tree });
        check(&PushMessagesResponse { objects_to_push, session_id });
        check(&PushObjectResponse { stored });
    }

    #[test]
    fn a_pushed_object_is_read_in_pieces_only_if_all_readers_read_the_same(
        node_id: u64, run_id: u64, object_id in "[a-zé]{1,4}", session_id in text(), object in vec(any::<u8>(), 0..40),
        size in 1_usize..20,
    ) {
        let expected = (node_id, run_id, object_id.clone(), session_id.clone());
        let request = PushObjectRequest { node: Some(Node { node_id }), run_id, object_id, session_id };
        check(&request);
        let bytes = prost::Message::encode_to_vec(&request);
        for wire in [Wire::Http, Wire::Grpc] {
            let with_object = [bytes.clone(), content(4, &object)].concat();
            prop_assert_eq!(in_pieces(&with_object, size, wire), Some(expected.clone()));
            for ambiguous in ambiguous(&bytes, PushObjectRequest::SCHEMA) {
                prop_assert_eq!(in_pieces(&ambiguous, size, wire), None, "{:02x?}", ambiguous);
            }
        }
    }

    #[test]
    fn what_is_read_of_any_bytes_is_written_and_read_again(bytes in vec(prop_oneof![0..0x30_u8, any::<u8>()], 0..24)) {
        fn check<M: StrictMessage + PartialEq + Debug>(bytes: &[u8]) {
            let Some(read) = M::read(Bytes::copy_from_slice(bytes)) else { return };
            assert_eq!(M::decode(bytes).as_ref(), Ok(&read), "prost reads the same");
            assert_eq!(M::read(read.encode_to_vec().into()), Some(read));
        }
        check::<PullMessagesRequest>(&bytes);
        check::<PullMessagesResponse>(&bytes);
        check::<ConfirmMessageReceivedRequest>(&bytes);
        check::<PushMessagesRequest>(&bytes);
        check::<PushMessagesResponse>(&bytes);
        check::<PushObjectRequest>(&bytes);
        check::<PushObjectResponse>(&bytes);
    }
}

#[test]
fn a_tree_that_is_too_deep_is_not_read() {
    let tree = |depth| (0..depth).fold(Vec::new(), |tree, _| content(2, &tree));
    let request = |depth| PushMessagesRequest::read(content(3, &tree(depth)).into());
    assert!(request(MAX_DEPTH - 2).is_some() && request(MAX_DEPTH - 1).is_none() && request(100_000).is_none());
}

#[test]
fn every_message_of_flower_is_read() {
    let lines = include_str!("../../../../tests/data/flower_fleet_messages.tsv").lines();
    let mut versions = std::collections::BTreeMap::<_, usize>::new();
    for line in lines.filter(|line| !line.starts_with('#')) {
        let [version, name, hex] = line.splitn(3, '\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let message = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        let bytes = Bytes::from(message.clone());
        let is_read = match name {
            "PullMessagesRequest" => PullMessagesRequest::read(bytes).is_some_and(|read| read.node.is_some()),
            "PullMessagesResponse" => PullMessagesResponse::read(bytes).is_some(),
            "ConfirmMessageReceivedRequest" => ConfirmMessageReceivedRequest::read(bytes)
                .is_some_and(|read| read.node.is_some() && read.message_object_id.len() == 64),
            "PushMessagesRequest" => PushMessagesRequest::read(bytes)
                .is_some_and(|read| read.node.is_some() && read.message.is_some() && read.tree.is_some()),
            "PushMessagesResponse" => PushMessagesResponse::read(bytes).is_some(),
            "PushObjectRequest" => [Wire::Http, Wire::Grpc]
                .iter()
                .all(|wire| in_pieces(&message, 7, *wire).is_some_and(|(_, _, id, _)| id.len() == 64)),
            "PushObjectResponse" => PushObjectResponse::read(bytes).is_some(),
            _ => panic!("{name}"),
        };
        assert!(is_read, "{line}");
        *versions.entry(version).or_default() += 1;
    }
    assert_eq!(versions.into_values().collect::<Vec<_>>(), [10, 10, 10, 10, 10, 10]);
}
