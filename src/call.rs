//! One call, at either end: what it is, whether it is allowed, and how it gets to the next hop.

mod flower_http;
pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod passthrough;
pub(crate) mod permit;
pub(crate) mod redelivery;
mod translated;

pub use self::flower_http::{FlowerHttp, FlowerHttpCall, FlowerHttpLayer};
