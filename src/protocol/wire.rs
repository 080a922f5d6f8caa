//! The two wires that carry the same protobuf messages.

use std::fmt;

use http::{HeaderMap, Request, Version, header::CONTENT_TYPE};

/// The wire format of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// gRPC over HTTP/2: Flower's only wire up to 1.34, Fleet's up to 1.39.
    Grpc,
    /// Protobuf over HTTP/1.1: all of Flower since 1.40.
    Http,
}

impl Wire {
    /// Returns the other wire.
    pub fn other(self) -> Self {
        match self {
            Self::Grpc => Self::Http,
            Self::Http => Self::Grpc,
        }
    }

    /// Returns the wire whose errors the caller understands: gRPC for HTTP/2 with gRPC's content type.
    pub fn of_request<B>(request: &Request<B>) -> Self {
        if request.version() == Version::HTTP_2 && has_grpc_type(request.headers()) { Self::Grpc } else { Self::Http }
    }
}

/// Returns whether the content type is `application/grpc`, with or without a suffix or parameters.
pub(crate) fn has_grpc_type(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let parameters = content_type.strip_prefix(b"application/grpc");
    parameters.is_some_and(|rest| rest.is_empty() || rest[0] == b'+' || rest[0] == b';')
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        })
    }
}
