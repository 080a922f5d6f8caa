//! How a funnel says no, in each wire's own form.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::{Status, Wire, flower_error::FlowerError};

/// An answer of the funnel itself, instead of the SuperLink's.
#[derive(Clone, Debug)]
pub struct Failure {
    status: Status,
    reason: String,
}

impl Failure {
    /// A failure with this status.
    pub fn new(status: Status, reason: impl fmt::Display) -> Self {
        Self { status, reason: reason.to_string() }
    }

    /// The call could not be carried: tunnel or upstream down. Flower's clients retry it for ever.
    pub fn unavailable(reason: impl fmt::Display) -> Self {
        Self::new(Status::UNAVAILABLE, reason)
    }

    /// The call may not be made. A SuperNode takes it for a run that is over and goes on polling; 404, 429 and 500
    /// would make it stop for good (measured with Flower 1.42).
    pub fn refused(reason: impl fmt::Display) -> Self {
        Self::new(Status::PERMISSION_DENIED, reason)
    }

    /// Its status in both wires.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The answer to a call in this wire: Flower's JSON error, or a gRPC response of trailers alone.
    pub fn response(&self, wire: Wire) -> Response<Bytes> {
        FlowerError::from(self).response(wire)
    }

    /// The trailers that end a gRPC response which had begun.
    pub fn trailers(&self) -> HeaderMap {
        FlowerError::from(self).trailers()
    }
}

impl From<&Failure> for FlowerError {
    fn from(failure: &Failure) -> Self {
        Self::plain(failure.status, &failure.reason)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {}

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
