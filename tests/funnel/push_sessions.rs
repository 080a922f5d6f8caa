//! Replies of two nodes that share objects, at a SuperLink with Flower's sessions, when the answer to one of them is lost.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use flower_iroh_funnel::protocol::Wire;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;
use tokio::sync::{Notify, Semaphore};

use super::{
    redelivery::{Broken, Ends, cases, framed, in_grpc, try_call},
    support::{Body, LocalClient, Upstream, full, grpc_call, guarded},
};

const RUN: u64 = 1;
/// Eight objects, two of which are those of the other node too; the reply itself is the ninth.
const FIRST: PushedReply = PushedReply { node: 1, id: "r1", objects: ["a1", "b1", "c1", "d1", "e1", "f1", "x", "y"] };
const SECOND: PushedReply = PushedReply { node: 2, id: "r2", objects: ["a2", "b2", "c2", "d2", "e2", "f2", "x", "y"] };

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(uint64, tag = "1")]
    node_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct PushMessagesRequest {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
    #[prost(message, repeated, tag = "2")]
    messages_list: Vec<FlowerMessage>,
    #[prost(message, repeated, tag = "3")]
    message_object_trees: Vec<ObjectTree>,
}

#[derive(Clone, PartialEq, Message)]
struct FlowerMessage {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(uint64, tag = "1")]
    run_id: u64,
    #[prost(string, tag = "2")]
    message_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ObjectTree {
    #[prost(string, tag = "1")]
    object_id: String,
    #[prost(message, repeated, tag = "2")]
    children: Vec<ObjectTree>,
}

#[derive(Clone, PartialEq, Message)]
struct PushMessagesResponse {
    #[prost(string, repeated, tag = "3")]
    objects_to_push: Vec<String>,
    #[prost(string, tag = "4")]
    session_id: String,
    /// Of a Flower that is yet to come.
    #[prost(string, tag = "99")]
    unknown: String,
}

#[derive(Clone, PartialEq, Message)]
struct PushObjectRequest {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
    #[prost(uint64, tag = "2")]
    run_id: u64,
    #[prost(string, tag = "3")]
    object_id: String,
    #[prost(bytes, tag = "4")]
    object_content: Vec<u8>,
    #[prost(string, tag = "5")]
    session_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct PushObjectResponse {
    #[prost(bool, tag = "1")]
    stored: bool,
}

/// A session in which a SuperLink waits for the objects of one reply.
struct Session {
    id: String,
    run: u64,
    reply: String,
    pending: BTreeSet<String>,
}

/// What Flower 1.41 and 1.42 do with replies and their objects.
#[derive(Default)]
struct State {
    /// The oldest first.
    sessions: Vec<Session>,
    started: usize,
    stored: HashSet<String>,
    /// Replies that the ServerApp has: the messages that they answer are deleted.
    seen: HashSet<String>,
    replies: HashSet<String>,
}

impl State {
    fn push_messages(&mut self, request: PushMessagesRequest) -> PushMessagesResponse {
        let metadata = request.messages_list[0].metadata.clone().unwrap();
        self.started += 1;
        let session_id = format!("session {}", self.started);
        let unknown = "kept".to_owned();
        if self.seen.contains(&metadata.message_id) {
            return PushMessagesResponse { objects_to_push: Vec::new(), session_id, unknown };
        }
        let tree = &request.message_object_trees[0];
        let all = tree.children.iter().map(|child| &child.object_id).chain([&tree.object_id]);
        let pending: BTreeSet<String> = all.filter(|id| !self.stored.contains(*id)).cloned().collect();
        self.replies.insert(metadata.message_id.clone());
        self.sessions.retain(|session| session.reply != metadata.message_id);
        let objects_to_push = pending.iter().cloned().collect();
        let session = Session { id: session_id.clone(), run: metadata.run_id, reply: metadata.message_id, pending };
        self.sessions.push(session);
        PushMessagesResponse { objects_to_push, session_id, unknown }
    }

