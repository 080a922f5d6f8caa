//! What the fuzz targets reach of a node.

use bytes::Bytes;

use super::error::NodeError;
use crate::{
    object::{Received, assemble, record::RecordDict, split},
    proto,
};

/// The content of the message that these objects are, each with its id.
///
/// # Errors
/// They are none, or do not belong together.
pub fn inflated(root: &str, objects: &[(String, Bytes)], max_bytes: u64) -> Result<Option<RecordDict>, NodeError> {
    let parse = |(id, content): &(String, Bytes)| Ok((id.clone(), Received::parse(id, content.clone())?));
    assemble::content(root, objects.iter().map(parse).collect::<Result<_, NodeError>>()?, max_bytes)
}

/// The objects of a message with this content, the message itself last.
pub fn deflated(content: &RecordDict) -> Vec<(String, Bytes)> {
    let deflated = split::message(&proto::Message::default(), Some(content));
    deflated.objects.into_values().map(|object| (object.id.clone(), object.content())).collect()
}
