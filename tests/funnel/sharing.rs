//! What peers share behind an inbound funnel, and what one of them may use up of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use flower_iroh_funnel::{ALPN, Api, CallLimits, Exposed, SecretKey};
use futures_util::{StreamExt, future::join_all, stream};
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::SendRequest,
};
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

use super::support::{
    Body, LocalClient, Pair, RawPeer, Running, Upstream, detail, echo, full, grpc_call, guarded, http_call, join,
    loopback, piecewise,
};

const PROTOBUF: &str = "application/protobuf";
const HEARTBEAT: &str = "/v1/fleet/send-node-heartbeat";

/// An inbound funnel, a peer that means harm and an honest one.
struct Scene {
    inbound: Running,
    attacker: RawPeer,
    honest: Running,
    client: LocalClient,
}

impl Scene {
    async fn start(exposed: Exposed, limits: CallLimits) -> Self {
        let keys = [SecretKey::generate(), SecretKey::generate()];
        let exposed = keys.iter().fold(exposed, |exposed, key| exposed.allow(key.public(), [Api::Fleet, Api::Control]));
        let inbound = Running::start(loopback().call_limits(limits).expose(exposed).build().unwrap()).await;
        let peer = inbound.funnel.endpoint_addr().await;
        let [attacker, honest] = keys;
        let attacker = RawPeer::new(attacker, peer.clone(), ALPN).await;
        let honest = join(peer.clone(), honest).await;
        honest.funnel.connect_to_peer(peer).await.unwrap();
        let client = LocalClient::http(honest.funnel.local_addrs()[0]);
        Self { inbound, attacker, honest, client }
    }

    async fn stop(self) {
        self.honest.stop().await;
        self.inbound.stop().await;
        self.attacker.endpoint.close().await;
    }
}

/// Sends a call on a session, in a task of its own.
fn spawn_on(session: &SendRequest<Body>, mut request: Request<Body>) -> JoinHandle<hyper::Result<Response<Incoming>>> {
    *request.uri_mut() = format!("http://peer{}", request.uri().path()).parse().unwrap();
    let mut session = session.clone();
    tokio::spawn(async move {
        session.ready().await?;
        session.send_request(request).await
    })
}

/// A SuperLink that handles one call at a time, as a Python process does, and counts those that it has begun.
#[derive(Clone, Default)]
struct OneAtATime {
    begun: Arc<AtomicUsize>,
    turn: Arc<Mutex<()>>,
}

impl OneAtATime {
    const WORK: Duration = Duration::from_millis(20);

    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let _ = request.into_body().collect().await;
        let _turn = self.turn.lock().await;
        self.begun.fetch_add(1, SeqCst);
        tokio::time::sleep(Self::WORK).await;
        full(StatusCode::OK, PROTOBUF, "done")
    }
}

#[tokio::test]
async fn a_call_of_one_peer_does_not_wait_for_the_250_of_another() {
    guarded(async {
        let superlink = OneAtATime::default();
        let upstream = Upstream::start({
            let superlink = superlink.clone();
            move |request| superlink.clone().answer(request)
        })
        .await;
        let scene = Scene::start(upstream.both_wires(), CallLimits::default()).await;
        let session = scene.attacker.session().await.unwrap();
        let flood: Vec<_> = (0..250).map(|_| spawn_on(&session, http_call("/v1/fleet/get-run", "x"))).collect();
        let begun = || superlink.begun.load(SeqCst);
        while begun() == 0 {
            tokio::task::yield_now().await;
        }
        for path in [HEARTBEAT, "/v1/fleet/pull-messages", HEARTBEAT] {
            let before = begun();
            assert_eq!(scene.client.send(http_call(path, "x")).await.unwrap().status(), 200);
            let overtaken_by = begun() - before;
            assert!(overtaken_by < 40, "{path} was served after {overtaken_by} calls of the other peer");
        }
        assert!(begun() < 200, "the flood is over: nothing was shown");
        for answer in join_all(flood).await {
            assert_eq!(answer.unwrap().unwrap().status(), 200);
        }
        scene.stop().await;
    })
    .await;
}

fn short_pauses() -> CallLimits {
    let mut limits = CallLimits::default();
    limits.max_pause = Duration::from_secs(1);
    limits
}

