//! What a client dials.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Where a client finds the server, or the near end of a tunnel to it. Tickets are texts, as `EndpointTicket` writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Target {
    /// gRPC over TCP, perhaps with a congestion control of its own.
    Tcp(SocketAddr, Option<String>),
    /// gRPC over this project's connector, perhaps with a congestion control of its own.
    Iroh(String, Option<String>),
    /// The bench's own protocol over an iroh connection.
    Raw(String),
}
