//! Answers of a SuperLink that a broken link has swallowed are given again.
//!
//! A SuperNode makes a call again that got no answer. Three calls of the Fleet API are not the same twice (in Flower 1.30 to
//! 1.42):
//!
//! ```text
//! PullMessages   hands a message out, and never again
//! PushMessages   asks for the objects of a reply, and for none once the ServerApp has seen the reply  (from 1.33)
//! PushObject     stores an object, and says "not stored" of one that it has stored                    (from 1.33)
//! ```
//! Each costs the node its round. The SuperLink is always asked first, so that it decides who may have anything. Then:
//!
//! - The inbound end carries `PullMessages` to its end even if its caller is gone, and keeps the message until the node has
//!   confirmed or answered it. It goes to the same peer and node only. It makes one such call at a time, while the SuperLink
//!   answers: what is on its way to a funnel that is killed, a SuperLink hands to nobody again.
//! - Both ends remember what was pushed, whatever became of it, since either may be what breaks. A reply that comes again and is
//!   asked for nothing is asked for all its objects, in no session: a SuperLink then takes those that it lacks, as it does from
//!   SuperNodes that are older than sessions. An object that comes again and is "not stored" is stored.
//!
//! All of it is forgotten after ten minutes.

mod field_reader;
mod store;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, BodyStream, Limited, StreamBody};
use iroh::EndpointId;
use tokio::{sync::oneshot, time::sleep};
use tracing::{Instrument, Span, info};

use self::{
    field_reader::{Limits, Skim, Skimmed, Value, bytes, last_bytes, number},
    store::{Kept, Push, ReadReply},
};
use crate::{
    hop::{self, Body},
    protocol::{Api, BoxError, CallError, GRPC_HEADER, GRPC_TIMEOUT, Method, Wire},
};

/// A larger answer passes as it comes, and is not kept; so does a reply with more than this of names.
const MAX_MESSAGE: usize = 256 << 10;
/// Of a request that names a node and a number, and is some tens of bytes.
const MAX_QUESTION: usize = 16 << 10;
/// Of the objects that a reply is made of, each within the other.
const MAX_DEPTH: usize = 16;
/// A SuperLink that takes longer to hand something out is asked by others meanwhile.
const TURN: Duration = Duration::from_secs(2);
/// For an answer whose caller is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// `PushObjectResponse` that says that the object is stored.
const STORED: &[u8] = &[0x08, 0x01];

/// What one end of the tunnel keeps of the calls of its peers. Clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Redelivery {
    end: End,
    kept: Arc<Kept>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Inbound,
    Outbound,
}

/// A call that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pull,
    /// The node has the message that it pulled.
    Confirmation,
    /// The same, and it answers it.
    Reply,
    Object,
}

impl Kind {
    fn of(end: End, method: Option<&Method>) -> Option<Self> {
        match (method.filter(|method| method.api() == Api::Fleet)?.name(), end) {
            ("PullMessages", End::Inbound) => Some(Self::Pull),
            ("ConfirmMessageReceived", End::Inbound) => Some(Self::Confirmation),
            ("PushMessages", _) => Some(Self::Reply),
            ("PushObject", _) => Some(Self::Object),
            _ => None,
        }
    }

    /// What is to be known of its request.
    fn limits(self) -> Limits {
        if self == Self::Reply { Limits::whole(MAX_MESSAGE) } else { Limits::NAMES }
    }
}

/// A call whose answer may have to be another one.
#[derive(Debug)]
pub(crate) struct Once {
    kept: Arc<Kept>,
    peer: EndpointId,
    kind: Kind,
    wire: Wire,
    asked: Arc<Mutex<Skim>>,
    _read: Option<ReadReply>,
}

impl Redelivery {
    /// Where a SuperLink is.
    pub(crate) fn inbound() -> Self {
        Self::at(End::Inbound)
    }

    /// Where SuperNodes are.
    pub(crate) fn outbound() -> Self {
        Self::at(End::Outbound)
    }

    fn at(end: End) -> Self {
        Self { end, kept: Arc::default() }
    }

    /// A call that goes to `peer` or comes from it, if it is one of those that matter here.
    pub(crate) fn watch(&self, peer: EndpointId, method: Option<&Method>, wire: Wire) -> Option<Once> {
        let kind = Kind::of(self.end, method)?;
        let read = if kind == Kind::Reply { Some(self.kept.read_reply(peer)?) } else { None };
        let asked = Arc::new(Mutex::new(Skim::new(header(wire), kind.limits())));
        Some(Once { kept: Arc::clone(&self.kept), peer, kind, wire, asked, _read: read })
    }
}

