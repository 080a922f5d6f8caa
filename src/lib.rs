//! gRPC peer to peer over iroh, and Flower where nobody can open a port.
//!
//! ```text
//!      outbound funnel (beside SuperNode or CLI)                 inbound funnel (beside SuperLink)
//! Flower ─► grpc_server ─► outbound ─► forward ─► tunnel ══════► grpc_server ─► inbound ─► forward ─► upstream ─► Flower
//! client    terminate      a call?     one call   lanes    iroh  terminate      allowed?   one call   which?      server
//!                                                 └──── transport: IrohConnector · IrohStream · IrohIncoming
//! ```
//!
//! `protocol` tells what a call is, `access` who may make it, `admission` who gets a link at all, by the `roster`, on which
//! an `enrolment` puts who was invited; `audit` notes what was decided. `funnel` puts the rooms together. The same rooms
//! stand at both ends, and both speak TLS with Flower where they are told to (`tls`). Where the upstream speaks the other
//! wire, `exchange` carries the call, and `protocol` translates it; `redelivery` keeps answers that a broken link would
//! swallow. A Rust program may stand at either end without a funnel: as a `node`, or as a service behind `FlowerHttpLayer`.
//!
//! ```no_run
//! use flower_iroh_funnel::{Api, Exposed, Funnel, FunnelConfig, PeerConfig};
//!
//! # async fn example(peer: iroh::EndpointId) -> Result<(), Box<dyn std::error::Error>> {
//! // Beside the SuperLink: let `peer` in.
//! let exposed = Exposed::new().local_superlink().allow(peer, [Api::Fleet]);
//! let inbound = Funnel::new(FunnelConfig::builder().expose(exposed).build()?).await?;
//!
//! // Beside the SuperNode: flower-supernode --superlink 127.0.0.1:9092
//! let superlink = PeerConfig::new(inbound.endpoint_addr().await);
//! let outbound = Funnel::new(FunnelConfig::builder().peer(superlink).build()?).await?;
//!
//! tokio::try_join!(inbound.serve(), outbound.serve())?;
//! # Ok(()) }
//! ```
//!
//! # Features
//! | feature | what it adds |
//! |---|---|
//! | `transport` | `transport`: tonic over iroh, without a word of Flower |
//! | `proto` | `proto`: Flower's messages and services, typed |
//! | `node` (default) | `node`: a Flower node in Rust, without Python |
//! | `funnel` (default) | `Funnel`, and what it is made of |
//! | `relay` | `relay`: a relay of one's own |
//! | `cli` (default) | the command `flower-iroh-funnel` |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

// The path of a call, from the top down.
#[cfg(feature = "funnel")]
mod funnel;
#[cfg(feature = "funnel")]
mod error;
#[cfg(feature = "funnel")]
mod grpc_server;
#[cfg(feature = "funnel")]
mod call;
#[cfg(feature = "funnel")]
mod tunnel;
#[cfg(feature = "funnel")]
mod upstream;

// Who may call, and where peers are.
#[cfg(feature = "funnel")]
mod config;
#[cfg(feature = "funnel")]
mod admission;
#[cfg(feature = "funnel")]
pub mod address_lookup;

// The ground.
#[cfg(feature = "funnel")]
mod hop;
#[cfg(feature = "funnel")]
pub mod protocol;
#[cfg(feature = "transport")]
pub mod transport;
#[cfg(feature = "funnel")]
mod tls;
#[cfg(feature = "funnel")]
pub mod identity;
#[cfg(feature = "funnel")]
mod atomic_file;
#[cfg(feature = "funnel")]
mod report;

// Beside the funnel.
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "node")]
mod object;
#[cfg(feature = "relay")]
pub mod relay;
#[cfg(feature = "proto")]
pub mod proto;
#[cfg(all(fuzzing, feature = "funnel"))]
#[doc(hidden)]
pub mod fuzzing;

/// The protocol between funnels, and between a Rust node and a funnel. Both ends must agree on it.
#[cfg(any(feature = "funnel", feature = "node"))]
pub const ALPN: &[u8] = b"flower-iroh-funnel/1";

#[cfg(feature = "funnel")]
pub use self::{
    address_lookup::{Digest, Invitation},
    admission::{FunnelStatus, InvalidTimestamp, PeerStatus, StatusFile, Timestamp, roster},
    call::{FlowerHttp, FlowerHttpCall, FlowerHttpLayer},
    config::{
        AuditLog, ConfigError, DEFAULT_BIND_ADDR, DEFAULT_DRAIN_TIMEOUT, DEFAULT_FLOWER_GRPC_ADDR, Exposed,
        FunnelConfig, FunnelConfigBuilder, InvalidRelay, InvalidRelayToken, PeerConfig, Relay, RelayToken,
    },
    error::Error,
    funnel::Funnel,
    hop::Body,
    protocol::Api,
    tls::LocalTls,
    tunnel::{ApiReport, DownReason, Hello, PeerCall, PeerChannel, PeerConn, PeerDown, WireReport},
    upstream::{
        InvalidPassthroughTarget, InvalidUpstream, PassthroughTarget, Security, Upstream, UpstreamState, Upstreams,
    },
};
#[cfg(feature = "funnel")]
pub use iroh::{EndpointAddr, EndpointId, RelayMode, SecretKey};