#[tokio::test]
async fn an_upload_that_stands_still_ends_with_the_reason_at_either_end_and_gives_its_place_back() {
    guarded(async {
        let upstream = Upstream::start(|request: Request<Incoming>| async move {
            let _ = request.into_body().collect().await;
            full(StatusCode::OK, PROTOBUF, "done")
        })
        .await;
        let mut limits = short_pauses();
        limits.max_bulk_calls_per_peer = 2;
        let scene = Scene::start(upstream.both_wires(), limits).await;
        // At the inbound end: a peer that begins as many as it may have, twice.
        for _ in 0..2 {
            let stalled: Vec<_> = (0..2)
                .map(|_| {
                    let (sender, body) = piecewise();
                    (sender, scene.attacker.send(http_call("/v1/fleet/push-object", "").map(|_| body)))
                })
                .collect();
            let (senders, calls): (Vec<_>, Vec<_>) = stalled.into_iter().unzip();
            for sender in &senders {
                sender.send(Ok(Frame::data(Bytes::from(vec![7; 100_000])))).await.unwrap();
            }
            for answer in join_all(calls).await {
                let answer = answer.unwrap();
                assert_eq!(answer.status(), 503);
                assert!(detail(answer).await.contains("no byte of the request has arrived for 1s"));
            }
        }
        scene.stop().await;

        // At the outbound end, in both wires.
        let key = SecretKey::generate();
        let pair = Pair::between(
            loopback(),
            loopback().secret_key(key.clone()).call_limits(short_pauses()),
            key,
            upstream.both_wires(),
            &[Api::Fleet],
        )
        .await;
        let (_sender, body) = piecewise();
        let call = http_call("/v1/fleet/push-object", "").map(|_| body);
        let answer = LocalClient::http(pair.dial).send(call).await.unwrap();
        assert_eq!(answer.status(), 503);
        assert!(detail(answer).await.contains("no byte of the request has arrived for 1s"));
        let (_sender, body) = piecewise();
        let call = grpc_call("/flwr.proto.Fleet/PushObject", "").map(|_| body);
        let answer = LocalClient::grpc(pair.dial).send(call).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "14");
        pair.stop().await;
    })
    .await;
}

#[tokio::test]
async fn neither_a_slow_upstream_nor_a_quiet_stream_is_a_pause_of_the_sender() {
    guarded(async {
        let resume = Arc::new(Notify::new());
        let upstream = Upstream::start({
            let resume = Arc::clone(&resume);
            move |request: Request<Incoming>| {
                let resume = Arc::clone(&resume);
                async move {
                    if request.uri().path().ends_with("Join") {
                        return echo(request).await;
                    }
                    resume.notified().await;
                    let length = request.into_body().collect().await.unwrap().to_bytes().len();
                    full(StatusCode::OK, PROTOBUF, length.to_string())
                }
            }
        })
        .await;
        let key = SecretKey::generate();
        let ends = [(); 2].map(|()| loopback().call_limits(short_pauses()));
        let [inbound, outbound] = ends;
        let pair =
            Pair::between(inbound, outbound.secret_key(key.clone()), key, upstream.both_wires(), &[Api::Fleet]).await;

        // More than all windows on the way hold, so that the sender stands still while the upstream does not read.
        const LENGTH: usize = 24 << 20;
        let client = LocalClient::http(pair.dial);
        let upload =
            tokio::spawn(async move { client.send(http_call("/v1/fleet/push-object", vec![7; LENGTH])).await });
        tokio::time::sleep(3 * Duration::from_secs(1)).await;
        resume.notify_one();
        let answer = upload.await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), LENGTH.to_string());

        // The client of a `start_server` trains in silence, in one call.
        let (sender, body) = piecewise();
        let call = grpc_call("/flwr.proto.FlowerService/Join", "").map(|_| body);
        sender.send(Ok(Frame::data("\0\0\0\0\u{1}a".into()))).await.unwrap();
        let mut answer = LocalClient::grpc(pair.dial).send(call).await.unwrap();
        let mut received = Vec::new();
        for piece in ["\0\0\0\0\u{1}a", "\0\0\0\0\u{1}b"] {
            let data = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, piece);
            received.push(data);
            tokio::time::sleep(3 * Duration::from_secs(1)).await;
            if received.len() == 1 {
                sender.send(Ok(Frame::data("\0\0\0\0\u{1}b".into()))).await.unwrap();
            }
        }
        drop(sender);
        let end = answer.body_mut().frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(end["grpc-status"], "0");
        pair.stop().await;
    })
    .await;
}

