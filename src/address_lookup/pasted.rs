//! Text as an operator pastes it: with quotes, in capitals, broken into lines, behind the command that it came with.
//!
//! Letters and digits are never changed, left out or put in: a ticket and an invitation have no checksum.

#[cfg(test)]
mod tests;

use iroh_tickets::{Ticket, endpoint::EndpointTicket};

use super::Invitation;

/// The words before a ticket or an invitation in what this program prints, and in what an operator pastes with it.
const LEADING: &[&str] = &["flower-iroh-funnel", "join", "invitation", "ticket", "on", "the", "other", "side", "run"];
/// The shortest text, in letters and digits, that is not repeated in a message: a piece of an invitation may look like a name.
const MIN_HIDDEN: usize = 8;
/// The shortest run of letters and digits that is taken for a piece of an invitation where something else is expected.
const MIN_PIECE: usize = 16;
/// The number of hexadecimal digits of an endpoint id, which is public.
const ID_DIGITS: usize = 64;

/// What a text may be, once everything is left out that cannot belong to a ticket, an invitation or an id.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pasted {
    /// The words of each line, in lower case, without leading words and without punctuation around them.
    lines: Vec<Vec<String>>,
}

impl Pasted {
    pub(super) fn of(text: &str) -> Self {
        let visible: String = text.chars().filter(|letter| !is_invisible(*letter)).collect();
        let mut lines: Vec<Vec<String>> = visible.lines().map(words).collect();
        lines.retain(|line| !line.is_empty());
        Self { lines }
    }

    /// Returns the whole text as one word.
    pub(super) fn joined(&self) -> String {
        let mut words: &[String] = &self.lines.concat();
        while let [first, rest @ ..] = words
            && LEADING.contains(&first.as_str())
        {
            words = rest;
        }
        words.concat()
    }

    /// Returns the lines and the words that begin as a ticket or an invitation does, each as one word. None if there are
    /// options among the words: they would be ignored.
    pub(super) fn parts(&self) -> Vec<String> {
        if self.lines.iter().flatten().any(|word| word.contains("--")) {
            return Vec::new();
        }
        let lines = self.lines.iter().map(|line| Self { lines: vec![line.clone()] }.joined());
        lines.chain(self.lines.iter().flatten().cloned()).filter(|part| has_kind(part)).collect()
    }
}

/// Returns whether a text in lower case begins as a ticket or an invitation does.
pub(super) fn has_kind(text: &str) -> bool {
    [EndpointTicket::KIND, Invitation::KIND].iter().any(|kind| text.starts_with(kind))
}

/// Splits a line, and removes the punctuation around each word: quotes, brackets, the marks of quoted mail and of a line that
/// goes on.
fn words(line: &str) -> Vec<String> {
    let is_option = |word: &str| word.starts_with("--");
    let trimmed = |word: &str| match is_option(word) {
        true => word.to_ascii_lowercase(),
        false => word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric()).to_ascii_lowercase(),
    };
    line.split_whitespace().map(trimmed).filter(|word| !word.is_empty()).collect()
}

/// Removes space and quotes around a text, and what cannot be seen.
pub(super) fn unquoted(text: &str) -> &str {
    text.trim_matches(|letter: char| letter.is_whitespace() || is_invisible(letter) || is_quote(letter))
}

/// Decodes a file or a pipe: UTF-8, or UTF-16 as PowerShell writes it. What cannot be decoded is replaced.
pub(super) fn decoded(bytes: &[u8]) -> String {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<_> = bytes.as_chunks().0.iter().map(|pair| unit(*pair)).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Returns whether a text that should name a peer may be shown in a message. If not, it may be a piece of an invitation.
pub(super) fn may_be_shown(text: &str) -> bool {
    is_id(text) || text.chars().filter(char::is_ascii_alphanumeric).count() < MIN_HIDDEN
}

/// Returns whether a text that should be something else may be an invitation, or a large piece of one.
pub(super) fn may_be_invitation(text: &str) -> bool {
    let has_kind = Pasted::of(text).joined().contains(Invitation::KIND);
    let is_piece = |word: &str| word.len() >= MIN_PIECE && !is_id(word);
    !may_be_shown(text) && (has_kind || text.split(|letter: char| !letter.is_ascii_alphanumeric()).any(is_piece))
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_quote(letter: char) -> bool {
    matches!(
        letter,
        '"' | '\'' | '`' | '\u{b4}' | '\u{ab}' | '\u{bb}' | '\u{2018}'..='\u{201f}' | '\u{2039}' | '\u{203a}'
    ) || matches!(letter, '\u{300c}'..='\u{300f}' | '\u{ff02}' | '\u{ff07}')
}

/// A byte order mark, a soft hyphen, a mark of the direction of text, a space without width, or a control character.
fn is_invisible(letter: char) -> bool {
    let is_format = matches!(letter, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}')
        || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}');
    is_format || letter.is_control() && !letter.is_whitespace()
}
