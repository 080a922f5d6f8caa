//! The Flower processes that an inbound funnel hands calls to.

mod client;
mod connector;
mod passthrough_target;
mod probe;
mod security;

use std::{error::Error, fmt, net::SocketAddr, str::FromStr};

use http::{Uri, uri::Authority};

use self::security::scheme;
pub(crate) use self::{client::UpstreamClient, probe::Probe};
pub use self::{
    passthrough_target::{InvalidPassthroughTarget, PassthroughTarget},
    probe::UpstreamState,
    security::Security,
};
use crate::protocol::{Api, CallError, Wire};

/// Where a SuperLink listens unless it is told otherwise (Flower 1.20 to 1.42).
const LOCAL_HTTP: &str = "127.0.0.1:8000";
const LOCAL_FLEET: &str = "127.0.0.1:9092";
const LOCAL_CONTROL: &str = "127.0.0.1:9093";

/// A Flower process and the wire it speaks: `http://host:port` or `grpc://host:port`, and with TLS `https://host:port`
/// or `grpcs://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    wire: Wire,
    security: Security,
    authority: Authority,
}

impl Upstream {
    /// The upstreams that a text stands for: a URL for one, `host:port` for one in each wire, of which the one that
    /// answers is used, over TLS if `default` says so.
    ///
    /// # Errors
    /// The text is none of them.
    pub fn candidates(text: &str, default: Security) -> Result<Vec<Self>, InvalidUpstream> {
        let one = |url: &str| url.parse().map_err(|error| InvalidUpstream { text: text.to_owned(), ..error });
        if text.contains("://") {
            return Ok(vec![one(text)?]);
        }
        let both = [Wire::Http, Wire::Grpc].map(|wire| one(&format!("{}://{text}", scheme(wire, default))));
        both.into_iter().collect()
    }

    /// The wire it speaks.
    pub fn wire(&self) -> Wire {
        self.wire
    }

    /// Whether it is spoken to over TLS.
    pub fn security(&self) -> Security {
        self.security
    }

    /// Whether it was written as this address.
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
        let uri: Uri = text.parse().map_err(|_| invalid("it is no URL"))?;
        let (wire, security) = uri
            .scheme_str()
            .and_then(security::of_scheme)
            .ok_or_else(|| invalid("it must begin with http://, https://, grpc:// or grpcs://, or be host:port"))?;
        let authority = uri.authority().cloned().ok_or_else(|| invalid("it has no host"))?;
        if !is_place(&authority) {
            return Err(invalid("it must be scheme://host:port"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(invalid("it must end after the port"));
        }
        Ok(Self { wire, security, authority })
    }
}

/// Whether it is a host and a port that can be connected to, and nothing else.
fn is_place(authority: &Authority) -> bool {
    let has_port = authority.port_u16().is_some_and(|port| port != 0);
    has_port && !authority.host().is_empty() && !authority.as_str().contains('@')
}

/// A text that names no upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUpstream {
    text: String,
    problem: &'static str,
}

impl fmt::Display for InvalidUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} names no upstream: {}", self.text, self.problem)
    }
}

impl Error for InvalidUpstream {}

/// Which upstream serves which API in which wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstreams {
    rows: Vec<(Api, Upstream)>,
}

impl Upstreams {
    /// A SuperLink on this machine at its default ports, whatever its version.
    pub fn local_superlink(security: Security) -> Self {
        let at = |wire, addr| {
            let url = format!("{}://{addr}", scheme(wire, security));
            url.parse().expect("the constants are upstreams")
        };
        let mut upstreams = Self::default();
        upstreams.add_superlink(&at(Wire::Http, LOCAL_HTTP));
        upstreams.add(Api::Fleet, at(Wire::Grpc, LOCAL_FLEET));
        upstreams.add(Api::Control, at(Wire::Grpc, LOCAL_CONTROL));
        upstreams
    }

    /// A SuperLink: over HTTP it serves all its APIs on one port, over gRPC its Fleet API stands alone.
    ///
    /// What [`add`](Self::add) named before stays.
    pub fn add_superlink(&mut self, upstream: &Upstream) {
        let apis: &[Api] = match upstream.wire {
            Wire::Http => &[Api::Fleet, Api::Control, Api::Runtime],
            Wire::Grpc => &[Api::Fleet],
        };
        for api in apis {
            if !self.of(*api).any(|named| named.wire == upstream.wire) {
                self.rows.push((*api, upstream.clone()));
            }
        }
    }

    /// Names the upstream of one API in its wire, in place of an earlier one.
    pub fn add(&mut self, api: Api, upstream: Upstream) {
        self.rows.retain(|(row, earlier)| (*row, earlier.wire) != (api, upstream.wire));
        self.rows.push((api, upstream));
    }

    /// Whether one of them stands at `addr`.
    pub(crate) fn has(&self, addr: SocketAddr) -> bool {
        self.rows.iter().any(|(_, upstream)| upstream.is_at(addr))
    }

