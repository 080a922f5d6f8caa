//! Messages that redelivery acts on: what it reads, every other reader reads, as a whole and in pieces.
#![no_main]

use flower_iroh_funnel::{
    fuzzing::{Kind, Values, read_message, read_push},
    proto,
};
use fuzz::framed;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

/// A field: its number and its value.
type Field<'a> = (u64, Value<'a>);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// Reads a number as most readers do: with needless bytes, and without the bits past the 64th.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Reads the fields of a message, up to the end of a group or of the bytes. Fields in groups are no fields of the message.
fn fields<'a>(bytes: &mut &'a [u8], group: Option<u64>, depth: usize) -> Option<Vec<Field<'a>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = number(bytes)?;
        let value = match key & 7 {
            0 => Value::Number(number(bytes)?),
            1 | 5 => {
                *bytes = bytes.get(if key & 7 == 1 { 8 } else { 4 }..)?;
                Value::Other
            }
            2 => {
                let (value, rest) = bytes.split_at_checked(usize::try_from(number(bytes)?).ok()?)?;
                *bytes = rest;
                Value::Bytes(value)
            }
            3 if depth > 0 => {
                self::fields(bytes, Some(key >> 3), depth - 1)?;
                Value::Other
            }
            4 if group == Some(key >> 3) => return Some(fields),
            _ => return None,
        };
        fields.push((key >> 3, value));
    }
    group.is_none().then_some(fields)
}

/// A message as the specification defines its reading: the last value counts, and messages are merged, which is what a reader
/// makes of their bytes one after the other. A field with another type is unknown.
struct Message<'a>(Vec<Field<'a>>);

impl<'a> Message<'a> {
    fn read(mut bytes: &'a [u8]) -> Option<Self> {
        fields(&mut bytes, None, 100).map(Self)
    }

    fn number(&self, number: u64) -> u64 {
        let numbers = self.0.iter().filter_map(|field| match field {
            (field, Value::Number(value)) if *field == number => Some(*value),
            _ => None,
        });
        numbers.last().unwrap_or_default()
    }

    fn all(&self, number: u64) -> Vec<&'a [u8]> {
        let all = self.0.iter().filter_map(|field| match field {
            (field, Value::Bytes(bytes)) if *field == number => Some(*bytes),
            _ => None,
        });
        all.collect()
    }

    fn text(&self, number: u64) -> String {
        String::from_utf8_lossy(self.all(number).last().copied().unwrap_or_default()).into_owned()
    }

    fn merged(&self, number: u64) -> Option<Vec<u8>> {
        let all = self.all(number);
        (!all.is_empty()).then(|| all.concat())
    }

    /// The node of a request.
    fn node(&self) -> Option<Values> {
        let Some(node) = self.merged(1) else { return Some(Vec::new()) };
        Some(vec![("node", Message::read(&node)?.number(1).to_string())])
    }

    /// The first message of a list, and the first tree.
    fn message_and_tree(&self) -> Option<Values> {
        let mut values = Vec::new();
        if let Some(message) = self.all(2).first()
            && let Some(metadata) = Message::read(message)?.merged(1)
        {
            let metadata = Message::read(&metadata)?;
            values.push(("run", metadata.number(1).to_string()));
            values.push(("message", metadata.text(2)));
            values.push(("reply to", metadata.text(5)));
        }
        if let Some(tree) = self.all(3).first() {
            values.extend(tree_of(tree, 100)?.into_iter().map(|object| ("in tree", object)));
        }
        Some(values)
    }
}

/// The ids of a tree, each before those below it.
fn tree_of(tree: &[u8], depth: usize) -> Option<Vec<String>> {
    let tree = Message::read(tree).filter(|_| depth > 0)?;
    let mut objects = vec![tree.text(1)];
    for child in tree.all(2) {
        objects.extend(tree_of(child, depth - 1)?);
    }
    Some(objects)
}

fn lenient(kind: Kind, bytes: &[u8]) -> Option<Values> {
    let message = Message::read(bytes)?;
    Some(match kind {
        Kind::PullMessagesRequest => message.node()?,
        Kind::PullMessagesResponse => message.message_and_tree()?,
        Kind::ConfirmMessageReceivedRequest => [message.node()?, vec![("message", message.text(3))]].concat(),
        Kind::PushMessagesRequest => [message.node()?, message.message_and_tree()?].concat(),
        Kind::PushMessagesResponse => {
            let objects = message.all(3).into_iter().map(|object| String::from_utf8_lossy(object).into_owned());
            objects.map(|object| ("object", object)).chain([("session", message.text(4))]).collect()
        }
        Kind::PushObjectRequest => [
            message.node()?,
            vec![("run", message.number(2).to_string()), ("object", message.text(3)), ("session", message.text(5))],
        ]
        .concat(),
        Kind::PushObjectResponse => vec![("stored", u8::from(message.number(1) != 0).to_string())],
    })
}