    /// In no session, the first one takes an object that waits for one of that name.
    fn push_object(&mut self, request: PushObjectRequest) -> PushObjectResponse {
        let PushObjectRequest { run_id, object_id, session_id, .. } = request;
        let is_it = |session: &&mut Session| {
            if session_id.is_empty() { session.pending.contains(&object_id) } else { session.id == session_id }
        };
        let session = self.sessions.iter_mut().find(is_it).filter(|session| session.run == run_id);
        let stored = session.is_some_and(|session| session.pending.remove(&object_id));
        if stored {
            self.stored.insert(object_id);
            self.sessions.retain(|session| !session.pending.is_empty());
        }
        PushObjectResponse { stored }
    }
}

/// Answers all calls at once, but `PushMessages` when it may.
struct SuperLink {
    state: Mutex<State>,
    asked: Notify,
    may_answer: Semaphore,
}

impl SuperLink {
    async fn start() -> (Arc<Self>, Upstream) {
        let superlink = Self { state: Mutex::default(), asked: Notify::new(), may_answer: Semaphore::new(0) };
        let superlink = Arc::new(superlink);
        let upstream = Upstream::start({
            let superlink = Arc::clone(&superlink);
            move |request| Arc::clone(&superlink).answer(request)
        });
        (Arc::clone(&superlink), upstream.await)
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let is_grpc = path.starts_with("/flwr");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let message = if is_grpc { first_message(&body) } else { body };
        let answer = if path.ends_with("PushMessages") || path.ends_with("push-messages") {
            let request = PushMessagesRequest::decode(message).unwrap();
            let answer = self.state.lock().unwrap().push_messages(request);
            self.asked.notify_one();
            self.may_answer.acquire().await.unwrap().forget();
            answer.encode_to_vec()
        } else {
            let request = PushObjectRequest::decode(message).unwrap();
            self.state.lock().unwrap().push_object(request).encode_to_vec()
        };
        if is_grpc { in_grpc(&answer) } else { full(StatusCode::OK, "application/protobuf", answer) }
    }

    /// The ServerApp looks for replies, and has all that were pushed.
    fn serverapp_looks(&self) {
        let mut state = self.state.lock().unwrap();
        state.seen = state.replies.clone();
    }

    fn has(&self, reply: &PushedReply) -> bool {
        let state = self.state.lock().unwrap();
        reply.objects.iter().chain([&reply.id]).all(|id| state.stored.contains(*id))
    }
}

/// A gRPC server looks at the first message of a call that has one, and at no other.
fn first_message(body: &Bytes) -> Bytes {
    let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
    body.slice(5..5 + length)
}

/// A reply as a SuperNode pushes it.
struct PushedReply {
    node: u64,
    id: &'static str,
    objects: [&'static str; 8],
}

impl PushedReply {
    fn request(&self) -> Vec<u8> {
        let metadata = Metadata { run_id: RUN, message_id: self.id.into() };
        let leaf = |id: &&str| ObjectTree { object_id: (*id).into(), children: Vec::new() };
        let tree = ObjectTree { object_id: self.id.into(), children: self.objects.iter().map(leaf).collect() };
        let request = PushMessagesRequest {
            node: Some(Node { node_id: self.node }),
            messages_list: vec![FlowerMessage { metadata: Some(metadata) }],
            message_object_trees: vec![tree],
        };
        request.encode_to_vec()
    }

    /// Announces the reply.
    async fn announce(&self, ends: &Ends, wire: Wire) -> PushMessagesResponse {
        PushMessagesResponse::decode(ends.call(wire, "push-messages", self.request()).await).unwrap()
    }

