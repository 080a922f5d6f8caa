//! Foreign text in one line: no peer, upstream or relay writes a line of its own, or moves the cursor of a terminal.

use std::fmt::{self, Write};

/// Returns `text` with its control characters escaped.
pub(crate) fn one_line(text: impl fmt::Display) -> String {
    let mut line = String::new();
    // A string takes everything; an error is of `text` itself.
    let _ = write!(OneLine(&mut line), "{text}");
    line
}

/// Escapes the control characters of what is written to it, in the way of JSON, so that the line of a JSON text stays one.
#[derive(Debug)]
pub(crate) struct OneLine<W>(pub(crate) W);

impl<W: Write> Write for OneLine<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut start = 0;
        for (at, found) in text.match_indices(is_control) {
            self.0.write_str(&text[start..at])?;
            start = at + found.len();
            for character in found.chars() {
                match character {
                    '\n' => self.0.write_str("\\n")?,
                    '\r' => self.0.write_str("\\r")?,
                    '\t' => self.0.write_str("\\t")?,
                    other => write!(self.0, "\\u{:04x}", u32::from(other))?,
                }
            }
        }
        self.0.write_str(&text[start..])
    }
}

/// Whether a terminal, or a viewer of logs, may act on a character: controls, breaks of lines, and marks that reorder text.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped_and_nothing_else() {
        let forged = "gone\r\n2026 ERROR all is lost\x1b[2J\u{9b}31m\u{2028}\u{202e}\0\x7f";
        let line = one_line(forged);
        assert_eq!(line, "gone\\r\\n2026 ERROR all is lost\\u001b[2J\\u009b31m\\u2028\\u202e\\u0000\\u007f");
        for plain in ["", "st-mary", r"C:\state\key", "Zürich 東京 🏥", "\"quoted\""] {
            assert_eq!(one_line(plain), plain);
        }
    }

    #[test]
    fn a_line_of_json_stays_json() {
        let json = serde_json::json!({ "name": "a\u{9b}b\u{2028}c\nd\x7f" });
        let line = one_line(&json);
        assert!(!line.contains(is_control), "{line}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), json);
    }
}
