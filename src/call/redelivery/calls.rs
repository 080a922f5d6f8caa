//! Forwards each kind of call that is replayed.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::sleep;

use super::{
    Caller, End,
    background::RunToCompletion,
    body::{MAX_MESSAGE, ReadBody, TappedBody, message_in, replace_message, whole},
    messages::{ConfirmMessageReceivedRequest, ObjectPush, PullMessagesRequest, Reply, StrictMessage},
    replay::{PushedObject, PushedReply},
};
use crate::{
    hop::{self, Body},
    protocol::{CallError, GRPC_TIMEOUT, is_encoded},
};

/// The largest request that names a node and a message, in bytes. It usually takes a few dozen.
const MAX_REQUEST: usize = 16 << 10;
/// How long a pull has its turn. If the SuperLink takes longer to answer, other pulls begin meanwhile.
const MAX_TURN: Duration = Duration::from_secs(2);

impl Caller {
    pub(super) async fn pull<F, T>(
        self,
        mut request: Request<Body>,
        send: impl FnOnce(Request<Body>) -> F,
        permit: T,
    ) -> Result<Response<Body>, CallError>
    where
        F: Future<Output = Result<Response<Body>, CallError>> + Send + 'static,
        T: Send + 'static,
    {
        // Read before the call waits for its turn, so that other calls do not wait for a slow request.
        let data = match ReadBody::read(std::mem::take(request.body_mut()), MAX_REQUEST).await {
            ReadBody::Whole { data, .. } => data,
            ReadBody::Other(_) => return Err(CallError::unavailable("the request is incomplete or too large")),
        };
        let node = message_in(request.headers(), &data, self.wire)
            .and_then(|message| PullMessagesRequest::read(message)?.node)
            .map(|node| node.node_id);
        let turn = self.store.turn(self.peer).await;
        let call = send(without_deadline(request).map(|_| hop::full(data)));
        let call = async move {
            let _permit = permit;
            let answer = tokio::select! {
                answer = call => answer?,
                never = drop_after(MAX_TURN, turn) => match never {},
            };
            // After its turn: a caller that does not read from its session can delay this.
            Ok(replace_message(answer, self.wire, |message| self.pulled(node?, message)).await)
        };
        RunToCompletion::new(call, || true).await
    }

    pub(super) async fn confirm<F>(
        self,
        request: Request<Body>,
        send: impl FnOnce(Request<Body>) -> F,
    ) -> Result<Response<Body>, CallError>
    where
        F: Future<Output = Result<Response<Body>, CallError>>,
    {
        let (request, message) = self.read(request, MAX_REQUEST).await;
        let confirmed = message.and_then(ConfirmMessageReceivedRequest::read);
        let answer = send(request).await?;
        let acknowledge = |_: &Bytes| {
            self.confirmed(&confirmed?);
            None
        };
        Ok(replace_message(answer, self.wire, acknowledge).await)
    }

    pub(super) async fn push_reply<F, T>(
        self,
        request: Request<Body>,
        send: impl FnOnce(Request<Body>) -> F,
        permit: T,
    ) -> Result<Response<Body>, CallError>
    where
        F: Future<Output = Result<Response<Body>, CallError>> + Send + 'static,
        T: Send + 'static,
    {
        let (request, message) = self.read(request, MAX_MESSAGE).await;
        let Some(reply) = message.and_then(Reply::read) else { return send(request).await };
        let (end, wire) = (self.end, self.wire);
        let (turn, request) = match end {
            End::Outbound => (None, request),
            End::Inbound => (self.store.reply_turn(self.peer, reply.node, &reply.id).await, without_deadline(request)),
        };
        let push = Arc::new(PushedReply::new(self, reply));
        let pushed = Arc::clone(&push);
        let call = send(request);
        let call = async move {
            let _guards = (permit, turn);
            let answer = call.await?;
            Ok(replace_message(answer, wire, |message| push.answered(message)).await)
        };
        match end {
            End::Outbound => call.await,
            End::Inbound => RunToCompletion::new(call, move || pushed.record()).await,
        }
    }

