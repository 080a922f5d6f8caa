//! The small fields of a protobuf message, read while its bytes pass.

use crate::protocol::{GRPC_HEADER, Wire};

/// Whoever sends more fields than this is not understood.
const MAX_FIELDS: usize = 16;
/// A field with more bytes than this passes unread.
const MAX_FIELD: usize = 256;
/// So does one with more bytes than are left of this, of all fields of one message.
const MAX_BYTES: usize = 1024;

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Bytes(Vec<u8>),
    /// Bytes that passed unread, since there were too many.
    Long,
}

/// Reads one message piece by piece: its ids and numbers; an object's content passes.
#[derive(Debug)]
pub(super) struct FieldReader {
    frame: Frame,
    state: State,
    fields: Vec<(u64, Value)>,
    /// How many bytes of fields may still be kept.
    left: usize,
}

/// What tells where the message ends.
#[derive(Clone, Copy, Debug)]
enum Frame {
    /// The body does, which has or has not ended.
    Http { has_ended: bool },
    /// A header before the message, of which so many bytes have come.
    Header([u8; GRPC_HEADER], usize),
    /// That header has come: so many bytes of the message are still to come.
    Grpc(u64),
}

#[derive(Debug)]
enum State {
    Key(Varint),
    Number(u64, Varint),
    Length(u64, Varint),
    /// Of a field, so many bytes are to come. Those before are kept, unless it is too long.
    Bytes(u64, u64, Option<Vec<u8>>),
    /// A fixed number, of which so many bytes are to come. None is of interest.
    Fixed(u64),
    Malformed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    shift: u32,
}

impl Varint {
    /// The number, when this byte is its last.
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

/// The bytes are not those of one protobuf message.
struct Malformed;

impl FieldReader {
    /// Of the message in a body of this wire.
    pub(super) fn new(wire: Wire) -> Self {
        let frame = match wire {
            Wire::Grpc => Frame::Header([0; GRPC_HEADER], 0),
            Wire::Http => Frame::Http { has_ended: false },
        };
        Self { frame, state: State::Key(Varint::default()), fields: Vec::new(), left: MAX_BYTES }
    }

    /// The fields, if all of the message has passed.
    pub(super) fn fields(&self) -> Option<&[(u64, Value)]> {
        let is_between_fields = matches!(self.state, State::Key(Varint { shift: 0, .. }));
        let is_whole = matches!(self.frame, Frame::Http { has_ended: true } | Frame::Grpc(0));
        (is_between_fields && is_whole).then_some(&self.fields)
    }

    /// Reads the next piece of the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.unframe(bytes).and_then(|message| self.read(message)).is_err() {
            self.state = State::Malformed;
        }
    }

    /// The body has ended.
    pub(super) fn end(&mut self) {
        if let Frame::Http { has_ended } = &mut self.frame {
            *has_ended = true;
        }
    }

    /// Those of the bytes that are the message's. One that is compressed cannot be read, and there is one only: a SuperLink
    /// looks at no second one.
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
            let taken = self.step(bytes)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// How many of the bytes were taken.
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
                self.keep(field, Value::Number(number))?;
                Ok(1)
            }
            State::Length(field, varint) => {
                let Some(length) = varint.push(bytes[0])? else { return Ok(1) };
                let field = *field;
                if length == 0 {
                    self.keep(field, Value::Bytes(Vec::new()))?;
                    return Ok(1);
                }
                let is_kept = length <= self.left.min(MAX_FIELD) as u64;
                if is_kept {
                    self.left -= length as usize;
                }
                self.state = State::Bytes(field, length, is_kept.then(Vec::new));
                Ok(1)
            }
            State::Bytes(field, left, kept) => {
                let taken = take(left, bytes);
                if let Some(kept) = kept {
                    kept.extend_from_slice(&bytes[..taken]);
                }
                if *left == 0 {
                    let (field, kept) = (*field, kept.take());
                    self.keep(field, kept.map_or(Value::Long, Value::Bytes))?;
                }
                Ok(taken)
            }
            State::Fixed(left) => {
                let taken = take(left, bytes);
                if *left == 0 {
                    self.state = State::Key(Varint::default());
                }
                Ok(taken)
            }
            State::Malformed => Ok(bytes.len()),
        }
    }

    fn keep(&mut self, field: u64, value: Value) -> Result<(), Malformed> {
        if self.fields.len() == MAX_FIELDS {
            return Err(Malformed);
        }
        self.fields.push((field, value));
        self.state = State::Key(Varint::default());
        Ok(())
    }
}

/// Takes as many of the bytes as are to come, and returns how many that were.
fn take(to_come: &mut u64, bytes: &[u8]) -> usize {
    let taken = usize::try_from(*to_come).unwrap_or(usize::MAX).min(bytes.len());
    *to_come -= taken as u64;
    taken
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
    fn what_is_short_is_read_and_what_is_long_passes() {
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
    fn a_message_is_whole_when_its_wire_says_so() {
        let message = push_object(b"content");
        let mut over_http = FieldReader::new(Wire::Http);
        over_http.feed(&message);
        assert_eq!(over_http.fields(), None, "a field may be to come");
        over_http.end();
        assert!(over_http.fields().is_some());

        let mut over_grpc = FieldReader::new(Wire::Grpc);
        over_grpc.feed(&framed(&message));
        assert!(over_grpc.fields().is_some());
        over_grpc.feed(&framed(&[0x1a, 1, b'x']));
        assert_eq!(over_grpc.fields(), None, "a second message, which a SuperLink does not look at");
        let mut compressed = framed(&message);
        compressed[0] = 1;
        assert_eq!(read(Wire::Grpc, [&compressed[..]]).fields(), None);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(content in vec(any::<u8>(), 0..600), cut in 1_usize..64) {
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
