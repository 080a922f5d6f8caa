//! The address of a client, in a header of its request.
//!
//! iroh-relay 1.4 shows the decision about a client only the headers of its request, not the extensions. Those would replace
//! this module.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("x-relay-client-address");

/// Sets the address, in place of any that the client sent.
pub(super) fn set(headers: &mut HeaderMap, client: IpAddr) {
    let value = HeaderValue::try_from(client.to_string()).expect("an address is plain text");
    headers.insert(CLIENT_ADDRESS, value);
}

pub(super) fn get(headers: &HeaderMap) -> Option<IpAddr> {
    headers.get(CLIENT_ADDRESS)?.to_str().ok()?.parse().ok()
}
