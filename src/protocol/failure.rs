//! How a funnel says no, in each wire's own form.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use super::Wire;

/// Which no it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The call could not be carried: tunnel or upstream down. Flower's clients retry it for ever.
    Unavailable,
    /// The call may not be made. A SuperNode takes it for a run that is over and goes on polling; 404, 429 and 500
    /// would make it stop for good (measured with Flower 1.42).
    Refused,
}

impl FailureKind {
    fn http_status(self) -> StatusCode {
        match self {
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused => StatusCode::FORBIDDEN,
        }
    }

    /// Numbers of the gRPC specification's status codes.
    fn grpc_status(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Unavailable => "14",
            Self::Refused => "7",
        })
    }
}

/// An answer of the funnel itself, instead of the SuperLink's.
#[derive(Clone, Debug)]
pub struct Failure {
    kind: FailureKind,
    reason: String,
}

impl Failure {
    /// The call could not be carried.
    pub fn unavailable(reason: impl fmt::Display) -> Self {
        Self { kind: FailureKind::Unavailable, reason: reason.to_string() }
    }

    /// The call may not be made.
    pub fn refused(reason: impl fmt::Display) -> Self {
        Self { kind: FailureKind::Refused, reason: reason.to_string() }
    }

    /// Which no it is.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The answer to a call in this wire: Flower's JSON error, or a gRPC response of trailers alone.
    pub fn response(&self, wire: Wire) -> Response<Bytes> {
        match wire {
            Wire::Http => self.http_response(),
            Wire::Grpc => self.grpc_response(),
        }
    }

    /// The trailers that end a gRPC response which had begun.
    pub fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(2);
        trailers.insert("grpc-status", self.kind.grpc_status());
        trailers.insert("grpc-message", percent_encoded(&self.reason));
        trailers
    }

    fn http_response(&self) -> Response<Bytes> {
        let body = serde_json::json!({ "detail": self.reason }).to_string();
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.kind.http_status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    fn grpc_response(&self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.headers_mut() = self.trailers();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {}

/// As the gRPC specification writes `grpc-message`: printable ASCII but for `%`, the rest as `%XX` of its UTF-8.
fn percent_encoded(text: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::try_from(encoded).expect("printable ASCII is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_status_in_each_wire() {
        for (failure, http, grpc) in
            [(Failure::unavailable("down"), 503, "14"), (Failure::refused("not yours"), 403, "7")]
        {
            let response = failure.response(Wire::Http);
            assert_eq!(response.status(), http);
            let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(json["detail"], failure.to_string());

            let response = failure.response(Wire::Grpc);
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], grpc);
            assert_eq!(response.headers()["grpc-message"], failure.to_string());
        }
    }

    #[test]
    fn a_reason_with_any_character_is_a_valid_grpc_message() {
        let trailers = Failure::unavailable("100 %\nœuf").trailers();
        assert_eq!(trailers["grpc-message"], "100 %25%0A%C5%93uf");
    }
}
