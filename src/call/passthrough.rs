//! Pass-through: forwards bytes that the funnel cannot read, for end-to-end TLS.
//!
//! ```text
//! SuperNode ─► local port ─► a call on a lane ═══════► 200 ─► the target, one upstream
//! ```
//! Both ends must enable it, and it is granted to individual peers. There is no API isolation: a peer with pass-through can
//! call every API that the target serves.
//!
//! A connection that one side ends cleanly is ended cleanly at the other; one that breaks, or that cannot be served, is reset at
//! both: Flower's clients take a reset for a fault of the network, and try again.

mod call_stream;
mod inbound;
mod outbound;
mod splice;

pub(crate) use self::{inbound::PassthroughConnections, outbound::forward};
