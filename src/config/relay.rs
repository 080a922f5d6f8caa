//! The relays to use, as given on the command line and in the file.

use std::str::FromStr;

use iroh::{RelayConfig, RelayMap, RelayMode, RelayUrl};

use super::relay_token::{InvalidRelayToken, RelayToken};
use crate::atomic_file::expand_home;

/// `default`, `off`, or a self-hosted relay: its URL and, after a comma, a token or `@FILE`, a file that contains one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relay {
    /// n0's public relays.
    Default,
    /// No relay: only direct addresses.
    Off,
    /// A self-hosted relay.
    Own {
        /// Its URL.
        url: RelayUrl,
        /// The token that it requires of its clients.
        token: Option<RelayToken>,
    },
}

impl Relay {
    /// Converts the relays to iroh's relay mode.
    ///
    /// # Errors
    /// [`InvalidRelay`] if `default` or `off` is combined with another relay.
    pub fn mode(relays: Vec<Self>) -> Result<RelayMode, InvalidRelay> {
        match relays.as_slice() {
            [Self::Default] => return Ok(RelayMode::Default),
            [] | [Self::Off] => return Ok(RelayMode::Disabled),
            _ => {}
        }
        let own = relays.into_iter().map(|relay| match relay {
            Self::Own { url, token } => {
                let config = RelayConfig::from(url);
                Ok(token.iter().fold(config, |config, token| config.with_auth_token(token.reveal())))
            }
            Self::Default => Err(Problem::Beside { name: "default" }.into()),
            Self::Off => Err(Problem::Beside { name: "off" }.into()),
        });
        own.collect::<Result<RelayMap, _>>().map(RelayMode::Custom)
    }
}

impl FromStr for Relay {
    type Err = InvalidRelay;

    fn from_str(text: &str) -> Result<Self, InvalidRelay> {
        let (name, token) = match text.split_once(',') {
            Some((name, token)) => (name, Some(token)),
            None => (text, None),
        };
        let owned = || name.to_owned();
        match (name, token) {
            ("default", None) => return Ok(Self::Default),
            ("off", None) => return Ok(Self::Off),
            (url, _) if url.starts_with("https://") || url.starts_with("http://") => {}
            _ => return Err(Problem::NotARelay { name: owned() }.into()),
        }
        let url: RelayUrl = name.parse().map_err(|_| Problem::NotARelay { name: owned() })?;
        if url.port() == Some(0) {
            return Err(Problem::Port { name: owned() }.into());
        }
        if url.scheme() == "https" && url.host_str().is_some_and(|host| host.starts_with('[')) {
            return Err(Problem::Ipv6 { name: owned() }.into());
        }
        let token = match token.map(|token| (token.strip_prefix('@'), token)) {
            Some((Some(file), _)) => Some(RelayToken::read(expand_home(file))),
            Some((None, token)) => Some(token.parse()),
            None => None,
        };
        let token = token.transpose().map_err(|source| Problem::Token { name: owned(), source })?;
        Ok(Self::Own { url, token })
    }
}

/// A text that is not a valid relay. The error does not show its token.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidRelay(#[from] Problem);

impl InvalidRelay {
    /// Returns whether the text, or that of its token file, is wrong; otherwise the file could not be read.
    pub fn is_mistake(&self) -> bool {
        match &self.0 {
            Problem::Token { source, .. } => source.is_mistake(),
            Problem::NotARelay { .. } | Problem::Ipv6 { .. } | Problem::Port { .. } | Problem::Beside { .. } => true,
        }
    }
}

