//! Messages made of objects that may be invalid.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use flower_iroh_funnel::{
    node::Array,
    proto::{Message, Metadata, ObjectTree},
};
use prost::Message as _;

use crate::fleet::object_id;

/// The size of Flower's chunks.
const CHUNK: usize = 5 << 20;
pub(crate) const RUN: u64 = 11;

/// A message and its objects.
pub(crate) struct Forged {
    pub(crate) message: Message,
    pub(crate) tree: ObjectTree,
    pub(crate) objects: HashMap<String, Bytes>,
}

#[derive(Default)]
pub(crate) struct Objects(HashMap<String, Bytes>);

impl Objects {
    pub(crate) fn add(&mut self, kind: &str, children: Vec<ObjectTree>, body: &[u8]) -> ObjectTree {
        let ids: Vec<_> = children.iter().map(|child| child.object_id.as_str()).collect();
        let head = format!("{kind} {} {}\0", ids.join(","), body.len());
        let content = Bytes::from([head.as_bytes(), body].concat());
        let object_id = object_id(&content);
        self.0.insert(object_id.clone(), content);
        ObjectTree { object_id, children }
    }

    fn named(&mut self, kind: &str, name: &str, child: ObjectTree) -> ObjectTree {
        let body = format!("{{{name:?}: {:?}}}", child.object_id);
        self.add(kind, vec![child], body.as_bytes())
    }

    fn array(&mut self, array: &Array) -> ObjectTree {
        let chunks: Vec<_> = array.data().chunks(CHUNK).map(|chunk| self.add("ArrayChunk", vec![], chunk)).collect();
        let ids: Vec<_> = (0..chunks.len()).collect();
        let (dtype, shape, stype) = (array.dtype(), array.shape(), array.stype());
        let body = format!(
            "{{\"dtype\": {dtype:?}, \"shape\": {shape:?}, \"stype\": {stype:?}, \"arraychunk_ids\": {ids:?}}}"
        );
        self.add("Array", chunks, body.as_bytes())
    }

    /// A message with one record.
    pub(crate) fn message(mut self, record: ObjectTree) -> Forged {
        let content = self.named("RecordDict", "arrays", record);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let metadata = Metadata {
            run_id: RUN,
            src_node_id: 1,
            dst_node_id: 1,
            group_id: "3".to_owned(),
            ttl: 600.0,
            message_type: "train".to_owned(),
            created_at: now,
            src_task_id: Some(5),
            ..Metadata::default()
        };
        let mut message = Message { metadata: Some(metadata.clone()), content: None, error: None };
        let tree = self.add("Message", vec![content], &message.encode_to_vec());
        message.metadata = Some(Metadata { message_id: tree.object_id.clone(), ..metadata });
        Forged { message, tree, objects: self.0 }
    }
}

/// A message with one record that has one array, `"0"`.
pub(crate) fn array_message(array: &Array) -> Forged {
    let mut objects = Objects::default();
    let array = objects.array(array);
    let record = objects.named("ArrayRecord", "0", array);
    objects.message(record)
}

/// A message whose content is an array of three numbers.
pub(crate) fn small_message() -> Forged {
    array_message(&Array::from_ndarray(&ndarray::arr1(&[1.0_f32, 2.0, 3.0])))
}
