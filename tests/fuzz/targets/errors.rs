//! Errors and statuses of both wires: whatever a server says becomes a short error that is the same after each way.
#![no_main]

use flower_iroh_funnel::{Api, fuzzing::Translator, protocol::Status};
use fuzz::{Cut, Pieces, now, whole};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use libfuzzer_sys::{Corpus, fuzz_target};
use percent_encoding::percent_decode;

/// What gRPC's C core takes of headers.
const MAX_MESSAGE: usize = 8 << 10;
/// At these words a SuperNode gives up.
const GIVE_UP: &str = "handshake failed";
/// In gRPC's wire and in HTTP's.
const METHODS: [[&str; 2]; 2] = [
    ["/flwr.proto.Fleet/PullMessages", "/v1/fleet/pull-messages"],
    ["/flwr.proto.Control/StartRun", "/v1/control/start-run"],
];

fn to_grpc(paths: [&str; 2], status: StatusCode, body: &[u8]) -> HeaderMap {
    let response = Response::builder().status(status).body(Pieces::new(body, Cut::Nowhere, None)).expect("it is one");
    let response = now(Translator::of(paths[0]).expect("it is known").response(response)).expect("an error is carried");
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    let message = headers["grpc-message"].as_bytes();
    assert!(message.len() < MAX_MESSAGE, "{} bytes", message.len());
    assert!(message.iter().all(|byte| matches!(byte, b' '..=b'~')));
    let text = percent_decode(message).decode_utf8().expect("it is UTF-8");
    assert!(!text.contains(GIVE_UP), "{text}");
    headers
}

fn to_http(paths: [&str; 2], headers: HeaderMap) -> Option<(StatusCode, Vec<u8>)> {
    let mut response = Response::new(Pieces::new(b"", Cut::Nowhere, None));
    *response.headers_mut() = headers;
    let response = now(Translator::of(paths[1]).expect("it is known").response(response)).ok()?;
    let (parts, body) = response.into_parts();
    let body = whole(body).bytes;
    if !parts.status.is_success() {
        assert!(body.len() < 2 * MAX_MESSAGE, "{} bytes", body.len());
        let json: serde_json::Value = serde_json::from_slice(&body).expect("it is JSON");
        assert!(json["detail"].is_string(), "{json}");
    }
    Some((parts.status, body))
}

fuzz_target!(|data: (u16, &[u8])| -> Corpus {
    let (kind, said) = data;
    let (is_grpc, paths, number) = (kind & 1 == 0, METHODS[usize::from(kind >> 1 & 1)], kind >> 2);
    let first = if is_grpc {
        let mut headers = HeaderMap::new();
        let text = number.to_string();
        let status = if number > 255 {
            HeaderValue::from_static("none")
        } else {
            HeaderValue::try_from(text).expect("a number")
        };
        headers.insert("grpc-status", status);
        let Ok(message) = HeaderValue::from_bytes(said) else { return Corpus::Reject };
        headers.insert("grpc-message", message);
        match to_http(paths, headers) {
            Some((status, body)) if !status.is_success() => (status, body),
            _ if number == 0 => return Corpus::Keep,
            other => panic!("{other:?} is no error"),
        }
    } else {
        let Ok(status) = StatusCode::from_u16(300 + number % 300) else { return Corpus::Reject };
        to_http(paths, to_grpc(paths, status, said)).expect("an error is carried")
    };
    // After a way there and back, nothing changes any more.
    let there = to_grpc(paths, first.0, &first.1);
    let back = to_http(paths, there.clone()).expect("an error is carried");
    // But for the words that take the place of those at which a SuperNode gives up: they are longer, and may be clipped.
    if !String::from_utf8_lossy(there["grpc-message"].as_bytes()).contains("did not succeed") {
        assert_eq!(to_grpc(paths, back.0, &back.1), there);
    }
    for api in Api::ALL {
        let counterpart = Status::of_http(first.0, api);
        assert!(counterpart.exact || counterpart.status == Status::UNAVAILABLE);
        assert!(!Status::of_grpc(counterpart.status.grpc(), api).status.http().is_success());
    }
    Corpus::Keep
});
