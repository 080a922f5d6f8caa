//! The error of a call, as the funnel answers it in each wire's own form.

use std::{error::Error, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::{BoxError, Status, Wire, flower_error::FlowerError};

/// A call that the funnel itself answers, with an error in place of the SuperLink's answer.
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

    /// Makes the error of a call that could not be carried: tunnel or upstream are down. Flower's clients retry it
    /// indefinitely.
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

    /// Its status in both wires.
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
        for (failure, http, grpc) in
            [(CallError::unavailable("down"), 503, "14"), (CallError::refused("not yours"), 403, "7")]
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
        let trailers = CallError::unavailable("100 %\nœuf").trailers();
        assert_eq!(trailers["grpc-message"], "100 %25%0A%C5%93uf");
    }
}
