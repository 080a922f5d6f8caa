//! From what an operator writes to where a peer is dialled, and the endpoint that dials.

mod authorities;
mod endpoint;
mod home_relay;
mod peer;
mod relay;
mod token;

#[cfg(feature = "relay")]
pub(crate) use self::token::Match;
pub(crate) use self::{authorities::RelayAuthorities, endpoint::bind_endpoint, home_relay::watch_home_relay};
pub use self::{
    peer::{InvalidPeer, parse_peer},
    relay::{InvalidRelay, Relay},
    token::{InvalidToken, RelayToken},
};
