//! The small fields of a protobuf message, read while its bytes pass.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::hop::Body;

/// How much of one message is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Whoever sends more fields is not understood.
    fields: usize,
    /// A field of more bytes passes unread, and so does one that is more than is left of `all`.
    field: usize,
    all: usize,
}

impl Limits {
    /// Its names and numbers; an object's content passes.
    pub(super) const NAMES: Self = Self { fields: 16, field: 256, all: 1024 };

    /// All of it, if it has no more bytes than this.
    pub(super) const fn whole(bytes: usize) -> Self {
        Self { fields: 16, field: bytes, all: bytes }
    }
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// Takes in one message piece by piece.
#[derive(Debug)]
pub(super) struct Skim {
    /// Of gRPC's header, what is to come.
    header: usize,
    /// What is left of them.
    limits: Limits,
    state: State,
    fields: Vec<(u64, Value)>,
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
    NotUnderstood,
}

#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    shift: u32,
}

impl Varint {
    /// The number, when this byte is its last.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, NotUnderstood> {
        let bits = u64::from(byte & 0x7f);
        if self.shift > 63 || (self.shift == 63 && bits > 1) {
            return Err(NotUnderstood);
        }
        self.value |= bits << self.shift;
        self.shift += 7;
        Ok((byte & 0x80 == 0).then_some(self.value))
    }
}

struct NotUnderstood;

impl Skim {
    /// Of a message with `header` bytes before it.
    pub(super) fn new(header: usize, limits: Limits) -> Self {
        Self { header, limits, state: State::Key(Varint::default()), fields: Vec::new() }
    }

    /// The fields of a message that came in these pieces.
    #[cfg(fuzzing)]
    pub(super) fn parse_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<(u64, Value)>> {
        let mut skim = Self::new(0, Limits::NAMES);
        pieces.into_iter().for_each(|piece| skim.take_in(piece));
        skim.fields().map(<[_]>::to_vec)
    }

    /// The fields of a whole message, if it is one.
    pub(super) fn parse(message: &[u8]) -> Option<Vec<(u64, Value)>> {
        let mut skim = Self::new(0, Limits { fields: message.len(), ..Limits::whole(message.len()) });
        skim.take_in(message);
        skim.fields().map(<[_]>::to_vec)
    }

    /// The fields that were short enough, if all of a message has passed.
    pub(super) fn fields(&self) -> Option<&[(u64, Value)]> {
        let is_between = matches!(self.state, State::Key(Varint { shift: 0, .. }));
        (is_between && self.header == 0).then_some(&self.fields)
    }

    pub(super) fn take_in(&mut self, mut bytes: &[u8]) {
        let skipped = self.header.min(bytes.len());
        bytes = &bytes[skipped..];
        self.header -= skipped;
        while !bytes.is_empty() {
            match self.step(bytes) {
                Ok(taken) => bytes = &bytes[taken..],
                Err(NotUnderstood) => self.state = State::NotUnderstood,
            }
        }
    }

    /// How many of the bytes were taken.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, NotUnderstood> {
        match &mut self.state {
            State::Key(varint) => {
                let Some(key) = varint.push(bytes[0])? else { return Ok(1) };
                self.state = match key & 7 {
                    0 => State::Number(key >> 3, Varint::default()),
                    1 => State::Fixed(8),
                    2 => State::Length(key >> 3, Varint::default()),
                    5 => State::Fixed(4),
                    _ => return Err(NotUnderstood),
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
                let is_kept = length <= self.limits.field.min(self.limits.all) as u64;
                if is_kept {
                    self.limits.all -= length as usize;
                }
                self.state = State::Bytes(field, length, is_kept.then(Vec::new));
                Ok(1)
            }
            State::Bytes(field, left, kept) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if let Some(kept) = kept {
                    kept.extend_from_slice(&bytes[..taken]);
                }
                if *left == 0 {
                    let (field, kept) = (*field, kept.take());
                    self.state = State::Key(Varint::default());
                    if let Some(kept) = kept {
                        self.keep(field, Value::Bytes(kept))?;
                    }
                }
                Ok(taken)
            }
            State::Fixed(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Key(Varint::default());
                }
                Ok(taken)
            }
            State::NotUnderstood => Ok(bytes.len()),
        }
    }

    fn keep(&mut self, field: u64, value: Value) -> Result<(), NotUnderstood> {
        if self.fields.len() == self.limits.fields {
            return Err(NotUnderstood);
        }
        self.fields.push((field, value));
        self.state = State::Key(Varint::default());
        Ok(())
    }
}

