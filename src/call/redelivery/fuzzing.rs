//! What the fuzz targets reach.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;

use super::{
    field_reader::{FieldReader, Value},
    messages::{PushMessagesResponse, Reply, ask_for_all},
};
use crate::protocol::Wire;

/// The fields of a message: numbers, or else bytes.
pub(crate) type Fields = Vec<(u64, Result<u64, Vec<u8>>)>;

/// The numbers and the texts among the small fields of a message that comes in these pieces, if it is one.
pub(crate) fn read_fields<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Fields> {
    let mut reader = FieldReader::new(Wire::Http);
    pieces.into_iter().for_each(|piece| reader.feed(piece));
    reader.end();
    let plain = |(field, value): &(u64, Value)| match value {
        Value::Number(number) => Some((*field, Ok(*number))),
        Value::Bytes(bytes) => Some((*field, Err(bytes.clone()))),
        Value::Long => None,
    };
    Some(reader.fields()?.iter().filter_map(plain).collect())
}

/// The objects of a reply that is pushed, and what the answer that asks for all of them says, made of this one: the objects
/// that it asks for, and its session.
pub(crate) fn ask_again(request: &[u8], answer: &[u8]) -> Option<(BTreeSet<String>, Option<(Vec<String>, String)>)> {
    let objects = Reply::read(Bytes::copy_from_slice(request))?.objects()?;
    PushMessagesResponse::decode(answer).ok()?;
    let asking = ask_for_all(&Bytes::copy_from_slice(answer), objects.clone());
    let asking = PushMessagesResponse::decode(asking).ok();
    Some((objects, asking.map(|asking| (asking.objects_to_push, asking.session_id))))
}
