//! Entry points for the fuzz targets of `tests/fuzz`, in addition to the public API.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;

use crate::{
    admission::roster::{self, Roster},
    call::redelivery::fuzzing as redelivery,
    protocol::{BoxError, CallError, Route, Translation},
    tunnel::Hello,
};

/// Parses a roster file.
///
/// # Errors
/// The first mistake in it.
pub fn read_roster(text: &str) -> Result<Roster, String> {
    roster::read(text)
}

/// Formats a roster as the text of its file.
pub fn write_roster(roster: &Roster) -> String {
    roster::write(roster)
}

/// Parses the ledger beside a roster, and formats it again.
///
/// # Errors
/// The first mistake in it.
pub fn rewrite_ledger(text: &str) -> Result<String, String> {
    roster::read_ledger(text).map(|ledger| roster::write_ledger(&ledger))
}

/// Parses a peer's answer to hello.
///
/// # Errors
/// If it is not a valid hello.
pub fn read_hello(status: StatusCode, body: &[u8]) -> Result<Hello, CallError> {
    Hello::parse(status, body)
}

/// Reads a message of redelivery; `None` if readers may differ about it. Also returns what was read, encoded again.
pub fn read_message(kind: Kind, message: &[u8]) -> Option<(Values, Vec<u8>)> {
    redelivery::read(kind, message)
}

/// Reads the node, the run, the object and the session of a `PushObjectRequest` whose body arrives in these pieces; `None` if
/// it is incomplete, or if readers may differ about it.
pub fn read_push<'a>(is_grpc: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<(u64, u64, String, String)> {
    redelivery::read_push(is_grpc, pieces)
}

/// Reads the objects that a `PushMessagesRequest` names, and turns `answer` into one that asks for all of them. Returns the
/// objects, and the objects and the session of the new answer. `None` if the request or the answer is ambiguous.
pub fn ask_again(request: &[u8], answer: &[u8]) -> Option<(BTreeSet<String>, Option<(Vec<String>, String)>)> {
    redelivery::ask_again(request, answer)
}

pub use crate::{
    call::redelivery::fuzzing::{Kind, Values},
    node::fuzzing as node,
};

/// Translates calls of one method from one wire to the other.
#[derive(Clone, Copy, Debug)]
pub struct Translator(Translation);

impl Translator {
    /// Returns the translator for calls with this path; `None` if the path is not a call's, or if the method is unknown in
    /// the other wire.
    pub fn of(path: &str) -> Option<Self> {
        let request = Request::post(path).body(()).ok()?;
        let Ok(Route::Call { api, wire, method, .. }) = Route::of(&request) else { return None };
        Translation::of(api, method, path, wire).ok().map(Self)
    }

    /// Returns how long the caller waits, if the request sets a deadline.
    ///
    /// # Errors
    /// If the deadline is malformed.
    pub fn deadline<B>(&self, request: &Request<B>) -> Result<Option<Duration>, CallError> {
        self.0.deadline(request)
    }

    /// Translates the caller's request to the other wire.
    ///
    /// # Errors
    /// If the request cannot be translated.
    pub async fn request<B>(
        &self,
        request: Request<B>,
    ) -> Result<Request<impl Body<Data = Bytes, Error = BoxError> + use<B>>, CallError>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        self.0.request(request).await
    }

    /// Translates the SuperLink's response to the caller's wire.
    ///
    /// # Errors
    /// If the response cannot be translated.
    pub async fn response<B>(
        &self,
        response: Response<B>,
    ) -> Result<Response<impl Body<Data = Bytes, Error = BoxError> + use<B>>, CallError>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        self.0.response(response).await.map(|answer| answer.response)
    }
}
