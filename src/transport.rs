//! tonic over iroh: HTTP/2 directly over QUIC, between endpoints that are dialled by public key.
//!
//! A client passes an [`IrohConnector`] to `tonic::transport::Endpoint::connect_with_connector`, a server passes an
//! [`IrohIncoming`] to `tonic::transport::Server::serve_with_incoming`. Both produce [`IrohStream`]s: QUIC bi-streams, each
//! of which carries one HTTP/2 session. [`LostLinkLayer`] around a client turns the loss of a link into `UNAVAILABLE` with
//! the reason.
//!
//! ```text
//! tonic Channel ─► IrohConnector ─► Pool ─► Link (one QUIC connection per peer and ALPN)
//!                                            └─► IrohStream (one bi-stream per HTTP/2 session)
//! tonic Server  ◄─ IrohIncoming  ◄─────────────── IrohStream
//! ```
//!
//! ```
//! use flower_iroh_funnel::transport::{IrohConnector, IrohIncoming};
//! use iroh::{Endpoint, endpoint::presets};
//! # use tonic::transport::Server;
//!
//! const ALPN: &[u8] = b"example/grpc/1";
//!
//! # async fn example(peer: iroh::EndpointAddr) -> Result<(), Box<dyn std::error::Error>> {
//! // Server
//! let endpoint = Endpoint::builder(presets::N0).alpns(vec![ALPN.to_vec()]).bind().await?;
//! let incoming = IrohIncoming::new(endpoint, ALPN);
//! # let service = tonic::service::Routes::default();
//! tokio::spawn(Server::builder().add_routes(service).serve_with_incoming(incoming));
//!
//! // Client
//! let connector = IrohConnector::new(Endpoint::bind(presets::N0).await?, ALPN);
//! let channel = tonic::transport::Endpoint::from_shared(format!("iroh://{}", peer.id))?
//!     .connect_with_connector(connector)
//!     .await?;
//! # Ok(()) }
//! ```

mod arrivals;
mod backoff;
mod codes;
mod congestion;
mod connecting;
mod connector;
mod error;
mod incoming;
mod link;
mod lost_link;
mod peer_info;
mod pool;
mod quic;
mod rate_limit;
mod session_end;
mod silence;
mod stream;
mod target;

#[cfg(feature = "relay")]
pub(crate) use self::arrivals::{ArrivalRate, ArrivalSlot};
pub(crate) use self::backoff::Backoff;
#[cfg(feature = "funnel")]
pub(crate) use self::{
    arrivals::{ArrivalSlots, Source},
    quic::{raise_receive_window, untrusted_peer_config},
    rate_limit::RateLimit,
    session_end::SessionEnd,
    silence::SilenceTimer,
};
pub use self::{
    codes::Code,
    connecting::Connecting,
    connector::IrohConnector,
    error::{ConnectError, LinkLost, SessionError},
    incoming::{IncomingLimits, IrohHandler, IrohIncoming},
    link::{Link, LinkStats},
    lost_link::{LostLink, LostLinkBody, LostLinkFuture, LostLinkLayer},
    peer_info::{Path, PeerInfo},
    quic::{CongestionControl, IDLE_TIMEOUT, InvalidCongestionControl, quic_config, quic_config_with},
    stream::IrohStream,
    target::{InvalidTarget, peer_id},
};
