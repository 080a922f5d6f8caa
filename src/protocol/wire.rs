//! The two wires that carry the same protobuf messages.

use std::fmt;

use http::{HeaderMap, header::CONTENT_TYPE};

/// How a call is written on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// gRPC over HTTP/2: Flower's only wire up to 1.34, Fleet's up to 1.39.
    Grpc,
    /// Protobuf over HTTP/1.1: all of Flower since 1.40.
    Http,
}

impl Wire {
    /// The wire whose errors a caller with these headers understands.
    pub fn of_headers(headers: &HeaderMap) -> Self {
        match headers.get(CONTENT_TYPE) {
            Some(value) if is_grpc(value.as_bytes()) => Self::Grpc,
            _ => Self::Http,
        }
    }
}

/// `application/grpc`, alone or with a suffix or a parameter.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'+' || rest[0] == b';')
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        })
    }
}
