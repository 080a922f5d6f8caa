//! What the fuzz targets of `tests/fuzz` reach beside the public API.

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

/// The roster that a file's text holds.
///
/// # Errors
/// What is wrong with it.
pub fn read_roster(text: &str) -> Result<Roster, String> {
    roster::read(text)
}

/// The text of a roster's file.
pub fn write_roster(roster: &Roster) -> String {
    roster::write(roster)
}

/// What a peer's answer to the first question says.
///
/// # Errors
/// It is no hello.
pub fn read_hello(status: StatusCode, body: &[u8]) -> Result<Hello, CallError> {
    Hello::parse(status, body)
}

/// The small fields of a protobuf message that comes in these pieces, if it is one: numbers, or else bytes.
pub fn read_fields<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<redelivery::Fields> {
    redelivery::read_fields(pieces)
}

/// The objects that a `PushMessagesRequest` names, and of the answer that asks for all of them, made of another answer: the
/// objects that it asks for, and its session. `None` if either is not one.
pub fn ask_again(request: &[u8], answer: &[u8]) -> Option<(BTreeSet<String>, Option<(Vec<String>, String)>)> {
    redelivery::ask_again(request, answer)
}

#[cfg(feature = "node")]
pub use crate::node::fuzzing as node;

/// Carries calls of one method from one wire to the other.
#[derive(Clone, Copy, Debug)]
pub struct Translator(Translation);

impl Translator {
    /// For calls with this path; `None` if it is no call, or of a method that is not known in the other wire.
    pub fn of(path: &str) -> Option<Self> {
        let request = Request::post(path).body(()).ok()?;
        let Ok(Route::Call { api, wire, method, .. }) = Route::of(&request) else { return None };
        Translation::of(api, method, path, wire).ok().map(Self)
    }

    /// How long a caller waits.
    ///
    /// # Errors
    /// It does not say so rightly.
    pub fn deadline<B>(&self, request: &Request<B>) -> Result<Option<Duration>, CallError> {
        self.0.deadline(request)
    }

    /// The caller's request in the other wire.
    ///
    /// # Errors
    /// It cannot be carried.
    pub async fn request<B>(
        &self,
        request: Request<B>,
    ) -> Result<Request<impl Body<Data = Bytes, Error = BoxError> + use<B>>, CallError>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin,
    {
        self.0.request(request).await
    }

    /// The SuperLink's response in the caller's wire.
    ///
    /// # Errors
    /// It cannot be carried.
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
