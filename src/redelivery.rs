//! Answers of a SuperLink that a broken link has swallowed are given again.
//!
//! A SuperNode makes a call again that got no answer. Two calls of the Fleet API are not the same twice (in Flower 1.30 to
//! 1.42):
//!
//! ```text
//! PullMessages   hands a message out, and never again
//! PushObject     stores an object, and says "not stored" of one that it has stored (from 1.40)
//! ```
//! Either costs the node its round. So these two, once the SuperLink has them whole, are carried to their end even if
//! their caller is gone, and their answers are kept: messages until the node has confirmed or answered one, and both for
//! ten minutes at most. The SuperLink is always asked first, so that it decides who may have anything; what was kept goes to
//! the same peer and node only.

mod kept;
mod skim;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use iroh::EndpointId;
use tokio::{sync::oneshot, time::sleep};
use tracing::{Instrument, Span, info};

use self::{
    kept::{Kept, Object},
    skim::{Skim, Skimmed, Value, bytes, number},
};
use crate::{
    forward::{self, Body},
    protocol::{Api, BoxError, Failure, GRPC_HEADER, Method, Wire},
};

/// A larger answer passes as it comes, and is not kept.
const MAX_ANSWER: usize = 256 << 10;
/// For an answer whose caller is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// `PushObjectResponse` that says that the object is stored.
const STORED: &[u8] = &[0x08, 0x01];

/// What is kept for all peers. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redelivery(Arc<Kept>);

/// A call that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pull,
    /// The node has the message that it pulled: it confirms it, or replies to it.
    Arrival,
    Object,
}

impl Kind {
    fn of(api: Api, method: &str) -> Option<Self> {
        match Method::find(api, method).filter(|_| api == Api::Fleet)?.name() {
            "PullMessages" => Some(Self::Pull),
            "ConfirmMessageReceived" | "PushMessages" => Some(Self::Arrival),
            "PushObject" => Some(Self::Object),
            _ => None,
        }
    }
}

/// A call of `peer` whose answer is to be kept or to be given again.
#[derive(Debug)]
pub(crate) struct Once {
    kept: Arc<Kept>,
    peer: EndpointId,
    kind: Kind,
    wire: Wire,
    asked: Arc<Mutex<Skim>>,
}

impl Redelivery {
    /// The request, and what is to be done with its answer, if anything.
    pub(crate) fn watch(
        &self,
        peer: EndpointId,
        (api, method): (Api, &str),
        wire: Wire,
        request: Request<Body>,
    ) -> (Request<Body>, Option<Once>) {
        let Some(kind) = Kind::of(api, method) else { return (request, None) };
        let (parts, body) = request.into_parts();
        let (body, asked) = Skimmed::new(body, header(wire));
        let once = Once { kept: Arc::clone(&self.0), peer, kind, wire, asked };
        (Request::from_parts(parts, forward::boxed(body)), Some(once))
    }
}

impl Once {
    /// Carries the call to its end, whether or not its caller waits for it, and gives the answer. `held` is held meanwhile.
    ///
    /// # Cancel safety
    /// Dropped, it goes on for half a minute at most.
    pub(crate) async fn carry<T: Send + 'static>(
        self,
        call: impl Future<Output = Result<Response<Body>, Failure>> + Send + 'static,
        held: T,
    ) -> Result<Response<Body>, Failure> {
        let (_waits, gone) = oneshot::channel::<()>();
        let carrying = async move {
            let _held = held;
            let deadline = async {
                let _ = gone.await;
                sleep(PATIENCE).await;
            };
            tokio::select! {
                answer = call => Ok(self.settle(answer?).await),
                () = deadline => Err(Failure::unavailable("the SuperLink does not answer, and nobody waits for it any more")),
            }
        };
        let carried = tokio::spawn(carrying.instrument(Span::current())).await;
        carried.unwrap_or_else(|_| Err(Failure::unavailable("the funnel has stopped")))
    }

    /// Keeps the answer or puts one in its place that was kept.
    async fn settle(self, answer: Response<Body>) -> Response<Body> {
        if answer.status() != StatusCode::OK || !may_be_small(&answer, self.wire) {
            return answer;
        }
        let (parts, body) = answer.into_parts();
        let (message, trailers) = match Answer::read(body, self.wire).await {
            Answer::Whole { message, trailers } => (message, trailers),
            Answer::Other(body) => return Response::from_parts(parts, body),
        };
        let message = self.learn(&message).unwrap_or(message);
        let mut answer = Response::from_parts(parts, ());
        if self.wire == Wire::Http {
            answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(message.len()));
        }
        answer.map(|()| write(message, trailers, self.wire))
    }

    /// Another answer than this one, where the node was given a better one before.
    fn learn(&self, message: &Bytes) -> Option<Bytes> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asked.fields()?;
        let node = number(&Skim::parse(bytes(asked, 1)?)?, 1)?;
        match self.kind {
            Kind::Arrival => self.kept.arrived(self.peer, node),
            Kind::Pull if holds_message(message)? => self.kept.handed(self.peer, node, message.clone()),
            Kind::Pull => {
                let again = self.kept.again(self.peer, node)?;
                info!(node, "a message that did not arrive is handed out again");
                return Some(again);
            }
            Kind::Object => {
                let text = |field| bytes(asked, field).unwrap_or_default();
                let object = Object { run: number(asked, 2)?, id: text(3), push: text(5) };
                if message == STORED {
                    self.kept.stored(self.peer, &object);
                } else if message.is_empty() && self.kept.was_stored(self.peer, &object) {
                    info!(node, "an object is stored: the answer that said so did not arrive");
                    return Some(Bytes::from_static(STORED));
                }
            }
        }
        None
    }
}

