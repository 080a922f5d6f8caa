//! From what an operator writes to where a peer is dialled, and the endpoint that dials.

mod endpoint;
mod peer;
mod relay;

pub(crate) use self::endpoint::bind_endpoint;
pub use self::{
    peer::{InvalidPeer, parse_peer},
    relay::{InvalidRelay, Relay},
};
