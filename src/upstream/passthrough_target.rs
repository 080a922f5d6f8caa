//! The target of pass-through.

use std::{fmt, str::FromStr};

use http::uri::Authority;

use super::is_host_and_port;

/// The target of pass-through: `host:port`. No peer can choose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassthroughTarget(Authority);

impl PassthroughTarget {
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for PassthroughTarget {
    type Err = InvalidPassthroughTarget;

    fn from_str(text: &str) -> Result<Self, InvalidPassthroughTarget> {
        let authority = text.parse::<Authority>().ok().filter(is_host_and_port);
        authority.map(Self).ok_or_else(|| InvalidPassthroughTarget(text.to_owned()))
    }
}

impl fmt::Display for PassthroughTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is not a valid target of pass-through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid HOST:PORT to pass bytes through to")]
pub struct InvalidPassthroughTarget(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_and_a_port_and_nothing_else() {
        for text in ["127.0.0.1:9092", "superlink.example:443", "[::1]:1"] {
            assert_eq!(text.parse::<PassthroughTarget>().unwrap().to_string(), text);
        }
        for text in ["", "127.0.0.1", ":1", "host:0", "host:65536", "me@host:1", "https://host:1", "host:1/v1", "a b:1"]
        {
            assert!(text.parse::<PassthroughTarget>().is_err(), "{text}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_target_is_printed_as_it_was_written_and_is_one_place(
            text in "([a-z0-9.-]{0,10}|\\[[0-9a-f:]{0,8}\\]|[ -~]{0,8})(:[0-9]{0,6})?[/?#@:a-z]{0,2}",
        ) {
            let Ok(target) = text.parse::<PassthroughTarget>() else { return Ok(()) };
            prop_assert_eq!(target.to_string(), &*text);
            let (host, port) = text.rsplit_once(':').unwrap();
            prop_assert!(!host.is_empty() && port.parse::<u16>().unwrap() > 0, "{}", text);
            prop_assert!(!text.contains(['/', '?', '#', '@', ' ']), "{}", text);
        }

        #[test]
        fn every_address_is_a_target(addr in any::<std::net::SocketAddr>()) {
            prop_assert_eq!(addr.to_string().parse::<PassthroughTarget>().is_ok(), addr.port() != 0, "{}", addr);
        }
    }
}
