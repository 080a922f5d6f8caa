//! Translates HTTP headers to gRPC metadata and back.
//!
//! ```text
//! HTTP                            gRPC
//! flwr-public-key: base64         flwr-public-key-bin: bytes
//! flwr-signature: base64          flwr-signature-bin: bytes
//! authorization: Bearer TOKEN     flwr-oidc-access-token: TOKEN
//! ```
//! All others keep their names. In gRPC's wire, bytes are base64, mostly without padding, and several values of one name may
//! be joined by commas.

use std::fmt;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, SERVER, TE,
    },
};

use super::super::{CallError, Status};

/// Headers of the body or the connection, which are not translated: the other wire has its own.
static OF_THE_WIRE: [HeaderName; 8] =
    [ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, SERVER, TE];
const OF_GRPC: &str = "grpc-";

/// Bytes in gRPC, base64 in HTTP.
static BINARY: [(HeaderName, HeaderName); 2] = [
    (HeaderName::from_static("flwr-public-key"), HeaderName::from_static("flwr-public-key-bin")),
    (HeaderName::from_static("flwr-signature"), HeaderName::from_static("flwr-signature-bin")),
];
const BINARY_SUFFIX: &str = "-bin";
/// The most values joined in one. Each becomes a header with the name, so that a few bytes of commas could become very many.
const MAX_JOINED: usize = 16;

/// The header in which the Control API of Flower up to 1.36 expects the token of an account.
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("flwr-oidc-access-token");
const BEARER: &str = "Bearer ";

/// gRPC's libraries write base64 with or without padding; both are accepted.
const ANY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Translates gRPC metadata to HTTP headers.
pub(super) fn to_http(metadata: &HeaderMap) -> Result<HeaderMap, CallError> {
    let mut headers = HeaderMap::with_capacity(metadata.len());
    for (name, value) in passing(metadata) {
        if !name.as_str().ends_with(BINARY_SUFFIX) {
            headers.append(name, value.clone());
            continue;
        }
        let http_name = BINARY.iter().find(|(_, grpc)| grpc == name).map_or(name, |(http, _)| http);
        let values = value.as_bytes().split(|byte| *byte == b',');
        if values.clone().count() > MAX_JOINED {
            return Err(malformed(name, format_args!("more than {MAX_JOINED} values are joined in it")));
        }
        for value in values {
            headers.append(http_name, recoded(name, value.trim_ascii(), &BASE64_STANDARD)?);
        }
    }
    if let (Some(token), false) = (metadata.get(ACCESS_TOKEN), headers.contains_key(AUTHORIZATION)) {
        let bearer = HeaderValue::try_from([BEARER.as_bytes(), token.as_bytes()].concat());
        headers.insert(AUTHORIZATION, bearer.expect("a header value with a prefix is one"));
    }
    Ok(headers)
}

/// Translates HTTP headers to gRPC metadata.
pub(super) fn to_grpc(headers: &HeaderMap) -> Result<HeaderMap, CallError> {
    let mut metadata = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in passing(headers) {
        if let Some((_, grpc)) = BINARY.iter().find(|(http, _)| http == name) {
            metadata.append(grpc, recoded(name, value.as_bytes(), &BASE64_STANDARD_NO_PAD)?);
        } else if name.as_str().ends_with(BINARY_SUFFIX) {
            metadata.append(name, recoded(name, value.as_bytes(), &BASE64_STANDARD_NO_PAD)?);
        } else if value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')) {
            metadata.append(name, value.clone());
        } else {
            return Err(malformed(name, "gRPC accepts only printable ASCII"));
        }
    }
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(BEARER.as_bytes()));
    if let (Some(token), false) = (bearer, metadata.contains_key(ACCESS_TOKEN)) {
        let token = HeaderValue::from_bytes(token).map_err(|_| malformed(&AUTHORIZATION, "the token is not valid"))?;
        metadata.insert(ACCESS_TOKEN, token);
    }
    Ok(metadata)
}

fn passing(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    headers.iter().filter(|(name, _)| !OF_THE_WIRE.contains(name) && !name.as_str().starts_with(OF_GRPC))
}

fn recoded(name: &HeaderName, value: &[u8], to: &GeneralPurpose) -> Result<HeaderValue, CallError> {
    let bytes = ANY_BASE64.decode(value).map_err(|_| malformed(name, "it must be base64"))?;
    Ok(HeaderValue::try_from(to.encode(bytes)).expect("base64 is a header value"))
}