/// The same by prost, with all fields of Flower's own definitions; `None` if one that redelivery does not read is not valid.
fn by_prost(kind: Kind, bytes: &[u8]) -> Option<Values> {
    let node = |node: Option<proto::Node>| Values::from_iter(node.map(|node| ("node", node.node_id.to_string())));
    let in_list = |messages: Vec<proto::Message>, trees: Vec<proto::ObjectTree>| {
        let metadata = messages.into_iter().next().and_then(|message| message.metadata);
        let metadata = metadata.map(|metadata| {
            let run = metadata.run_id.to_string();
            [("run", run), ("message", metadata.message_id), ("reply to", metadata.reply_to_message_id)]
        });
        let tree = trees.into_iter().next().map(|tree| ids(tree).into_iter().map(|object| ("in tree", object)));
        metadata.into_iter().flatten().chain(tree.into_iter().flatten()).collect::<Values>()
    };
    Some(match kind {
        Kind::PullMessagesRequest => node(proto::PullMessagesRequest::decode(bytes).ok()?.node),
        Kind::PullMessagesResponse => {
            let read = proto::PullMessagesResponse::decode(bytes).ok()?;
            in_list(read.messages_list, read.message_object_trees)
        }
        Kind::ConfirmMessageReceivedRequest => {
            let read = proto::ConfirmMessageReceivedRequest::decode(bytes).ok()?;
            [node(read.node), vec![("message", read.message_object_id)]].concat()
        }
        Kind::PushMessagesRequest => {
            let read = proto::PushMessagesRequest::decode(bytes).ok()?;
            [node(read.node), in_list(read.messages_list, read.message_object_trees)].concat()
        }
        Kind::PushMessagesResponse => {
            let read = proto::PushMessagesResponse::decode(bytes).ok()?;
            let objects = read.objects_to_push.into_iter().map(|object| ("object", object));
            objects.chain([("session", read.session_id)]).collect()
        }
        Kind::PushObjectRequest => {
            let read = proto::PushObjectRequest::decode(bytes).ok()?;
            let run = read.run_id.to_string();
            [node(read.node), vec![("run", run), ("object", read.object_id), ("session", read.session_id)]].concat()
        }
        Kind::PushObjectResponse => {
            vec![("stored", u8::from(proto::PushObjectResponse::decode(bytes).ok()?.stored).to_string())]
        }
    })
}

fn ids(tree: proto::ObjectTree) -> Vec<String> {
    std::iter::once(tree.object_id).chain(tree.children.into_iter().flat_map(ids)).collect()
}

fuzz_target!(|data: (u8, u8, &[u8])| {
    let (kind, cut, bytes) = data;
    let kind = Kind::ALL[usize::from(kind) % Kind::ALL.len()];
    let read = read_message(kind, bytes);
    if let Some((values, encoded)) = &read {
        assert_eq!(lenient(kind, bytes).as_ref(), Some(values), "a reader that merges reads something else");
        if let Some(by_prost) = by_prost(kind, bytes) {
            assert_eq!(&by_prost, values);
        }
        assert_eq!(read_message(kind, encoded).as_ref(), Some(&(values.clone(), encoded.clone())));
        let twice = read_message(kind, &[bytes, encoded].concat());
        let may_repeat = kind == Kind::PushMessagesResponse && values.contains(&("session", String::new()));
        assert!(twice.is_none() || encoded.is_empty() || may_repeat, "a field is repeated");
    }
    if kind == Kind::PushObjectRequest {
        push(cut, bytes, read.map(|(values, _)| values));
    }
});

/// A request that is read while its bytes are forwarded.
fn push(cut: u8, bytes: &[u8], whole: Option<Values>) {
    let size = usize::from(cut).max(1);
    let read = read_push(false, bytes.chunks(size));
    assert_eq!(read, read_push(false, [bytes]), "it depends on the pieces");
    let body = framed([bytes], &[0]);
    assert_eq!(read, read_push(true, body.chunks(size)), "it depends on the wire");
    assert_eq!(read_push(true, [&body[..], &[0]]), None, "it goes on after its end");
    if let Some((node, run, object, session)) = read {
        let (node, run) = (node.to_string(), run.to_string());
        let expected = vec![("node", node), ("run", run), ("object", object), ("session", session)];
        assert_eq!(whole, Some(expected), "as a whole it is something else");
    } else if bytes.len() <= 256 {
        let names_both = |values: &Values| values[0].0 == "node" && !values[2].1.is_empty();
        assert!(!whole.as_ref().is_some_and(names_both), "in pieces it is not read: {whole:?}");
    }
}
