//! The token that a relay requires of its clients.

use std::{
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::atomic_file::{self, Readers};

/// The longest token file, in bytes: a token, a line end, and enough of a wrong file to report it clearly.
const MAX_TOKEN_FILE: u64 = 1 << 10;
/// The longest token: longer than any random token, short enough for a header.
const MAX_TOKEN: usize = 256;

/// A secret shared by a relay and its clients. No output shows it, `Debug` included.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayToken(String);

impl RelayToken {
    /// Reads the token from a file that only its owner can read (Unix), or that root has handed to this process, or from a pipe.
    ///
    /// # Errors
    /// [`InvalidRelayToken`] for a file that cannot be read, that others can read, or that does not contain a token.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, InvalidRelayToken> {
        let path = path.as_ref();
        let file = || path.to_owned();
        let failed = |source| Problem::Io { file: file(), source };
        let (opened, readers) = atomic_file::open_private_input(path).map_err(failed)?;
        if let Readers::Others { mode } = readers {
            return Err(Problem::Exposed { file: file(), mode }.into());
        }
        let mut text = String::new();
        opened.take(MAX_TOKEN_FILE).read_to_string(&mut text).map_err(failed)?;
        atomic_file::without_bom(&text).trim().parse().map_err(|_| Problem::NoTokenIn { file: file() }.into())
    }

    /// Returns the token itself, for the relay.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares `presented` with this token in constant time.
    #[cfg(feature = "relay")]
    pub(crate) fn matches(&self, presented: &str) -> Match {
        use sha2::{Digest, Sha256};
        use subtle::ConstantTimeEq;

        let (own, presented) = (Sha256::digest(&self.0), Sha256::digest(presented));
        if bool::from(own.ct_eq(&presented)) { Match::Same } else { Match::Other }
    }
}

/// The result of comparing two tokens.
#[cfg(feature = "relay")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Match {
    /// They are the same.
    Same,
    /// They are not.
    Other,
}

impl FromStr for RelayToken {
    type Err = InvalidRelayToken;

    fn from_str(text: &str) -> Result<Self, InvalidRelayToken> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        if text.is_empty() || text.len() > MAX_TOKEN || !is_plain {
            return Err(Problem::NotAToken.into());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for RelayToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayToken(..)")
    }
}

/// A text or a file that is not a valid token. The error does not show its content.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidRelayToken(#[from] Problem);

impl InvalidRelayToken {
    /// Returns whether the text is not a token; otherwise its file could not be read, or others can read it.
    pub fn is_mistake(&self) -> bool {
        match &self.0 {
            Problem::Io { source, .. } => atomic_file::is_mistake(source),
            Problem::Exposed { .. } => false,
            Problem::NoTokenIn { .. } | Problem::NotAToken => true,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("the token file {file} cannot be read: {source}")]
    Io { file: PathBuf, source: io::Error },
    #[error(
        "others can read the token file {file} (mode {mode:03o}); run: chmod 600 {file}, and change the token if anybody \
         else had access"
    )]
    Exposed { file: PathBuf, mode: u32 },
    #[error(
        "the token file {file} does not contain a token: expected one line of 1 to {MAX_TOKEN} visible ASCII characters, \
         without commas"
    )]
    NoTokenIn { file: PathBuf },
    #[error("not a valid token: expected 1 to {MAX_TOKEN} visible ASCII characters, without commas")]
    NotAToken,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file_of(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn a_token_file_is_one_line_and_private() {
        let file = file_of("opensesame\n");
        assert_eq!(RelayToken::read(&file).unwrap().reveal(), "opensesame");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
            let error = RelayToken::read(&file).unwrap_err().to_string();
            assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn no_error_and_no_debug_text_shows_a_token() {
        for secret in ["two words", "a,comma", "umläut", &"x".repeat(MAX_TOKEN + 1)] {
            let error = RelayToken::read(file_of(secret)).unwrap_err();
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
            let error = secret.parse::<RelayToken>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        }
        let token: RelayToken = "opensesame".parse().unwrap();
        assert!(!format!("{token:?}").contains("opensesame"));
    }

    #[cfg(feature = "relay")]
    #[test]
    fn only_the_same_token_matches() {
        let token: RelayToken = "opensesame".parse().unwrap();
        assert_eq!(token.matches("opensesame"), Match::Same);
        for other in ["", "opensesam", "opensesame ", "Opensesame", "opensesamee"] {
            assert_eq!(token.matches(other), Match::Other, "{other:?}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_visible_ascii_and_nothing_else_is(text in prop_oneof!["[!-~]{0,260}", ".{0,12}"]) {
            let is_token = (1..=MAX_TOKEN).contains(&text.len())
                && text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b',');
            match text.parse::<RelayToken>() {
                Ok(token) => {
                    prop_assert!(is_token);
                    prop_assert_eq!(token.reveal(), text);
                }
                Err(_) => prop_assert!(!is_token, "{:?}", text),
            }
        }

        #[cfg(feature = "relay")]
        #[test]
        fn a_token_matches_itself_alone(one in "[a-c]{1,4}", other in "[a-c]{0,4}") {
            let token: RelayToken = one.parse().unwrap();
            prop_assert_eq!(token.matches(&other) == Match::Same, one == other);
        }
    }
}
