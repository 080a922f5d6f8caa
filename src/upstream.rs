//! The upstreams: the Flower processes to which an inbound funnel forwards calls.

mod client;
mod connector;
mod passthrough_target;
mod probe;
mod security;
mod tcp;
mod upstreams;

use std::{fmt, net::SocketAddr, str::FromStr};

use http::{Uri, uri::Authority};

use self::security::scheme;
pub(crate) use self::{client::UpstreamClient, probe::Probe};
pub use self::{
    passthrough_target::{InvalidPassthroughTarget, PassthroughTarget},
    probe::UpstreamState,
    security::Security,
    upstreams::Upstreams,
};
use crate::protocol::Wire;

/// A Flower process and the wire it speaks: `http://host:port` or `grpc://host:port`, and with TLS `https://host:port`
/// or `grpcs://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    wire: Wire,
    security: Security,
    authority: Authority,
}

impl Upstream {
    /// Parses the upstreams that a text means: a URL means one, and `host:port` one per wire, with `default` for TLS; of these
    /// the one that answers is used.
    ///
    /// # Errors
    /// [`InvalidUpstream`] for any other text.
    pub fn candidates(text: &str, default: Security) -> Result<Vec<Self>, InvalidUpstream> {
        let one = |url: &str| url.parse().map_err(|error| InvalidUpstream { text: text.to_owned(), ..error });
        if text.contains("://") {
            return Ok(vec![one(text)?]);
        }
        let both = [Wire::Http, Wire::Grpc].map(|wire| one(&format!("{}://{text}", scheme(wire, default))));
        both.into_iter().collect()
    }

    /// Returns the wire it speaks.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Returns whether it uses TLS.
    pub fn security(&self) -> Security {
        self.security
    }

    /// Returns whether it is written as this address.
    fn is_at(&self, addr: SocketAddr) -> bool {
        self.authority.as_str().parse() == Ok(addr)
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", scheme(self.wire, self.security), self.authority)
    }
}

impl FromStr for Upstream {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        let invalid = |problem| InvalidUpstream { text: text.to_owned(), problem };
        let uri: Uri = text.parse().map_err(|_| invalid("it is not a valid URL"))?;
        let (wire, security) = uri
            .scheme_str()
            .and_then(security::of_scheme)
            .ok_or_else(|| invalid("it must begin with http://, https://, grpc:// or grpcs://, or be host:port"))?;
        let authority = uri.authority().cloned().ok_or_else(|| invalid("it has no host"))?;
        if !is_host_and_port(&authority) {
            return Err(invalid("it must be scheme://host:port"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(invalid("it must end after the port"));
        }
        Ok(Self { wire, security, authority })
    }
}

/// Returns whether it is a host and a port other than 0, and nothing else.
fn is_host_and_port(authority: &Authority) -> bool {
    let has_port = authority.port_u16().is_some_and(|port| port != 0);
    has_port && !authority.host().is_empty() && !authority.as_str().contains('@')
}

/// A text that is not a valid upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid upstream: {problem}")]
pub struct InvalidUpstream {
    text: String,
    problem: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(text: &str) -> Upstream {
        text.parse().unwrap()
    }

    #[test]
    fn invalid_urls_are_refused_with_a_reason() {
        for (text, reason) in [
            ("ftp://127.0.0.1:8000", "must begin with"),
            ("http://127.0.0.1", "scheme://host:port"),
            ("http://me@127.0.0.1:8000", "scheme://host:port"),
            ("http://127.0.0.1:0", "scheme://host:port"),
            ("grpc://127.0.0.1:65536", "scheme://host:port"),
            ("http://:8000", "scheme://host:port"),
            ("http://127.0.0.1:8000/v1", "end after the port"),
            ("http://127.0.0.1:8000/?x", "end after the port"),
            ("", "not a valid URL"),
        ] {
            let error = text.parse::<Upstream>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_text_without_a_scheme_means_both_wires() {
        for (default, http, grpc) in [(Security::Plain, "http", "grpc"), (Security::Tls, "https", "grpcs")] {
            let [http, grpc] = [http, grpc].map(|scheme| format!("{scheme}://10.0.0.5:9092"));
            let both = Upstream::candidates("10.0.0.5:9092", default).unwrap();
            assert_eq!(both, [upstream(&http), upstream(&grpc)]);
            assert_eq!(both.iter().map(ToString::to_string).collect::<Vec<_>>(), [http, grpc]);
        }
        let explicit = Upstream::candidates("grpc://10.0.0.5:9092", Security::Tls).unwrap();
        assert_eq!(explicit, [upstream("grpc://10.0.0.5:9092")]);
        for text in ["", "10.0.0.5", "10.0.0.5:9092/v1", "me@host:1"] {
            let error = Upstream::candidates(text, Security::Plain).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} ")), "{text}: {error}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_upstream_is_read_again_as_it_is_printed(text in "(http|grpc|https|grpcs)://[a-z0-9.\\[\\]:@-]{1,20}(:[0-9]{1,6})?[/?#a-z]{0,3}") {
            let Ok(upstream) = text.parse::<Upstream>() else { return Ok(()) };
            prop_assert_eq!(&upstream.to_string().parse::<Upstream>().unwrap(), &upstream);
            prop_assert!(upstream.authority().port_u16().is_some() && !upstream.authority().as_str().contains('@'));
        }
    }
}
