//! Reads the small fields of a protobuf message while its bytes are forwarded.

use crate::protocol::{GRPC_HEADER, Wire};

/// The most fields of a message. One with more is treated as malformed.
const MAX_FIELDS: usize = 16;
/// The largest field that is stored, in bytes.
const MAX_FIELD: usize = 256;
/// The most bytes that are stored of all fields of one message.
const MAX_BYTES: usize = 1024;

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Bytes(Vec<u8>),
    /// Bytes that were not stored, since there were too many.
    Long,
}

/// Parses one message piece by piece. It stores ids and numbers, and skips an object's content.
#[derive(Debug)]
pub(super) struct FieldReader {
    frame: Frame,
    state: State,
    fields: Vec<(u64, Value)>,
    /// How many more bytes of fields may be stored.
    left: usize,
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
    Number(u64, Varint),
    Length(u64, Varint),
    /// A field of which this many bytes are missing, and those received so far, unless it is too long.
    Bytes(u64, u64, Option<Vec<u8>>),
    /// A fixed-size number of which this many bytes are missing. None is needed.
    Fixed(u64),
    Malformed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    shift: u32,
}

impl Varint {
    /// Adds a byte, and returns the number if it was the last one.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, Malformed> {
        let bits = u64::from(byte & 0x7f);
        if self.shift > 63 || (self.shift == 63 && bits > 1) {
            return Err(Malformed);
        }
        self.value |= bits << self.shift;
        self.shift += 7;
        Ok((byte & 0x80 == 0).then_some(self.value))
    }
}

/// The bytes are not one protobuf message.
struct Malformed;

impl FieldReader {
    /// Creates a reader for the message in a body of this wire.
    pub(super) fn new(wire: Wire) -> Self {
        let frame = match wire {
            Wire::Grpc => Frame::Header([0; GRPC_HEADER], 0),
            Wire::Http => Frame::Http { has_ended: false },
        };
        Self { frame, state: State::Key(Varint::default()), fields: Vec::new(), left: MAX_BYTES }
    }

    /// Returns the fields if the message is complete.
    pub(super) fn fields(&self) -> Option<&[(u64, Value)]> {
        let is_between_fields = matches!(self.state, State::Key(Varint { shift: 0, .. }));
        let is_whole = matches!(self.frame, Frame::Http { has_ended: true } | Frame::Grpc(0));
        (is_between_fields && is_whole).then_some(&self.fields)
    }

    /// Parses the next piece of the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.unframe(bytes).and_then(|message| self.read(message)).is_err() {
            self.state = State::Malformed;
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
    fn unframe<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Malformed> {
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
                return Err(Malformed);
            }
            self.frame = Frame::Grpc(u32::from_be_bytes(length).into());
        }
        if let Frame::Grpc(left) = &mut self.frame {
            *left = left.checked_sub(bytes.len() as u64).ok_or(Malformed)?;
        }
        Ok(bytes)
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            let consumed = self.step(bytes)?;
            bytes = &bytes[consumed..];
        }
        Ok(())
    }

    /// Parses a part of the bytes, and returns its length.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match &mut self.state {
            State::Key(varint) => {
                let Some(key) = varint.push(bytes[0])? else { return Ok(1) };
                if !(8..=u64::from(u32::MAX)).contains(&key) {
                    return Err(Malformed);
                }
                self.state = match key & 7 {
                    0 => State::Number(key >> 3, Varint::default()),
                    1 => State::Fixed(8),
                    2 => State::Length(key >> 3, Varint::default()),
                    5 => State::Fixed(4),
                    _ => return Err(Malformed),
                };
                Ok(1)
            }
            State::Number(field, varint) => {
                let Some(number) = varint.push(bytes[0])? else { return Ok(1) };
                let field = *field;
                self.store(field, Value::Number(number))?;
                Ok(1)
            }
            State::Length(field, varint) => {
                let Some(length) = varint.push(bytes[0])? else { return Ok(1) };
                let field = *field;
                if length == 0 {
                    self.store(field, Value::Bytes(Vec::new()))?;
                    return Ok(1);
                }
                let is_stored = length <= self.left.min(MAX_FIELD) as u64;
                if is_stored {
                    self.left -= length as usize;
                }
                self.state = State::Bytes(field, length, is_stored.then(Vec::new));
                Ok(1)
            }
            State::Bytes(field, left, stored) => {
                let consumed = consume(left, bytes);
                if let Some(stored) = stored {
                    stored.extend_from_slice(&bytes[..consumed]);
                }
                if *left == 0 {
                    let (field, stored) = (*field, stored.take());
                    self.store(field, stored.map_or(Value::Long, Value::Bytes))?;
                }
                Ok(consumed)
            }
            State::Fixed(left) => {
                let consumed = consume(left, bytes);
                if *left == 0 {
                    self.state = State::Key(Varint::default());
                }
                Ok(consumed)
            }
            State::Malformed => Ok(bytes.len()),
        }
    }

    fn store(&mut self, field: u64, value: Value) -> Result<(), Malformed> {
        if self.fields.len() == MAX_FIELDS {
            return Err(Malformed);
        }
        self.fields.push((field, value));
        self.state = State::Key(Varint::default());
        Ok(())
    }
}

