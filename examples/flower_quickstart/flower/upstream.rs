//! Where a SuperLink serves an API, and on which wire.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// How calls of an API are put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Protobuf over gRPC, in clear text.
    Grpc,
    /// Protobuf over HTTP/1.1, in clear text.
    Http,
}

/// One served API; displayed as the URL that a funnel takes, `grpc://host:port` or `http://host:port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// How the API is served.
    pub wire: Wire,
    /// Where the API is served.
    pub addr: SocketAddr,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.wire {
            Wire::Grpc => "grpc",
            Wire::Http => "http",
        };
        write!(f, "{scheme}://{}", self.addr)
    }
}

/// A loopback address whose port was free a moment ago.
///
/// Flower prints no port that the system chose, so the port is chosen here; whoever listens on it must be ready to
/// find it taken.
pub(super) fn free_addr() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
