//! Assembles records from objects.

use std::collections::{HashMap, HashSet};

use bytes::{Bytes, BytesMut};
use indexmap::IndexMap;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    ContentError, Kind, Received,
    array::Array,
    record::{ArrayRecord, Record, RecordDict, TypedDict},
};
use crate::proto;

/// The most names of records and arrays in a message.
const MAX_NAMES: usize = 1_000_000;

/// Assembles the content of the message whose object has the id `root`; `None` if it has an error instead.
///
/// `max_bytes` limits the memory for it: a few objects can refer to each other very often.
pub(crate) fn content(
    root: &str,
    objects: HashMap<String, Received>,
    max_bytes: u64,
) -> Result<Option<RecordDict>, ContentError> {
    let mut assembly = Assembly { objects, arrays: HashMap::new(), names: MAX_NAMES, bytes: max_bytes };
    let message = assembly.object(root, root)?;
    if message.kind != Kind::Message {
        return Err(wrong_kind(root, message.kind, "a message"));
    }
    let [content] = message.children.as_slice() else { return Ok(None) };
    let content = content.clone();
    assembly.record_dict(root, &content).map(Some)
}

struct Assembly {
    objects: HashMap<String, Received>,
    /// Arrays that have been assembled.
    arrays: HashMap<String, Array>,
    /// How many more names the content may have.
    names: usize,
    /// How many more bytes the content may take.
    bytes: u64,
}

/// The body of an array's object.
#[derive(Deserialize)]
struct ArrayBody {
    dtype: String,
    shape: Vec<u64>,
    stype: String,
    arraychunk_ids: Vec<usize>,
}

impl Assembly {
    fn object(&self, parent: &str, id: &str) -> Result<&Received, ContentError> {
        self.objects.get(id).ok_or_else(|| ContentError::object(parent, format_args!("its child {id} is missing")))
    }

    fn record_dict(&mut self, parent: &str, id: &str) -> Result<RecordDict, ContentError> {
        let object = self.object(parent, id)?;
        if object.kind != Kind::RecordDict {
            return Err(wrong_kind(id, object.kind, "a record dict"));
        }
        let records = self.names(id)?;
        records.into_iter().map(|(name, record)| Ok((name, self.record(id, &record)?))).collect()
    }

    fn record(&mut self, parent: &str, id: &str) -> Result<Record, ContentError> {
        let object = self.object(parent, id)?;
        match object.kind {
            Kind::ArrayRecord => self.array_record(id).map(Record::Array),
            Kind::MetricRecord => {
                let record: proto::MetricRecord = decode(id, &self.body(id)?)?;
                let items = record.items.into_iter().map(|item| (item.key, item.value.and_then(|value| value.value)));
                values(id, items).map(Record::Metric)
            }
            Kind::ConfigRecord => {
                let record: proto::ConfigRecord = decode(id, &self.body(id)?)?;
                let items = record.items.into_iter().map(|item| (item.key, item.value.and_then(|value| value.value)));
                values(id, items).map(Record::Config)
            }
            other => Err(wrong_kind(id, other, "a record")),
        }
    }

    fn array_record(&mut self, id: &str) -> Result<ArrayRecord, ContentError> {
        let arrays = self.names(id)?;
        arrays.into_iter().map(|(name, array)| Ok((name, self.array(id, &array)?))).collect()
    }

    fn array(&mut self, parent: &str, id: &str) -> Result<Array, ContentError> {
        if let Some(array) = self.arrays.get(id) {
            return Ok(array.clone());
        }
        let object = self.object(parent, id)?;
        if object.kind != Kind::Array {
            return Err(wrong_kind(id, object.kind, "an array"));
        }
        let children = object.children.clone();
        let body: ArrayBody = parse(id, &self.body(id)?)?;
        let data = self.chunks(id, &children, &body.arraychunk_ids)?;
        let array = Array::new(body.dtype, body.shape, body.stype, data);
        self.arrays.insert(id.to_owned(), array.clone());
        Ok(array)
    }

