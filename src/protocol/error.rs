//! The error of a call, which the funnel answers in each wire's own form.

use std::{error::Error, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::{BoxError, Status, Wire, flower_error::FlowerError};

/// An error with which the funnel itself answers a call, in place of the SuperLink.
///
/// Its text is complete: it names the causes too, since a caller in another process reads nothing else.
/// [`source`](Error::source) has the first cause with its type.
#[derive(Clone, Debug)]
pub struct CallError {
    status: Status,
    reason: Arc<str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl CallError {
    /// Makes an error with this status.
    pub fn new(status: Status, reason: impl fmt::Display) -> Self {
        Self { status, reason: reason.to_string().into(), source: None }
    }

    /// Makes the error of a call that could not be forwarded, since the tunnel or the upstream is down. Flower's clients retry
    /// it indefinitely.
    pub fn unavailable(reason: impl fmt::Display) -> Self {
        Self::new(Status::UNAVAILABLE, reason)
    }

    /// Makes the error of a call that is not allowed. A SuperNode takes it for a run that is over and goes on polling;
    /// 404, 429 and 500 would make it stop for good (measured with Flower 1.42).
    pub fn refused(reason: impl fmt::Display) -> Self {
        Self::new(Status::PERMISSION_DENIED, reason)
    }

    /// Adds the cause. The reason should name it already.
    #[must_use]
    pub fn caused_by(self, source: impl Into<BoxError>) -> Self {
        Self { source: Some(source.into().into()), ..self }
    }

    /// Returns its status in both wires.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Makes the answer to a call in this wire: Flower's JSON error, or a gRPC response of trailers alone.
    pub fn response(&self, wire: Wire) -> Response<Bytes> {
        FlowerError::from(self).response(wire)
    }

    /// Makes the trailers that end a gRPC response which had begun.
    pub fn trailers(&self) -> HeaderMap {
        FlowerError::from(self).trailers()
    }
}

impl From<&CallError> for FlowerError {
    fn from(error: &CallError) -> Self {
        Self::plain(error.status, &error.reason)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_status_in_each_wire() {
        for (error, http, grpc) in
            [(CallError::unavailable("down"), 503, "14"), (CallError::refused("not yours"), 403, "7")]
        {
            let response = error.response(Wire::Http);
            assert_eq!(response.status(), http);
            let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(json["detail"], error.to_string());

            let response = error.response(Wire::Grpc);
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], grpc);
            assert_eq!(response.headers()["grpc-message"], error.to_string());
        }
    }

    #[test]
    fn a_reason_with_any_character_is_a_valid_grpc_message() {
        let trailers = CallError::unavailable("100 %\nœuf").trailers();
        assert_eq!(trailers["grpc-message"], "100 %25%0A%C5%93uf");
    }
}
