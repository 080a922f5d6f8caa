//! Flower's messages and gRPC services, as Flower 1.42 has them, and the app services of Flower 1.33.
//!
//! Generated from `proto/flwr/proto`; a test regenerates and compares. Clients and servers are tonic's: give a client
//! a channel, for instance tonic's own over [`IrohConnector`](crate::transport::IrohConnector).
#![allow(missing_docs, clippy::all)]

include!("proto/flwr.proto.rs");
