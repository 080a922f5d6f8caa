//! JSON as Python writes it, so that equal records have equal ids in both languages: a space after each comma and colon,
//! and only ASCII.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

/// Serialises a value as Python's `json.dumps` does.
pub(super) fn to_vec(value: &impl Serialize) -> Vec<u8> {
    let mut json = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut json, Python)).expect("strings and numbers can be serialised");
    json
}

struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for part in fragment.split_inclusive(|char| !matches!(char, ' '..='~')) {
            let end = part.trim_end_matches(|char| !matches!(char, ' '..='~')).len();
            writer.write_all(&part.as_bytes()[..end])?;
            for unit in part[end..].encode_utf16() {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_equals_pythons() {
        let value = [("a\"\\\n\u{7f}", vec![1, 2]), ("gewicht-ä😀", vec![])];
        let value: indexmap::IndexMap<_, _> = value.into_iter().collect();
        let json = String::from_utf8(to_vec(&value)).unwrap();
        assert_eq!(json, r#"{"a\"\\\n\u007f": [1, 2], "gewicht-\u00e4\ud83d\ude00": []}"#);
    }
}
