//! Headers that are forwarded between two connections.

use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
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

/// What HTTP/2 counts for each header in addition to its name and its value (RFC 9113, section 6.5.2).
const OVERHEAD: usize = 32;

/// Returns the size of headers or trailers, as HTTP/2 counts it.
pub(super) fn fields_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD).sum()
}

/// Returns the size of a request's header list, as HTTP/2 counts it (RFC 9113, section 6.5.2): 32 bytes for each header besides
/// its name and its value, with those that say where the request goes.
pub(crate) fn list_size<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let target = ":method:scheme:authority:path".len() + 4 * OVERHEAD;
    let target = target + request.method().as_str().len() + uri.scheme_str().map_or(0, str::len) + authority + path;
    target + fields_size(request.headers())
}

/// Returns the most bytes that a header list takes in HTTP/2, whose code is long for what is rare in headers (RFC 7541,
/// appendix B).
pub(crate) fn encoded_size<B>(request: &Request<B>) -> usize {
    let size = |byte: &u8| match byte {
        byte if byte.is_ascii_alphanumeric() => 1,
        b' ' | b'%' | b'&' | b'*' | b',' | b'-' | b'.' | b'/' | b':' | b';' | b'=' | b'_' => 1,
        b'\\' => 3,
        b' '..=b'~' => 2,
        _ => 4,
    };
    let encoded = |value: &HeaderValue| value.as_bytes().iter().map(size).sum::<usize>() - value.len();
    list_size(request) + request.headers().values().map(encoded).sum::<usize>()
}
