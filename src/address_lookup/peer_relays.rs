//! The relays of peers: which of them may be dialled.

use iroh::{EndpointAddr, RelayMode, RelayUrl, TransportAddr};
use url::Origin;

/// The longest part of a URL that a message repeats, in characters.
const MAX_SHOWN: usize = 100;

/// Decides which relays may be dialled of those that tickets, invitations and lookups name.
///
/// Whoever wrote them chooses the host and the port. Over HTTP, that is a request to any service that this machine reaches;
/// over HTTPS, a certificate is checked first.
#[derive(Clone, Debug)]
pub(crate) struct PeerRelays {
    own: Vec<RelayUrl>,
    takes_all: bool,
}

impl PeerRelays {
    /// Creates the decision of an endpoint with these relays of its own, which it dials anyway. Without any relay, iroh dials
    /// none of a peer's either.
    pub(crate) fn new(relay_mode: &RelayMode, allow_http: bool) -> Self {
        let takes_all = allow_http || *relay_mode == RelayMode::Disabled;
        Self { own: relay_mode.relay_map().urls(), takes_all }
    }

    /// Returns the first relay of a peer's address that may not be dialled.
    ///
    /// # Errors
    /// [`RefusedRelay`] with that relay.
    pub(crate) fn check(&self, addr: &EndpointAddr) -> Result<(), RefusedRelay> {
        addr.addrs.iter().try_for_each(|addr| self.check_one(addr))
    }

    pub(super) fn check_one(&self, addr: &TransportAddr) -> Result<(), RefusedRelay> {
        match addr {
            TransportAddr::Relay(relay) if !self.takes(relay) => Err(RefusedRelay(shown_relay(relay))),
            _ => Ok(()),
        }
    }

    fn takes(&self, relay: &RelayUrl) -> bool {
        relay.scheme() == "https" || self.takes_all || self.own.contains(relay)
    }
}

/// A relay of a peer that may not be dialled.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "its relay is {0}, which is not https: whoever wrote that could have this machine send a request to any host and port; if \
     the relay is one of your own, name it with --relay too, or else allow relays without TLS with --allow-http-relay \
     (allow_http_relay in the file)"
)]
pub(crate) struct RefusedRelay(String);

/// Describes a relay by what is dialled: scheme, host and port, without user, path and query.
pub(crate) fn shown_relay(relay: &RelayUrl) -> String {
    let text = match relay.origin() {
        origin @ Origin::Tuple(..) => origin.ascii_serialization(),
        Origin::Opaque(_) => relay.to_string(),
    };
    text.chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use iroh::SecretKey;

    use super::*;

    fn addr(relay: &str) -> EndpointAddr {
        EndpointAddr::from(SecretKey::generate().public()).with_relay_url(relay.parse().unwrap())
    }

    #[test]
    fn only_https_is_dialled_unless_the_operator_says_otherwise() {
        let own = RelayMode::custom(["http://10.0.0.1:3340".parse().unwrap()]);
        let decide =
            |mode: &RelayMode, allow_http, relay| PeerRelays::new(mode, allow_http).check(&addr(relay)).is_ok();
        for mode in [&RelayMode::Default, &own] {
            assert!(decide(mode, false, "https://relay.example.org"));
            for relay in ["http://10.0.0.1:22", "HTTP://relay.example.org", "ws://relay.example.org", "ftp://10.0.0.1"]
            {
                assert!(!decide(mode, false, relay), "{relay}");
                assert!(decide(mode, true, relay), "{relay}");
            }
        }
        assert!(decide(&own, false, "http://10.0.0.1:3340/"));
        assert!(!decide(&RelayMode::Default, false, "http://10.0.0.1:3340/"));
        // None is dialled.
        assert!(decide(&RelayMode::Disabled, false, "http://10.0.0.1:22"));
    }

    #[test]
    fn what_is_shown_of_a_relay_is_the_host_that_is_dialled() {
        for (relay, shown) in [
            ("https://relay.example.org", "https://relay.example.org"),
            ("https://good.example.org@evil.example:8443/path?query", "https://evil.example:8443"),
            ("http://10.0.0.1:22/%0Aok", "http://10.0.0.1:22"),
            ("https://rel\u{430}y.example.org", "https://xn--rely-73d.example.org"),
            ("data:,relay", "data:,relay"),
        ] {
            assert_eq!(shown_relay(&relay.parse().unwrap()), shown);
        }
        let long = format!("https://{}.example", "e".repeat(500));
        assert_eq!(shown_relay(&long.parse().unwrap()).len(), MAX_SHOWN);
    }
}