    /// Leaves out what stands at `addr`.
    pub(crate) fn remove(&mut self, addr: SocketAddr) {
        self.rows.retain(|(_, upstream)| !upstream.is_at(addr));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The upstream for a call in `wire`: one that answers, if there is one, and one of the same wire, if there is one.
    ///
    /// # Errors
    /// An unavailable [`CallError`] that says what is missing.
    pub(crate) fn select(
        &self,
        api: Api,
        wire: Wire,
        state: impl Fn(&Upstream) -> UpstreamState,
    ) -> Result<&Upstream, CallError> {
        let rank = |upstream: &&Upstream| {
            let standing = match state(upstream) {
                UpstreamState::Up => 0,
                UpstreamState::Unknown | UpstreamState::Down => 1,
                UpstreamState::NotServed => 2,
            };
            (standing, upstream.wire != wire)
        };
        let best = self.of(api).min_by_key(rank);
        best.ok_or_else(|| {
            CallError::unavailable(format_args!(
                "no upstream for the {api} API; name it with: --upstream {api}=HOST:PORT"
            ))
        })
    }

    /// The upstream that answers `/health`.
    pub(crate) fn select_health(&self) -> Result<&Upstream, CallError> {
        self.rows
            .iter()
            .map(|(_, upstream)| upstream)
            .find(|upstream| upstream.wire == Wire::Http)
            .ok_or_else(|| CallError::unavailable("no upstream speaks HTTP, and gRPC has no /health"))
    }

    /// Every API with each of its upstreams.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Api, &Upstream)> {
        self.rows.iter().map(|(api, upstream)| (*api, upstream))
    }

    /// The upstreams of `api`, one for each wire.
    pub fn of(&self, api: Api) -> impl Iterator<Item = &Upstream> {
        self.rows.iter().filter(move |(row, _)| *row == api).map(|(_, upstream)| upstream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(text: &str) -> Upstream {
        text.parse().unwrap()
    }

    #[test]
    fn urls_that_are_no_upstream_are_refused_with_their_reason() {
        for (text, reason) in [
            ("ftp://127.0.0.1:8000", "must begin with"),
            ("http://127.0.0.1", "scheme://host:port"),
            ("http://me@127.0.0.1:8000", "scheme://host:port"),
            ("http://127.0.0.1:0", "scheme://host:port"),
            ("grpc://127.0.0.1:65536", "scheme://host:port"),
            ("http://:8000", "scheme://host:port"),
            ("http://127.0.0.1:8000/v1", "end after the port"),
            ("http://127.0.0.1:8000/?x", "end after the port"),
            ("", "no URL"),
        ] {
            let error = text.parse::<Upstream>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_text_without_a_scheme_stands_for_both_wires() {
        for (default, http, grpc) in [(Security::Plain, "http", "grpc"), (Security::Tls, "https", "grpcs")] {
            let [http, grpc] = [http, grpc].map(|scheme| format!("{scheme}://10.0.0.5:9092"));
            let both = Upstream::candidates("10.0.0.5:9092", default).unwrap();
            assert_eq!(both, [upstream(&http), upstream(&grpc)]);
            assert_eq!(both.iter().map(ToString::to_string).collect::<Vec<_>>(), [http, grpc]);
        }
        let said = Upstream::candidates("grpc://10.0.0.5:9092", Security::Tls).unwrap();
        assert_eq!(said, [upstream("grpc://10.0.0.5:9092")]);
        for text in ["", "10.0.0.5", "10.0.0.5:9092/v1", "me@host:1"] {
            let error = Upstream::candidates(text, Security::Plain).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} ")), "{text}: {error}");
        }
    }

    #[test]
    fn a_call_goes_to_who_answers_and_then_to_its_own_wire() {
        use UpstreamState::{Down, NotServed, Unknown, Up};
        let mut upstreams = Upstreams::default();
        upstreams.add(Api::Fleet, upstream("grpc://127.0.0.1:1"));
        upstreams.add_superlink(&upstream("http://127.0.0.1:2"));
        for (grpc, http, called, by) in [
            (Up, Up, Wire::Grpc, Wire::Grpc),
            (Up, Up, Wire::Http, Wire::Http),
            (Down, Up, Wire::Grpc, Wire::Http),
            (Up, NotServed, Wire::Http, Wire::Grpc),
            (Up, Unknown, Wire::Http, Wire::Grpc),
            (Down, Unknown, Wire::Grpc, Wire::Grpc),
            (Down, NotServed, Wire::Http, Wire::Grpc),
        ] {
            let state = |upstream: &Upstream| if upstream.wire == Wire::Grpc { grpc } else { http };
            assert_eq!(upstreams.select(Api::Fleet, called, state).unwrap().wire, by, "{grpc:?} {http:?} {called}");
        }
        let error = upstreams.select(Api::ServerAppIo, Wire::Grpc, |_| Up).unwrap_err().to_string();
        assert!(error.contains("no upstream for the serverappio API"), "{error}");
    }

    #[test]
    fn a_named_upstream_stands_above_the_superlink_whatever_the_order() {
        let (named, superlink) = (upstream("http://127.0.0.1:1"), upstream("http://127.0.0.1:2"));
        let mut first = Upstreams::default();
        first.add(Api::Control, named.clone());
        first.add_superlink(&superlink);
        let mut last = Upstreams::default();
        last.add_superlink(&superlink);
        last.add(Api::Control, named.clone());
        for upstreams in [first, last] {
            let up = |_: &Upstream| UpstreamState::Up;
            assert_eq!(upstreams.select(Api::Control, Wire::Http, up).unwrap(), &named);
            assert_eq!(upstreams.select(Api::Fleet, Wire::Http, up).unwrap(), &superlink);
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
