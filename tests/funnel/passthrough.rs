//! Bytes that a funnel carries and cannot read: whose they may be, and where they go.

use std::{
    convert::Infallible,
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use flower_iroh_funnel::{ALPN, Api, Exposed, PeerConfig, SecretKey, protocol::PASSTHROUGH_PATH, roster::RosterFile};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    certificates::{Ca, LOCAL_NAMES},
    passthrough_ends::end_of_handshake,
    secure::{Front, connect, roots, send},
    support::{Body, RawPeer, Running, Upstream, detail, grpc_call, guarded, http_call, loopback},
};

/// More than all buffers and windows on the way hold. Linux gives one socket up to 32 MiB.
const MUCH: usize = 128 << 20;
/// There and back: meanwhile, a writer that nothing holds back gets on.
const TURNS: u8 = 100;

/// As `CallLimits::max_bulk_calls_per_peer`.
pub(crate) const MAX_CALLS: usize = 224;
const MAX_CONNECTIONS_OF_SESSION: usize = 64;
/// So long that who waits for its end hangs.
const DRAIN: Duration = Duration::from_secs(600);

/// Two funnels, of which the outbound one passes bytes through to `target`.
pub(crate) struct Through {
    pub(crate) inbound: Running,
    pub(crate) outbound: Running,
    pub(crate) dial: SocketAddr,
}

impl Through {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let key = SecretKey::generate();
        Self::with(exposed(target).allow_passthrough(key.public()), key).await
    }

    pub(crate) async fn with(exposed: Exposed, key: SecretKey) -> Self {
        Self::draining(DRAIN, exposed, key).await
    }

    /// Two funnels of which the inbound one drains for this long.
    pub(crate) async fn draining(drain: Duration, exposed: Exposed, key: SecretKey) -> Self {
        let inbound = Running::start(loopback().drain_timeout(drain).expose(exposed).build().unwrap()).await;
        let peer = inbound.funnel.endpoint_addr().await;
        let outbound =
            loopback().drain_timeout(DRAIN).secret_key(key).peer(PeerConfig::new(peer.clone()).passthrough());
        let outbound = Running::start(outbound.build().unwrap()).await;
        outbound.funnel.connect_to_peer(peer).await.unwrap();
        let dial = outbound.funnel.local_addrs()[0];
        Self { inbound, outbound, dial }
    }

    pub(crate) async fn stop(self) {
        self.outbound.stop().await;
        self.inbound.stop().await;
    }
}

pub(crate) fn exposed(target: SocketAddr) -> Exposed {
    Exposed::new().superlink("http://127.0.0.1:9".parse().unwrap()).passthrough(target.to_string().parse().unwrap())
}

