//! The funnel over real sockets and real iroh endpoints, with servers of the tests' own in Flower's place: what the
//! path of a call does to a call. Real Flower is in `flower.rs`.

#[path = "funnel/access.rs"]
mod access;
#[path = "funnel/busy.rs"]
mod busy;
#[path = "funnel/calls.rs"]
mod calls;
#[path = "support/certificates.rs"]
mod certificates;
#[path = "funnel/control.rs"]
mod control;
#[path = "funnel/early_answers.rs"]
mod early_answers;
#[path = "funnel/faults.rs"]
mod faults;
#[path = "funnel/foreign_relays.rs"]
mod foreign_relays;
#[path = "funnel/forwarding.rs"]
mod forwarding;
#[path = "funnel/gateways.rs"]
mod gateways;
#[path = "funnel/half_close.rs"]
mod half_close;
#[path = "funnel/long_headers.rs"]
mod long_headers;
#[path = "funnel/metadata.rs"]
mod metadata;
#[cfg(target_os = "linux")]
#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/nginx.rs"]
mod nginx;
#[cfg(target_os = "linux")]
#[path = "funnel/openssl.rs"]
mod openssl;
#[path = "funnel/passthrough.rs"]
mod passthrough;
#[path = "funnel/passthrough_ends.rs"]
mod passthrough_ends;
#[path = "funnel/paths.rs"]
mod paths;
#[path = "support/ports.rs"]
mod ports;
#[path = "funnel/push_sessions.rs"]
mod push_sessions;
#[path = "support/raw_peer.rs"]
mod raw_peer;
#[path = "funnel/redelivery.rs"]
mod redelivery;
#[path = "funnel/roster.rs"]
mod roster;
#[path = "funnel/secure.rs"]
mod secure;
#[path = "funnel/sharing.rs"]
mod sharing;
#[path = "funnel/shared_key.rs"]
mod shared_key;
#[path = "funnel/support.rs"]
mod support;
#[path = "funnel/tls.rs"]
mod tls;
#[path = "funnel/translation.rs"]
mod translation;
#[path = "funnel/web_pages.rs"]
mod web_pages;
#[path = "funnel/wires.rs"]
mod wires;