/// Each with the text before the comma.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(
        "{name:?} is not a valid relay: expected default, off, or an https:// URL, followed by ,@FILE if the relay requires \
         a token"
    )]
    NotARelay { name: String },
    /// iroh 1.4 treats the brackets as part of the name.
    #[error(
        "{name:?}: iroh 1.4 cannot check a certificate for an IPv6 address; use the relay's host name, which may resolve to \
         that address"
    )]
    Ipv6 { name: String },
    #[error("{name:?}: the port must be from 1 to 65535")]
    Port { name: String },
    #[error("{name:?}: {source}")]
    Token { name: String, source: InvalidRelayToken },
    #[error("{name:?} cannot be combined with other relays")]
    Beside { name: &'static str },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_default_off_or_a_url() {
        assert_eq!("default".parse::<Relay>().unwrap(), Relay::Default);
        assert_eq!("off".parse::<Relay>().unwrap(), Relay::Off);
        assert!(matches!("https://relay.example.org".parse(), Ok(Relay::Own { token: None, .. })));
        for text in ["", "on", "relay.example.org", "https://", "off,token", "https://relay.example.org,"] {
            assert!(text.parse::<Relay>().is_err(), "{text}");
        }
        assert!("http://[2001:db8::1]:80".parse::<Relay>().is_ok());
        let error = "https://[2001:db8::1]".parse::<Relay>().unwrap_err().to_string();
        assert!(error.contains("IPv6"), "{error}");
    }

    #[test]
    fn a_token_follows_the_url_or_is_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "opensesame\n").unwrap();
        let at_file = format!("https://relay.example.org,@{}", file.path().display());
        for text in ["https://relay.example.org,opensesame", &at_file] {
            let relay: Relay = text.parse().unwrap();
            assert!(!format!("{relay:?}").contains("opensesame"));
            let RelayMode::Custom(relays) = Relay::mode(vec![relay]).unwrap() else { panic!("{text}") };
            assert_eq!(relays.relays::<Vec<_>>()[0].auth_token.as_deref(), Some("opensesame"));
        }
    }

    #[test]
    fn no_mistake_shows_a_token() {
        for text in ["relay.example.org,opensesame", "https://relay.example.org,open,sesame", "off,opensesame"] {
            let error = text.parse::<Relay>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("sesame"), "{error}");
        }
    }

    #[test]
    fn default_and_off_cannot_be_combined_with_others() {
        let own: Relay = "https://relay.example.org".parse().unwrap();
        assert!(Relay::mode(vec![own.clone(), own.clone()]).is_ok());
        for other in [Relay::Default, Relay::Off] {
            let error = Relay::mode(vec![own.clone(), other]).unwrap_err().to_string();
            assert!(error.contains("cannot be combined"), "{error}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_relay_is_read_with_its_token_and_shows_it_nowhere(
            url in "https?://[a-z]{1,8}(\\.[a-z]{2,4})?(:[1-9][0-9]{0,3})?/?",
            token in prop::option::of("[!-+\\--?A-~]{1,40}"),
        ) {
            let text = token.iter().fold(url.clone(), |text, token| format!("{text},{token}"));
            let relay: Relay = text.parse().unwrap();
            let Relay::Own { url: read, token: kept } = &relay else { panic!("{text}") };
            prop_assert_eq!(read, &url.parse::<RelayUrl>().unwrap());
            prop_assert_eq!(kept.as_ref().map(RelayToken::reveal), token.as_deref());
            let without = Relay::Own { url: read.clone(), token: None };
            let shown = format!("{relay:?}").replace("Some(RelayToken(..))", "None");
            prop_assert_eq!(shown, format!("{without:?}"));
        }

        #[test]
        fn an_error_does_not_depend_on_the_token(
            name in "(default|off|https?://[ -+\\--~]{0,12}|[ -+\\--~]{0,12})",
            token in "[ -?A-~][ -~]{0,12}",
        ) {
            let Err(error) = format!("{name},{token}").parse::<Relay>() else { return Ok(()) };
            let other = format!("{name},").parse::<Relay>().unwrap_err();
            prop_assert_eq!(error.to_string(), other.to_string());
            prop_assert_eq!(format!("{error:?}"), format!("{other:?}"));
        }
    }
}