impl Once {
    /// Makes the call by `send` and gives its answer. If it hands something out, it is carried to its end whether or not its
    /// caller waits for it, and `held` is held meanwhile.
    ///
    /// Boxed: within its caller's future it would be moved with every call, and most are none of these.
    ///
    /// # Cancel safety
    /// Dropped, such a call goes on for half a minute at most, and any other ends.
    pub(crate) fn carry<F, T>(
        self,
        request: Request<Body>,
        send: impl FnOnce(Request<Body>) -> F + Send + 'static,
        held: T,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Body>, CallError>> + Send>>
    where
        F: Future<Output = Result<Response<Body>, CallError>> + Send + 'static,
        T: Send + 'static,
    {
        if self.kind == Kind::Pull {
            return Box::pin(self.carry_to_the_end(request, send, held));
        }
        Box::pin(async move {
            let request = request.map(|body| hop::boxed(Skimmed::new(body, Arc::clone(&self.asked))));
            Ok(self.settle(send(request).await?).await)
        })
    }

    async fn carry_to_the_end<F, T>(
        self,
        request: Request<Body>,
        send: impl FnOnce(Request<Body>) -> F,
        held: T,
    ) -> Result<Response<Body>, CallError>
    where
        F: Future<Output = Result<Response<Body>, CallError>> + Send + 'static,
        T: Send + 'static,
    {
        let request = self.read_whole(request).await?;
        let turn = self.kept.turn(self.peer).await;
        let call = send(request);
        let (_waits, gone) = oneshot::channel::<()>();
        let carrying = async move {
            let _held = held;
            let deadline = async {
                let _ = gone.await;
                sleep(PATIENCE).await;
                CallError::unavailable("the SuperLink does not answer, and nobody waits for it any more")
            };
            tokio::pin!(deadline);
            let answer = tokio::select! {
                answer = call => answer?,
                never = end_after(TURN, turn) => match never {},
                failure = &mut deadline => return Err(failure),
            };
            // Without its turn: a caller that reads nothing of its session can make this last.
            tokio::select! {
                settled = self.settle(answer) => Ok(settled),
                failure = &mut deadline => Err(failure),
            }
        };
        let carried = tokio::spawn(carrying.instrument(Span::current())).await;
        carried.unwrap_or_else(|_| Err(CallError::unavailable("the funnel has stopped")))
    }

    /// A request that is here before it has its turn: nobody else waits for the rest of it.
    async fn read_whole(&self, request: Request<Body>) -> Result<Request<Body>, CallError> {
        let (mut parts, body) = request.into_parts();
        // Nor is it to be broken off by its caller's deadline.
        parts.headers.remove(GRPC_TIMEOUT);
        // Boxed, since the compiler does not see otherwise that it is `Send`.
        let reading: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(Limited::new(body, MAX_QUESTION).collect());
        let body = reading.await.map_err(|error| CallError::unavailable(format_args!("no whole request: {error}")))?;
        let body = body.to_bytes();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take_in(&body);
        Ok(Request::from_parts(parts, hop::full(body)))
    }

    /// Keeps the answer, or puts a better one in its place.
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

    /// Another answer than this one, where the node has missed a better one.
    fn learn(&self, message: &Bytes) -> Option<Bytes> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = Asked::read(asked.fields()?)?;
        match self.kind {
            Kind::Confirmation => self.kept.arrived(self.peer, asked.node, bytes(asked.fields, 3)?),
            Kind::Pull => match handed_out(message)? {
                HandedOut::Message(id) => self.kept.handed(self.peer, asked.node, id, message.clone()),
                HandedOut::Nothing => {
                    let again = self.kept.again(self.peer, asked.node)?;
                    info!(node = asked.node, "a message that did not arrive is handed out again");
                    return Some(again);
                }
            },
            Kind::Reply => {
                let reply = Reply::read(asked.fields)?;
                self.kept.arrived(self.peer, asked.node, &reply.to);
                if !self.kept.was_tried(self.peer, &reply.push(asked.node)) {
                    return None;
                }
                let answer = Skim::parse(message)?;
                let (is_asked_for, session) = (bytes(&answer, 3).is_some(), last_bytes(&answer, 4).unwrap_or_default());
                if session.is_empty() || !is_asked_for {
                    // Where it is asked for already, the other end has understood it, or the SuperLink knows no sessions.
                    self.kept.tried(self.peer, &Push::Objects { node: asked.node, run: reply.run });
                }
                if !is_asked_for {
                    let objects = objects(asked.fields)?;
                    self.kept.told.run(|| {
                        info!(
                            node = asked.node,
                            "a reply is known: the answer that asked for its objects did not arrive"
                        );
                    });
                    return Some(ask_for_all(message, &objects));
                }
            }
            Kind::Object => {
                let (object, any) = asked.object()?;
                let is_known = |push| self.kept.was_tried(self.peer, &push);
                if message.is_empty() && (is_known(object) || any.is_some_and(is_known)) {
                    self.kept.told.run(|| {
                        info!(node = asked.node, "an object is stored: the answer that said so did not arrive");
                    });
                    return Some(Bytes::from_static(STORED));
                }
            }
        }
        None
    }
}

