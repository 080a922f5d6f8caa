//! What a SuperLink answers once, and an answer that does not arrive: its caller, or either funnel, is gone before it comes.

use std::{
    collections::{HashSet, VecDeque},
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use flower_iroh_funnel::{Api, EndpointAddr, Exposed, PeerConfig, SecretKey, protocol::Wire};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_ENCODING};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{Notify, Semaphore},
};

use super::{
    ports::free_addr,
    support::{Body, LocalClient, Running, Upstream, full, grpc_call, guarded, http_call, loopback},
};

/// `PullMessagesResponse` with one message, named `m`, and its tree of objects.
const MESSAGE: &[u8] = &[0x12, 5, 0x0a, 3, 0x12, 1, b'm', 0x1a, 3, 0x0a, 1, b'm'];
/// The same with another, named `n`.
const OTHER_MESSAGE: &[u8] = &[0x12, 5, 0x0a, 3, 0x12, 1, b'n', 0x1a, 3, 0x0a, 1, b'n'];
const STORED: &[u8] = &[0x08, 1];
/// `PushMessagesRequest` of a reply to `m` of node 7 in run 1, named `r`, which holds the object `o`.
const REPLY: &[u8] = &[
    0x0a, 2, 0x08, 7, 0x12, 10, 0x0a, 8, 0x08, 1, 0x12, 1, b'r', 0x2a, 1, b'm', 0x1a, 8, 0x0a, 1, b'r', 0x12, 3, 0x0a,
    1, b'o',
];
/// `PushMessagesResponse` that asks for both in a session named `s`, and one that asks for nothing.
const ASKED: &[u8] = &[0x1a, 1, b'r', 0x1a, 1, b'o', 0x22, 1, b's'];
const NOT_ASKED: &[u8] = &[0x22, 1, b't'];
/// In place of the latter: all that the reply holds, in no session.
const ASKED_AGAIN: &[u8] = &[0x1a, 1, b'o', 0x1a, 1, b'r'];
/// A node that gets no answer when it pulls.
const NEVER: u8 = 9;
const BOTH: [Wire; 2] = [Wire::Grpc, Wire::Http];
/// As in `redelivery`: a SuperLink that takes longer is asked by others meanwhile.
const TURN: Duration = Duration::from_secs(2);

/// `PullMessagesRequest`.
fn pull(node: u8) -> Vec<u8> {
    vec![0x0a, 2, 0x08, node]
}

/// `ConfirmMessageReceivedRequest`.
fn confirm(node: u8, message: u8) -> Vec<u8> {
    vec![0x0a, 2, 0x08, node, 0x10, 1, 0x1a, 1, message]
}

/// `PushObjectRequest` of node 7, with content that is longer than what is kept of a field.
fn push(run: u8, object: u8, session: Option<u8>) -> Vec<u8> {
    let session = session.map(|session| vec![0x2a, 1, session]).unwrap_or_default();
    [&[0x0a, 2, 0x08, 7, 0x10, run, 0x1a, 1, object, 0x22, 0xe8, 7][..], &[9; 1000], &session].concat()
}

/// Hands out each message once, asks once for the objects of a reply, stores each object once, and answers when it may.
struct SuperLink {
    messages: Mutex<VecDeque<&'static [u8]>>,
    asks: Mutex<Option<&'static [u8]>>,
    objects: Mutex<HashSet<Bytes>>,
    asked: Notify,
    may_answer: Semaphore,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl SuperLink {
    async fn start() -> (Arc<Self>, Upstream) {
        let superlink = Self {
            messages: Mutex::new([MESSAGE].into()),
            asks: Mutex::new(Some(ASKED)),
            objects: Mutex::default(),
            asked: Notify::new(),
            may_answer: Semaphore::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        };
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
        let message = if is_grpc { body.slice(5..) } else { body };
        let answer = match path.rsplit('/').next().unwrap() {
            "PullMessages" | "pull-messages" if message[3] == NEVER => {
                self.asked.notify_one();
                pending().await
            }
            "PullMessages" | "pull-messages" if message[3] == 7 => {
                self.messages.lock().unwrap().pop_front().unwrap_or_default()
            }
            "PushMessages" | "push-messages" => self.asks.lock().unwrap().take().unwrap_or(NOT_ASKED),
            "PushObject" | "push-object" if self.objects.lock().unwrap().insert(message.clone()) => STORED,
            _ => &[],
        };
        let under_way = self.under_way.fetch_add(1, Relaxed) + 1;
        self.most_under_way.fetch_max(under_way, Relaxed);
        self.asked.notify_one();
        let _may = self.may_answer.acquire().await.unwrap();
        self.under_way.fetch_sub(1, Relaxed);
        if is_grpc { in_grpc(answer) } else { full(StatusCode::OK, "application/protobuf", answer) }
    }

    /// A call that is whole, and whose answer does not arrive.
    async fn swallow(&self, ends: &mut Ends, broken: Broken, wire: Wire, method: &str, message: Vec<u8>) {
        let call = try_call(ends.dial(), wire, method, message);
        let breaking = async {
            self.asked.notified().await;
            ends.replace(broken).await;
        };
        tokio::select! {
            () = async { assert_eq!(call.await, None, "answered too early"); pending().await } => {}
            () = breaking => {}
        }
        self.may_answer.add_permits(1000);
    }
}

/// What breaks while a call is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Caller,
    Outbound,
    Inbound,
}

