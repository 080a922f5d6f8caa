//! Flower's errors, in each wire's form.
//!
//! ```text
//! HTTP   status 404, body {"code": 16, "detail": "...", "extra": "..."}
//! gRPC   status 5, message {"code": 16, "public_message": "...", "public_details": "..."}
//! ```
//! An error without a code is `{"detail": "..."}` in HTTP and a plain text in gRPC.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

use super::{
    Api, Status, Wire,
    status::{Counterpart, UNKNOWN},
};

/// What `grpc-message` percent-encodes: it has printable ASCII except `%`, and the other bytes of its UTF-8 as `%XX`.
const UNPRINTABLE: &AsciiSet = &CONTROLS.add(b'%');
/// The longest body of an HTTP error, in bytes, as in Flower's own client.
pub(crate) const MAX_ERROR_BODY: usize = 64 << 10;
/// The longest text of an error, in bytes, and the longest encoded form: gRPC's C core accepts 8 KiB of headers.
const MAX_TEXT: usize = 1024;
const MAX_ENCODED: usize = 3 * MAX_TEXT;
/// What stands at the end of a text that was longer.
const CUT: &str = " [cut short here]";
/// The longest encoded form of one byte of a text, in bytes.
const MAX_WIDTH: usize = 6;
/// A SuperNode up to 1.39 gives up instead of retrying if an UNAVAILABLE has these words (measured).
const GIVE_UP: &str = "handshake failed";
/// The names in HTTP and in gRPC of an error's texts: the message, and details.
const NAMES: [(&str, &str); 2] = [("detail", "public_message"), ("extra", "public_details")];

/// An error on its way to a Flower client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FlowerError {
    status: Status,
    /// Flower's own code, if it has one.
    code: Option<u64>,
    /// Message and details.
    texts: [Option<String>; NAMES.len()],
}

impl FlowerError {
    /// Makes an error without a code.
    pub(super) fn plain(status: Status, message: &str) -> Self {
        Self { status, code: None, texts: [Some(clipped(message)), None] }
    }

    /// Parses an HTTP server's error. The flag is `false` if gRPC has no such status.
    pub(crate) fn of_http(status: StatusCode, body: &[u8], api: Api) -> (Self, bool) {
        let counterpart = Status::of_http(status, api);
        let object = serde_json::from_slice::<Map<String, Value>>(body).ok();
        if let Some(coded) = object.as_ref().and_then(|object| Self::coded(object, counterpart, |names| names.0)) {
            return coded;
        }
        let message = match object.as_ref().and_then(|object| object.get("detail")) {
            Some(Value::String(detail)) => detail.clone(),
            Some(detail) => detail.to_string(),
            None => format!("{status}: {}", String::from_utf8_lossy(body)),
        };
        (Self::plain(counterpart.status, &message), counterpart.exact)
    }

    /// Parses a gRPC server's `grpc-status` and `grpc-message`. The flag is `false` if HTTP has no such status.
    pub(crate) fn of_grpc(trailers: &HeaderMap, api: Api) -> (Self, bool) {
        let text = |name| trailers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        let status = text("grpc-status").parse().unwrap_or(UNKNOWN);
        let message = percent_decode_str(text("grpc-message")).decode_utf8_lossy();
        let counterpart = Status::of_grpc(status, api);
        let object = serde_json::from_str::<Map<String, Value>>(&message).ok();
        let coded = object.and_then(|object| Self::coded(&object, counterpart, |names| names.1));
        coded.unwrap_or_else(|| {
            let message = if message.is_empty() { format!("gRPC status {status}") } else { message.into_owned() };
            (Self::plain(counterpart.status, &message), counterpart.exact)
        })
    }

    /// Parses an error with a code, which determines the status: a gRPC status alone may have two HTTP counterparts.
    fn coded(
        object: &Map<String, Value>,
        otherwise: Counterpart,
        name: fn(&(&'static str, &'static str)) -> &'static str,
    ) -> Option<(Self, bool)> {
        let code = object.get("code")?.as_u64()?;
        let texts = NAMES.each_ref().map(|names| object.get(name(names)).and_then(Value::as_str).map(clipped));
        texts[0].as_ref()?;
        let known = Status::of_code(code);
        let status = known.unwrap_or(otherwise.status);
        Some((Self { status, code: Some(code), texts }, known.is_some() || otherwise.exact))
    }

    /// Returns whether it is Flower's own error, and not a web server's.
    pub(crate) fn has_code(&self) -> bool {
        self.code.is_some()
    }