/// `length` bytes, in pieces.
fn endless_body(length: usize) -> Body {
    const PIECE: usize = 1 << 20;
    let piece = Bytes::from(vec![7; PIECE]);
    let pieces = (0..length / PIECE).map(move |_| Ok(Frame::data(piece.clone())));
    BodyExt::boxed(StreamBody::new(stream::iter(pieces)))
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_and_a_pull_of_a_gibibyte_passes() {
    const PULLED: usize = 1 << 30;
    guarded(async {
        let received = watch::Sender::new(0);
        let upstream = Upstream::start({
            let received = received.clone();
            move |request: Request<Incoming>| {
                let received = received.clone();
                async move {
                    if request.uri().path() == "/v1/fleet/pull-object" {
                        let mut response = Response::new(endless_body(PULLED));
                        response.headers_mut().insert(CONTENT_TYPE, PROTOBUF.parse().unwrap());
                        return response;
                    }
                    let mut body = request.into_body();
                    while let Some(Ok(frame)) = body.frame().await {
                        received.send_modify(|bytes| *bytes += frame.data_ref().map_or(0, Bytes::len));
                    }
                    full(StatusCode::OK, PROTOBUF, "done")
                }
            }
        })
        .await;
        let mut limits = CallLimits::default();
        limits.max_request = 32 << 20;
        let scene = Scene::start(upstream.both_wires(), limits).await;
        let declared = http_call("/v1/fleet/push-object", vec![7; (32 << 20) + 1]);
        let undeclared = http_call("/v1/fleet/push-object", "").map(|_| endless_body(40 << 20));
        let small = http_call(HEARTBEAT, vec![7; (4 << 20) + 1]);
        for request in [declared, undeclared, small] {
            let answer = scene.attacker.send(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert!(detail(answer).await.contains("the most that this method may have here"));
        }
        assert!(*received.borrow() <= 32 << 20, "what is past the limit did not reach the SuperLink");
        let whole = http_call("/v1/fleet/push-object", "").map(|_| endless_body(32 << 20));
        assert_eq!(scene.attacker.send(whole).await.unwrap().status(), 200);

        let mut pulled = scene.client.send(http_call("/v1/fleet/pull-object", "x")).await.unwrap().into_body();
        let mut length = 0;
        while let Some(frame) = pulled.frame().await {
            length += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(length, PULLED);
        scene.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_bytes_that_a_peer_has_under_way_are_bounded_and_other_peers_have_their_own() {
    const MIB: usize = 1 << 20;
    guarded(async {
        let (received, answer) = (watch::Sender::new(0), Arc::new(tokio::sync::Semaphore::new(0)));
        let upstream = Upstream::start({
            let (received, answer) = (received.clone(), Arc::clone(&answer));
            move |request: Request<Incoming>| {
                let (received, answer) = (received.clone(), Arc::clone(&answer));
                async move {
                    let mut body = request.into_body();
                    while let Some(Ok(frame)) = body.frame().await {
                        received.send_modify(|bytes| *bytes += frame.data_ref().map_or(0, Bytes::len));
                    }
                    answer.acquire().await.unwrap().forget();
                    full(StatusCode::OK, PROTOBUF, "done")
                }
            }
        })
        .await;
        let mut limits = CallLimits::default();
        limits.max_bytes_per_peer = 8 << 20;
        let scene = Scene::start(upstream.both_wires(), limits).await;
        let session = scene.attacker.session::<Body>().await.unwrap();
        // Without a length, and with one: each counts what it has sent.
        let upload = || spawn_on(&session, http_call("/v1/fleet/push-object", "").map(|_| endless_body(4 * MIB)));
        let mut seen = received.subscribe();
        let first = [upload(), upload()];
        seen.wait_for(|bytes| *bytes >= 7 * MIB).await.unwrap();
        for past in [upload(), spawn_on(&session, http_call("/v1/fleet/push-object", vec![7; 4 * MIB]))] {
            let refused = past.await.unwrap().unwrap();
            assert_eq!(refused.status(), 503);
            let detail = detail(refused).await;
            assert!(detail.contains("bytes of requests under way here, the most it may have"), "{detail}");
        }
        let client = scene.client.clone();
        let honest = tokio::spawn(async move { client.send(http_call("/v1/fleet/push-object", vec![7; MIB])).await });
        answer.add_permits(3);
        for upload in first {
            assert_eq!(upload.await.unwrap().unwrap().status(), 200);
        }
        assert_eq!(honest.await.unwrap().unwrap().status(), 200);
        assert!(*received.borrow() <= 10 * MIB, "what is past the limit did not reach the SuperLink");
        answer.add_permits(1);
        assert_eq!(upload().await.unwrap().unwrap().status(), 200, "there is room again");
        scene.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_abandons_its_calls_does_not_use_up_the_ports_towards_the_superlink() {
    const CALLS: usize = 1_000;
    guarded(async {
        let handled = watch::Sender::new(0);
        let upstream = Upstream::start({
            let handled = handled.clone();
            move |request: Request<Incoming>| {
                let handled = handled.clone();
                async move {
                    if request.uri().path() == HEARTBEAT {
                        return full(StatusCode::OK, PROTOBUF, "beat");
                    }
                    handled.send_modify(|calls| *calls += 1);
                    std::future::pending().await
                }
            }
        })
        .await;
        let scene = Scene::start(upstream.both_wires(), CallLimits::default()).await;
        let began = Instant::now();
        let session = scene.attacker.session::<Body>().await.unwrap();
        let abandon = async |number: usize| {
            let call = AbortOnDropHandle::new(spawn_on(&session, http_call("/v1/fleet/get-run", "x")));
            let mut seen = handled.subscribe();
            tokio::select! {
                answer = call => panic!("it is never answered: {answer:?}"),
                _ = seen.wait_for(|calls| *calls > number) => {}
                // It waits for its turn.
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        };
        stream::iter(0..CALLS).for_each_concurrent(4, abandon).await;
        for _ in 0..20 {
            assert_eq!(scene.client.send(http_call(HEARTBEAT, "x")).await.unwrap().status(), 200);
        }
        let most = 256.0 + 16.0 * began.elapsed().as_secs_f64() + 10.0;
        let reached = *handled.borrow();
        assert!((reached as f64) < most, "{reached} of {CALLS} calls reached the SuperLink");
        scene.stop().await;
    })
    .await;
}
