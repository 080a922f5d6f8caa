//! The object format, for the fuzz targets.

use bytes::Bytes;

use crate::{
    object::{ContentError, Received, assemble, record::RecordDict, split},
    proto,
};

/// Assembles the content of the message that consists of these objects, each with its id.
///
/// # Errors
/// An object is invalid, or the objects do not form a message.
pub fn assembled(root: &str, objects: &[(String, Bytes)], max_bytes: u64) -> Result<Option<RecordDict>, ContentError> {
    let parse = |(id, content): &(String, Bytes)| Ok((id.clone(), Received::parse(id, content.clone())?));
    assemble::content(root, objects.iter().map(parse).collect::<Result<_, ContentError>>()?, max_bytes)
}

/// Splits a message with this content into objects, the message itself last.
pub fn split(content: &RecordDict) -> Vec<(String, Bytes)> {
    let split = split::message(&proto::Message::default(), Some(content));
    split.objects.into_values().map(|object| (object.id.clone(), object.content())).collect()
}
