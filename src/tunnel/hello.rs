//! Hello: the first exchange of two funnels.
//!
//! The inbound funnel itself answers `GET /.funnel/hello`, in JSON. The answer proves to the dialling funnel that it is admitted,
//! since QUIC's handshake succeeds for every peer. New features are announced here.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use crate::{
    protocol::{BoxError, CallError},
    report::chain,
};

/// The longest answer, in bytes: a hello lists five APIs at most.
const MAX_HELLO: usize = 64 << 10;
/// The most bytes of an invalid answer that the error repeats.
const MAX_SHOWN: usize = 256;
/// The most APIs in a hello, and upstreams of each. A newer funnel may have more than today's five.
const MAX_APIS: usize = 16;
/// The longest word, in characters, since its words are logged and printed.
const MAX_WORD: usize = 32;

/// A random number for this process.
static START: LazyLock<u32> = LazyLock::new(|| fastrand::u32(..));

/// The inbound funnel's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hello {
    /// The version of the inbound funnel.
    pub version: String,
    /// The APIs that the asking peer may call.
    pub apis: Vec<ApiReport>,
    /// A random number for each start of the inbound funnel, since links to an earlier process are dead. Older funnels do not
    /// send it.
    #[serde(default)]
    pub start: Option<u32>,
}

/// One API that the asking peer may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApiReport {
    /// Its name, as in `Api`; an unknown one comes from a newer funnel.
    pub api: String,
    /// The upstreams behind it.
    pub wires: Vec<WireReport>,
}

/// One upstream of an API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WireReport {
    /// `http` or `grpc`.
    pub wire: String,
    /// `up`, `down`, `not served` or `unknown`.
    pub state: String,
}

impl Hello {
    pub(crate) fn new(apis: Vec<ApiReport>) -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), apis, start: Some(*START) }
    }

    /// Returns whether the funnel has restarted since it sent `before`.
    pub(super) fn is_of_another_start(&self, before: &Self) -> bool {
        self.start.zip(before.start).is_some_and(|(now, before)| now != before)
    }

    /// Returns whether the asking peer may call this API.
    pub fn offers(&self, api: &str) -> bool {
        self.apis.iter().any(|report| report.api == api)
    }

    /// Makes the answer to the asking peer.
    pub(crate) fn response(&self) -> http::Response<Bytes> {
        let json = serde_json::to_vec(self).expect("names and lists are JSON");
        let mut response = http::Response::new(Bytes::from(json));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    pub(super) async fn read(response: http::Response<Incoming>) -> Result<Self, CallError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_HELLO).collect().await;
        let body = body.map_err(|error: BoxError| {
            let reason = format!("broke off: {}", chain(&*error));
            failed(&reason).caused_by(error)
        });
        let body = body?.to_bytes();
        Self::parse(status, &body)
    }

    pub(crate) fn parse(status: StatusCode, body: &[u8]) -> Result<Self, CallError> {
        if status != StatusCode::OK {
            return Err(failed(&format!("has status {status}: {}", beginning(&String::from_utf8_lossy(body)))));
        }
        let hello: Self = serde_json::from_slice(body)
            .map_err(|error| failed(&format!("is not valid: {}", beginning(&error.to_string()))))?;
        if hello.is_presentable() { Ok(hello) } else { Err(failed("has too many or invalid words")) }
    }

    /// Returns whether it can be logged and printed, line by line.
    fn is_presentable(&self) -> bool {
        let is_word = |word: &String| word.chars().count() <= MAX_WORD && !word.contains(char::is_control);
        let wires = self.apis.iter().flat_map(|report| &report.wires);
        self.apis.len() <= MAX_APIS
            && self.apis.iter().all(|report| report.wires.len() <= MAX_APIS && is_word(&report.api))
            && wires.into_iter().all(|report| is_word(&report.wire) && is_word(&report.state))
            && is_word(&self.version)
    }
}

/// Returns the part of a peer's text that is logged.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_SHOWN)]
}

fn failed(problem: &str) -> CallError {
    CallError::unavailable(format_args!("the peer's hello {problem}"))
}

impl ApiReport {
    pub(crate) fn new(api: String, wires: Vec<WireReport>) -> Self {
        Self { api, wires }
    }
}

impl WireReport {
    pub(crate) fn new(wire: String, state: String) -> Self {
        Self { wire, state }
    }
}

impl std::fmt::Display for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wire = |report: &WireReport| format!("{} {}", report.wire, report.state);
        let api = |report: &ApiReport| {
            format!("{} ({})", report.api, report.wires.iter().map(wire).collect::<Vec<_>>().join(", "))
        };
        f.write_str(&self.apis.iter().map(api).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_an_invalid_hello_is_short() {
        let long = "œ".repeat(10_000);
        for (status, body) in
            [(404, long.clone()), (200, format!("{{\"version\": {{\"{long}\": 1}}}}")), (200, format!("\"{long}\""))]
        {
            let reason = Hello::parse(StatusCode::from_u16(status).unwrap(), body.as_bytes()).unwrap_err().to_string();
            assert!(reason.len() < 400 && reason.starts_with("the peer's hello "), "{reason}");
        }
    }

    #[test]
    fn a_hello_with_words_that_would_spoil_a_log_or_a_terminal_is_refused() {
        let wire = |word: &str| WireReport::new(word.to_owned(), "up".to_owned());
        let hello = |words: &[&str]| {
            let wires = words.iter().map(|word| wire(word)).collect();
            let sent = Hello::new(vec![ApiReport::new("fleet".to_owned(), wires)]).response().into_body();
            Hello::parse(StatusCode::OK, &sent)
        };
        assert!(hello(&["http", "grpc"]).is_ok());
        for words in [&["x".repeat(33).as_str()][..], &["http\nready"], &["\u{1b}[2J"], &["http"; 17]] {
            assert!(hello(words).is_err(), "{words:?}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn hello() -> impl Strategy<Value = Hello> {
        let wire = ("\\PC{0,8}", "\\PC{0,8}").prop_map(|(wire, state)| WireReport::new(wire, state));
        let api = ("\\PC{0,8}", vec(wire, 0..3)).prop_map(|(api, wires)| ApiReport::new(api, wires));
        (vec(api, 0..4), any::<Option<u32>>()).prop_map(|(apis, start)| Hello { start, ..Hello::new(apis) })
    }

    proptest! {
        #[test]
        fn a_hello_is_parsed_as_it_was_sent_whatever_a_newer_funnel_adds(hello in hello(), key in "new_[a-z]{1,8}") {
            let sent = hello.response().into_body();
            prop_assert_eq!(&serde_json::from_slice::<Hello>(&sent).unwrap(), &hello);
            let mut object: serde_json::Map<_, _> = serde_json::from_slice(&sent).unwrap();
            object.insert(key, serde_json::json!([1, {"a": null}]));
            prop_assert_eq!(&serde_json::from_value::<Hello>(object.into()).unwrap(), &hello);
        }

        #[test]
        fn a_hello_cut_anywhere_is_refused(hello in hello(), at in any::<prop::sample::Index>()) {
            let sent = hello.response().into_body();
            prop_assert!(serde_json::from_slice::<Hello>(&sent[..at.index(sent.len())]).is_err());
        }
    }
}
