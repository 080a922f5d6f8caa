//! Headers that are forwarded between two connections.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, EXPECT, TE, TRANSFER_ENCODING, UPGRADE},
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Removes the headers that belong to one connection (RFC 9110, section 7.6.1). `te: trailers` stays: gRPC
/// requires it at every hop.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| name != TE)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, EXPECT, KEEP_ALIVE, PROXY_CONNECTION, HTTP2_SETTINGS] {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|value| value != "trailers") {
        headers.remove(TE);
    }
}

/// Copies each value into memory of its own. In hyper, the values of a message are slices of the buffer that its head was
/// read into, 8 KiB for HTTP/1.1. HTTP/2's table of sent headers stores new values, a date for instance, and with each the
/// whole buffer: half a MiB per session.
pub(super) fn detach(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        // A value that was received is valid, so this does not fail.
        let Ok(mut own) = HeaderValue::from_bytes(value.as_bytes()) else { continue };
        own.set_sensitive(value.is_sensitive());
        *value = own;
    }
}
