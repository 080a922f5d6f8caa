//! Pass-through: bytes that a funnel carries and cannot read, for TLS from end to end.
//!
//! ```text
//! SuperNode ─► local port ─► CONNECT on a lane ══════► answered 200 ─► the one upstream that is named
//! ```
//! It is asked for at both ends and granted to single peers. API isolation ends there: whoever has the bytes of a port has
//! every API behind it.

mod inbound;
mod outbound;
mod splice;

use std::{error::Error, fmt, str::FromStr};

use http::uri::Authority;

use crate::upstream::is_place;

pub(crate) use self::{inbound::Passing, outbound::carry};

/// Where pass-through leads: `host:port`, of which no peer has a say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassthroughTarget(Authority);

impl FromStr for PassthroughTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let authority = text.parse::<Authority>().ok().filter(is_place);
        authority.map(Self).ok_or_else(|| InvalidTarget(text.to_owned()))
    }
}

impl fmt::Display for PassthroughTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that names no place for pass-through to lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTarget(String);

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no HOST:PORT to pass bytes through to", self.0)
    }
}

impl Error for InvalidTarget {}

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