    pub(super) async fn push_object<F, T>(
        self,
        request: Request<Body>,
        send: impl FnOnce(Request<Body>) -> F,
        permit: T,
    ) -> Result<Response<Body>, CallError>
    where
        F: Future<Output = Result<Response<Body>, CallError>> + Send + 'static,
        T: Send + 'static,
    {
        if is_encoded(request.headers()) {
            return send(request).await;
        }
        let reader = Arc::new(Mutex::new(ObjectPush::reader(self.wire)));
        let call = send(request.map(|body| hop::boxed(TappedBody::new(body, Arc::clone(&reader)))));
        let (end, wire) = (self.end, self.wire);
        let push = Arc::new(PushedObject::new(self, reader));
        let pushed = Arc::clone(&push);
        let call = async move {
            let _permit = permit;
            let answer = call.await?;
            Ok(replace_message(answer, wire, |message| push.answered(message)).await)
        };
        match end {
            End::Outbound => call.await,
            End::Inbound => RunToCompletion::new(call, move || pushed.record()).await,
        }
    }

    /// Reads the body of a request, and returns an equal request, with its message if it is within the limit.
    async fn read(&self, mut request: Request<Body>, limit: usize) -> (Request<Body>, Option<Bytes>) {
        let (body, message) = match ReadBody::read(std::mem::take(request.body_mut()), limit).await {
            ReadBody::Whole { data, trailers } => {
                let message = message_in(request.headers(), &data, self.wire);
                (whole(data, trailers), message)
            }
            ReadBody::Other(body) => (body, None),
        };
        (request.map(|_| body), message)
    }
}

/// Removes the caller's deadline, which must not end a call that runs to completion.
fn without_deadline(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().remove(GRPC_TIMEOUT);
    request
}

