//! Calls, at either end of the tunnel: identifies a call, decides whether it is allowed, and forwards it to the next hop.

mod abandoned;
mod error_body;
mod fair_queue;
mod flower_http;
pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod passthrough;
mod peer_bytes;
pub(crate) mod permit;
mod queued;
pub(crate) mod redelivery;
mod request_body;
mod translated;
mod web_pages;

pub use self::flower_http::{FlowerHttp, FlowerHttpCall, FlowerHttpLayer};
pub(crate) use self::web_pages::LocalNames;
