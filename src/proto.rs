//! Flower's messages and gRPC services, as Flower 1.42 has them, and the app services of Flower 1.33.
//!
//! Generated from `proto/flwr/proto`; a test regenerates and compares, and another compares the protos with several
//! versions of Flower. `Newer than 1.30` says that 1.30 lacks something and the next version that was compared has it:
//! 1.30, 1.33, 1.36, 1.39, 1.41 and 1.42. Clients and servers are tonic's: give a client a channel, for instance
//! tonic's own over `transport::IrohConnector`.
//!
//! # Unknown fields
//!
//! prost skips the fields of a message that these protos lack, for instance those that a later Flower has added, and
//! keeps nothing of them. Reading is safe: the known fields are all there. But a message that is decoded and encoded
//! again has lost the others: whoever passes messages on forwards the bytes they came in, as the funnel does, which
//! decodes none.
#![allow(missing_docs, clippy::all)]

include!("proto/flwr.proto.rs");