    /// Makes the answer to a call in this wire; in gRPC it has only trailers.
    pub(crate) fn response(&self, wire: Wire) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        match wire {
            Wire::Grpc => {
                *response.headers_mut() = self.trailers();
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
                // For a caller that was refused because it compresses.
                response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
            }
            Wire::Http => {
                *response.body_mut() = Bytes::from(self.json(|names| names.0));
                *response.status_mut() = self.status.http();
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                if self.status.http() == StatusCode::UNAUTHORIZED {
                    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
            }
        }
        response
    }

    /// Makes the trailers of a gRPC response.
    pub(crate) fn trailers(&self) -> HeaderMap {
        let message = match self.code {
            Some(_) => self.json(|names| names.1),
            None => self.texts[0].clone().unwrap_or_default(),
        };
        let message = message.replace(GIVE_UP, "handshake did not succeed");
        let message = utf8_percent_encode(&message, UNPRINTABLE).to_string();
        let mut trailers = HeaderMap::with_capacity(2);
        trailers.insert("grpc-status", HeaderValue::from(u16::from(self.status.grpc())));
        trailers.insert("grpc-message", HeaderValue::try_from(message).expect("printable ASCII is a header value"));
        trailers
    }

    fn json(&self, name: fn(&(&'static str, &'static str)) -> &'static str) -> String {
        let code = self.code.map(|code| ("code".to_owned(), Value::from(code)));
        let text = |(names, text): (_, &Option<String>)| Some((name(names).to_owned(), Value::from(text.clone()?)));
        let object: Map<_, _> = code.into_iter().chain(NAMES.iter().zip(&self.texts).filter_map(text)).collect();
        Value::Object(object).to_string()
    }
}

impl fmt::Display for FlowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.texts[0].as_deref().unwrap_or_default())
    }
}

/// Returns a text that fits into an error. One that does not is cut, and says so.
fn clipped(text: &str) -> String {
    if text.len() * MAX_WIDTH <= MAX_ENCODED || beginning(text, MAX_TEXT, MAX_ENCODED) == text {
        return text.to_owned();
    }
    let kept = beginning(text, MAX_TEXT - CUT.len(), MAX_ENCODED - CUT.len());
    [kept, CUT].concat()
}