/// Drops the turn after this time, and never completes.
async fn drop_after(length: Duration, turn: impl Send) -> Infallible {
    sleep(length).await;
    drop(turn);
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::stream;
    use http::{HeaderValue, header::CONTENT_LENGTH};
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};
    use iroh::{EndpointId, SecretKey};
    use tokio::{sync::oneshot, task::yield_now, time::advance};

    use super::*;
    use crate::{
        call::redelivery::{Redelivery, background::BACKGROUND_TIMEOUT},
        protocol::{Api, BoxError, Method, Wire},
    };

    #[tokio::test(start_paused = true)]
    async fn a_stalled_answer_is_dropped_after_its_caller_has_disconnected() {
        let peer = SecretKey::generate().public();
        let call = Redelivery::inbound().watch(peer, Method::find(Api::Fleet, "pull-messages"), Wire::Http).unwrap();
        let (answered, is_answered) = oneshot::channel::<()>();
        let send = async move |_| {
            let body = StreamBody::new(stream::once(pending::<Result<Frame<Bytes>, BoxError>>()));
            let mut answer = Response::new(hop::boxed(body));
            answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(1));
            drop(answered);
            Ok(answer)
        };
        let (permit, mut is_over) = oneshot::channel::<()>();
        let request = Request::new(hop::full(Bytes::from_static(&[0x0a, 2, 0x08, 7])));
        let forwarding = tokio::spawn(call.forward(request, send, permit));
        assert!(is_answered.await.is_err());
        yield_now().await;
        forwarding.abort();
        assert!(forwarding.await.unwrap_err().is_cancelled());
        yield_now().await;
        assert!(is_over.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        advance(BACKGROUND_TIMEOUT).await;
        assert!(is_over.await.is_err());
    }

    /// `PushMessagesRequest` of a reply of node 7 in run 1, named `r`, which holds the object `o`.
    const REPLY: &[u8] =
        &[0x0a, 2, 0x08, 7, 0x12, 7, 0x0a, 5, 0x08, 1, 0x12, 1, b'r', 0x1a, 8, 0x0a, 1, b'r', 0x12, 3, 0x0a, 1, b'o'];

    /// Forwards a call over HTTP, which the next hop answers with `answer`, or not at all.
    async fn forward(at: &Redelivery, peer: EndpointId, call: (&str, &[u8]), answer: Option<&[u8]>) -> Option<Bytes> {
        let (method, request) = call;
        let request = Request::new(hop::full(Bytes::copy_from_slice(request)));
        let answer = answer.map(Bytes::copy_from_slice);
        let send = async move |request: Request<Body>| {
            request.into_body().collect().await.expect("it is whole");
            let answer = answer.ok_or_else(|| CallError::unavailable("broken"))?;
            let length = HeaderValue::from(answer.len());
            let mut answer = Response::new(hop::full(answer));
            answer.headers_mut().insert(CONTENT_LENGTH, length);
            Ok(answer)
        };
        let call = at.watch(peer, Method::find(Api::Fleet, method), Wire::Http).expect("it is replayed");
        let answer = call.forward(request, send, ()).await.ok()?;
        Some(answer.into_body().collect().await.expect("it is whole").to_bytes())
    }

    #[tokio::test]
    async fn objects_that_one_end_asked_for_are_stored_for_the_other_end_too() {
        let (inbound, outbound) = (Redelivery::inbound(), Redelivery::outbound());
        let [node, superlink] = [0, 1].map(|_| SecretKey::generate().public());
        let reply = ("push-messages", REPLY);
        for (end, peer) in [(&inbound, node), (&outbound, superlink)] {
            assert_eq!(forward(end, peer, reply, None).await, None, "no answer, so that neither end has received one");
        }
        let answer = forward(&inbound, node, reply, Some(&[0x22, 1, b't', 0x98, 6, 1])).await.unwrap();
        assert_eq!(answer, [0x98, 6, 1, 0x1a, 1, b'o', 0x1a, 1, b'r'][..], "unknown fields are preserved");
        assert_eq!(forward(&outbound, superlink, reply, Some(&answer)).await.unwrap(), answer);
        let object = ("push-object", &[0x0a, 2, 0x08, 7, 0x10, 1, 0x1a, 1, b'o'][..]);
        for (end, peer) in [(&inbound, node), (&outbound, superlink)] {
            assert_eq!(forward(end, peer, object, Some(&[])).await.unwrap(), [0x08, 1][..]);
        }
        assert_eq!(forward(&inbound, superlink, object, Some(&[])).await.unwrap(), "", "of another peer");
    }

    #[tokio::test]
    async fn an_ambiguous_answer_is_neither_recorded_nor_replaced() {
        let (inbound, node) = (Redelivery::inbound(), SecretKey::generate().public());
        let pull = ("pull-messages", &[0x0a, 2, 0x08, 7][..]);
        let message = [0x12, 5, 0x0a, 3, 0x12, 1, b'm', 0x1a, 3, 0x0a, 1, b'm'];
        let twice = [&message[..], &message[..7]].concat();
        assert_eq!(forward(&inbound, node, pull, Some(&twice)).await.unwrap(), twice);
        assert_eq!(forward(&inbound, node, pull, Some(&[])).await.unwrap(), "", "it was not recorded");
        assert_eq!(forward(&inbound, node, pull, Some(&message)).await.unwrap(), message[..]);
        let group = [0xfb, 0x07, 0xfc, 0x07];
        assert_eq!(forward(&inbound, node, pull, Some(&group)).await.unwrap(), group[..], "it may hold a message");
        assert_eq!(forward(&inbound, node, pull, Some(&[])).await.unwrap(), message[..]);

        let object = ("push-object", &[0x0a, 2, 0x08, 7, 0x10, 1, 0x1a, 1, b'o'][..]);
        assert_eq!(forward(&inbound, node, object, None).await, None);
        for answer in [&[0x08, 0, 0x08, 0][..], &[0x08, 2], &[0x0d, 0, 0, 0, 0]] {
            assert_eq!(forward(&inbound, node, object, Some(answer)).await.unwrap(), answer, "it may say stored");
        }
        assert_eq!(forward(&inbound, node, object, Some(&[0x08, 0])).await.unwrap(), [0x08, 1][..]);
    }
}