fn malformed(name: &HeaderName, problem: impl fmt::Display) -> CallError {
    CallError::new(Status::MALFORMED, format_args!("the header {name} cannot be translated: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_nodes_signature_passes_both_ways() {
        let http = map(&[
            ("flwr-public-key", "AAH/+w=="),
            ("flwr-signature", "/+8="),
            ("flwr-timestamp", "2026-01-01T00:00:00+00:00"),
        ]);
        let grpc = map(&[
            ("flwr-public-key-bin", "AAH/+w"),
            ("flwr-signature-bin", "/+8"),
            ("flwr-timestamp", "2026-01-01T00:00:00+00:00"),
        ]);
        assert_eq!(to_grpc(&http).unwrap(), grpc);
        assert_eq!(to_http(&grpc).unwrap(), http);
    }

    #[test]
    fn bytes_are_read_with_and_without_padding_and_joined() {
        let headers = to_http(&map(&[("x-a-bin", "AA==,/+8, AAH/")])).unwrap();
        let values: Vec<_> = headers.get_all("x-a-bin").iter().collect();
        assert_eq!(values, ["AA==", "/+8=", "AAH/"]);
    }

    #[test]
    fn very_many_commas_do_not_become_as_many_headers() {
        assert_eq!(to_http(&map(&[("x-a-bin", &",".repeat(15))])).unwrap().get_all("x-a-bin").iter().count(), 16);
        let error = to_http(&map(&[("x-a-bin", &",".repeat(16))])).unwrap_err().to_string();
        assert!(error.contains("x-a-bin") && error.contains("more than 16 values"), "{error}");
    }

    #[test]
    fn an_accounts_token_is_where_each_wire_expects_it() {
        let http = to_http(&map(&[("flwr-oidc-access-token", "abc")])).unwrap();
        assert_eq!(http["authorization"], "Bearer abc");
        let grpc = to_grpc(&map(&[("authorization", "Bearer abc")])).unwrap();
        assert_eq!(grpc["flwr-oidc-access-token"], "abc");
    }

    #[test]
    fn headers_of_one_wire_are_not_translated() {
        let headers = map(&[
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", "5S"),
            ("grpc-accept-encoding", "gzip"),
            ("user-agent", "grpc-python/1.7"),
        ]);
        assert_eq!(to_http(&headers).unwrap(), map(&[("user-agent", "grpc-python/1.7")]));
        let headers =
            map(&[("content-length", "5"), ("accept", "*/*"), ("accept-encoding", "gzip"), ("x-flwr-client", "a")]);
        assert_eq!(to_grpc(&headers).unwrap(), map(&[("x-flwr-client", "a")]));
    }

    #[test]
    fn values_that_the_other_wire_cannot_carry_are_refused() {
        assert!(to_http(&map(&[("flwr-signature-bin", "a b")])).is_err());
        assert!(to_grpc(&map(&[("flwr-signature", "%%%")])).is_err());
        let mut headers = HeaderMap::new();
        headers.insert("flwr-x", HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(to_grpc(&headers).is_err());
    }
}

#[cfg(test)]
mod properties {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn headers() -> impl Strategy<Value = HeaderMap> {
        let name = prop_oneof![
            "(flwr-public-key|flwr-signature|authorization|flwr-oidc-access-token|te|grpc-status|content-length)",
            "(flwr-signature-bin|flwr-public-key-bin|x-[a-z]{1,3}-bin)",
            "[a-z][a-z0-9-]{0,12}",
        ];
        let value = prop_oneof![
            vec(any::<u8>(), 0..20).prop_map(|bytes| BASE64_STANDARD.encode(bytes).into_bytes()),
            "Bearer [a-z0-9.]{0,10}".prop_map(String::into_bytes),
            vec(any::<u8>(), 0..12),
        ];
        vec((name, value), 0..6).prop_map(|headers| {
            let header = |(name, value): (String, Vec<u8>)| {
                Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
            };
            headers.into_iter().filter_map(header).collect()
        })
    }

    proptest! {
        #[test]
        fn what_passes_into_grpc_is_what_grpc_may_carry(headers in headers()) {
            let Ok(metadata) = to_grpc(&headers) else { return Ok(()) };
            for (name, value) in &metadata {
                prop_assert!(!OF_THE_WIRE.contains(name) && !name.as_str().starts_with(OF_GRPC), "{}", name);
                prop_assert!(value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')), "{:?}", value);
            }
        }

        #[test]
        fn what_was_translated_once_is_the_same_after_a_way_there_and_back(headers in headers()) {
            let Ok(metadata) = to_grpc(&headers) else { return Ok(()) };
            let http = to_http(&metadata).expect("what gRPC carries passes back");
            let again = to_http(&to_grpc(&http).expect("and there again")).unwrap();
            prop_assert_eq!(http, again);
        }

        #[test]
        fn bytes_are_the_same_bytes_in_either_wire(bytes in vec(any::<u8>(), 0..100)) {
            let value = HeaderValue::try_from(BASE64_STANDARD.encode(bytes)).unwrap();
            let http: HeaderMap = [(BINARY[1].0.clone(), value)].into_iter().collect();
            prop_assert_eq!(to_http(&to_grpc(&http).unwrap()).unwrap(), http);
        }
    }
}
