//! Translates the body of a call from one wire's framing to the other's.
//!
//! ```text
//! gRPC           a byte for compression, four of length, the message; again for each message
//! HTTP, unary    the message; its length is the Content-Length
//! HTTP, stream   four bytes of length, the message; again for each message
//! ```
//! Bytes are forwarded as they are received. Only the last piece of a single message waits until the sender has ended
//! cleanly, so that the other end never takes an incomplete body for a complete one.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use super::super::{Api, BoxError, CallError, Status, flower_error::FlowerError, wire::has_ok_status};

/// The longest message, in bytes: protobuf's own limit, and Flower's.
const MAX_MESSAGE: u64 = i32::MAX as u64;
/// Bytes before each message in gRPC.
pub(crate) const GRPC_HEADER: usize = 5;
/// Bytes before each message in Flower's HTTP streams.
const STREAM_HEADER: usize = 4;

/// The framing of messages in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Grpc,
    Stream,
    /// A single message of this length, without a header.
    Bare(u64),
}

/// The direction of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    /// With the API, since the status of an error depends on it.
    Response(Api),
}

/// A body in the other wire's framing.
#[derive(Debug)]
pub(crate) struct Messages<B> {
    body: B,
    direction: Direction,
    from: Framing,
    to: Framing,
    single: bool,
    state: State,
    /// Received and not parsed yet.
    input: Bytes,
    trailers: Option<HeaderMap>,
}

#[derive(Debug)]
enum State {
    /// The header of a message is read.
    Header {
        bytes: [u8; GRPC_HEADER],
        filled: usize,
    },
    /// The header announced a message of this length.
    Announced(u64),
    /// So many bytes of the message are missing.
    Payload(u64),
    /// The last piece of a single message.
    Held(Bytes),
    /// All messages were forwarded.
    Ending,
    Done,
}

const BETWEEN: State = State::Header { bytes: [0; GRPC_HEADER], filled: 0 };

