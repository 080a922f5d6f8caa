//! The limit of a response's headers and trailers, past which a call fails with a reason: HTTP/2 would reset it without one.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::settings::MAX_RESPONSE_METADATA;
use crate::protocol::{CallError, Status};

/// What HTTP/2 counts for each header in addition to its name and value (RFC 9113, section 6.5.2).
const OVERHEAD: usize = 32;

/// Checks the size of the headers or trailers of a response.
///
/// # Errors
/// If they are larger than the tunnel carries: `RESOURCE_EXHAUSTED`, as gRPC's own clients make it, and 502 over HTTP.
pub(super) fn check(headers: &HeaderMap, which: &str) -> Result<(), CallError> {
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + OVERHEAD;
    let size: usize = headers.iter().map(size).sum();
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