/// Two funnels that cut the calls under way when they stop, and come back as they were, but for what they remember.
pub(super) struct Ends {
    addr: SocketAddr,
    exposed: Exposed,
    keys: [SecretKey; 2],
    funnels: Option<[Running; 2]>,
}

impl Ends {
    pub(super) async fn start(exposed: Exposed) -> Self {
        let keys = [SecretKey::generate(), SecretKey::generate()];
        let exposed = exposed.allow(keys[1].public(), [Api::Fleet]);
        let mut ends = Self { addr: free_addr(), exposed, keys, funnels: None };
        let inbound = ends.inbound().await;
        let outbound = ends.outbound().await;
        ends.funnels = Some([inbound, outbound]);
        ends
    }

    async fn inbound(&self) -> Running {
        let config = loopback().drain_timeout(Duration::ZERO).secret_key(self.keys[0].clone()).bind_addr(self.addr);
        Running::start_on_used_port(config.expose(self.exposed.clone()).build().unwrap()).await
    }

    async fn outbound(&self) -> Running {
        let peer = EndpointAddr::new(self.keys[0].public()).with_ip_addr(self.addr);
        let config = loopback().drain_timeout(Duration::ZERO).secret_key(self.keys[1].clone());
        let outbound = Running::start(config.peer(PeerConfig::new(peer.clone())).build().unwrap()).await;
        outbound.funnel.connect_to_peer(peer).await.unwrap();
        outbound
    }

    pub(super) fn dial(&self) -> SocketAddr {
        self.funnels.as_ref().unwrap()[1].funnel.local_addrs()[0]
    }

    pub(super) async fn replace(&mut self, broken: Broken) {
        let [mut inbound, mut outbound] = self.funnels.take().unwrap();
        match broken {
            Broken::Caller => {}
            Broken::Inbound => {
                inbound.stop().await;
                inbound = self.inbound().await;
            }
            Broken::Outbound => {
                outbound.stop().await;
                outbound = self.outbound().await;
            }
        }
        self.funnels = Some([inbound, outbound]);
    }

    /// The message of the answer, when there is one.
    pub(super) async fn call(&self, wire: Wire, method: &str, message: Vec<u8>) -> Bytes {
        loop {
            if let Some(answer) = try_call(self.dial(), wire, method, message.clone()).await {
                return answer;
            }
        }
    }

    pub(super) async fn stop(self) {
        for funnel in self.funnels.unwrap().into_iter().rev() {
            funnel.stop().await;
        }
    }
}

pub(super) fn in_grpc(message: &[u8]) -> Response<Body> {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let frames =
        [Frame::data(framed(message).into()), Frame::trailers(trailers)].map(Ok::<_, std::convert::Infallible>);
    let mut response = full(StatusCode::OK, "application/grpc", "");
    *response.body_mut() = BodyExt::boxed(StreamBody::new(tokio_stream::iter(frames)));
    response
}

pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

/// The message of the answer; `None` if the peer is out of reach or out of sight.
pub(super) async fn try_call(dial: SocketAddr, wire: Wire, method: &str, message: Vec<u8>) -> Option<Bytes> {
    match wire {
        Wire::Http => {
            let request = http_call(&format!("/v1/fleet/{method}"), message);
            let answer = LocalClient::http(dial).send(request).await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())?;
            Some(answer.into_body().collect().await.unwrap().to_bytes())
        }
        Wire::Grpc => {
            let words = method.split('-').map(|word| word[..1].to_uppercase() + &word[1..]);
            let request = grpc_call(&format!("/flwr.proto.Fleet/{}", words.collect::<String>()), framed(&message));
            let collected = LocalClient::grpc(dial).send(request).await.ok()?.into_body().collect().await.unwrap();
            (collected.trailers()?["grpc-status"] == "0").then_some(())?;
            let body = collected.to_bytes();
            assert_eq!(body[..5], framed(&body[5..])[..5]);
            Some(body.slice(5..))
        }
    }
}

