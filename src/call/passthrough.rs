//! Pass-through: bytes that a funnel carries and cannot read, for TLS from end to end.
//!
//! ```text
//! SuperNode ─► local port ─► CONNECT on a lane ══════► answered 200 ─► the one upstream that is its target
//! ```
//! Both ends have to ask for it, and it is granted to single peers. API isolation ends there: a peer that has the bytes of
//! a port has every API behind it.

mod inbound;
mod outbound;
mod splice;

pub(crate) use self::{inbound::PassthroughConnections, outbound::carry};