/// Consumes at most the missing bytes, and returns how many.
fn consume(missing: &mut u64, bytes: &[u8]) -> usize {
    let consumed = usize::try_from(*missing).unwrap_or(usize::MAX).min(bytes.len());
    *missing -= consumed as u64;
    consumed
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// `PushObjectRequest`: node 300, run 7, an object, its content, a session.
    fn push_object(content: &[u8]) -> Vec<u8> {
        let mut message = vec![0x0a, 3, 0x08, 0xac, 0x02, 0x10, 7, 0x1a, 2, b'a', b'b', 0x22];
        prost::encode_length_delimiter(content.len(), &mut message).unwrap();
        [&message, content, &[0x2a, 1, b's']].concat()
    }

    /// The body of a gRPC request.
    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    fn read<'a>(wire: Wire, pieces: impl IntoIterator<Item = &'a [u8]>) -> FieldReader {
        let mut reader = FieldReader::new(wire);
        pieces.into_iter().for_each(|piece| reader.feed(piece));
        reader.end();
        reader
    }

    #[test]
    fn short_fields_are_read_and_long_ones_are_skipped() {
        let message = push_object(&[1; 100_000]);
        let expected = [
            (1, Value::Bytes(vec![0x08, 0xac, 0x02])),
            (2, Value::Number(7)),
            (3, Value::Bytes(b"ab".to_vec())),
            (4, Value::Long),
            (5, Value::Bytes(b"s".to_vec())),
        ];
        assert_eq!(read(Wire::Http, [&message[..]]).fields().unwrap(), expected);
        assert_eq!(read(Wire::Grpc, [&framed(&message)[..]]).fields().unwrap(), expected);
    }

    #[test]
    fn a_message_is_complete_as_its_wire_defines() {
        let message = push_object(b"content");
        let mut over_http = FieldReader::new(Wire::Http);
        over_http.feed(&message);
        assert_eq!(over_http.fields(), None, "a field may follow");
        over_http.end();
        assert!(over_http.fields().is_some());

        let mut over_grpc = FieldReader::new(Wire::Grpc);
        over_grpc.feed(&framed(&message));
        assert!(over_grpc.fields().is_some());
        over_grpc.feed(&framed(&[0x1a, 1, b'x']));
        assert_eq!(over_grpc.fields(), None, "a second message, which a SuperLink ignores");
        let mut compressed = framed(&message);
        compressed[0] = 1;
        assert_eq!(read(Wire::Grpc, [&compressed[..]]).fields(), None);
    }

    proptest! {
        #[test]
        fn the_fields_do_not_depend_on_the_pieces(content in vec(any::<u8>(), 0..600), cut in 1_usize..64) {
            let message = framed(&push_object(&content));
            let (whole, pieces) = (read(Wire::Grpc, [&message[..]]), read(Wire::Grpc, message.chunks(cut)));
            prop_assert!(whole.fields().is_some());
            prop_assert_eq!(whole.fields(), pieces.fields());
        }

        #[test]
        fn a_message_that_is_cut_is_read_only_between_fields(content in vec(any::<u8>(), 1..300)) {
            let message = push_object(&content);
            for end in 0..message.len() {
                let is_between = [0, 5, 7, 11, message.len() - 3].contains(&end);
                let over_http = read(Wire::Http, [&message[..end]]);
                let over_grpc = read(Wire::Grpc, [&framed(&message)[..5 + end]]);
                prop_assert_eq!((over_http.fields().is_some(), over_grpc.fields()), (is_between, None), "{}", end);
            }
        }

        #[test]
        fn garbage_is_read_to_its_end_within_bounds(garbage in vec(any::<u8>(), 0..400)) {
            let reader = read(Wire::Http, [&garbage[..]]);
            let kept = reader.fields.iter().map(|(_, value)| if let Value::Bytes(bytes) = value { bytes.len() } else { 0 });
            prop_assert!(kept.sum::<usize>() <= MAX_BYTES && reader.fields.len() <= MAX_FIELDS);
        }
    }
}
