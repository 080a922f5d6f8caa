//! Reads the small fields of a protobuf message while its bytes are forwarded.

use super::strict::{Ambiguous, Key, Schema, Varint, WireType, length};
use crate::protocol::{GRPC_HEADER, Wire};

/// The largest field that is read, in bytes. A message in which one of them is larger is not read.
const MAX_FIELD: u64 = 256;
/// The most bytes that are stored of one message.
const MAX_BYTES: usize = 1024;

/// Parses one message piece by piece. It stores the fields of a schema, and skips all others, such as an object's content.
#[derive(Debug)]
pub(super) struct FieldReader {
    schema: &'static Schema,
    frame: Frame,
    state: State,
    /// A message of the fields that have been stored.
    stored: Vec<u8>,
}

/// How the end of the message is known.
#[derive(Clone, Copy, Debug)]
enum Frame {
    /// By the end of the body.
    Http { has_ended: bool },
    /// By a header before the message, of which this many bytes have been received.
    Header([u8; GRPC_HEADER], usize),
    /// By that header, which has been received: this many bytes of the message are missing.
    Grpc(u64),
}

#[derive(Debug)]
enum State {
    Key(Varint),
    /// A number, which may have to be stored.
    Number(bool, Varint),
    Length(bool, Varint),
    /// Content of which this many bytes are missing.
    Content(bool, u64),
    Ambiguous,
}

const BETWEEN: State = State::Key(Varint::NONE);

impl FieldReader {
    /// Creates a reader for the message in a body of this wire, which stores the fields that the schema has.
    pub(super) fn new(wire: Wire, schema: &'static Schema) -> Self {
        let frame = match wire {
            Wire::Grpc => Frame::Header([0; GRPC_HEADER], 0),
            Wire::Http => Frame::Http { has_ended: false },
        };
        Self { schema, frame, state: BETWEEN, stored: Vec::new() }
    }

    /// Returns a message of the fields that are stored, in their order, if the message is complete. It is still to be
    /// checked.
    pub(super) fn message(&self) -> Option<&[u8]> {
        let is_between_fields = matches!(&self.state, State::Key(varint) if varint.is_empty());
        let is_whole = matches!(self.frame, Frame::Http { has_ended: true } | Frame::Grpc(0));
        (is_between_fields && is_whole).then_some(&self.stored)
    }