impl Drop for Once {
    /// Answered or not, what was asked for whole may have been done.
    fn drop(&mut self) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(asked) = asked.fields().and_then(Asked::read) else { return };
        match self.kind {
            Kind::Pull | Kind::Confirmation => {}
            Kind::Reply => {
                if let Some(reply) = Reply::read(asked.fields) {
                    self.kept.tried(self.peer, &reply.push(asked.node));
                }
            }
            Kind::Object => {
                if let Some((object, _)) = asked.object() {
                    self.kept.tried(self.peer, &object);
                }
            }
        }
    }
}

/// Drops the turn after a while, and goes on for ever.
async fn end_after(length: Duration, turn: impl Send) -> Infallible {
    sleep(length).await;
    drop(turn);
    std::future::pending().await
}

/// A request of these calls.
#[derive(Clone, Copy)]
struct Asked<'a> {
    node: u64,
    fields: &'a [(u64, Value)],
}

impl<'a> Asked<'a> {
    fn read(fields: &'a [(u64, Value)]) -> Option<Self> {
        Some(Self { node: number(&Skim::parse(bytes(fields, 1)?)?, 1)?, fields })
    }

    /// The object that is pushed; and if it is in no session, what it is one of.
    fn object(&self) -> Option<(Push<'a>, Option<Push<'static>>)> {
        let run = number(self.fields, 2)?;
        let session = bytes(self.fields, 5).unwrap_or_default();
        let any = session.is_empty().then_some(Push::Objects { node: self.node, run });
        Some((Push::Object { run, id: bytes(self.fields, 3)?, session }, any))
    }
}

/// A reply that is pushed.
struct Reply {
    run: u64,
    id: Vec<u8>,
    /// The message that it answers.
    to: Vec<u8>,
}

impl Reply {
    fn read(asked: &[(u64, Value)]) -> Option<Self> {
        let message = Skim::parse(bytes(asked, 2)?)?;
        let metadata = Skim::parse(bytes(&message, 1)?)?;
        let to = bytes(&metadata, 5).unwrap_or_default().to_vec();
        Some(Self { run: number(&metadata, 1)?, id: bytes(&metadata, 2)?.to_vec(), to })
    }

    fn push(&self, node: u64) -> Push<'_> {
        Push::Reply { node, id: &self.id }
    }
}

/// The names of all objects of a reply that is pushed.
fn objects(asked: &[(u64, Value)]) -> Option<BTreeSet<Vec<u8>>> {
    let mut found = BTreeSet::new();
    find_objects(bytes(asked, 3)?, MAX_DEPTH, &mut found)?;
    Some(found)
}

/// The names in an `ObjectTree`.
fn find_objects(tree: &[u8], depth: usize, found: &mut BTreeSet<Vec<u8>>) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    for (field, value) in Skim::parse(tree)? {
        match (field, value) {
            (1, Value::Bytes(id)) => drop(found.insert(id)),
            (2, Value::Bytes(child)) => find_objects(&child, depth, found)?,
            _ => {}
        }
    }
    Some(())
}

/// The `PushMessagesResponse` with all of these in `objects_to_push` and no `session_id`: of a field that comes twice, the
/// last counts.
fn ask_for_all(answer: &[u8], objects: &BTreeSet<Vec<u8>>) -> Bytes {
    let mut asking = BytesMut::from(answer);
    for object in objects {
        asking.put_u8(3 << 3 | 2);
        put_varint(&mut asking, object.len());
        asking.put_slice(object);
    }
    asking.put_slice(&[4 << 3 | 2, 0]);
    asking.freeze()
}

