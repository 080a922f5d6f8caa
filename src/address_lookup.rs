//! From what an operator writes to where a peer is dialled, and the endpoint that dials.

mod authorities;
mod endpoint;
mod findings;
mod home_relay;
mod lookup;
mod peer;
mod pkarr;
mod publication;
mod publisher;
mod relay;
mod services;
mod token;

#[cfg(feature = "relay")]
pub(crate) use self::token::Match;
pub(crate) use self::{
    authorities::RelayAuthorities,
    endpoint::{bind_endpoint, close_endpoint},
    findings::Findings,
    home_relay::watch_home_relay,
    peer::shown,
};
pub use self::{
    lookup::{InvalidLookup, Lookup},
    peer::{InvalidPeer, parse_peer, write_ticket},
    publication::{InvalidPublication, Place, Publication, Published},
    relay::{InvalidRelay, Relay},
    token::{InvalidToken, RelayToken},
};
