//! Pass-through: forwards bytes that the funnel cannot read, for end-to-end TLS.
//!
//! ```text
//! SuperNode ─► local port ─► CONNECT on a lane ══════► 200 ─► the target, one upstream
//! ```
//! Both ends must enable it, and it is granted to individual peers. There is no API isolation: a peer with pass-through can
//! call every API that the target serves.

mod inbound;
mod outbound;
mod splice;

pub(crate) use self::{inbound::PassthroughConnections, outbound::forward};