/// Whether an answer may be one small message. In HTTP it says how long it is.
fn may_be_small(answer: &Response<Body>, wire: Wire) -> bool {
    let length = || answer.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse::<usize>().ok();
    match wire {
        Wire::Grpc => !answer.body().is_end_stream(),
        Wire::Http => length().is_some_and(|length| length <= MAX_ANSWER),
    }
}

/// Whether a `PullMessagesResponse` hands out a message whose content is to be pulled: only such messages are confirmed.
fn holds_message(message: &[u8]) -> Option<bool> {
    let fields: Vec<(u64, Value)> = Skim::parse(message)?;
    Some(bytes(&fields, 2).is_some() && bytes(&fields, 3).is_some())
}

/// A small answer that has come to its end, or any other.
enum Answer {
    Whole { message: Bytes, trailers: Option<HeaderMap> },
    Other(Body),
}

impl Answer {
    async fn read(mut body: Body, wire: Wire) -> Self {
        let (mut data, mut trailers) = (BytesMut::new(), None);
        let mut last = None;
        while data.len() <= MAX_ANSWER {
            match body.frame().await {
                None => break,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => data.extend_from_slice(&piece),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => {
                    last = Some(Err(error));
                    break;
                }
            }
        }
        let data = data.freeze();
        let is_whole = last.is_none() && data.len() <= MAX_ANSWER;
        match message_in(&data, wire, trailers.as_ref()).filter(|_| is_whole) {
            Some(message) => Self::Whole { message, trailers },
            None => {
                let data = (!data.is_empty()).then(|| Ok(Frame::data(data)));
                let read = [data, trailers.map(|trailers| Ok(Frame::trailers(trailers))), last];
                let rest = (!is_whole).then_some(BodyStream::new(body));
                let frames = stream::iter(read.into_iter().flatten()).chain(stream::iter(rest).flatten());
                Self::Other(forward::boxed(StreamBody::new(frames)))
            }
        }
    }
}

/// The one message of an answer that is no error.
fn message_in(data: &Bytes, wire: Wire, trailers: Option<&HeaderMap>) -> Option<Bytes> {
    if wire == Wire::Http {
        return Some(data.clone());
    }
    let is_ok = trailers?.get("grpc-status")? == "0";
    let (head, message) = data.split_first_chunk::<GRPC_HEADER>()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    (is_ok && head[0] == 0 && length == message.len()).then(|| data.slice(GRPC_HEADER..))
}

fn write(message: Bytes, trailers: Option<HeaderMap>, wire: Wire) -> Body {
    if wire == Wire::Http {
        return forward::full(message);
    }
    let mut data = BytesMut::with_capacity(GRPC_HEADER + message.len());
    data.put_u8(0);
    data.put_u32(message.len() as u32);
    data.put_slice(&message);
    let trailers = trailers.map(Frame::trailers);
    let frames = [Some(Frame::data(data.freeze())), trailers].into_iter().flatten();
    forward::boxed(StreamBody::new(stream::iter(frames.map(Ok::<_, BoxError>))))
}

/// The numbers and the texts among the small fields of a message that comes in these pieces, if it is one.
#[cfg(fuzzing)]
pub(crate) fn skim<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<(u64, Result<u64, Vec<u8>>)>> {
    let read = |(field, value)| match value {
        Value::Number(number) => (field, Ok(number)),
        Value::Bytes(bytes) => (field, Err(bytes)),
    };
    Some(Skim::parse_pieces(pieces)?.into_iter().map(read).collect())
}

fn header(wire: Wire) -> usize {
    match wire {
        Wire::Grpc => GRPC_HEADER,
        Wire::Http => 0,
    }
}
