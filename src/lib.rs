//! gRPC peer to peer over iroh, and Flower where nobody can open a port.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "transport")]
pub mod transport;
