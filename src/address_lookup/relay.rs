//! Which relays to use, as it is written on the command line and in the file.

use std::{error::Error, fmt, str::FromStr};

use iroh::{RelayMode, RelayUrl};

/// `default`, `off`, or the URL of a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relay {
    /// n0's public relays, with its DNS for lookups.
    Default,
    /// None: only direct addresses.
    Off,
    /// A relay of one's own, and nobody's lookup service.
    Url(RelayUrl),
}

impl Relay {
    /// As iroh takes it.
    pub fn into_mode(self) -> RelayMode {
        match self {
            Self::Default => RelayMode::Default,
            Self::Off => RelayMode::Disabled,
            Self::Url(url) => RelayMode::custom([url]),
        }
    }
}

impl FromStr for Relay {
    type Err = InvalidRelay;

    fn from_str(text: &str) -> Result<Self, InvalidRelay> {
        match text {
            "default" => Ok(Self::Default),
            "off" => Ok(Self::Off),
            url if url.starts_with("https://") || url.starts_with("http://") => {
                url.parse().map(Self::Url).map_err(|_| InvalidRelay(url.to_owned()))
            }
            other => Err(InvalidRelay(other.to_owned())),
        }
    }
}

/// A text that names no relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRelay(String);

impl fmt::Display for InvalidRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} names no relay: write default, off, or an https:// URL", self.0)
    }
}

impl Error for InvalidRelay {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_default_off_or_a_url() {
        assert_eq!("default".parse(), Ok(Relay::Default));
        assert_eq!("off".parse(), Ok(Relay::Off));
        assert!(matches!("https://relay.example.org".parse(), Ok(Relay::Url(_))));
        for text in ["", "on", "relay.example.org", "https://"] {
            assert!(text.parse::<Relay>().is_err(), "{text}");
        }
    }
}
