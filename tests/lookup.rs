//! How peers are found: by lookups, by names in the roster, by tickets, and what it costs when a lookup fails or lies.

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/funnel_process.rs"]
mod funnel_process;
#[path = "lookup/liars.rs"]
mod liars;
#[path = "lookup/mdns.rs"]
mod mdns;
#[path = "lookup/names.rs"]
mod names;
#[cfg(target_os = "linux")]
#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "lookup/parties.rs"]
mod parties;
#[path = "support/ports.rs"]
mod ports;
#[path = "lookup/published.rs"]
mod published;
#[path = "support/raw_peer.rs"]
mod raw_peer;
#[path = "lookup/server.rs"]
mod server;
#[path = "command/sides.rs"]
mod sides;
#[path = "funnel/support.rs"]
mod support;
