//! Finds the addresses of peers, from tickets and lookup services, and publishes this endpoint's own.

pub(crate) mod invitation;
mod lookup;
mod lookup_log;
mod pasted;
mod peer;
mod peer_relays;
mod pkarr;
mod publication;
mod publisher;
mod services;
mod ticket;
mod ticket_file;

pub(crate) use self::{
    invitation::{Digest, Invitation, Secret},
    lookup_log::LookupLog,
    peer::{is_file, shown, shown_name},
    peer_relays::{PeerRelays, shown_relay},
    services::attach,
    ticket::StrictTicket,
    ticket_file::TicketFile,
};
pub use self::{
    lookup::{InvalidLookup, Lookup},
    peer::{InvalidPeer, PeerAddr, parse_input, parse_peer, write_ticket},
    publication::{InvalidPublication, Publication, PublishTarget, Published},
};
