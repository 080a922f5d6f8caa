//! Flower's objects: the parts of a message, each identified by the SHA-256 of its content.
//!
//! An object's content is `TYPE ID,ID,... LENGTH`, a zero byte and a body of that length; the ids are its children's.
//! [`split`] makes objects of records, [`assemble`] records of objects.

pub(crate) mod array;
pub(crate) mod assemble;
mod error;
mod python_json;
pub(crate) mod record;
pub(crate) mod split;

use std::str::FromStr;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

pub use self::error::ContentError;
pub(crate) use self::error::short;
use crate::proto::ObjectTree;

/// The deepest tree that is accepted: more than Flower needs (message, record dict, array record, array, chunk).
const MAX_TREE_DEPTH: usize = 8;
/// The most objects in a tree: half a terabyte in chunks of 5 MiB.
const MAX_TREE_OBJECTS: usize = 100_000;

/// The type of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Message,
    RecordDict,
    ArrayRecord,
    MetricRecord,
    ConfigRecord,
    Array,
    ArrayChunk,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Message,
        Self::RecordDict,
        Self::ArrayRecord,
        Self::MetricRecord,
        Self::ConfigRecord,
        Self::Array,
        Self::ArrayChunk,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Message => "Message",
            Self::RecordDict => "RecordDict",
            Self::ArrayRecord => "ArrayRecord",
            Self::MetricRecord => "MetricRecord",
            Self::ConfigRecord => "ConfigRecord",
            Self::Array => "Array",
            Self::ArrayChunk => "ArrayChunk",
        }
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(())
    }
}

/// An object to send. Its content is put together only when it is sent: a chunk shares the array's memory.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) id: String,
    head: String,
    body: Bytes,
}

impl Object {
    pub(crate) fn new(kind: Kind, children: &[ObjectTree], body: Bytes) -> Self {
        let ids: Vec<_> = children.iter().map(|child| child.object_id.as_str()).collect();
        let head = format!("{} {} {}\0", kind.name(), ids.join(","), body.len());
        let hash = Sha256::new().chain_update(&head).chain_update(&body).finalize();
        Self { id: HEXLOWER.encode(&hash), head, body }
    }

    pub(crate) fn content(&self) -> Bytes {
        [self.head.as_bytes(), &self.body].concat().into()
    }
}

/// An object that was received and checked.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) kind: Kind,
    pub(crate) children: Vec<String>,
    pub(crate) body: Bytes,
}

impl Received {
    /// Checks the content against the id, and parses it.
    pub(crate) fn parse(id: &str, content: Bytes) -> Result<Self, ContentError> {
        let found = HEXLOWER.encode(&Sha256::digest(&content));
        if found != id {
            let len = content.len();
            return Err(ContentError::object(id, format_args!("the SHA-256 of the {len} bytes received is {found}")));
        }
        let invalid = |reason: &str| ContentError::object(id, reason);
        let end = content.iter().position(|byte| *byte == 0).ok_or_else(|| invalid("it has no header"))?;
        let head = str::from_utf8(&content[..end]).map_err(|_| invalid("its header is not UTF-8"))?;
        let mut words = head.split(' ');
        let (Some(kind), Some(children), Some(len), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(invalid("its header does not have three parts"));
        };
        let kind = kind.parse().map_err(|()| invalid(&format!("its type {:?} is unknown", shown(kind))))?;
        let body = content.slice(end + 1..);
        if len.parse() != Ok(body.len()) {
            return Err(invalid(&format!("its header declares {:?} bytes, {} were received", shown(len), body.len())));
        }
        let children: Vec<_> = children.split(',').filter(|child| !child.is_empty()).map(str::to_owned).collect();
        if !children.iter().all(|child| is_id(child)) {
            return Err(invalid("the id of a child is not a SHA-256"));
        }
        Ok(Self { kind, children, body })
    }
}