    /// Joins the chunks in the order of `indices`. A single chunk is not copied.
    fn chunks(&mut self, id: &str, children: &[String], indices: &[usize]) -> Result<Bytes, ContentError> {
        let mut chunks = Vec::with_capacity(indices.len());
        let mut len = 0_usize;
        for index in indices {
            let child = children
                .get(*index)
                .ok_or_else(|| ContentError::object(id, "it refers to a chunk that it does not have"))?;
            let chunk = self.object(id, child)?;
            if chunk.kind != Kind::ArrayChunk {
                return Err(wrong_kind(child, chunk.kind, "a chunk of an array"));
            }
            len = len.saturating_add(chunk.body.len());
            chunks.push(chunk.body.clone());
        }
        self.spend(id, len)?;
        if let [chunk] = chunks.as_slice() {
            return Ok(chunk.clone());
        }
        let mut data = BytesMut::with_capacity(len);
        for chunk in chunks {
            data.extend_from_slice(&chunk);
        }
        Ok(data.freeze())
    }

    /// Returns the names that an object gives its children.
    fn names(&mut self, id: &str) -> Result<IndexMap<String, String>, ContentError> {
        let names: IndexMap<String, String> = parse(id, &self.body(id)?)?;
        let object = self.object(id, id)?;
        let children: HashSet<_> = object.children.iter().collect();
        if !names.values().all(|child| children.contains(child)) {
            return Err(ContentError::object(id, "it names an object that is not its child"));
        }
        let left = self.names.checked_sub(names.len());
        self.names =
            left.ok_or_else(|| ContentError::object(id, format_args!("the message has more than {MAX_NAMES} names")))?;
        Ok(names)
    }

    /// Returns the body of an object. It counts towards the limit each time it is read.
    fn body(&mut self, id: &str) -> Result<Bytes, ContentError> {
        let body = self.object(id, id)?.body.clone();
        self.spend(id, body.len())?;
        Ok(body)
    }

    fn spend(&mut self, id: &str, bytes: usize) -> Result<(), ContentError> {
        let left = self.bytes.checked_sub(bytes as u64);
        self.bytes =
            left.ok_or_else(|| ContentError::object(id, "with it, the message is larger than this node accepts"))?;
        Ok(())
    }
}

fn values<V>(id: &str, items: impl Iterator<Item = (String, Option<V>)>) -> Result<TypedDict<V>, ContentError> {
    let checked = items.map(|(name, value)| match value {
        Some(value) => Ok((name, value)),
        None => Err(ContentError::object(id, format_args!("the type of the value {name:?} is unknown"))),
    });
    checked.collect()
}

fn parse<T: DeserializeOwned>(id: &str, body: &[u8]) -> Result<T, ContentError> {
    serde_json::from_slice(body).map_err(|error| ContentError::body(id, error))
}

fn decode<T: prost::Message + Default>(id: &str, body: &Bytes) -> Result<T, ContentError> {
    T::decode(body.clone()).map_err(|error| ContentError::body(id, error))
}

