//! The body of a call, from one wire's framing to the other's.
//!
//! ```text
//! gRPC           a byte that tells compression, four of length, the message; again for each message
//! HTTP, unary    the message; its length is the Content-Length
//! HTTP, stream   four bytes of length, the message; again for each message
//! ```
//! Bytes pass as they come. Only the last piece of a single message waits until the sender has ended without a word
//! more: what is not whole is never taken for it at the other end.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use super::super::{Api, Failure, Status, flower_error::FlowerError};

/// Any error of a body.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Protobuf's own limit, and Flower's.
const MAX_MESSAGE: u64 = i32::MAX as u64;
/// Bytes before a message in gRPC.
const GRPC_HEADER: usize = 5;
/// Bytes before a message in Flower's HTTP streams.
const STREAM_HEADER: usize = 4;

/// How messages are set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Grpc,
    Stream,
    /// A single message of this length, alone.
    Bare(u64),
}

/// Which way a body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    /// With the API, since what an error is called depends on it.
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
    /// Received and not looked at.
    input: Bytes,
    trailers: Option<HeaderMap>,
}

#[derive(Debug)]
enum State {
    /// Reads what stands before a message.
    Header {
        bytes: [u8; GRPC_HEADER],
        filled: usize,
    },
    /// A message of this length is announced.
    Announced(u64),
    /// So much of a message is to come.
    Payload(u64),
    /// The last piece of a single message.
    Held(Bytes),
    /// All messages are through.
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

    /// Waits until the first message begins, and tells its length; `None` if the body ends without one.
    pub(super) async fn first(&mut self) -> Result<Option<u64>, BoxError> {
        poll_fn(|cx| self.poll_announced(cx)).await
    }

    /// What ended the body, if it has ended.
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
                        return Err(
                            self.broken(Status::UNIMPLEMENTED, "is compressed, and only identity is understood")
                        );
                    }
                    _ => return Err(self.broken(Status::MALFORMED, "is no gRPC: its first byte is neither 0 nor 1")),
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
            format_args!("announces a message of {length} bytes; protobuf ends at {MAX_MESSAGE}"),
        ))
    }

    /// Takes in the next bytes; `false` at the end.
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
                State::Announced(length) => {
                    let length = *length;
                    self.state = State::Payload(length);
                    if let Some(header) = self.to.header(length) {
                        return Poll::Ready(Some(Ok(Frame::data(header))));
                    }
                }
                State::Payload(0) => self.state = if self.single { State::Held(Bytes::new()) } else { BETWEEN },
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
                    if ready!(self.poll_input(cx))? {
                        let problem = "goes on after its message: this method takes one";
                        return Poll::Ready(Some(Err(self.broken(Status::UNIMPLEMENTED, problem))));
                    }
                    self.check_ending()?;
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

    /// gRPC says at the end whether the messages before it count.
    fn check_ending(&self) -> Result<(), BoxError> {
        let Direction::Response(api) = self.direction else { return Ok(()) };
        if self.from != Framing::Grpc {
            return Ok(());
        }
        match &self.trailers {
            None => Err(self.broken(Status::MALFORMED, "ends without a status")),
            Some(trailers) if trailers.get("grpc-status").is_some_and(|status| status == "0") => Ok(()),
            Some(trailers) => {
                let (error, _) = FlowerError::of_grpc(trailers, api);
                Err(self.broken(Status::UNAVAILABLE, format_args!("ends with an error: {error}")))
            }
        }
    }

    /// A request is its sender's mistake; a response that is wrong was not received.
    fn broken(&self, status: Status, problem: impl fmt::Display) -> BoxError {
        Box::new(match self.direction {
            Direction::Request => Failure::new(status, format_args!("the request {problem}")),
            Direction::Response(_) => Failure::unavailable(format_args!("the SuperLink's answer {problem}")),
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

    /// Exact only where the wire has a Content-Length; a gRPC response may still end early, with its trailers.
    fn size_hint(&self) -> SizeHint {
        match (&self.state, self.to) {
            (State::Announced(left) | State::Payload(left), Framing::Bare(_)) => SizeHint::with_exact(*left),
            (State::Held(piece), Framing::Bare(_)) => SizeHint::with_exact(piece.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
