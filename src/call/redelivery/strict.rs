//! Decides whether every reader of protobuf reads the same from a message. Redelivery acts on no other message.
//!
//! A SuperLink and this funnel use different readers. A request that is read as one node's here and as another node's there
//! would get, or acknowledge, a message of that other node. Readers differ in these:
//!
//! | bytes | what readers make of them |
//! |---|---|
//! | a field that is repeated and should not be | the last value, the first value, or both merged |
//! | a field with another wire type than its own | an error, or an unknown field |
//! | groups, wire types 6 and 7, field number 0 | skipped, or an error |
//! | a number with more bytes than it needs, or with more than 64 bits | the number, its lower bits, or an error |
//! | a flag other than 0 and 1 | true, or its lowest bits |
//! | text that is not UTF-8 | an error, or the bytes |
//! | very deep nesting, an incomplete field | an error, or what precedes it |
//!
//! No serializer writes any of these. Unknown fields of a valid form are skipped: later versions of Flower add fields.

#[cfg(test)]
mod properties;

/// The most levels of nested messages. Flower's trees of objects have five.
const MAX_DEPTH: usize = 32;
/// The longest field: protobuf's own limit.
const MAX_LENGTH: u64 = i32::MAX as u64;

/// The fields of a message that are read. All others are skipped.
#[derive(Debug)]
pub(super) struct Schema(pub(super) &'static [Field]);

/// A field that is read.
#[derive(Debug)]
pub(super) struct Field {
    number: u32,
    kind: Kind,
    may_repeat: bool,
}

/// The type of a field that is read.
#[derive(Debug)]
pub(super) enum Kind {
    /// `uint64`.
    Number,
    /// `bool`.
    Flag,
    /// `string`.
    Text,
    Message(&'static Schema),
}

/// Readers may read different values from these bytes, or they are not a complete message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

impl Field {
    /// A field that may be present once.
    pub(super) const fn once(number: u32, kind: Kind) -> Self {
        Self { number, kind, may_repeat: false }
    }

    /// A field that may be present any number of times.
    pub(super) const fn repeated(number: u32, kind: Kind) -> Self {
        Self { number, kind, may_repeat: true }
    }
}

impl Schema {
    /// Checks a complete message.
    pub(super) fn check(&self, message: &[u8]) -> Result<(), Ambiguous> {
        self.check_nested(message, MAX_DEPTH)
    }

    /// Returns whether the field with this number is read.
    pub(super) fn reads(&self, number: u32) -> bool {
        self.0.iter().any(|field| field.number == number)
    }

    fn check_nested(&self, message: &[u8], depth: usize) -> Result<(), Ambiguous> {
        let depth = depth.checked_sub(1).ok_or(Ambiguous)?;
        let mut seen = 0_u32;
        let mut fields = RawFields(message);
        while let Some(raw) = fields.next()? {
            let Some(place) = self.0.iter().position(|field| field.number == raw.number) else { continue };
            let field = &self.0[place];
            if !field.may_repeat && seen & (1 << place) != 0 {
                return Err(Ambiguous);
            }
            seen |= 1 << place;
            match (&field.kind, raw.value) {
                (Kind::Number, RawValue::Number(_)) | (Kind::Flag, RawValue::Number(0 | 1)) => {}
                (Kind::Text, RawValue::Bytes(bytes)) => {
                    std::str::from_utf8(bytes).map_err(|_| Ambiguous)?;
                }
                (Kind::Message(schema), RawValue::Bytes(bytes)) => schema.check_nested(bytes, depth)?,
                _ => return Err(Ambiguous),
            }
        }
        Ok(())
    }
}

/// Returns the message without the fields that the schema has.
pub(super) fn without(message: &[u8], schema: &Schema) -> Result<Vec<u8>, Ambiguous> {
    let (mut rest, mut fields) = (Vec::with_capacity(message.len()), RawFields(message));
    while let Some(raw) = fields.next()? {
        if !schema.reads(raw.number) {
            rest.extend_from_slice(raw.whole);
        }
    }
    Ok(rest)
}

/// The fields of a message that are still to be read.
struct RawFields<'a>(&'a [u8]);

/// A field, as its bytes have it.
struct RawField<'a> {
    number: u32,
    value: RawValue<'a>,
    /// With its key.
    whole: &'a [u8],
}

enum RawValue<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> RawFields<'a> {
    fn next(&mut self) -> Result<Option<RawField<'a>>, Ambiguous> {
        let start = self.0;
        if start.is_empty() {
            return Ok(None);
        }
        let Key { number, wire_type } = Key::new(self.varint()?)?;
        let value = match wire_type {
            WireType::Varint => RawValue::Number(self.varint()?),
            WireType::Length => {
                let length = length(self.varint()?)?;
                RawValue::Bytes(self.take(length)?)
            }
            WireType::Fixed(length) => {
                self.take(length)?;
                RawValue::Fixed
            }
        };
        Ok(Some(RawField { number, value, whole: &start[..start.len() - self.0.len()] }))
    }

    fn varint(&mut self) -> Result<u64, Ambiguous> {
        let mut varint = Varint::NONE;
        loop {
            let (byte, rest) = self.0.split_first().ok_or(Ambiguous)?;
            self.0 = rest;
            if let Some(number) = varint.push(*byte)? {
                return Ok(number);
            }
        }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Ambiguous> {
        let length = usize::try_from(length).map_err(|_| Ambiguous)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Ambiguous)?;
        self.0 = rest;
        Ok(bytes)
    }
}

/// The start of a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) number: u32,
    pub(super) wire_type: WireType,
}

/// How a field's end is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum WireType {
    Varint,
    /// After a length.
    Length,
    /// After this many bytes.
    Fixed(u64),
}

impl Key {
    pub(super) fn new(key: u64) -> Result<Self, Ambiguous> {
        let key = u32::try_from(key).ok().filter(|key| *key >= 8).ok_or(Ambiguous)?;
        let wire_type = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed(8),
            2 => WireType::Length,
            5 => WireType::Fixed(4),
            _ => return Err(Ambiguous),
        };
        Ok(Self { number: key >> 3, wire_type })
    }
}

/// A number of which some bytes have been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Varint {
    value: u64,
    shift: u32,
}

impl Varint {
    pub(super) const NONE: Self = Self { value: 0, shift: 0 };

    /// Adds a byte, and returns the number if it was the last one.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<u64>, Ambiguous> {
        let (bits, is_last) = (u64::from(byte & 0x7f), byte & 0x80 == 0);
        let is_longer_than_needed = is_last && bits == 0 && self.shift > 0;
        if self.shift > 63 || (self.shift == 63 && bits > 1) || is_longer_than_needed {
            return Err(Ambiguous);
        }
        self.value |= bits << self.shift;
        self.shift += 7;
        Ok(is_last.then_some(self.value))
    }

    /// Whether no byte has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.shift == 0
    }
}

/// Checks the length of a field.
pub(super) fn length(length: u64) -> Result<u64, Ambiguous> {
    if length <= MAX_LENGTH { Ok(length) } else { Err(Ambiguous) }
}