#[tokio::test]
async fn tls_is_spoken_from_end_to_end_in_both_wires() {
    guarded(async {
        let (ca, echo) = (Ca::new(), Upstream::echo().await);
        let front = Front::start(&ca.sign(&LOCAL_NAMES), echo.addr).await;
        let through = Through::start(front.addr).await;
        let roots = roots(ca.pem().as_bytes());
        let stream = connect(through.dial, roots.clone(), "127.0.0.1", b"h2").await.unwrap();
        let call = grpc_call("/flwr.proto.Control/ListRuns", &b"\0\0\0\0\x01x"[..]);
        let response = send(stream, call).await;
        assert_eq!(response.headers()["x-path"], "/flwr.proto.Control/ListRuns");
        assert_eq!(response.into_body().collect().await.unwrap().trailers().unwrap()["grpc-status"], "0");
        let stream = connect(through.dial, roots, "localhost", b"http/1.1").await.unwrap();
        let response = send(stream, http_call("/v1/runtime/pull-messages", "x")).await;
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "x");
        through.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_half_close_reaches_the_other_end_and_the_answer_comes_back() {
    guarded(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = Through::start(upstream.local_addr().unwrap()).await;
        let mut client = TcpStream::connect(through.dial).await.unwrap();
        client.write_all(b"asked").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut socket, _) = upstream.accept().await.unwrap();
        let mut asked = String::new();
        socket.read_to_string(&mut asked).await.unwrap();
        socket.write_all(b"answered").await.unwrap();
        drop(socket);
        let mut answered = String::new();
        client.read_to_string(&mut answered).await.unwrap();
        assert_eq!((&*asked, &*answered), ("asked", "answered"));
        through.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_stalls_holds_back_its_writer_and_nobody_else_and_loses_nothing() {
    guarded(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = Through::start(upstream.local_addr().unwrap()).await;
        let mut client = TcpStream::connect(through.dial).await.unwrap();
        let block: Arc<[u8]> = vec![7; 1 << 20].into();
        let (written, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let writing = tokio::spawn({
            let (block, written, stop) = (Arc::clone(&block), Arc::clone(&written), Arc::clone(&stop));
            async move {
                while !stop.load(SeqCst) {
                    written.fetch_add(client.write(&block).await.unwrap(), SeqCst);
                }
            }
        });
        let (mut stalled, _) = upstream.accept().await.unwrap();
        // Another connection goes on meanwhile, and sees the writer come to a halt.
        let mut other = TcpStream::connect(through.dial).await.unwrap();
        let (mut socket, _) = upstream.accept().await.unwrap();
        loop {
            let before = written.load(SeqCst);
            for turn in 0..TURNS {
                other.write_u8(turn).await.unwrap();
                assert_eq!(socket.read_u8().await.unwrap(), turn);
                socket.write_u8(turn).await.unwrap();
                assert_eq!(other.read_u8().await.unwrap(), turn);
            }
            assert!(before < MUCH, "nothing holds back the writer");
            if before > 0 && written.load(SeqCst) == before {
                break;
            }
        }
        stop.store(true, SeqCst);
        let (mut received, mut buffer) = (0, vec![0; 1 << 20]);
        loop {
            let length = stalled.read(&mut buffer).await.unwrap();
            if length == 0 {
                break;
            }
            assert!(buffer[..length] == block[..length], "other bytes than were written");
            received += length;
        }
        writing.await.unwrap();
        assert_eq!(received, written.load(SeqCst));
        through.stop().await;
    })
    .await;
}

fn asked_to_connect(authority: &str) -> Request<Body> {
    Request::post(format!("http://{authority}{PASSTHROUGH_PATH}")).body(Body::default()).unwrap()
}

#[tokio::test]
async fn no_peer_passes_through_without_the_grant_whatever_else_it_may() {
    guarded(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let key = SecretKey::generate();
        let granted = SecretKey::generate().public();
        let exposed = exposed(upstream.local_addr().unwrap()).allow_passthrough(granted).allow(key.public(), Api::ALL);
        let through = Through::with(exposed, key.clone()).await;
        assert_eq!(end_of_handshake(through.dial).await, ErrorKind::ConnectionReset);

        let peer = RawPeer::new(key, through.inbound.funnel.endpoint_addr().await, ALPN).await;
        let response = peer.send(asked_to_connect("x:1")).await.unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let told = detail(response).await;
        assert!(told.contains("=passthrough"), "{told}");
        assert!(timeout(Duration::ZERO, upstream.accept()).await.is_err(), "the upstream was dialled");
        through.stop().await;
    })
    .await;
}

#[tokio::test]
async fn connections_count_among_the_calls_of_their_peer_until_they_end() {
    guarded(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let key = SecretKey::generate();
        let exposed = exposed(upstream.local_addr().unwrap()).allow_passthrough(key.public());
        let inbound = Running::start(loopback().expose(exposed).build().unwrap()).await;
        let peer = RawPeer::new(key, inbound.funnel.endpoint_addr().await, ALPN).await;
        let (mut connections, mut upstreams) = (Vec::new(), Vec::new());
        let mut requests = peer.session().await.unwrap();
        for connection in 0..MAX_CALLS {
            if connection % MAX_CONNECTIONS_OF_SESSION == 0 {
                requests = peer.session().await.unwrap();
            }
            let response = peer.send_on(&mut requests, asked_to_connect("x:1")).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            connections.push(response);
            upstreams.push(upstream.accept().await.unwrap());
        }
        let response = peer.send(asked_to_connect("x:1")).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(detail(response).await.contains("calls under way"));
        drop((connections, upstreams));
        while peer.send(asked_to_connect("x:1")).await.unwrap().status() != StatusCode::OK {}
        inbound.stop().await;
    })
    .await;
}

#[tokio::test]
async fn bytes_go_to_the_upstream_that_is_named_and_never_where_a_peer_says() {
    guarded(async {
        let named = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wished = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let key = SecretKey::generate();
        let exposed = exposed(named.local_addr().unwrap()).allow_passthrough(key.public());
        let inbound = Running::start(loopback().expose(exposed).build().unwrap()).await;
        let peer = RawPeer::new(key, inbound.funnel.endpoint_addr().await, ALPN).await;
        let wish = wished.local_addr().unwrap().to_string();
        let response = peer.send(asked_to_connect(&wish)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        named.accept().await.unwrap();
        assert!(timeout(Duration::ZERO, wished.accept()).await.is_err(), "the peer chose where to");
        drop(response);
        inbound.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_shut_out_loses_its_pass_through_connection() {
    guarded(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (roster, audit) = (RosterFile::new(folder.path().join("peers.toml")), folder.path().join("audit.jsonl"));
        let key = SecretKey::generate();
        let peer = key.public();
        let exposed = exposed(upstream.local_addr().unwrap()).allow_passthrough(peer);
        let through = Through::with(exposed.roster(roster.clone()).audit_log(&audit), key).await;
        let mut client = TcpStream::connect(through.dial).await.unwrap();
        client.write_all(b"x").await.unwrap();
        let (mut socket, _) = upstream.accept().await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'x');
        let denied = roster.update(|roster| {
            roster.deny(peer);
            Ok::<_, Infallible>(())
        });
        denied.unwrap().unwrap();
        assert!(matches!(client.read(&mut [0]).await, Ok(0) | Err(_)));
        assert!(matches!(socket.read(&mut [0]).await, Ok(0) | Err(_)));
        through.stop().await;
        let audit = std::fs::read_to_string(audit).unwrap();
        assert!(audit.contains(r#""event":"passthrough","outcome":"allowed""#), "{audit}");
    })
    .await;
}

#[tokio::test]
async fn a_funnel_that_stops_ends_connections_on_which_nothing_moves() {
    guarded(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = Through::start(upstream.local_addr().unwrap()).await;
        let mut client = TcpStream::connect(through.dial).await.unwrap();
        client.write_all(b"x").await.unwrap();
        let (mut socket, _) = upstream.accept().await.unwrap();
        assert_eq!(socket.read_u8().await.unwrap(), b'x');
        through.stop().await;
        assert!(matches!(client.read(&mut [0]).await, Ok(0) | Err(_)));
        assert!(matches!(socket.read(&mut [0]).await, Ok(0) | Err(_)));
    })
    .await;
}

#[test]
fn a_grant_that_leads_nowhere_or_to_the_funnels_own_port_is_a_mistake() {
    let peer = SecretKey::generate().public();
    let granted = Exposed::new().local_superlink().allow_passthrough(peer);
    let error = loopback().expose(granted.clone()).build().unwrap_err().to_string();
    assert!(error.contains("no target is set"), "{error}");
    let own = "127.0.0.1:19092";
    let config = loopback().flower_grpc_addr(own.parse().unwrap()).peer(PeerConfig::new(peer));
    let error = config.expose(granted.passthrough(own.parse().unwrap())).build().unwrap_err().to_string();
    assert!(error.contains("this funnel's own port"), "{error}");
}
