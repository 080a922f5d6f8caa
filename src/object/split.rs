//! Splits records into objects.

use bytes::Bytes;
use indexmap::IndexMap;
use prost::Message as _;
use serde::Serialize;

use super::{
    Kind, Object,
    array::Array,
    python_json,
    record::{ArrayRecord, ConfigRecord, MetricRecord, Record, RecordDict},
};
use crate::proto::{self, ObjectTree, config_record, metric_record};

/// Flower's size of a chunk.
pub(crate) const CHUNK_SIZE: usize = 5 << 20;

/// The objects of a message, each once and children first, and the tree that they form.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) tree: ObjectTree,
    pub(crate) objects: IndexMap<String, Object>,
}

/// Splits a message without its content, and the content, into objects.
pub(crate) fn message(message: &proto::Message, content: Option<&RecordDict>) -> Split {
    let mut objects = Objects::default();
    let content = content.map(|content| objects.record_dict(content));
    let tree = objects.add(Kind::Message, content.into_iter().collect(), message.encode_to_vec());
    Split { tree, objects: objects.0 }
}

/// The body of an array's object; the order of the fields is Flower's.
#[derive(Serialize)]
struct ArrayBody<'a> {
    dtype: &'a str,
    shape: &'a [u64],
    stype: &'a str,
    arraychunk_ids: Vec<usize>,
}

#[derive(Default)]
struct Objects(IndexMap<String, Object>);

impl Objects {
    fn add(&mut self, kind: Kind, children: Vec<ObjectTree>, body: impl Into<Bytes>) -> ObjectTree {
        let object = Object::new(kind, &children, body.into());
        let object_id = object.id.clone();
        self.0.entry(object_id.clone()).or_insert(object);
        ObjectTree { object_id, children }
    }

    fn record_dict(&mut self, content: &RecordDict) -> ObjectTree {
        let records = content.iter().map(|(name, record)| (name, self.record(record))).collect();
        self.named(Kind::RecordDict, records)
    }

    fn record(&mut self, record: &Record) -> ObjectTree {
        match record {
            Record::Array(record) => self.array_record(record),
            Record::Metric(record) => self.add(Kind::MetricRecord, vec![], metric_record(record)),
            Record::Config(record) => self.add(Kind::ConfigRecord, vec![], config_record(record)),
        }
    }

    fn array_record(&mut self, record: &ArrayRecord) -> ObjectTree {
        let arrays = record.iter().map(|(name, array)| (name, self.array(array))).collect();
        self.named(Kind::ArrayRecord, arrays)
    }

    fn array(&mut self, array: &Array) -> ObjectTree {
        let starts = (0..array.data.len()).step_by(CHUNK_SIZE);
        let chunks = starts.map(|start| array.data.slice(start..array.data.len().min(start + CHUNK_SIZE)));
        let chunks = chunks.map(|chunk| self.add(Kind::ArrayChunk, vec![], chunk));
        let mut children = IndexMap::new();
        let mut arraychunk_ids = Vec::new();
        for chunk in chunks {
            let entry = children.entry(chunk.object_id.clone());
            arraychunk_ids.push(entry.index());
            entry.or_insert(chunk);
        }
        let Array { dtype, shape, stype, .. } = array;
        let body = python_json::to_vec(&ArrayBody { dtype, shape, stype, arraychunk_ids });
        self.add(Kind::Array, children.into_values().collect(), body)
    }

    /// Adds an object whose body maps names to children. Equal children are listed once.
    fn named(&mut self, kind: Kind, children: IndexMap<&str, ObjectTree>) -> ObjectTree {
        let names: IndexMap<_, _> = children.iter().map(|(name, child)| (name, &child.object_id)).collect();
        let body = python_json::to_vec(&names);
        let children = children.into_values().map(|child| (child.object_id.clone(), child));
        let children: IndexMap<_, _> = children.collect();
        self.add(kind, children.into_values().collect(), body)
    }
}

