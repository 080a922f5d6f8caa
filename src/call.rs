//! Calls, at either end of the tunnel: identifies a call, decides whether it is allowed, and forwards it to the next hop.

mod flower_http;
pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod passthrough;
pub(crate) mod permit;
pub(crate) mod redelivery;
mod translated;

pub use self::flower_http::{FlowerHttp, FlowerHttpCall, FlowerHttpLayer};