fn wrong_kind(id: &str, kind: Kind, wanted: &str) -> ContentError {
    ContentError::object(id, format_args!("its type is {} and not {wanted}", kind.name()))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::{
        object::{Object, split},
        proto::ObjectTree,
    };

    /// A message made of single objects, which may contradict each other.
    #[derive(Default)]
    struct Forged(HashMap<String, Received>);

    impl Forged {
        fn add(&mut self, kind: Kind, children: &[&ObjectTree], body: impl Into<Bytes>) -> ObjectTree {
            let children: Vec<_> = children.iter().copied().cloned().collect();
            let object = Object::new(kind, &children, body.into());
            self.0.insert(object.id.clone(), Received::parse(&object.id, object.content()).unwrap());
            ObjectTree { object_id: object.id, children }
        }

        fn named(&mut self, kind: Kind, child: &ObjectTree, names: usize) -> ObjectTree {
            let names: IndexMap<_, _> = (0..names).map(|name| (name.to_string(), &child.object_id)).collect();
            self.add(kind, &[child], serde_json::to_vec(&names).unwrap())
        }

        /// The error of a message whose record dict has this one record.
        fn error_of(mut self, record: &ObjectTree, max_bytes: u64) -> String {
            let content = self.named(Kind::RecordDict, record, 1);
            let root = self.add(Kind::Message, &[&content], "");
            content_of(&root, self, max_bytes).unwrap_err().to_string()
        }
    }

    fn content_of(root: &ObjectTree, forged: Forged, max_bytes: u64) -> Result<Option<RecordDict>, ContentError> {
        content(&root.object_id, forged.0, max_bytes)
    }

    fn array_body(chunks: &[usize]) -> String {
        format!(r#"{{"dtype": "uint8", "shape": [1], "stype": "raw", "arraychunk_ids": {chunks:?}}}"#)
    }

    #[test]
    fn an_object_that_is_not_a_record_is_named() {
        let mut forged = Forged::default();
        let chunk = forged.add(Kind::ArrayChunk, &[], "data");
        assert!(forged.error_of(&chunk, 1 << 20).contains("ArrayChunk and not a record"));
    }

    #[test]
    fn a_missing_child_is_named() {
        let mut forged = Forged::default();
        let record = forged.add(Kind::MetricRecord, &[], "");
        forged.0.clear();
        assert!(forged.error_of(&record, 1 << 20).contains("is missing"));
    }

    #[test]
    fn chunks_that_repeat_are_counted_each_time() {
        let mut forged = Forged::default();
        let chunk = forged.add(Kind::ArrayChunk, &[], vec![0; 1 << 20]);
        let array = forged.add(Kind::Array, &[&chunk], array_body(&[0; 1000]));
        let record = forged.named(Kind::ArrayRecord, &array, 1);
        assert!(forged.error_of(&record, 100 << 20).contains("larger than this node accepts"));
    }

    #[test]
    fn a_chunk_that_an_array_does_not_have_is_an_error() {
        let mut forged = Forged::default();
        let array = forged.add(Kind::Array, &[], array_body(&[0]));
        let record = forged.named(Kind::ArrayRecord, &array, 1);
        assert!(forged.error_of(&record, 1 << 20).contains("a chunk that it does not have"));
    }

    #[test]
    fn a_negative_shape_and_invalid_json_are_errors() {
        for body in [r#"{"dtype": "", "shape": [-1], "stype": "", "arraychunk_ids": []}"#, "{", "[]", ""] {
            let mut forged = Forged::default();
            let array = forged.add(Kind::Array, &[], body);
            let record = forged.named(Kind::ArrayRecord, &array, 1);
            assert!(forged.error_of(&record, 1 << 20).contains("its body is invalid: "), "{body}");
        }
    }

    #[test]
    fn records_that_refer_to_each_other_very_often_are_refused() {
        let mut forged = Forged::default();
        let array = forged.add(Kind::Array, &[], array_body(&[]));
        let record = forged.named(Kind::ArrayRecord, &array, 2000);
        let content = forged.named(Kind::RecordDict, &record, 2000);
        let root = forged.add(Kind::Message, &[&content], "");
        let error = content_of(&root, forged, u64::MAX).unwrap_err().to_string();
        assert!(error.contains("names"), "{error}");
    }

    #[test]
    fn a_value_of_an_unknown_type_is_named() {
        let item = proto::metric_record::Item { key: "new".to_owned(), value: None };
        let mut forged = Forged::default();
        let record = forged.add(Kind::MetricRecord, &[], proto::MetricRecord { items: vec![item] }.encode_to_vec());
        assert!(forged.error_of(&record, 1 << 20).contains("the value \"new\" is unknown"));
    }

    #[test]
    fn a_message_with_an_error_has_no_content() {
        let split = split::message(&proto::Message::default(), None);
        let object = &split.objects[&split.tree.object_id];
        let received = Received::parse(&object.id, object.content()).unwrap();
        let objects = HashMap::from([(object.id.clone(), received)]);
        assert_eq!(content(&split.tree.object_id, objects, 0).unwrap(), None);
    }
}

#[cfg(test)]
mod properties {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::object::{
        record::{ConfigValue, MetricValue},
        split,
    };

    /// Content as apps make it.
    fn content() -> impl Strategy<Value = RecordDict> {
        let array = ("[a-z0-9]{0,8}", vec(any::<u64>(), 0..3), "\\PC{0,8}", vec(any::<u8>(), 0..40))
            .prop_map(|(dtype, shape, stype, data)| Array::new(dtype, shape, stype, data));
        let arrays = vec(("\\PC{0,6}", array), 0..3).prop_map(|items| Record::Array(items.into_iter().collect()));
        let metric =
            prop_oneof![any::<i64>().prop_map(MetricValue::Sint64), (-1e9..1e9f64).prop_map(MetricValue::Double)];
        let metrics = vec(("\\PC{0,6}", metric), 0..3).prop_map(|items| Record::Metric(items.into_iter().collect()));
        let config = prop_oneof![any::<bool>().prop_map(ConfigValue::Bool), "\\PC{0,8}".prop_map(ConfigValue::String)];
        let configs = vec(("\\PC{0,6}", config), 0..3).prop_map(|items| Record::Config(items.into_iter().collect()));
        vec(("\\PC{0,6}", prop_oneof![arrays, metrics, configs]), 0..4).prop_map(|items| items.into_iter().collect())
    }

    fn objects(content: &RecordDict) -> (String, Vec<(String, Bytes)>) {
        let split = split::message(&proto::Message::default(), Some(content));
        let objects = split.objects.into_values().map(|object| (object.id.clone(), object.content())).collect();
        (split.tree.object_id, objects)
    }

    fn read(root: &str, objects: &[(String, Bytes)], max: u64) -> Result<Option<RecordDict>, ContentError> {
        let parsed = objects.iter().map(|(id, content)| Ok((id.clone(), Received::parse(id, content.clone())?)));
        super::content(root, parsed.collect::<Result<_, ContentError>>()?, max)
    }

    proptest! {
        #[test]
        fn content_that_is_split_is_assembled_again(content in content()) {
            let (root, objects) = objects(&content);
            prop_assert_eq!(read(&root, &objects, u64::MAX).unwrap(), Some(content));
        }

        #[test]
        fn an_object_that_is_missing_or_changed_is_always_an_error(
            content in content(),
            which in any::<prop::sample::Index>(),
            changed in prop::option::of((any::<prop::sample::Index>(), 1..=u8::MAX)),
        ) {
            let (root, mut objects) = objects(&content);
            let which = which.index(objects.len());
            match changed {
                Some((at, bits)) => {
                    let mut content = objects[which].1.to_vec();
                    let at = at.index(content.len());
                    content[at] ^= bits;
                    objects[which].1 = content.into();
                }
                None => drop(objects.remove(which)),
            }
            prop_assert!(read(&root, &objects, u64::MAX).is_err());
        }

        #[test]
        fn a_limit_holds_whatever_the_content(content in content(), max in 0..200u64) {
            let (root, objects) = objects(&content);
            let Ok(Some(read)) = read(&root, &objects, max) else { return Ok(()) };
            let arrays = read.iter().filter_map(|(_, record)| if let Record::Array(arrays) = record { Some(arrays) } else { None });
            let distinct: HashMap<_, _> = arrays.flat_map(|arrays| arrays.iter().map(|(_, array)| (array.data().as_ptr(), array.data().len()))).collect();
            prop_assert!(distinct.values().sum::<usize>() as u64 <= max);
        }
    }
}
