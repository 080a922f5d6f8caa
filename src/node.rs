//! A Flower node in Rust: a SuperNode's part of the Fleet API, without Python.
//!
//! ```text
//! SuperLink ◄── Node: register, activate, heartbeat ... close
//!           ──► Message { RecordDict }   pull_message: objects, checked against their SHA-256
//!           ◄── Reply   { RecordDict }   push_reply: object tree, then the objects that the SuperLink does not have
//! ```
//!
//! Its objects and ids equal Flower's byte for byte. A message that cannot be read is answered with an error, and the node
//! goes on; a call is retried while the SuperLink is unreachable, with Flower's waits; if the SuperLink has forgotten the
//! node, the node joins again.
//!
//! Calls go over any [`Channel`]: tonic's, or a service like it. Over iroh, a node dials the funnel beside the SuperLink
//! directly and needs no funnel of its own:
//!
//! ```no_run
//! use flower_iroh_funnel::{
//!     ALPN,
//!     node::{Array, ArrayRecord, Message, MetricRecord, Node, NodeError, NodeKey, RecordDict},
//!     transport::{IrohConnector, LostLinkLayer, quic_config},
//! };
//! use iroh::{Endpoint, endpoint::presets};
//! use tower::Layer;
//!
//! async fn app(message: Message) -> Result<RecordDict, NodeError> {
//!     let mut weights = message.content()?.arrays("arrays")?.array("0")?.to_ndarray::<f32>()?;
//!     weights += 0.1; // train here
//!     let arrays = ArrayRecord::from_arrays([Array::from_ndarray(&weights)]);
//!     let metrics = MetricRecord::new().with("num-examples", 64_usize).with("loss", 0.5);
//!     Ok(RecordDict::new().with("arrays", arrays).with("metrics", metrics))
//! }
//!
//! # async fn example(superlink: iroh::EndpointAddr) -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::builder(presets::N0).transport_config(quic_config()).bind().await?;
//! let connector = IrohConnector::new(endpoint.clone(), ALPN);
//! connector.add_peer(superlink.clone());
//! let lost_link = LostLinkLayer::new();
//! let channel = tonic::transport::Endpoint::from_shared(format!("iroh://{}", superlink.id))?
//!     .connect_with_connector_lazy(connector.reporting_to(&lost_link));
//!
//! let node = Node::builder(lost_link.layer(channel), NodeKey::generate()).register().await?;
//! tokio::select! {
//!     refused = node.serve(app) => { refused?; }
//!     interrupted = tokio::signal::ctrl_c() => interrupted?,
//! }
//! node.close().await?;
//! endpoint.close().await;
//! # Ok(()) }
//! ```

mod error;
mod fleet;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod heartbeat;
mod key;
mod message;
mod retry;
mod session;
mod transfer;

pub use self::{
    error::NodeError,
    fleet::Channel,
    key::NodeKey,
    message::{Message, Reply},
    session::{Node, NodeBuilder},
};
pub use crate::object::{
    ContentError,
    array::{Array, Element},
    record::{ArrayRecord, ConfigRecord, ConfigValue, MetricRecord, MetricValue, Record, RecordDict, TypedDict},
};