    /// Pushes what was asked for, and returns what was not stored: a SuperNode then drops its reply.
    async fn push(&self, ends: &Ends, wire: Wire, asked: &PushMessagesResponse) -> Vec<String> {
        let mut refused = Vec::new();
        for id in &asked.objects_to_push {
            if !push(ends, wire, self.node, RUN, id, &asked.session_id).await {
                refused.push(id.clone());
            }
        }
        refused
    }
}

fn push_request(node: u64, run_id: u64, id: &str, session: &str) -> Vec<u8> {
    let (object_id, session_id) = (id.into(), session.into());
    let object_content = vec![9; 1000];
    let node = Some(Node { node_id: node });
    PushObjectRequest { node, run_id, object_id, object_content, session_id }.encode_to_vec()
}

/// Whether an object is stored.
async fn push(ends: &Ends, wire: Wire, node: u64, run: u64, id: &str, session: &str) -> bool {
    is_stored(ends, wire, push_request(node, run, id, session)).await
}

async fn is_stored(ends: &Ends, wire: Wire, request: Vec<u8>) -> bool {
    PushObjectResponse::decode(ends.call(wire, "push-object", request).await).unwrap().stored
}

/// Announces two replies, of which `lost` gets no answer before the ServerApp has seen both.
async fn announce_both(
    (broken, wire): (Broken, Wire),
    (superlink, ends): (&SuperLink, &mut Ends),
    lost: &PushedReply,
) -> [PushMessagesResponse; 2] {
    let mut answers = [None, None];
    for (reply, answer) in [&FIRST, &SECOND].into_iter().zip(&mut answers) {
        if reply.id == lost.id {
            let call = try_call(ends.dial(), wire, "push-messages", reply.request());
            let breaking = async {
                superlink.asked.notified().await;
                ends.replace(broken).await;
            };
            tokio::select! {
                () = async { assert_eq!(call.await, None, "answered too early"); std::future::pending().await } => {}
                () = breaking => {}
            }
            superlink.may_answer.add_permits(1);
        } else {
            superlink.may_answer.add_permits(1);
            *answer = Some(reply.announce(ends, wire).await);
            superlink.asked.notified().await;
        }
    }
    superlink.serverapp_looks();
    superlink.may_answer.add_permits(1000);
    let again = lost.announce(ends, wire).await;
    answers.map(|answer| answer.unwrap_or_else(|| again.clone()))
}

/// Every node's pushes are stored, though both have the same objects among theirs: whose answer is lost, whatever was gone,
/// and whoever pushes first.
#[tokio::test]
async fn a_reply_whose_answer_is_lost_costs_no_other_node_its_own() {
    guarded(async {
        for broken in [Broken::Caller, Broken::Outbound, Broken::Inbound] {
            let orders = [(&SECOND, 1), (&SECOND, 0), (&FIRST, 0), (&FIRST, 1)];
            for ((_, wire, spoken), (lost, pushes_first)) in cases(&[broken]).zip(orders) {
                let case = format!("{broken:?} {wire} {spoken}, {} is lost, {pushes_first} is first", lost.id);
                let (superlink, upstream) = SuperLink::start().await;
                let mut ends = Ends::start(upstream.speaking(spoken)).await;
                let asked = announce_both((broken, wire), (&superlink, &mut ends), lost).await;
                for place in [pushes_first, 1 - pushes_first] {
                    let reply = [&FIRST, &SECOND][place];
                    let refused = reply.push(&ends, wire, &asked[place]).await;
                    assert!(refused.is_empty(), "{}: {refused:?} are not stored: {case}", reply.id);
                }
                assert!(superlink.has(&FIRST) && superlink.has(&SECOND), "{case}");
                ends.stop().await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again_with_its_session_as_long_as_the_inbound_end_lives() {
    guarded(async {
        for (broken, wire, spoken) in cases(&[Broken::Caller, Broken::Outbound, Broken::Inbound]) {
            let (superlink, upstream) = SuperLink::start().await;
            let mut ends = Ends::start(upstream.speaking(spoken)).await;
            let [_, again] = announce_both((broken, wire), (&superlink, &mut ends), &SECOND).await;
            let session = if broken == Broken::Inbound { "" } else { "session 2" };
            assert_eq!(again.session_id, session, "{broken:?} {wire} {spoken}");
            assert_eq!((again.objects_to_push.len(), &*again.unknown), (9, "kept"), "{broken:?} {wire} {spoken}");
            ends.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_object_is_stored_only_if_the_superlink_said_so_in_its_run() {
    guarded(async {
        for (_, wire, spoken) in cases(&[Broken::Caller]) {
            let case = format!("{wire} {spoken}");
            let (superlink, upstream) = SuperLink::start().await;
            superlink.may_answer.add_permits(1000);
            let ends = Ends::start(upstream.speaking(spoken)).await;
            let session = FIRST.announce(&ends, wire).await.session_id;
            let one = FIRST.node;
            assert!(push(&ends, wire, one, RUN, "a1", &session).await, "{case}");
            assert!(push(&ends, wire, 2, RUN, "a1", "unknown").await, "whoever pushes it: {case}");
            assert!(!push(&ends, wire, 2, RUN + 1, "a1", "unknown").await, "another run: {case}");
            assert!(!push(&ends, wire, 2, RUN, "b1", "unknown").await, "nobody has pushed it: {case}");

            // The SuperLink reads the last of two ids, and is not taken to have stored the other object.
            let (named, read) = ("c1", "d1");
            let id = |id: &str| PushObjectRequest { object_id: id.into(), ..PushObjectRequest::default() };
            let twice = [id(named).encode_to_vec(), push_request(one, RUN, read, &session)].concat();
            assert!(is_stored(&ends, wire, twice).await, "{case}");
            for id in [named, read] {
                assert!(!push(&ends, wire, 2, RUN, id, "unknown").await, "{id}: {case}");
            }
            ends.stop().await;
        }
    })
    .await;
}

/// A gRPC server does not look at it, and it may name an object that is not stored.
#[tokio::test]
async fn a_second_message_in_a_call_makes_no_object_stored() {
    guarded(async {
        let (superlink, upstream) = SuperLink::start().await;
        superlink.may_answer.add_permits(1000);
        let ends = Ends::start(upstream.speaking(Wire::Grpc)).await;
        let session = FIRST.announce(&ends, Wire::Grpc).await.session_id;
        let read = framed(&push_request(FIRST.node, RUN, "e1", &session));
        // To who takes it for more fields of the first message, its header ends with the key of an object's id.
        let named = [&[2, b'f', b'1', 15 << 3 | 2, 21][..], &[0; 21]].concat();
        let request = grpc_call("/flwr.proto.Fleet/PushObject", [read, framed(&named)].concat());
        let answer = LocalClient::grpc(ends.dial()).send(request).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
        assert!(superlink.state.lock().unwrap().stored.contains("e1"));
        for id in ["e1", "f1"] {
            assert!(!push(&ends, Wire::Grpc, 2, RUN, id, "unknown").await, "{id}");
        }
        ends.stop().await;
    })
    .await;
}
