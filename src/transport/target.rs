//! From a URI to the peer that it names.

use http::Uri;
use iroh::EndpointId;

/// Returns the peer that `iroh://<endpoint id>` or `http://<endpoint id>` names.
///
/// The host is an endpoint id as iroh prints it (64 hexadecimal digits) or in its base-32 form. The path belongs to the call
/// and is ignored.
///
/// # Errors
/// [`InvalidTarget`] for another scheme, a port, user information, or a host that is not a valid endpoint id.
pub fn peer_id(uri: &Uri) -> Result<EndpointId, InvalidTarget> {
    let invalid = |problem: String| InvalidTarget { uri: uri.to_string(), problem };
    match uri.scheme_str() {
        Some("iroh" | "http") => {}
        Some(other) => return Err(invalid(format!("the scheme is {other}"))),
        None => return Err(invalid("there is no scheme".into())),
    }
    let authority = uri.authority().ok_or_else(|| invalid("there is no host".into()))?;
    if authority.as_str() != authority.host() {
        return Err(invalid("there is a port or user information beside the endpoint id".into()));
    }
    authority.host().parse().map_err(|err| invalid(format!("its host is not a valid endpoint id: {err}")))
}

/// A URI that does not name a peer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{uri:?} does not name a peer: {problem}; write iroh://<endpoint id>")]
pub struct InvalidTarget {
    uri: String,
    problem: String,
}

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
    fn an_invalid_target_is_refused_with_its_reason() {
        let id = iroh::SecretKey::generate().public();
        for (uri, reason) in [
            (format!("https://{id}"), "the scheme is https"),
            (format!("http://{id}:80"), "a port"),
            (format!("http://me@{id}"), "user information"),
            ("http://example.org".into(), "not a valid endpoint id"),
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