/// Returns the ids of a tree's objects, each once, children before parents.
pub(crate) fn object_ids(tree: &ObjectTree) -> Result<Vec<String>, ContentError> {
    let mut ids = indexmap::IndexSet::new();
    let mut visits = 0;
    collect(tree, MAX_TREE_DEPTH, &mut visits, &mut ids)?;
    Ok(ids.into_iter().map(str::to_owned).collect())
}

fn collect<'a>(
    tree: &'a ObjectTree,
    depth: usize,
    visits: &mut usize,
    ids: &mut indexmap::IndexSet<&'a str>,
) -> Result<(), ContentError> {
    *visits += 1;
    if depth == 0 || *visits > MAX_TREE_OBJECTS {
        let limits = format!("it has more than {MAX_TREE_OBJECTS} objects or {MAX_TREE_DEPTH} levels");
        return Err(ContentError::new("object tree", limits));
    }
    if !is_id(&tree.object_id) {
        let shown = shown(&tree.object_id);
        return Err(ContentError::new("object tree", format_args!("{shown:?} is not an object id")));
    }
    for child in &tree.children {
        collect(child, depth - 1, visits, ids)?;
    }
    ids.insert(&tree.object_id);
    Ok(())
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Cuts a text of the peer's to what fits in an error message.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(content: &[u8]) -> Result<Received, ContentError> {
        Received::parse(&HEXLOWER.encode(&Sha256::digest(content)), Bytes::copy_from_slice(content))
    }

    fn tree(id: &str, children: Vec<ObjectTree>) -> ObjectTree {
        ObjectTree { object_id: id.to_owned(), children }
    }

    #[test]
    fn an_object_that_was_made_can_be_read() {
        let child = tree(&"a".repeat(64), vec![]);
        let object = Object::new(Kind::Array, &[child], Bytes::from_static(b"body\0"));
        let read = Received::parse(&object.id, object.content()).unwrap();
        assert_eq!((read.kind, read.children, &read.body[..]), (Kind::Array, vec!["a".repeat(64)], &b"body\0"[..]));
    }

    #[test]
    fn content_that_does_not_match_its_id_is_refused() {
        let object = Object::new(Kind::ArrayChunk, &[], Bytes::from_static(b"body"));
        let whole = object.content();
        for end in 0..whole.len() {
            let error = Received::parse(&object.id, whole.slice(..end)).unwrap_err();
            assert!(error.to_string().contains("SHA-256"), "{error}");
        }
    }

    #[test]
    fn an_invalid_header_says_what_is_wrong() {
        for (content, wanted) in [
            (&b""[..], "no header"),
            (b"ArrayChunk  4", "no header"),
            (b"ArrayChunk 4\0body", "three parts"),
            (b"ArrayChunk  4 4\0body", "three parts"),
            (b"Pickle  4\0body", "\"Pickle\" is unknown"),
            (b"ArrayChunk  5\0body", "declares"),
            (b"ArrayChunk  -4\0body", "declares"),
            (b"ArrayChunk  99999999999999999999\0body", "declares"),
            (b"Array abc 4\0body", "not a SHA-256"),
            (b"\xff  4\0body", "not UTF-8"),
        ] {
            let error = received(content).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn ids_are_listed_once_and_children_first() {
        let ids = ["a", "b", "c"].map(|digit| digit.repeat(64));
        let leaf = || tree(&ids[0], vec![]);
        let whole = tree(&ids[2], vec![leaf(), tree(&ids[1], vec![leaf()])]);
        assert_eq!(object_ids(&whole).unwrap(), ids);
    }

    #[test]
    fn a_tree_that_is_too_deep_or_too_large_is_refused() {
        let id = "a".repeat(64);
        let deep = (0..MAX_TREE_DEPTH).fold(tree(&id, vec![]), |inner, _| tree(&id, vec![inner]));
        assert!(object_ids(&deep).unwrap_err().to_string().contains("levels"));
        assert!(object_ids(&deep.children[0]).is_ok());
        let wide = tree(&id, vec![tree(&id, vec![]); MAX_TREE_OBJECTS]);
        assert!(object_ids(&wide).is_err());
        assert!(object_ids(&tree("../../etc/passwd", vec![])).is_err());
    }
}