fn metric_record(record: &MetricRecord) -> Vec<u8> {
    let items = record.iter().map(|(key, value)| metric_record::Item {
        key: key.to_owned(),
        value: Some(proto::MetricRecordValue { value: Some(value.clone()) }),
    });
    proto::MetricRecord { items: items.collect() }.encode_to_vec()
}

fn config_record(record: &ConfigRecord) -> Vec<u8> {
    let items = record.iter().map(|(key, value)| config_record::Item {
        key: key.to_owned(),
        value: Some(proto::ConfigRecordValue { value: Some(value.clone()) }),
    });
    proto::ConfigRecord { items: items.collect() }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use data_encoding::HEXLOWER;

    use super::*;
    use crate::object::{Received, assemble};

    /// The objects of a group in `flower_objects.tsv`: id and content, children first.
    fn golden(group: &str) -> Vec<(String, Bytes)> {
        let lines = include_str!("../../tests/data/flower_objects.tsv").lines().filter(|line| !line.starts_with('#'));
        let rows = lines.map(|line| line.splitn(3, '\t').collect::<Vec<_>>()).filter(|row| row[0] == group);
        rows.map(|row| (row[1].to_owned(), HEXLOWER.decode(row[2].as_bytes()).unwrap().into())).collect()
    }

    /// Assembles a message of Flower's and splits it again.
    fn round_trip(objects: &[(String, Bytes)]) -> Split {
        let received = objects.iter().map(|(id, content)| (id.clone(), Received::parse(id, content.clone()).unwrap()));
        let received: HashMap<_, _> = received.collect();
        let root = &objects.last().unwrap().0;
        let body = received[root].body.clone();
        let content = assemble::content(root, received, u64::MAX).unwrap();
        message(&proto::Message::decode(body).unwrap(), content.as_ref())
    }

    #[test]
    fn objects_equal_flowers_byte_for_byte() {
        for group in ["full", "tasks", "error"] {
            let wanted = golden(group);
            let made = round_trip(&wanted);
            let made: Vec<_> = made.objects.into_values().map(|object| (object.id.clone(), object.content())).collect();
            assert_eq!(made, wanted, "{group}");
        }
    }

    #[test]
    fn large_arrays_are_split_as_flower_splits_them() {
        let pattern = (0..11_u64 << 20).map(|index| (index * 31 % 251) as u8).collect::<Vec<_>>();
        for (group, data) in [("big", pattern), ("zeros", vec![0; 12 << 20])] {
            let mut objects = Objects::default();
            objects.array(&Array::new("uint8", vec![data.len() as u64], "raw", data));
            let wanted: Vec<_> = golden(group).into_iter().map(|(id, _)| id).collect();
            assert_eq!(objects.0.into_keys().collect::<Vec<_>>(), wanted, "{group}");
        }
    }

    #[test]
    fn assembled_records_hold_flowers_values() {
        let objects = golden("full");
        let root = objects.last().unwrap().0.clone();
        let received = objects.into_iter().map(|(id, content)| (id.clone(), Received::parse(&id, content).unwrap()));
        let content = assemble::content(&root, received.collect(), u64::MAX).unwrap().unwrap();
        let weight = content.arrays("arrays").unwrap().array("layer.weight").unwrap();
        assert_eq!(weight.to_ndarray::<f32>().unwrap(), ndarray::arr2(&[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]).into_dyn());
        let fortran = content.arrays("arrays").unwrap().array("gewicht-ä😀\u{7f}\"").unwrap();
        assert_eq!(fortran.to_ndarray::<i64>().unwrap(), ndarray::arr2(&[[0, 1, 2], [3, 4, 5]]).into_dyn());
        assert_eq!(content.metrics("again").unwrap().get("int"), Some(&crate::object::record::MetricValue::Sint64(-3)));
        assert_eq!(
            content.config("config").unwrap().get("flag"),
            Some(&crate::object::record::ConfigValue::Bool(true))
        );
    }
}
