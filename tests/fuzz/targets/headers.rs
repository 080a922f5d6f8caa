//! Headers of both wires, and the timeout: what passes is what the other wire may carry, and passes back.
#![no_main]

use flower_iroh_funnel::{fuzzing::Translator, protocol::CallError};
use fuzz::{Cut, Pieces, headers, now};
use http::{
    HeaderMap, HeaderValue, Request,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TE},
};
use libfuzzer_sys::fuzz_target;

const GRPC: &str = "/flwr.proto.Fleet/PullMessages";
const HTTP: &str = "/v1/fleet/pull-messages";

/// The headers of a call with an empty message, in the other wire.
fn translated(path: &str, mut headers: HeaderMap) -> Result<HeaderMap, CallError> {
    let body = if path == GRPC { &[0; 5][..] } else { &[] };
    let mut request =
        Request::post(path).body(Pieces::new(body, Cut::Nowhere, None).announcing(Some(0))).expect("it is one");
    if path == HTTP {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/protobuf"));
    }
    *request.headers_mut() = headers;
    let request = now(Translator::of(path).expect("the method is known").request(request))?;
    let mut headers = request.headers().clone();
    assert!(headers.remove(CONTENT_TYPE).is_some());
    if path == GRPC {
        assert!(headers.remove(CONTENT_LENGTH).is_some_and(|length| length == "0") && headers.remove(ACCEPT).is_some());
    } else {
        assert!(headers.remove(TE).is_some() && headers.remove("grpc-accept-encoding").is_some());
    }
    for name in
        ["te", "accept", "accept-encoding", "content-encoding", "content-length", "content-type", "date", "server"]
    {
        assert!(!headers.contains_key(name), "{name} belongs to the other wire");
    }
    assert!(headers.keys().all(|name| !name.as_str().starts_with("grpc-")), "{headers:?}");
    Ok(headers)
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

fn check_timeout(headers: &HeaderMap) {
    let request = |path: &str| {
        let mut request = Request::post(path).body(()).expect("it is one");
        *request.headers_mut() = headers.clone();
        Translator::of(path).expect("the method is known").deadline(&request).map_err(|failure| failure.to_string())
    };
    assert_eq!(request(HTTP), Ok(None), "HTTP has no timeout");
    let wanted = headers.get("grpc-timeout").map(|value| {
        let (unit, digits) = value.as_bytes().split_last()?;
        let nanos = [
            (b'H', 3_600_000_000_000),
            (b'M', 60_000_000_000),
            (b'S', 1_000_000_000),
            (b'm', 1_000_000),
            (b'u', 1000),
            (b'n', 1_u128),
        ];
        let nanos = nanos.into_iter().find(|(known, _)| known == unit)?.1;
        let is_number = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        is_number.then(|| nanos * digits.iter().fold(0, |number, digit| number * 10 + u128::from(digit - b'0')))
    });
    match wanted {
        None => assert_eq!(request(GRPC), Ok(None)),
        Some(None) => assert!(request(GRPC).is_err_and(|failure| failure.contains("grpc-timeout"))),
        Some(Some(nanos)) => {
            assert_eq!(request(GRPC).map(|timeout| timeout.map(|timeout| timeout.as_nanos())), Ok(Some(nanos)))
        }
    }
}

fuzz_target!(|lines: &[u8]| {
    let headers = headers(lines);
    check_timeout(&headers);
    if let Ok(metadata) = translated(HTTP, headers.clone()) {
        assert!(metadata.values().all(|value| value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'))));
        assert!(size(&metadata) <= 2 * size(&headers) + 100, "they grow");
        let http = translated(GRPC, metadata).expect("what gRPC carries passes back");
        let again = translated(HTTP, http.clone()).and_then(|metadata| translated(GRPC, metadata));
        assert_eq!(again.expect("and there again"), http);
    }
    if let Ok(http) = translated(GRPC, headers.clone()) {
        assert!(size(&http) <= 16 * size(&headers) + 100, "they grow");
    }
});
