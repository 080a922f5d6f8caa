//! Entry points for the fuzz targets.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;

use super::{
    field_reader::{FieldReader, Value},
    messages::{PushMessagesResponse, Reply, ask_for_all},
};
use crate::protocol::Wire;

/// The fields of a message: numbers or bytes.
pub(crate) type Fields = Vec<(u64, Result<u64, Vec<u8>>)>;

/// Reads the small fields of a message that arrives in these pieces; `None` if it is malformed.
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

/// Reads the objects of a pushed reply, and turns `answer` into one that asks for all of them. Returns the objects, and the
/// objects and the session of the new answer.
pub(crate) fn ask_again(request: &[u8], answer: &[u8]) -> Option<(BTreeSet<String>, Option<(Vec<String>, String)>)> {
    let objects = Reply::read(Bytes::copy_from_slice(request))?.objects()?;
    PushMessagesResponse::decode(answer).ok()?;
    let asking = ask_for_all(&Bytes::copy_from_slice(answer), objects.clone());
    let asking = PushMessagesResponse::decode(asking).ok();
    Some((objects, asking.map(|asking| (asking.objects_to_push, asking.session_id))))
}
