//! The upstreams of all APIs.

use std::net::SocketAddr;

use super::{Security, Upstream, UpstreamState, security::scheme};
use crate::protocol::{Api, CallError, Wire};

/// The default addresses of a SuperLink (Flower 1.20 to 1.42).
const LOCAL_HTTP: &str = "127.0.0.1:8000";
const LOCAL_FLEET: &str = "127.0.0.1:9092";
const LOCAL_CONTROL: &str = "127.0.0.1:9093";

/// The upstream of each API in each wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstreams {
    rows: Vec<(Api, Upstream)>,
}

impl Upstreams {
    /// Returns the upstreams of a SuperLink of any version on this machine, at its default ports.
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

    /// Adds a SuperLink: over HTTP it serves all its APIs on one port, over gRPC only Fleet on this one.
    ///
    /// An upstream that [`add`](Self::add) set is kept.
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

    /// Sets the upstream of one API in its wire, and replaces an earlier one.
    pub fn add(&mut self, api: Api, upstream: Upstream) {
        self.rows.retain(|(row, earlier)| (*row, earlier.wire) != (api, upstream.wire));
        self.rows.push((api, upstream));
    }

    /// Returns whether one of them is at `addr`.
    pub(crate) fn has(&self, addr: SocketAddr) -> bool {
        self.rows.iter().any(|(_, upstream)| upstream.is_at(addr))
    }

    /// Removes the upstreams at `addr`.
    pub(crate) fn remove(&mut self, addr: SocketAddr) {
        self.rows.retain(|(_, upstream)| !upstream.is_at(addr));
    }

    /// Returns whether there are no upstreams.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Selects the upstream for a call in `wire`: preferably one that answers, then one of the same wire.
    ///
    /// # Errors
    /// [`CallError`] with status UNAVAILABLE if the API has no upstream.
    pub(crate) fn select(
        &self,
        api: Api,
        wire: Wire,
        state: impl Fn(&Upstream) -> UpstreamState,
    ) -> Result<&Upstream, CallError> {
        let rank = |upstream: &&Upstream| {
            let state = match state(upstream) {
                UpstreamState::Up => 0,
                UpstreamState::Unknown => 1,
                UpstreamState::Down => 2,
                UpstreamState::NotServed => 3,
            };
            (state, upstream.wire != wire)
        };
        let best = self.of(api).min_by_key(rank);
        best.ok_or_else(|| {
            CallError::unavailable(format_args!(
                "no upstream for the {api} API; name it with: --upstream {api}=HOST:PORT"
            ))
        })
    }

    /// Selects the upstream that answers `/health`.
    ///
    /// # Errors
    /// [`CallError`] with status UNAVAILABLE if no upstream speaks HTTP.
    pub(crate) fn select_health(&self) -> Result<&Upstream, CallError> {
        self.rows
            .iter()
            .map(|(_, upstream)| upstream)
            .find(|upstream| upstream.wire == Wire::Http)
            .ok_or_else(|| CallError::unavailable("no upstream speaks HTTP, and gRPC has no /health"))
    }

    /// Returns every API with each of its upstreams.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Api, &Upstream)> {
        self.rows.iter().map(|(api, upstream)| (*api, upstream))
    }

    /// Returns the upstreams of `api`, at most one per wire.
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
    fn a_call_goes_to_an_upstream_that_answers_and_then_to_one_of_its_wire() {
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
            (Unknown, Unknown, Wire::Grpc, Wire::Grpc),
            // Something answers there, but refuses probes.
            (Down, Unknown, Wire::Grpc, Wire::Http),
            (Down, NotServed, Wire::Http, Wire::Grpc),
        ] {
            let state = |upstream: &Upstream| if upstream.wire == Wire::Grpc { grpc } else { http };
            assert_eq!(upstreams.select(Api::Fleet, called, state).unwrap().wire, by, "{grpc:?} {http:?} {called}");
        }
        let error = upstreams.select(Api::ServerAppIo, Wire::Grpc, |_| Up).unwrap_err().to_string();
        assert!(error.contains("no upstream for the serverappio API"), "{error}");
    }

    #[test]
    fn an_upstream_that_is_set_overrides_the_superlink_in_any_order() {
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
