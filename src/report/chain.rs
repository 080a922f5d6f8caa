//! An error with its causes, in one line.

use std::error::Error;

/// Writes an error and its causes in one line. A cause whose text is already in the line is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Outer {
        text: &'static str,
        source: io::Error,
    }

    #[test]
    fn a_cause_is_added_unless_its_text_is_already_in_the_line() {
        let line = |text| chain(&Outer { text, source: io::Error::other("no space") });
        assert_eq!(line("cannot write F"), "cannot write F: no space");
        assert_eq!(line("cannot write F: no space"), "cannot write F: no space");
        assert_eq!(line("no space; cannot write F"), "no space; cannot write F");
    }
}