fn put_varint(to: &mut BytesMut, mut number: usize) {
    while number > 0x7f {
        to.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    to.put_u8(number as u8);
}

/// Whether an answer may be one small message. In HTTP it says how long it is.
fn may_be_small(answer: &Response<Body>, wire: Wire) -> bool {
    let length = || answer.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse::<usize>().ok();
    match wire {
        Wire::Grpc => !answer.body().is_end_stream(),
        Wire::Http => length().is_some_and(|length| length <= MAX_MESSAGE),
    }
}

/// What a `PullMessagesResponse` hands out: of messages, only one whose content is to be pulled is confirmed.
enum HandedOut {
    Message(Vec<u8>),
    Nothing,
}

fn handed_out(answer: &[u8]) -> Option<HandedOut> {
    let fields = Skim::parse(answer)?;
    let Some(message) = bytes(&fields, 2).filter(|_| bytes(&fields, 3).is_some()) else {
        return Some(HandedOut::Nothing);
    };
    let metadata = Skim::parse(bytes(&Skim::parse(message)?, 1)?)?;
    Some(HandedOut::Message(bytes(&metadata, 2)?.to_vec()))
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
        while data.len() <= MAX_MESSAGE {
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
        let is_whole = last.is_none() && data.len() <= MAX_MESSAGE;
        match message_in(&data, wire, trailers.as_ref()).filter(|_| is_whole) {
            Some(message) => Self::Whole { message, trailers },
            None => {
                let data = (!data.is_empty()).then(|| Ok(Frame::data(data)));
                let read = [data, trailers.map(|trailers| Ok(Frame::trailers(trailers))), last];
                let rest = (!is_whole).then_some(BodyStream::new(body));
                let frames = stream::iter(read.into_iter().flatten()).chain(stream::iter(rest).flatten());
                Self::Other(hop::boxed(StreamBody::new(frames)))
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
        return hop::full(message);
    }
    let mut data = BytesMut::with_capacity(GRPC_HEADER + message.len());
    data.put_u8(0);
    data.put_u32(message.len() as u32);
    data.put_slice(&message);
    let trailers = trailers.map(Frame::trailers);
    let frames = [Some(Frame::data(data.freeze())), trailers].into_iter().flatten();
    hop::boxed(StreamBody::new(stream::iter(frames.map(Ok::<_, BoxError>))))
}

/// The numbers and the texts among the small fields of a message that comes in these pieces, if it is one.
#[cfg(fuzzing)]
pub(crate) fn skim<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Fields> {
    Skim::parse_pieces(pieces).map(plain)
}

/// The objects of a reply that is pushed, and the fields of the answer that asks for all of them instead of this one.
#[cfg(fuzzing)]
pub(crate) fn ask_again(request: &[u8], answer: &[u8]) -> Option<(BTreeSet<Vec<u8>>, Option<Fields>)> {
    let asked = Skim::parse(request)?;
    Reply::read(&asked)?;
    Skim::parse(answer)?;
    let objects = objects(&asked)?;
    let asking = ask_for_all(answer, &objects);
    Some((objects, Skim::parse(&asking).map(plain)))
}

/// The fields of a message: numbers, or else bytes.
#[cfg(fuzzing)]
pub(crate) type Fields = Vec<(u64, Result<u64, Vec<u8>>)>;

#[cfg(fuzzing)]
fn plain(fields: Vec<(u64, Value)>) -> Fields {
    let plain = |(field, value)| match value {
        Value::Number(number) => (field, Ok(number)),
        Value::Bytes(bytes) => (field, Err(bytes)),
    };
    fields.into_iter().map(plain).collect()
}

fn header(wire: Wire) -> usize {
    match wire {
        Wire::Grpc => GRPC_HEADER,
        Wire::Http => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use iroh::SecretKey;
    use tokio::{task::yield_now, time::advance};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stands_still_is_left_when_its_caller_is_gone() {
        let peer = SecretKey::generate().public();
        let method = Method::find(Api::Fleet, "pull-messages");
        let once = Redelivery::inbound().watch(peer, method, Wire::Http).unwrap();
        let (answered, is_answered) = oneshot::channel::<()>();
        let send = async move |_| {
            let body = StreamBody::new(stream::once(pending::<Result<Frame<Bytes>, BoxError>>()));
            let mut answer = Response::new(hop::boxed(body));
            answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(1));
            drop(answered);
            Ok(answer)
        };
        let (held, mut is_over) = oneshot::channel::<()>();
        let request = Request::new(hop::full(Bytes::from_static(&[0x0a, 2, 0x08, 7])));
        let carrying = tokio::spawn(once.carry(request, send, held));
        assert!(is_answered.await.is_err());
        yield_now().await;
        carrying.abort();
        assert!(carrying.await.unwrap_err().is_cancelled());
        yield_now().await;
        assert!(is_over.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        advance(PATIENCE).await;
        assert!(is_over.await.is_err());
    }
}