/// The number in a field.
pub(super) fn number(fields: &[(u64, Value)], wanted: u64) -> Option<u64> {
    fields.iter().find_map(|(field, value)| match value {
        Value::Number(number) if *field == wanted => Some(*number),
        _ => None,
    })
}

/// The bytes of a field.
pub(super) fn bytes(fields: &[(u64, Value)], wanted: u64) -> Option<&[u8]> {
    all_bytes(fields, wanted).next()
}

/// The same, of a field that comes more than once.
pub(super) fn last_bytes(fields: &[(u64, Value)], wanted: u64) -> Option<&[u8]> {
    all_bytes(fields, wanted).next_back()
}

fn all_bytes(fields: &[(u64, Value)], wanted: u64) -> impl DoubleEndedIterator<Item = &[u8]> {
    fields.iter().filter_map(move |(field, value)| match value {
        Value::Bytes(bytes) if *field == wanted => Some(bytes.as_slice()),
        _ => None,
    })
}

/// A request's body that is skimmed as it passes.
#[derive(Debug)]
pub(super) struct Skimmed {
    body: Body,
    skim: Arc<Mutex<Skim>>,
}

impl Skimmed {
    /// And puts into `skim` what is known of it.
    pub(super) fn new(body: Body, skim: Arc<Mutex<Skim>>) -> Self {
        Self { body, skim }
    }
}

impl HttpBody for Skimmed {
    type Data = Bytes;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.skim.lock().unwrap_or_else(PoisonError::into_inner).take_in(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// `PushObjectRequest`: node 300, run 7, an object, its content, a session.
    fn push_object(content: &[u8]) -> Vec<u8> {
        let mut message = vec![0x0a, 3, 0x08, 0xac, 0x02, 0x10, 7, 0x1a, 2, b'a', b'b', 0x22];
        let mut length = content.len();
        while length > 0x7f {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(content);
        message.extend_from_slice(&[0x2a, 1, b's']);
        message
    }

    #[test]
    fn what_is_short_is_read_and_what_is_long_passes() {
        let mut skim = Skim::new(5, Limits::NAMES);
        skim.take_in(&[0; 5]);
        skim.take_in(&push_object(&[1; 100_000]));
        let fields = skim.fields().unwrap();
        assert_eq!(number(&Skim::parse(bytes(fields, 1).unwrap()).unwrap(), 1), Some(300));
        assert_eq!(
            (number(fields, 2), bytes(fields, 3), bytes(fields, 5)),
            (Some(7), Some(&b"ab"[..]), Some(&b"s"[..]))
        );
        assert_eq!(bytes(fields, 4), None);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(content in vec(any::<u8>(), 0..600), cut in 1_usize..64) {
            let message = push_object(&content);
            let (mut whole, mut pieces) = (Skim::new(0, Limits::NAMES), Skim::new(0, Limits::NAMES));
            whole.take_in(&message);
            message.chunks(cut).for_each(|piece| pieces.take_in(piece));
            prop_assert!(whole.fields().is_some());
            prop_assert_eq!(whole.fields(), pieces.fields());
        }

        #[test]
        fn a_message_that_is_cut_is_none_unless_between_fields(content in vec(any::<u8>(), 1..300)) {
            let message = push_object(&content);
            for end in (0..message.len()).filter(|end| ![0, 5, 7, 11].contains(end)) {
                let is_before_the_last = end == message.len() - 3;
                prop_assert_eq!(Skim::parse(&message[..end]).is_some(), is_before_the_last, "{}", end);
            }
        }

        #[test]
        fn garbage_is_taken_in_whole_and_within_bounds(garbage in vec(any::<u8>(), 0..400)) {
            let mut skim = Skim::new(0, Limits::NAMES);
            skim.take_in(&garbage);
            let kept = skim.fields.iter().map(|(_, value)| if let Value::Bytes(bytes) = value { bytes.len() } else { 0 });
            prop_assert!(kept.sum::<usize>() <= Limits::NAMES.all && skim.fields.len() <= Limits::NAMES.fields);
        }
    }
}
