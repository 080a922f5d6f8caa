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

/// How readers differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// As the specification has it: the last value counts, messages are merged, groups are skipped.
    Merging,
    /// The first value counts. Groups, and numbers with needless bytes, are errors.
    First,
}

/// Reads a number, without the bits past the 64th.
fn number(bytes: &mut &[u8], style: Style) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let is_needless = place > 0 && *byte == 0;
            return Some(number).filter(|_| style == Style::Merging || !is_needless);
        }
    }
    None
}

/// Reads the fields of a message, up to the end of a group or of the bytes. Fields in groups are no fields of the message.
fn fields<'a>(bytes: &mut &'a [u8], style: Style, group: Option<u64>, depth: usize) -> Option<Vec<Field<'a>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = number(bytes, style)?;
        let value = match key & 7 {
            0 => Value::Number(number(bytes, style)?),
            1 | 5 => {
                *bytes = bytes.get(if key & 7 == 1 { 8 } else { 4 }..)?;
                Value::Other
            }
            2 => {
                let length = usize::try_from(number(bytes, style)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                *bytes = rest;
                Value::Bytes(value)
            }
            3 if depth > 0 && style == Style::Merging => {
                self::fields(bytes, style, Some(key >> 3), depth - 1)?;
                Value::Other
            }
            4 if group == Some(key >> 3) => return Some(fields),
            _ => return None,
        };
        fields.push((key >> 3, value));
    }
    group.is_none().then_some(fields)
}

/// A message as a reader of this style reads it. A field with another type is unknown. Messages are merged by reading their
/// bytes one after the other.
struct Message<'a>(Vec<Field<'a>>, Style);

impl<'a> Message<'a> {
    fn read(mut bytes: &'a [u8], style: Style) -> Option<Self> {
        Some(Self(fields(&mut bytes, style, None, 100)?, style))
    }

    fn pick<T>(&self, mut values: impl DoubleEndedIterator<Item = T>) -> Option<T> {
        match self.1 {
            Style::Merging => values.next_back(),
            Style::First => values.next(),
        }
    }

    fn number(&self, number: u64) -> u64 {
        let numbers = self.0.iter().filter_map(|field| match field {
            (field, Value::Number(value)) if *field == number => Some(*value),
            _ => None,
        });
        self.pick(numbers).unwrap_or_default()
    }

    fn all(&self, number: u64) -> Vec<&'a [u8]> {
        let all = self.0.iter().filter_map(|field| match field {
            (field, Value::Bytes(bytes)) if *field == number => Some(*bytes),
            _ => None,
        });
        all.collect()
    }

    fn text(&self, number: u64) -> String {
        String::from_utf8_lossy(self.pick(self.all(number).into_iter()).unwrap_or_default()).into_owned()
    }

    fn merged(&self, number: u64) -> Option<Vec<u8>> {
        let all = self.all(number);
        let of_style = if self.1 == Style::Merging { &all[..] } else { &all[..all.len().min(1)] };
        (!all.is_empty()).then(|| of_style.concat())
    }

    /// The node of a request.
    fn node(&self) -> Option<Values> {
        let Some(node) = self.merged(1) else { return Some(Vec::new()) };
        Some(vec![("node", Message::read(&node, self.1)?.number(1).to_string())])
    }

    /// The first or the last message of a list, and its tree.
    fn message_and_tree(&self) -> Option<Values> {
        let mut values = Vec::new();
        if let Some(message) = self.pick(self.all(2).into_iter())
            && let Some(metadata) = Message::read(message, self.1)?.merged(1)
        {
            let metadata = Message::read(&metadata, self.1)?;
            values.push(("run", metadata.number(1).to_string()));
            values.push(("message", metadata.text(2)));
            values.push(("reply to", metadata.text(5)));
        }
        if let Some(tree) = self.pick(self.all(3).into_iter()) {
            values.extend(tree_of(tree, self.1, 100)?.into_iter().map(|object| ("in tree", object)));
        }
        Some(values)
    }
}

/// The ids of a tree, each before those below it.
fn tree_of(tree: &[u8], style: Style, depth: usize) -> Option<Vec<String>> {
    let tree = Message::read(tree, style).filter(|_| depth > 0)?;
    let mut objects = vec![tree.text(1)];
    for child in tree.all(2) {
        objects.extend(tree_of(child, style, depth - 1)?);
    }
    Some(objects)
}

fn by_style(kind: Kind, bytes: &[u8], style: Style) -> Option<Values> {
    let message = Message::read(bytes, style)?;
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
        for (style, name) in [(Style::Merging, "merges"), (Style::First, "takes the first value")] {
            assert_eq!(
                by_style(kind, bytes, style).as_ref(),
                Some(values),
                "a reader that {name} reads something else"
            );
        }
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
