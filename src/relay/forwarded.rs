//! `X-Forwarded-For`: the header with which an HTTP proxy says where a request comes from.
//!
//! Each proxy appends the address that the request came from. So only the end of the list is known to be true: what a client
//! wrote itself stands before it. `Forwarded` (RFC 7239) is not read: where both were, a proxy that sets one of them would pass
//! on what a client wrote in the other.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use super::proxies::TrustedProxies;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Returns the last address in the header that is not of a trusted proxy. `None` if there is none, or if something else stands
/// after it.
pub(super) fn client(headers: &HeaderMap, trusted: &TrustedProxies) -> Option<IpAddr> {
    let values: Vec<_> = headers.get_all(X_FORWARDED_FOR).into_iter().collect();
    for value in values.into_iter().rev() {
        for hop in value.to_str().ok()?.rsplit(',') {
            let ip = address(hop.trim())?;
            if !trusted.contains(ip) {
                return Some(ip);
            }
        }
    }
    None
}

/// Parses an address, which may be in brackets and have a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse().ok().map(|addr: SocketAddr| addr.ip()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client_of(values: &[&str]) -> Option<String> {
        let trusted = "10.0.0.0/24".parse().unwrap();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        client(&headers, &trusted).map(|ip| ip.to_string())
    }

    #[test]
    fn the_last_address_that_is_not_a_trusted_proxy_is_the_client() {
        for (values, expected) in [
            (&["192.0.2.7"][..], Some("192.0.2.7")),
            (&["203.0.113.1, 192.0.2.7"], Some("192.0.2.7")),
            (&["203.0.113.1, 192.0.2.7,10.0.0.9"], Some("192.0.2.7")),
            (&["203.0.113.1", "192.0.2.7", "10.0.0.9"], Some("192.0.2.7")),
            (&["192.0.2.7:5000"], Some("192.0.2.7")),
            (&["2001:db8::7"], Some("2001:db8::7")),
            (&["[2001:db8::7]"], Some("2001:db8::7")),
            (&["[2001:db8::7]:5000"], Some("2001:db8::7")),
            (&["192.0.2.7, unknown"], None),
            (&["192.0.2.7, "], None),
            (&["10.0.0.9"], None),
            (&[], None),
        ] {
            assert_eq!(client_of(values).as_deref(), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~]{0,100}") {
            client_of(&[&text]);
        }
    }
}
