//! From a URI to the peer it names.

use std::{error::Error, fmt};

use http::Uri;
use iroh::EndpointId;

/// The peer that `iroh://<endpoint id>` or `http://<endpoint id>` names.
///
/// The host is an endpoint id as iroh prints it (64 hexadecimal digits) or in its base-32 form. The path is the
/// business of the call, not of the target.
///
/// # Errors
/// [`InvalidTarget`] for another scheme, a port, user information, or a host that is no endpoint id.
pub fn peer_id(uri: &Uri) -> Result<EndpointId, InvalidTarget> {
    let invalid = |problem: String| InvalidTarget { uri: uri.to_string(), problem };
    match uri.scheme_str() {
        Some("iroh" | "http") => {}
        Some(other) => return Err(invalid(format!("the scheme is {other}"))),
        None => return Err(invalid("there is no scheme".into())),
    }
    let authority = uri.authority().ok_or_else(|| invalid("there is no host".into()))?;
    if authority.as_str() != authority.host() {
        return Err(invalid("a port or user information stands beside the endpoint id".into()));
    }
    authority.host().parse().map_err(|err| invalid(format!("its host is no endpoint id: {err}")))
}

/// A URI that names no peer.
#[derive(Clone, Debug)]
pub struct InvalidTarget {
    uri: String,
    problem: String,
}

impl fmt::Display for InvalidTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} names no peer: {}; write iroh://<endpoint id>", self.uri, self.problem)
    }
}

impl Error for InvalidTarget {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemes_name_the_peer() {
        let id = iroh::SecretKey::generate().public();
        for uri in [format!("iroh://{id}"), format!("http://{id}"), format!("http://{id}/pkg.Service/Method")] {
            assert_eq!(peer_id(&uri.parse().unwrap()).unwrap(), id);
        }
    }

    #[test]
    fn what_is_no_peer_is_refused_with_its_reason() {
        let id = iroh::SecretKey::generate().public();
        for (uri, reason) in [
            (format!("https://{id}"), "the scheme is https"),
            (format!("http://{id}:80"), "a port"),
            (format!("http://me@{id}"), "user information"),
            ("http://example.org".into(), "no endpoint id"),
            ("/path".into(), "no scheme"),
        ] {
            let err = peer_id(&uri.parse().unwrap()).unwrap_err().to_string();
            assert!(err.contains(reason) && err.contains(&uri), "{uri}: {err}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_target_names_one_peer_and_its_name_leads_back(text in "(iroh|http|https)://[0-9a-f]{60,66}(:[0-9]{1,5})?(/[ -~]{0,8})?") {
            let Ok(uri) = text.parse::<Uri>() else { return Ok(()) };
            let Ok(id) = peer_id(&uri) else { return Ok(()) };
            prop_assert_eq!(peer_id(&format!("iroh://{id}").parse().unwrap()).unwrap(), id);
            prop_assert_eq!(uri.host(), Some(&*id.to_string()));
        }

        #[test]
        fn every_key_is_a_target(seed in any::<[u8; 32]>()) {
            let id = iroh::SecretKey::from_bytes(&seed).public();
            prop_assert_eq!(peer_id(&format!("http://{id}/any/path").parse().unwrap()).unwrap(), id);
        }
    }
}