/// Every way in which a call of one wire reaches a SuperLink of another or the same, and what breaks on it.
pub(super) fn cases(broken: &[Broken]) -> impl Iterator<Item = (Broken, Wire, Wire)> {
    let wires = BOTH.into_iter().flat_map(|called| BOTH.map(|spoken| (called, spoken)));
    wires.flat_map(move |(called, spoken)| broken.iter().map(move |broken| (*broken, called, spoken)))
}

#[tokio::test]
async fn a_message_whose_node_was_gone_is_handed_out_again_until_it_is_confirmed() {
    guarded(async {
        for (broken, wire, spoken) in cases(&[Broken::Caller, Broken::Outbound]) {
            let (superlink, upstream) = SuperLink::start().await;
            let mut ends = Ends::start(upstream.speaking(spoken)).await;
            superlink.swallow(&mut ends, broken, wire, "pull-messages", pull(7)).await;
            // The answer to the first call may come after this one's.
            while ends.call(wire, "pull-messages", pull(7)).await != MESSAGE {}
            assert_eq!(ends.call(wire, "pull-messages", pull(8)).await, "", "it is another node's");
            assert_eq!(ends.call(wire.other(), "pull-messages", pull(7)).await, MESSAGE, "not confirmed yet");
            ends.call(wire, "confirm-message-received", confirm(7, b'm')).await;
            assert_eq!(ends.call(wire, "pull-messages", pull(7)).await, "", "{broken:?} {wire} {spoken}");
            ends.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_that_did_not_arrive_is_kept_while_another_does() {
    guarded(async {
        for (broken, wire, spoken) in cases(&[Broken::Caller, Broken::Outbound]) {
            let case = format!("{broken:?} {wire} {spoken}");
            let (superlink, upstream) = SuperLink::start().await;
            superlink.messages.lock().unwrap().push_back(OTHER_MESSAGE);
            let mut ends = Ends::start(upstream.speaking(spoken)).await;
            superlink.swallow(&mut ends, broken, wire, "pull-messages", pull(7)).await;
            assert_eq!(ends.call(wire, "pull-messages", pull(7)).await, OTHER_MESSAGE, "{case}");
            ends.call(wire, "confirm-message-received", confirm(7, b'n')).await;
            while ends.call(wire, "pull-messages", pull(7)).await != MESSAGE {}
            ends.call(wire, "push-messages", REPLY.to_vec()).await;
            assert_eq!(ends.call(wire, "pull-messages", pull(7)).await, "", "it is answered: {case}");
            ends.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_outlives_the_deadline_that_its_node_has_set() {
    guarded(async {
        for spoken in BOTH {
            let (superlink, upstream) = SuperLink::start().await;
            let ends = Ends::start(upstream.speaking(spoken)).await;
            let mut poll = grpc_call("/flwr.proto.Fleet/PullMessages", framed(&pull(7)));
            poll.headers_mut().insert("grpc-timeout", HeaderValue::from_static("1m"));
            let client = LocalClient::grpc(ends.dial());
            let answering = async {
                superlink.asked.notified().await;
                superlink.may_answer.add_permits(1000);
            };
            let (answer, ()) = tokio::join!(client.send(poll), answering);
            let answer = answer.unwrap().into_body().collect().await.unwrap();
            assert_eq!(answer.trailers().unwrap()["grpc-status"], "0", "{spoken}");
            assert_eq!(answer.to_bytes(), framed(MESSAGE), "{spoken}");
            assert_eq!(ends.call(Wire::Grpc, "pull-messages", pull(7)).await, MESSAGE, "not confirmed yet");
            ends.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_object_is_stored_when_it_comes_again_whatever_was_gone() {
    guarded(async {
        for (broken, wire, spoken) in cases(&[Broken::Caller, Broken::Outbound, Broken::Inbound]) {
            let (superlink, upstream) = SuperLink::start().await;
            let mut ends = Ends::start(upstream.speaking(spoken)).await;
            let object = push(1, b'o', Some(b'a'));
            superlink.swallow(&mut ends, broken, wire, "push-object", object.clone()).await;
            assert_eq!(ends.call(wire, "push-object", object).await, STORED, "{broken:?} {wire} {spoken}");
            let other = push(1, b'p', Some(b'a'));
            superlink.objects.lock().unwrap().insert(other.clone().into());
            assert_eq!(ends.call(wire, "push-object", other).await, "", "another object: {broken:?} {wire} {spoken}");
            if broken == Broken::Inbound {
                let other = push(1, b'o', Some(b'b'));
                superlink.objects.lock().unwrap().insert(other.clone().into());
                let answer = ends.call(wire, "push-object", other).await;
                assert_eq!(answer, "", "another session, and no end has seen that it is stored: {wire} {spoken}");
            }
            ends.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reply_that_comes_again_gets_the_answer_that_the_inbound_end_has_seen() {
    guarded(async {
        for (broken, wire, spoken) in cases(&[Broken::Caller, Broken::Outbound]) {
            let (superlink, upstream) = SuperLink::start().await;
            let mut ends = Ends::start(upstream.speaking(spoken)).await;
            superlink.swallow(&mut ends, broken, wire, "push-messages", REPLY.to_vec()).await;
            assert_eq!(ends.call(wire, "push-messages", REPLY.to_vec()).await, ASKED, "{broken:?} {wire} {spoken}");
            ends.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reply_that_comes_again_is_asked_for_all_its_objects_when_the_inbound_end_was_gone() {
    guarded(async {
        for (broken, wire, spoken) in cases(&[Broken::Inbound]) {
            let case = format!("{wire} {spoken}");
            let (superlink, upstream) = SuperLink::start().await;
            let mut ends = Ends::start(upstream.speaking(spoken)).await;
            superlink.swallow(&mut ends, broken, wire, "push-messages", REPLY.to_vec()).await;
            assert_eq!(ends.call(wire, "push-messages", REPLY.to_vec()).await, ASKED_AGAIN, "{case}");
            let there_already = [push(1, b'r', None), push(2, b'r', None)];
            superlink.objects.lock().unwrap().extend(there_already.clone().map(Bytes::from));
            let [of_reply, of_another_run] = there_already;
            ends.replace(Broken::Inbound).await;
            assert_eq!(ends.call(wire, "push-object", push(1, b'o', None)).await, STORED, "{case}");
            assert_eq!(ends.call(wire, "push-object", of_reply).await, STORED, "{case}");
            assert_eq!(ends.call(wire, "push-object", of_another_run).await, "", "{case}");
            ends.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reply_that_comes_for_the_first_time_is_answered_as_the_superlink_answers() {
    guarded(async {
        for (_, wire, spoken) in cases(&[Broken::Caller]) {
            let (superlink, upstream) = SuperLink::start().await;
            superlink.may_answer.add_permits(1000);
            let ends = Ends::start(upstream.speaking(spoken)).await;
            assert_eq!(ends.call(wire, "push-messages", REPLY.to_vec()).await, ASKED);
            let mut other = REPLY.to_vec();
            other[12] = b'q';
            assert_eq!(ends.call(wire, "push-messages", other).await, NOT_ASKED, "it is another");
            ends.stop().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superlink_is_asked_for_one_message_at_a_time_by_those_who_have_asked() {
    guarded(async {
        loop {
            let (superlink, upstream) = SuperLink::start().await;
            let ends = Ends::start(upstream.speaking(Wire::Http)).await;
            let mut halves = Vec::new();
            for _ in 0..4 {
                let mut half = TcpStream::connect(ends.dial()).await.unwrap();
                let head = b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n";
                half.write_all(&[&head[..], &pull(8)[..2]].concat()).await.unwrap();
                halves.push(half);
            }
            let began = Instant::now();
            let pulls = (0..16).map(|_| try_call(ends.dial(), Wire::Http, "pull-messages", pull(8)));
            let pulls = tokio::spawn(join_all(pulls.collect::<Vec<_>>()));
            superlink.asked.notified().await;
            superlink.may_answer.add_permits(1000);
            assert!(pulls.await.unwrap().iter().all(|answer| *answer == Some(Bytes::new())));
            let took = began.elapsed();
            drop(halves);
            ends.stop().await;
            // On a busy machine turns may have ended before their calls, which shows nothing.
            if took < TURN {
                assert_eq!(superlink.most_under_way.load(Relaxed), 1);
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_poll_that_is_never_answered_does_not_hold_up_the_others() {
    guarded(async {
        let (superlink, upstream) = SuperLink::start().await;
        let ends = Ends::start(upstream.speaking(Wire::Http)).await;
        superlink.may_answer.add_permits(1000);
        tokio::select! {
            answer = try_call(ends.dial(), Wire::Http, "pull-messages", pull(NEVER)) => panic!("answered: {answer:?}"),
            message = async {
                superlink.asked.notified().await;
                ends.call(Wire::Http, "pull-messages", pull(7)).await
            } => assert_eq!(message, MESSAGE),
        }
        ends.stop().await;
    })
    .await;
}

/// Requests of node 8 that some reader reads as those of node 7: this end's, or any other.
fn as_either_node() -> impl Iterator<Item = Vec<u8>> {
    let [either, other] = [8, 7].map(pull);
    let node = |content: &[u8]| [&[0x0a, content.len() as u8], content].concat();
    [
        [&either[..], &other].concat(),
        [&other[..], &either].concat(),
        [&other[..], &[0x0a, 0]].concat(),
        node(&[0x08, 8, 0x08, 7]),
        node(&[0x08, 7, 0x0d, 8, 0, 0, 0]),
        node(&[0x08, 0x87, 0]),
        node(&[0x08, 0x87, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
        node(&[0x88, 0, 7]),
        vec![0x8a, 0, 2, 0x08, 7],
        vec![0x0a, 0x82, 0, 0x08, 7],
        [&other[..], &[0x0b, 0x08, 8, 0x0c]].concat(),
        [&other[..], &[0xfb, 0x07, 0xfc, 0x07]].concat(),
        [&[0x08, 8][..], &other].concat(),
    ]
    .into_iter()
}

#[tokio::test]
async fn a_request_that_could_be_of_two_nodes_gets_and_confirms_no_message_of_either() {
    guarded(async {
        for (broken, wire, spoken) in cases(&[Broken::Caller]) {
            let (superlink, upstream) = SuperLink::start().await;
            let mut ends = Ends::start(upstream.speaking(spoken)).await;
            superlink.swallow(&mut ends, broken, wire, "pull-messages", pull(7)).await;
            while ends.call(wire, "pull-messages", pull(7)).await != MESSAGE {}
            let rest_of_confirmation = &confirm(7, b'm')[4..];
            let rest_of_reply = &REPLY[4..];
            for request in as_either_node() {
                let answer = try_call(ends.dial(), wire, "pull-messages", request.clone()).await;
                assert_ne!(answer.as_deref(), Some(MESSAGE), "{request:02x?} {wire} {spoken}");
                for (method, rest) in
                    [("confirm-message-received", rest_of_confirmation), ("push-messages", rest_of_reply)]
                {
                    try_call(ends.dial(), wire, method, [&request, rest].concat()).await;
                }
            }
            let two_ids = [&confirm(7, b'x')[..], &[0x1a, 1, b'm']].concat();
            ends.call(wire, "confirm-message-received", two_ids).await;
            assert_eq!(ends.call(wire, "pull-messages", pull(7)).await, MESSAGE, "not confirmed: {wire} {spoken}");
            ends.call(wire, "confirm-message-received", confirm(7, b'm')).await;
            assert_eq!(ends.call(wire, "pull-messages", pull(7)).await, "", "{wire} {spoken}");
            ends.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_that_could_hold_another_message_gets_and_confirms_none() {
    guarded(async {
        for spoken in BOTH {
            let (superlink, upstream) = SuperLink::start().await;
            let mut ends = Ends::start(upstream.speaking(spoken)).await;
            superlink.swallow(&mut ends, Broken::Caller, Wire::Http, "pull-messages", pull(7)).await;
            while ends.call(Wire::Http, "pull-messages", pull(7)).await != MESSAGE {}

            let compressed = |message: &[u8]| [&[1], &framed(message)[1..]].concat();
            let twice = |message: &[u8]| [framed(message), framed(&[])].concat();
            for (name, message) in [("PullMessages", pull(7)), ("ConfirmMessageReceived", confirm(7, b'm'))] {
                for body in [compressed(&message), twice(&message)] {
                    let call = grpc_call(&format!("/flwr.proto.Fleet/{name}"), body);
                    if let Ok(answer) = LocalClient::grpc(ends.dial()).send(call).await
                        && let Ok(body) = answer.into_body().collect().await
                    {
                        assert_ne!(body.to_bytes(), framed(MESSAGE), "{spoken}");
                    }
                }
            }
            for (method, message) in [("pull-messages", pull(7)), ("confirm-message-received", confirm(7, b'm'))] {
                for encodings in [&["gzip"][..], &["identity", "gzip"]] {
                    let mut call = http_call(&format!("/v1/fleet/{method}"), message.clone());
                    for encoding in encodings {
                        call.headers_mut().append(CONTENT_ENCODING, HeaderValue::from_static(encoding));
                    }
                    let answer = LocalClient::http(ends.dial()).send(call).await.unwrap();
                    assert_ne!(answer.into_body().collect().await.unwrap().to_bytes(), MESSAGE, "{spoken}");
                }
            }
            assert_eq!(ends.call(Wire::Http, "pull-messages", pull(7)).await, MESSAGE, "not confirmed: {spoken}");
            ends.stop().await;
        }
    })
    .await;
}
