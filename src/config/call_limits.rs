//! The limits of the calls that peers make.

use std::time::Duration;

/// The limits of the calls that peers make at an inbound funnel.
///
/// Past a limit of calls or bytes, a call of that peer fails with 503 or `UNAVAILABLE`, which Flower's clients repeat. A request
/// that is too large fails with 413 or `RESOURCE_EXHAUSTED`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallLimits {
    /// Calls of one peer in progress, over all its sessions. Default 256: enough for 50 SuperNodes behind one funnel that all
    /// push and pull two objects each.
    pub max_calls_per_peer: usize,
    /// Of these, the calls that may move megabytes or last long; the others are kept for small calls, heartbeats for instance.
    /// Default 224.
    pub max_bulk_calls_per_peer: usize,
    /// The largest request of a call that may move megabytes, in bytes. Default 256 MiB; Flower 1.20 to 1.42 splits arrays
    /// into objects of at most 20 MiB, and its apps have at most 10 MB. Requests of other methods are limited to 4 MiB, those
    /// with the messages of a node to 64 MiB, or to this if it is less. The stream of `FlowerService/Join` is not limited.
    pub max_request: u64,
    /// The bytes of requests of one peer that are in progress, from their first byte until they are answered. Default 1 GiB:
    /// two objects of each of 50 SuperNodes, of 5 MiB since 1.23, take half of it. A request that is alone may be larger.
    pub max_bytes_per_peer: u64,
    /// How long the sender of a request may pause in the middle of it. Default 60 s; then the call fails, since a call that
    /// stands still would keep its place indefinitely. What a SuperLink does not read yet is no pause, and neither responses
    /// nor the stream of `FlowerService/Join` are limited. It applies to local Flower clients too.
    pub max_pause: Duration,
    /// Calls that the upstreams are given at a time, until they begin to answer: the others wait, peer by peer. Default 8; a
    /// SuperLink is one Python process and is no faster with more. One peer has at most three quarters of them. Heartbeats
    /// and polls have four more, and so have calls whose request may be a stream. A call that is not answered within 2 s no
    /// longer counts.
    pub max_calls_at_upstreams: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            max_calls_per_peer: 256,
            max_bulk_calls_per_peer: 224,
            max_request: 256 << 20,
            max_bytes_per_peer: 1 << 30,
            max_pause: Duration::from_secs(60),
            max_calls_at_upstreams: 8,
        }
    }
}
