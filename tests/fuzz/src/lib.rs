//! What the targets share.

use std::{
    collections::VecDeque,
    convert::Infallible,
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

/// Any error of a body.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A body that comes in pieces, all of them there already.
pub struct Pieces {
    frames: VecDeque<Frame<Bytes>>,
    length: Option<u64>,
}

impl Pieces {
    /// `bytes`, cut as `cut` says, and trailers after them.
    pub fn new(bytes: &[u8], cut: Cut, trailers: Option<HeaderMap>) -> Self {
        let data = cut.pieces(bytes).into_iter().map(Frame::data);
        Self { frames: data.chain(trailers.map(Frame::trailers)).collect(), length: None }
    }

    /// Announces a length, right or wrong.
    pub fn announcing(self, length: Option<u64>) -> Self {
        Self { length, ..self }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Where bytes are cut.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Nowhere,
    Everywhere,
    /// At places that this number decides, with empty pieces among them.
    Somewhere(u8),
}

impl Cut {
    fn pieces(self, bytes: &[u8]) -> Vec<Bytes> {
        let mut state = match self {
            Self::Nowhere => return vec![Bytes::copy_from_slice(bytes)],
            Self::Everywhere => return bytes.chunks(1).map(Bytes::copy_from_slice).collect(),
            Self::Somewhere(seed) => u32::from(seed) + 1,
        };
        let (mut pieces, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (piece, after) = rest.split_at(rest.len().min(state as usize >> 28));
            pieces.push(Bytes::copy_from_slice(piece));
            rest = after;
        }
        pieces
    }
}

/// What became of a body: its bytes, and its trailers or what broke it.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole {
    pub bytes: Vec<u8>,
    pub end: Result<Option<HeaderMap>, String>,
}

/// Reads a body to its end.
pub fn whole(body: impl Body<Data = Bytes, Error: ToString>) -> Whole {
    let mut body = std::pin::pin!(body);
    let (mut bytes, mut trailers) = (Vec::new(), None);
    loop {
        match now(body.as_mut().frame()) {
            None => return Whole { bytes, end: Ok(trailers) },
            Some(Err(error)) => return Whole { bytes, end: Err(error.to_string()) },
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

/// The result of what has nothing to wait for.
pub fn now<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("everything is there, and it waits")
}

/// Headers from lines of `name: value`; what is none is left out.
pub fn headers(lines: &[u8]) -> HeaderMap {
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let value = line[colon + 1..].trim_ascii();
        Some((HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    lines.split(|byte| *byte == b'\n').filter_map(header).collect()
}

/// Messages, each with what stands before it: `prefix` bytes and four of length. `None` if the last one is not whole.
pub fn messages(bytes: &[u8], prefix: usize) -> Option<Vec<(&[u8], &[u8])>> {
    let (mut messages, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(prefix + 4)?;
        let length = u32::from_be_bytes(head[prefix..].try_into().ok()?);
        let (message, after) = after.split_at_checked(length as usize)?;
        messages.push((&head[..prefix], message));
        rest = after;
    }
    Some(messages)
}

/// Messages with `prefix` and four bytes of length before each.
pub fn framed<'a>(messages: impl IntoIterator<Item = &'a [u8]>, prefix: &[u8]) -> Vec<u8> {
    let framed = |message: &[u8]| [prefix, &(message.len() as u32).to_be_bytes(), message].concat();
    messages.into_iter().flat_map(framed).collect()
}

/// A body that nobody looks at.
pub fn empty() -> impl Body<Data = Bytes, Error = BoxError> + Unpin {
    http_body_util::Empty::new().map_err(|never: Infallible| match never {})
}
