//! The Flower processes that an inbound funnel hands calls to.

mod client;
mod probe;

use std::{error::Error, fmt, net::SocketAddr, str::FromStr};

use http::{Uri, uri::Authority};

pub use self::probe::UpstreamState;
pub(crate) use self::{client::UpstreamClient, probe::Probe};
use crate::protocol::{Api, Failure, Wire};

/// Where a SuperLink listens unless it is told otherwise (Flower 1.20 to 1.42).
const LOCAL_HTTP: &str = "http://127.0.0.1:8000";
const LOCAL_FLEET: &str = "grpc://127.0.0.1:9092";
const LOCAL_CONTROL: &str = "grpc://127.0.0.1:9093";

/// A Flower process and the wire it speaks: `http://host:port` or `grpc://host:port` (HTTP/2 without TLS).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    wire: Wire,
    authority: Authority,
}

impl Upstream {
    /// The wire it speaks.
    pub fn wire(&self) -> Wire {
        self.wire
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
        write!(f, "{}://{}", self.wire, self.authority)
    }
}

impl FromStr for Upstream {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        let invalid = |problem| InvalidUpstream { text: text.to_owned(), problem };
        let uri: Uri = text.parse().map_err(|_| invalid("it is no URL"))?;
        let wire = match uri.scheme_str() {
            Some("http") => Wire::Http,
            Some("grpc") => Wire::Grpc,
            Some("https" | "grpcs") => return Err(invalid("TLS to an upstream is not supported")),
            _ => return Err(invalid("it must begin with http:// or grpc://")),
        };
        let authority = uri.authority().cloned().ok_or_else(|| invalid("it has no host"))?;
        if authority.port_u16().is_none() || authority.as_str().contains('@') {
            return Err(invalid("it must be scheme://host:port"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(invalid("it must end after the port"));
        }
        Ok(Self { wire, authority })
    }
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
    pub fn local_superlink() -> Self {
        let parse = |url: &str| url.parse().expect("the constants are upstreams");
        let mut upstreams = Self::default();
        upstreams.add_superlink(&parse(LOCAL_HTTP));
        upstreams.add(Api::Fleet, parse(LOCAL_FLEET));
        upstreams.add(Api::Control, parse(LOCAL_CONTROL));
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
            if self.select(*api, upstream.wire).is_err() {
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

    /// The upstream for a call.
    ///
    /// # Errors
    /// An unavailable [`Failure`] that says what is missing.
    pub fn select(&self, api: Api, wire: Wire) -> Result<&Upstream, Failure> {
        let mut of_api = self.rows.iter().filter(|(row, _)| *row == api).map(|(_, upstream)| upstream);
        let mut other = None;
        let found = of_api.find(|upstream| {
            other = Some(upstream.wire);
            upstream.wire == wire
        });
        found.ok_or_else(|| match other {
            Some(other) => Failure::unavailable(format_args!(
                "this call to the {api} API is {wire}, and the SuperLink's {api} API is {other} here; use a Flower \
                 version that speaks {other}, or name an upstream with: --upstream {api}={wire}://HOST:PORT"
            )),
            None => Failure::unavailable(format_args!(
                "no upstream for the {api} API; name it with: --upstream {api}={wire}://HOST:PORT"
            )),
        })
    }

    /// The upstream that answers `/health`.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn select_health(&self) -> Result<&Upstream, Failure> {
        self.distinct()
            .into_iter()
            .find(|upstream| upstream.wire == Wire::Http)
            .ok_or_else(|| Failure::unavailable("no upstream speaks HTTP, and gRPC has no /health"))
    }

    /// Each upstream once, in the order of the table.
    pub fn distinct(&self) -> Vec<&Upstream> {
        let mut distinct = Vec::new();
        for (_, upstream) in &self.rows {
            if !distinct.contains(&upstream) {
                distinct.push(upstream);
            }
        }
        distinct
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
            ("127.0.0.1:8000", "must begin with"),
            ("ftp://127.0.0.1:8000", "must begin with"),
            ("https://127.0.0.1:8000", "TLS"),
            ("http://127.0.0.1", "scheme://host:port"),
            ("http://me@127.0.0.1:8000", "scheme://host:port"),
            ("http://127.0.0.1:8000/v1", "end after the port"),
            ("http://127.0.0.1:8000/?x", "end after the port"),
            ("", "no URL"),
        ] {
            let error = text.parse::<Upstream>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_call_goes_to_the_upstream_of_its_api_and_wire() {
        let mut upstreams = Upstreams::default();
        upstreams.add(Api::Fleet, upstream("grpc://127.0.0.1:1"));
        upstreams.add_superlink(&upstream("http://127.0.0.1:2"));
        assert_eq!(upstreams.select(Api::Fleet, Wire::Grpc).unwrap().to_string(), "grpc://127.0.0.1:1");
        assert_eq!(upstreams.select(Api::Fleet, Wire::Http).unwrap().to_string(), "http://127.0.0.1:2");
        let error = upstreams.select(Api::Control, Wire::Grpc).unwrap_err().to_string();
        assert!(error.contains("control API is http here"), "{error}");
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
            assert_eq!(upstreams.select(Api::Control, Wire::Http).unwrap(), &named);
            assert_eq!(upstreams.select(Api::Fleet, Wire::Http).unwrap(), &superlink);
        }
    }
}