    /// Parses the next piece of the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.unframe(bytes).and_then(|message| self.read(message)).is_err() {
            self.state = State::Ambiguous;
        }
    }

    /// Records that the body has ended.
    pub(super) fn end(&mut self) {
        if let Frame::Http { has_ended } = &mut self.frame {
            *has_ended = true;
        }
    }

    /// Returns those of the bytes that belong to the message. A compressed message cannot be read. A second message is an
    /// error: a SuperLink ignores it.
    fn unframe<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Ambiguous> {
        let mut bytes = bytes;
        if let Frame::Header(header, filled) = &mut self.frame {
            let (start, rest) = bytes.split_at(bytes.len().min(GRPC_HEADER - *filled));
            header[*filled..*filled + start.len()].copy_from_slice(start);
            (*filled, bytes) = (*filled + start.len(), rest);
            let [flag, length @ ..] = *header;
            if *filled < GRPC_HEADER {
                return Ok(&[]);
            }
            if flag != 0 {
                return Err(Ambiguous);
            }
            self.frame = Frame::Grpc(u32::from_be_bytes(length).into());
        }
        if let Frame::Grpc(left) = &mut self.frame {
            *left = left.checked_sub(bytes.len() as u64).ok_or(Ambiguous)?;
        }
        Ok(bytes)
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Ambiguous> {
        while let [first, rest @ ..] = bytes {
            bytes = match &mut self.state {
                State::Ambiguous => return Ok(()),
                State::Content(is_stored, left) => {
                    let consumed = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let (content, rest) = bytes.split_at(consumed);
                    if *is_stored {
                        self.stored.extend_from_slice(content);
                    }
                    *left -= consumed as u64;
                    if *left == 0 {
                        self.state = BETWEEN;
                    }
                    rest
                }
                State::Key(varint) | State::Number(_, varint) | State::Length(_, varint) => {
                    if let Some(number) = varint.push(*first)? {
                        self.state = self.after(number)?;
                    }
                    rest
                }
            };
        }
        Ok(())
    }

    /// Returns the state after this number, which may have to be stored.
    fn after(&mut self, number: u64) -> Result<State, Ambiguous> {
        match self.state {
            State::Key(_) => {
                let Key { number: field, wire_type } = Key::new(number)?;
                let is_stored = self.schema.reads(field);
                self.store_if(is_stored, number)?;
                match wire_type {
                    WireType::Varint => Ok(State::Number(is_stored, Varint::NONE)),
                    WireType::Length => Ok(State::Length(is_stored, Varint::NONE)),
                    // No field that is read has this type.
                    WireType::Fixed(_) if is_stored => Err(Ambiguous),
                    WireType::Fixed(length) => Ok(State::Content(false, length)),
                }
            }
            State::Number(is_stored, _) => {
                self.store_if(is_stored, number)?;
                Ok(BETWEEN)
            }
            State::Length(is_stored, _) => {
                let length = length(number)?;
                self.store_if(is_stored, length)?;
                if is_stored && length > MAX_FIELD.min((MAX_BYTES - self.stored.len()) as u64) {
                    return Err(Ambiguous);
                }
                Ok(if length == 0 { BETWEEN } else { State::Content(is_stored, length) })
            }
            State::Content(..) | State::Ambiguous => Err(Ambiguous),
        }
    }

    /// Stores a number, which is written as it was read: it has no more bytes than it needs.
    fn store_if(&mut self, is_stored: bool, number: u64) -> Result<(), Ambiguous> {
        if is_stored {
            prost::encoding::encode_varint(number, &mut self.stored);
        }
        if self.stored.len() <= MAX_BYTES { Ok(()) } else { Err(Ambiguous) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::call::redelivery::strict::{Field, Kind};

    static NODE: Schema = Schema(&[]);
    static SCHEMA: Schema = Schema(&[
        Field::once(1, Kind::Message(&NODE)),
        Field::once(2, Kind::Number),
        Field::once(3, Kind::Text),
        Field::once(5, Kind::Text),
    ]);

    const START: [u8; 11] = [0x0a, 3, 0x08, 0xac, 0x02, 0x10, 7, 0x1a, 2, b'a', b'b'];
    const END: [u8; 3] = [0x2a, 1, b's'];

    /// `PushObjectRequest`: node 300, run 7, an object, its content, a session.
    fn push_object(content: &[u8]) -> Vec<u8> {
        let mut message = [&START[..], &[0x22]].concat();
        prost::encode_length_delimiter(content.len(), &mut message).unwrap();
        [&message, content, &END].concat()
    }

    /// The body of a gRPC request.
    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    fn read<'a>(wire: Wire, pieces: impl IntoIterator<Item = &'a [u8]>) -> FieldReader {
        let mut reader = FieldReader::new(wire, &SCHEMA);
        pieces.into_iter().for_each(|piece| reader.feed(piece));
        reader.end();
        reader
    }

    #[test]
    fn fields_of_the_schema_are_stored_and_others_are_skipped() {
        let message = push_object(&[1; 100_000]);
        let expected = [&START[..], &END].concat();
        assert_eq!(read(Wire::Http, [&message[..]]).message().unwrap(), expected);
        assert_eq!(read(Wire::Grpc, [&framed(&message)[..]]).message().unwrap(), expected);
    }

    #[test]
    fn a_message_is_complete_as_its_wire_defines() {
        let message = push_object(b"content");
        let mut over_http = FieldReader::new(Wire::Http, &SCHEMA);
        over_http.feed(&message);
        assert_eq!(over_http.message(), None, "a field may follow");
        over_http.end();
        assert!(over_http.message().is_some());

        let mut over_grpc = FieldReader::new(Wire::Grpc, &SCHEMA);
        over_grpc.feed(&framed(&message));
        assert!(over_grpc.message().is_some());
        over_grpc.feed(&framed(&[0x1a, 1, b'x']));
        assert_eq!(over_grpc.message(), None, "a second message, which a SuperLink ignores");
        let mut compressed = framed(&message);
        compressed[0] = 1;
        assert_eq!(read(Wire::Grpc, [&compressed[..]]).message(), None);
    }

    #[test]
    fn a_long_field_that_is_read_makes_the_message_unreadable() {
        let with_id = |length: usize| {
            [&[0x1a, 0x80 | (length as u8 & 0x7f), (length >> 7) as u8], &vec![b'a'; length][..]].concat()
        };
        assert!(read(Wire::Http, [&with_id(256)[..]]).message().is_some());
        assert!(read(Wire::Http, [&with_id(257)[..]]).message().is_none());
        assert!(read(Wire::Http, [&with_id(200).repeat(6)[..]]).message().is_none());
    }

    proptest! {
        #[test]
        fn the_fields_do_not_depend_on_the_pieces(content in vec(any::<u8>(), 0..600), cut in 1_usize..64) {
            let message = framed(&push_object(&content));
            let (whole, pieces) = (read(Wire::Grpc, [&message[..]]), read(Wire::Grpc, message.chunks(cut)));
            prop_assert!(whole.message().is_some());
            prop_assert_eq!(whole.message(), pieces.message());
        }

        #[test]
        fn a_message_that_is_cut_is_read_only_between_fields(content in vec(any::<u8>(), 1..300)) {
            let message = push_object(&content);
            for end in 0..message.len() {
                let is_between = [0, 5, 7, 11, message.len() - 3].contains(&end);
                let over_http = read(Wire::Http, [&message[..end]]);
                let over_grpc = read(Wire::Grpc, [&framed(&message)[..5 + end]]);
                prop_assert_eq!((over_http.message().is_some(), over_grpc.message()), (is_between, None), "{}", end);
            }
        }

        #[test]
        fn garbage_is_read_to_its_end_within_bounds(garbage in vec(any::<u8>(), 0..400)) {
            let reader = read(Wire::Http, [&garbage[..]]);
            prop_assert!(reader.stored.len() <= MAX_BYTES + 10);
        }
    }
}