impl<B> Messages<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    pub(super) fn new(body: B, direction: Direction, from: Framing, to: Framing, single: bool) -> Self {
        Self { body, direction, from, to, single, state: BETWEEN, input: Bytes::new(), trailers: None }
    }

    /// Waits for the first message and returns its length; `None` if the body ends without one.
    ///
    /// A single empty message is complete with its length, so that the end of the body is awaited here too.
    pub(super) async fn first(&mut self) -> Result<Option<u64>, BoxError> {
        let length = poll_fn(|cx| self.poll_announced(cx)).await?;
        if self.single && length == Some(0) {
            poll_fn(|cx| self.poll_end(cx)).await?;
            self.state = State::Done;
        }
        Ok(length)
    }

    /// Returns the trailers, if the body has ended with some.
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    pub(super) fn write_as(&mut self, to: Framing) {
        self.to = to;
    }

    fn poll_announced(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<u64>, BoxError>> {
        loop {
            let wanted = match self.from {
                Framing::Grpc => GRPC_HEADER,
                Framing::Stream => STREAM_HEADER,
                Framing::Bare(length) => {
                    if let State::Header { .. } = self.state {
                        self.check_length(length)?;
                        self.state = State::Announced(length);
                    }
                    0
                }
            };
            match &mut self.state {
                State::Announced(length) => return Poll::Ready(Ok(Some(*length))),
                State::Header { bytes, filled } if *filled == wanted => {
                    let bytes = *bytes;
                    let length = self.length(&bytes)?;
                    self.state = State::Announced(length);
                }
                State::Header { bytes, filled } => {
                    let taken = self.input.len().min(wanted - *filled);
                    self.input.copy_to_slice(&mut bytes[*filled..*filled + taken]);
                    *filled += taken;
                    let is_between = *filled == 0;
                    if taken == 0 && !ready!(self.poll_input(cx))? {
                        let broken = || self.broken(Status::MALFORMED, "ends in the middle of a message's header");
                        return Poll::Ready(if is_between { Ok(None) } else { Err(broken()) });
                    }
                }
                _ => return Poll::Ready(Ok(None)),
            }
        }
    }

    fn length(&self, header: &[u8; GRPC_HEADER]) -> Result<u64, BoxError> {
        let length: [u8; STREAM_HEADER] = match self.from {
            Framing::Grpc => {
                match header[0] {
                    0 => {}
                    1 => {
                        return Err(self.broken(Status::UNIMPLEMENTED, "is compressed, and only identity is supported"));
                    }
                    _ => return Err(self.broken(Status::MALFORMED, "is not gRPC: its first byte is neither 0 nor 1")),
                }
                [header[1], header[2], header[3], header[4]]
            }
            _ => [header[0], header[1], header[2], header[3]],
        };
        let length = u64::from(u32::from_be_bytes(length));
        self.check_length(length)?;
        Ok(length)
    }

    fn check_length(&self, length: u64) -> Result<(), BoxError> {
        if length <= MAX_MESSAGE {
            return Ok(());
        }
        Err(self.broken(
            Status::TOO_LARGE,
            format_args!("announces a message of {length} bytes; protobuf's limit is {MAX_MESSAGE}"),
        ))
    }

    /// Receives the next bytes; `false` at the end of the body.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BoxError>> {
        while self.input.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else { return Poll::Ready(Ok(false)) };
            match frame?.into_data() {
                Ok(data) => self.input = data,
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
        Poll::Ready(Ok(true))
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match &mut self.state {
                State::Header { .. } => {
                    if ready!(self.poll_announced(cx))?.is_none() {
                        if self.single {
                            return Poll::Ready(Some(Err(self.broken(Status::UNIMPLEMENTED, "has no message"))));
                        }
                        self.check_ending()?;
                        self.state = State::Ending;
                    }
                }
                State::Announced(0) if self.single => {
                    self.state = State::Held(self.to.header(0).unwrap_or_default());
                }
                State::Announced(length) => {
                    let length = *length;
                    self.state = State::Payload(length);
                    if let Some(header) = self.to.header(length) {
                        return Poll::Ready(Some(Ok(Frame::data(header))));
                    }
                }
                State::Payload(0) => self.state = BETWEEN,
                State::Payload(left) => {
                    if self.input.is_empty() {
                        let left = *left;
                        if !ready!(self.poll_input(cx))? {
                            let problem = format_args!("ends {left} bytes before its message does").to_string();
                            return Poll::Ready(Some(Err(self.broken(Status::MALFORMED, problem))));
                        }
                        continue;
                    }
                    let piece = self.input.split_to(self.input.len().min(usize::try_from(*left).unwrap_or(usize::MAX)));
                    *left -= piece.len() as u64;
                    if self.single && *left == 0 {
                        self.state = State::Held(piece);
                    } else {
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                }
                State::Held(_) => {
                    ready!(self.poll_end(cx))?;
                    if let State::Held(piece) = std::mem::replace(&mut self.state, State::Ending)
                        && !piece.is_empty()
                    {
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                }
                State::Ending => {
                    self.state = State::Done;
                    if self.to == Framing::Grpc && self.direction != Direction::Request {
                        let ok = [("grpc-status".parse().expect("a name"), HeaderValue::from_static("0"))];
                        return Poll::Ready(Some(Ok(Frame::trailers(ok.into_iter().collect()))));
                    }
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }

    /// Waits for the end of a body whose single message was forwarded.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if ready!(self.poll_input(cx))? {
            let problem = "goes on after its message: this method takes one";
            return Poll::Ready(Err(self.broken(Status::UNIMPLEMENTED, problem)));
        }
        Poll::Ready(self.check_ending())
    }

    /// Checks the status with which gRPC ends, which decides whether the messages are valid.
    fn check_ending(&self) -> Result<(), BoxError> {
        let Direction::Response(api) = self.direction else { return Ok(()) };
        if self.from != Framing::Grpc {
            return Ok(());
        }
        match &self.trailers {
            None => Err(self.broken(Status::MALFORMED, "ends without a status")),
            Some(trailers) if has_ok_status(trailers) => Ok(()),
            Some(trailers) => {
                let (error, _) = FlowerError::of_grpc(trailers, api);
                Err(self.broken(Status::UNAVAILABLE, format_args!("ends with an error: {error}")))
            }
        }
    }

    /// Makes the error of an invalid body. In a request it has `status`; a response counts as not received.
    fn broken(&self, status: Status, problem: impl fmt::Display) -> BoxError {
        Box::new(match self.direction {
            Direction::Request => CallError::new(status, format_args!("the request {problem}")),
            Direction::Response(_) => CallError::unavailable(format_args!("the SuperLink's answer {problem}")),
        })
    }
}

impl Framing {
    fn header(self, length: u64) -> Option<Bytes> {
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        match self {
            Self::Grpc => Some(Bytes::copy_from_slice(&[0, length[0], length[1], length[2], length[3]])),
            Self::Stream => Some(Bytes::copy_from_slice(&length)),
            Self::Bare(_) => None,
        }
    }
}

impl<B> Body for Messages<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let step = ready!(this.poll_step(cx));
        if let Some(Err(_)) = step {
            this.state = State::Done;
        }
        Poll::Ready(step)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Exact only if the wire has a Content-Length; a gRPC response may still end early, with its trailers.
    fn size_hint(&self) -> SizeHint {
        match (&self.state, self.to) {
            (State::Announced(left) | State::Payload(left), Framing::Bare(_)) => SizeHint::with_exact(*left),
            (State::Held(piece), Framing::Bare(_)) => SizeHint::with_exact(piece.len() as u64),
            (State::Done, _) => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    const TEXTS: [&[u8]; 3] = [b"first", b"", b"the third"];

    pub(super) fn framed(framing: Framing, texts: &[&[u8]]) -> Vec<u8> {
        let framed = |text: &&[u8]| [&framing.header(text.len() as u64).unwrap_or_default()[..], text].concat();
        texts.iter().flat_map(framed).collect()
    }

    /// Translates a body that is received in these pieces; returns the bytes and whether it ended cleanly.
    pub(super) fn translated(
        direction: Direction,
        from: Framing,
        to: Framing,
        single: bool,
        pieces: &[&[u8]],
    ) -> (Vec<u8>, bool) {
        let data = pieces.iter().map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))));
        let ok: HeaderMap = [("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))].into_iter().collect();
        let frames: Vec<Result<_, BoxError>> = data.chain([Ok(Frame::trailers(ok))]).collect();
        let mut messages = Messages::new(StreamBody::new(stream::iter(frames)), direction, from, to, single);
        let mut bytes = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ended = runtime.block_on(async {
            while let Some(frame) = messages.frame().await {
                match frame.map(Frame::into_data) {
                    Ok(data) => bytes.extend(data.unwrap_or_default()),
                    Err(_) => return false,
                }
            }
            true
        });
        (bytes, ended)
    }

    /// Every framing with the one it becomes, and whether there may be one message only.
    fn directions(length: u64) -> [(Direction, Framing, Framing, bool); 6] {
        let (bare, response) = (Framing::Bare(length), Direction::Response(Api::Fleet));
        [
            (Direction::Request, Framing::Grpc, bare, true),
            (Direction::Request, bare, Framing::Grpc, true),
            (response, Framing::Grpc, bare, true),
            (response, bare, Framing::Grpc, true),
            (response, Framing::Grpc, Framing::Stream, false),
            (response, Framing::Stream, Framing::Grpc, false),
        ]
    }

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        for (direction, from, to, single) in directions(5) {
            let texts = if single { &TEXTS[..1] } else { &TEXTS[..] };
            let (input, wanted) = (framed(from, texts), framed(to, texts));
            for first in 0..=input.len() {
                for second in first..=input.len() {
                    let pieces = [&input[..first], &input[first..second], &input[second..]];
                    let came = translated(direction, from, to, single, &pieces);
                    assert_eq!(came, (wanted.clone(), true), "{from:?} to {to:?}, cut at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn what_ends_early_or_late_never_ends_well() {
        for (direction, from, to, single) in directions(5) {
            let texts = if single { &TEXTS[..1] } else { &TEXTS[..] };
            let input = framed(from, texts);
            let boundaries: Vec<_> = (0..=texts.len()).map(|count| framed(from, &texts[..count]).len()).collect();
            for end in 0..input.len() {
                let (bytes, ended) = translated(direction, from, to, single, &[&input[..end]]);
                let is_whole = !single && boundaries.contains(&end);
                assert_eq!(ended, is_whole, "{from:?} to {to:?}, cut at {end}");
                if single {
                    assert!(bytes.len() < framed(to, texts).len(), "the last piece waits for the end");
                }
            }
            let longer = [&input[..], b"\0"].concat();
            assert!(!translated(direction, from, to, single, &[&longer]).1, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn an_empty_message_is_forwarded_only_when_its_sender_has_ended() {
        for (direction, from, to, single) in directions(0).into_iter().filter(|(_, from, ..)| *from == Framing::Grpc) {
            if !single {
                continue;
            }
            assert_eq!(translated(direction, from, to, single, &[&[0; 5]]), (Vec::new(), true));
            let body = http_body_util::Full::new(Bytes::from_static(b"\0\0\0\0\0\0"));
            let mut messages = Messages::new(body.map_err(|never| match never {}), direction, from, to, single);
            let first = messages.first().now_or_never().expect("it is all there");
            assert!(first.is_err_and(|error| error.to_string().contains("goes on after its message")));
        }
        let bare = Framing::Bare(0);
        assert_eq!(
            translated(Direction::Request, bare, Framing::Grpc, true, &[b"x"]),
            (Vec::new(), false),
            "not even its length"
        );
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let input: Vec<u8> =
                (0..random.usize(..40)).map(|_| if random.bool() { 0 } else { random.u8(..) }).collect();
            let cut = random.usize(..=input.len());
            for (direction, from, to, single) in directions(random.u64(..12)) {
                translated(direction, from, to, single, &[&input[..cut], &input[cut..]]);
            }
        }
    }
}