/// Returns as much of a text as fits into these lengths, as it is and encoded.
fn beginning(text: &str, max: usize, max_encoded: usize) -> &str {
    let text = &text[..text.floor_char_boundary(max)];
    let mut left = max_encoded;
    let end = text.char_indices().find(|(_, letter)| {
        let room = left.checked_sub(encoded_len(*letter));
        left = room.unwrap_or_default();
        room.is_none()
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// Returns the longest form of a character as JSON in a `grpc-message`, in bytes.
fn encoded_len(letter: char) -> usize {
    match letter {
        '\0'..='\x1f' => MAX_WIDTH,
        '\"' | '\\' => 2,
        ' '..='~' if letter != '%' => 1,
        _ => 3 * letter.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: u16, body: &str) -> (FlowerError, bool) {
        FlowerError::of_http(StatusCode::from_u16(status).unwrap(), body.as_bytes(), Api::Fleet)
    }

    fn grpc(status: &'static str, message: &str) -> (FlowerError, bool) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        trailers.insert("grpc-message", HeaderValue::try_from(message).unwrap());
        FlowerError::of_grpc(&trailers, Api::Fleet)
    }

    fn message_of(error: &FlowerError) -> String {
        let trailers = error.trailers();
        percent_decode_str(trailers["grpc-message"].to_str().unwrap()).decode_utf8().unwrap().into_owned()
    }

    #[test]
    fn flowers_own_error_keeps_code_message_and_details_in_the_other_wire() {
        let (error, exact) = http(404, r#"{"code": 16, "detail": "No run ×", "extra": "id 7"}"#);
        assert!(exact && error.has_code());
        assert_eq!(error.trailers()["grpc-status"], "5");
        let json: Value = serde_json::from_str(&message_of(&error)).unwrap();
        assert_eq!(json, serde_json::json!({"code": 16, "public_message": "No run ×", "public_details": "id 7"}));

        let (error, _) = grpc("3", r#"{"code": 1002, "public_message": "Bad type", "public_details": null}"#);
        let response = error.response(Wire::Http);
        assert_eq!(response.status(), 415, "the code knows better than the gRPC status");
        let json: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(json, serde_json::json!({"code": 1002, "detail": "Bad type"}));
    }

    #[test]
    fn an_error_without_a_code_is_a_text() {
        let (error, exact) = http(401, r#"{"detail": "Not authenticated"}"#);
        assert!(exact && !error.has_code());
        assert_eq!(
            (&error.trailers()["grpc-status"], &*message_of(&error)),
            (&"16".parse().unwrap(), "Not authenticated")
        );
        assert_eq!(error.response(Wire::Http).headers()[WWW_AUTHENTICATE], "Bearer");

        let (error, _) = grpc("7", "100%25 wrong");
        let json: Value = serde_json::from_slice(error.response(Wire::Http).body()).unwrap();
        assert_eq!(json, serde_json::json!({"detail": "100% wrong"}));
    }

    #[test]
    fn an_error_that_is_not_flowers_keeps_the_status_it_came_with() {
        for body in
            ["", "<html>", "[1]", r#"{"code": "16", "detail": 5}"#, r#"{"code": 16}"#, r#"{"code": -1, "detail": "x"}"#]
        {
            let (error, exact) = http(418, body);
            assert_eq!((error.status, error.code, exact), (Status::UNAVAILABLE, None, false), "{body}");
        }
        let (error, exact) = grpc("nonsense", "");
        assert_eq!((error.status, exact), (Status::UNAVAILABLE, false));
    }

    #[test]
    fn a_code_of_a_newer_flower_keeps_the_status_it_came_with() {
        let (error, exact) = http(412, r#"{"code": 9999, "detail": "new"}"#);
        assert!(exact);
        assert_eq!(error.trailers()["grpc-status"], "9");
    }

    #[test]
    fn no_text_makes_a_supernode_give_up() {
        let error = FlowerError::plain(Status::UNAVAILABLE, "the cryptographic handshake failed: error 40");
        assert_eq!(message_of(&error), "the cryptographic handshake did not succeed: error 40");
    }

    #[test]
    fn a_text_that_is_cut_says_so_once_and_one_that_fits_is_whole() {
        let fits = "x".repeat(MAX_TEXT);
        assert_eq!(clipped(&fits), fits);
        let cut = clipped(&format!("{fits}y"));
        assert!(cut.starts_with("xx") && cut.ends_with(CUT) && cut.len() == MAX_TEXT, "{cut}");
        assert_eq!(clipped(&cut), cut);
    }

    #[test]
    fn a_long_text_fits_into_headers() {
        let long = "œ".repeat(100_000);
        let body = serde_json::json!({"code": 16, "detail": long, "extra": long}).to_string();
        let (error, _) = http(404, &body);
        assert!(error.trailers()["grpc-message"].len() < 8 << 10);
        for letter in ["\u{1}", "\"", "%", "\u{7f}", "😀"] {
            let long = letter.repeat(2000);
            let body = serde_json::json!({"code": 16, "detail": long, "extra": long}).to_string();
            let written = http(404, &body).0.trailers()["grpc-message"].len();
            assert!((1024..8 << 10).contains(&written), "{letter:?}: {written}");
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn an_error_with_a_code_is_the_same_after_a_way_there_and_back(
            code in any::<u64>(),
            detail in "\\PC{0,80}",
            extra in proptest::option::of("\\PC{0,80}"),
        ) {
            prop_assume!(!detail.contains(GIVE_UP));
            let status = Status::of_code(code).unwrap_or(Status::UNAVAILABLE);
            let error = FlowerError { status, code: Some(code), texts: [Some(detail), extra] };
            let response = error.response(Wire::Http);
            let (of_http, _) = FlowerError::of_http(response.status(), response.body(), Api::Fleet);
            prop_assert_eq!(&of_http, &error);
            prop_assert_eq!(&FlowerError::of_grpc(&of_http.trailers(), Api::Fleet).0, &error);
        }

        #[test]
        fn whatever_a_server_says_is_a_short_error_that_leaves_a_supernode_alive(
            status in 400..600u16,
            body in prop_oneof![vec(any::<u8>(), 0..3000), "[{\\[\":,a-z0-9}\\]]{0,60}".prop_map(String::into_bytes)],
        ) {
            let status = StatusCode::from_u16(status).unwrap();
            let (error, exact) = FlowerError::of_http(status, &body, Api::Fleet);
            let trailers = error.trailers();
            prop_assert!(trailers["grpc-message"].len() < 8 << 10);
            prop_assert!(exact || trailers["grpc-status"] == "14");
            prop_assert!(!trailers["grpc-message"].to_str().unwrap().contains(GIVE_UP));
        }
    }
}
