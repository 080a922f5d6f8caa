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

/// Returns whether gRPC's status is OK: in trailers, or in the head of a response without any. Of two statuses, readers may
/// take either, so that they are not OK.
pub(crate) fn has_ok_status(headers: &HeaderMap) -> bool {
    headers.get_all("grpc-status").iter().eq(["0"])
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_status_is_ok_only_if_it_is_the_only_one() {
        let of = |statuses: &[&'static str]| {
            let status = |status: &&'static str| ("grpc-status".parse().unwrap(), HeaderValue::from_static(status));
            has_ok_status(&statuses.iter().map(status).collect())
        };
        assert!(of(&["0"]));
        assert!(![&[][..], &["14"], &["00"], &["0", "14"], &["14", "0"], &["0", "0"]].into_iter().any(of));
    }
}
