//! The limit of a response's headers and trailers, past which a call fails with a reason: HTTP/2 would reset it without one.

use http::HeaderMap;

use super::{headers::fields_size, settings::MAX_RESPONSE_METADATA};
use crate::protocol::{CallError, Status};

/// Checks the size of the headers or trailers of a response.
///
/// # Errors
/// If they are larger than the tunnel carries: `RESOURCE_EXHAUSTED`, as gRPC's own clients make it, and 502 over HTTP.
pub(super) fn check(headers: &HeaderMap, which: &str) -> Result<(), CallError> {
    let size = fields_size(headers);
    if size <= MAX_RESPONSE_METADATA {
        return Ok(());
    }
    Err(CallError::new(
        Status::METADATA_TOO_LARGE,
        format_args!(
            "the response has {size} bytes of {which}, more than the {MAX_RESPONSE_METADATA} that the tunnel carries; the \
             SuperLink, or a gateway before it, must send less"
        ),
    ))
}
