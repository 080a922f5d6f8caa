//! gRPC peer to peer over iroh, and Flower federated learning across NAT without open ports.
//!
//! The path of a call, which is the order of the modules:
//!
//! ```text
//!        outbound funnel (beside SuperNode or flwr)              inbound funnel (beside SuperLink)
//!  Flower ─► grpc_server ─► call ─► tunnel ═══════════► grpc_server ─► call ─► upstream ─► Flower
//!  client    local port     route   lanes      iroh     sessions       allowed?  which?     server
//!                           └─ hop ─┘ └─ transport ─────┘              └── hop ──┘
//! ```
//!
//! | modules | what they do |
//! |---|---|
//! | `funnel`, `error` | assembly: start, serve, drain |
//! | `grpc_server` | terminates HTTP from local Flower clients and from the tunnel, with `tls` where it is wanted |
//! | `call` | routes, admits, translates and replays one call, or passes bytes through |
//! | `tunnel` | outbound: keeps a link to a peer, and sends calls over its lanes |
//! | `upstream` | inbound: finds the SuperLink, and sends calls to it |
//! | `config` | the configuration, as plain data |
//! | `admission` | the peers that are admitted and what they may call: roster, invitations, audit log |
//! | `address_lookup` | where a peer is: tickets, invitations, DNS, pkarr, mDNS |
//! | `control` | the control socket of a running funnel, for commands on the same machine |
//! | `hop` | one HTTP hop: headers, bodies, HTTP/2 settings |
//! | `protocol` | what a call is: APIs, methods, the two wires, their errors and the translation between them |
//! | `transport` | tonic over iroh: `IrohConnector`, `IrohStream`, `IrohIncoming` |
//! | `tls`, `identity`, `atomic_file`, `descriptors`, `report` | certificates, keys, files, file descriptors, logging |
//! | `node`, `object`, `proto` | a Flower node in Rust, without a funnel |
//! | `relay` | a relay of your own |
//!
//! ```no_run
//! use flower_iroh_funnel::{Api, Exposed, Funnel, FunnelConfig, PeerConfig};
//!
//! # async fn example(peer: iroh::EndpointId) -> Result<(), Box<dyn std::error::Error>> {
//! // Beside the SuperLink: admit `peer`.
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
//! | `transport` | `transport`: tonic over iroh, independent of Flower |
//! | `proto` | `proto`: Flower's messages and services, typed |
//! | `node` (default) | `node`: a Flower node in Rust, without Python |
//! | `funnel` (default) | `Funnel` and its modules |
//! | `relay` | `relay`: a relay of your own |
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
#[cfg(feature = "funnel")]
pub mod control;

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
mod descriptors;
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
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;

/// The protocol between funnels, and between a Rust node and a funnel. Both ends must agree on it.
#[cfg(any(feature = "funnel", feature = "node"))]
pub const ALPN: &[u8] = b"flower-iroh-funnel/1";

#[cfg(feature = "funnel")]
pub use self::{
    address_lookup::invitation::{Digest, Invitation},
    admission::{FunnelStatus, InvalidTimestamp, PeerStatus, StatusFile, Timestamp, roster},
    call::{FlowerHttp, FlowerHttpCall, FlowerHttpLayer},
    config::{
        AuditLog, CallLimits, ConfigError, DEFAULT_BIND_ADDR, DEFAULT_DRAIN_TIMEOUT, DEFAULT_FLOWER_GRPC_ADDR, Exposed,
        FunnelConfig, FunnelConfigBuilder, Grant, InvalidGrant, InvalidRelay, InvalidRelayToken, PeerConfig, Relay,
        RelayToken,
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
