//! From a URI to a link: one dial at a time, shared, and why it failed.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flower_iroh_funnel::transport::{Code, ConnectError, IrohConnector};
use futures_util::future::join_all;
use http::Uri;
use iroh::{
    EndpointAddr, EndpointId, SecretKey,
    endpoint::{BeforeConnectOutcome, EndpointHooks},
};
use tokio::sync::{Semaphore, mpsc};
use tower::{Service, ServiceExt};

use crate::support::{
    ALPN, TestClient, TestServer, greet, greet_anew, loopback, named, run, run_on_one_thread, target,
};

#[test]
fn a_hundred_callers_racing_one_cold_dial_make_one_link() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        // Every caller has a channel of its own: only the connector is shared.
        let calls = (0..100).map(|_| {
            let mut hello = client.hello(server.id());
            tokio::spawn(async move { greet(&mut hello).await })
        });
        for call in join_all(calls).await {
            call.unwrap().unwrap();
        }
        assert_eq!((client.watch.dials(), server.watch.handshakes()), (1, 1));
        server.close().await;
    });
}

#[test]
fn a_link_dialled_beside_the_open_one_takes_its_place_when_adopted() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        greet(&mut client.hello(server.id())).await.unwrap();
        let first = client.connector.open_link(server.id()).unwrap();
        let second = client.connector.dial(server.id(), Duration::from_secs(10)).await.unwrap();
        let before = first.stats();
        greet(&mut client.hello(server.id())).await.unwrap();
        let after = first.stats();
        assert!(
            after.ack_eliciting_sent > before.ack_eliciting_sent
                && after.datagrams_received > before.datagrams_received,
            "{before:?} {after:?}"
        );
        client.connector.adopt(second);
        first.close(Code::DONE, "replaced");
        greet(&mut client.hello(server.id())).await.unwrap();
        assert_eq!((client.watch.dials(), server.watch.handshakes()), (2, 2));
        server.close().await;
    });
}

/// Holds every dial until it is let through.
#[derive(Clone, Debug)]
struct Gate {
    begun: mpsc::UnboundedSender<()>,
    dials: Arc<AtomicUsize>,
    open: Arc<Semaphore>,
}

impl Gate {
    /// A gate, the dials that arrive at it, and a connector that dials through it.
    async fn with_connector() -> (Self, mpsc::UnboundedReceiver<()>, IrohConnector) {
        let (begun, seen) = mpsc::unbounded_channel();
        let gate = Self { begun, dials: Arc::default(), open: Arc::new(Semaphore::new(0)) };
        let endpoint = loopback().hooks(gate.clone()).bind().await.unwrap();
        (gate, seen, IrohConnector::new(endpoint, ALPN))
    }

    fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

impl EndpointHooks for Gate {
    async fn before_connect<'a>(&'a self, _: &'a EndpointAddr, _: &'a [u8]) -> BeforeConnectOutcome {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let _ = self.begun.send(());
        self.open.acquire().await.unwrap().forget();
        BeforeConnectOutcome::Accept
    }
}

#[test]
fn a_cancelled_dialler_hands_over_to_a_waiter() {
    run(async {
        let mut server = TestServer::start().await;
        let (gate, mut begun, connector) = Gate::with_connector().await;
        connector.add_peer(server.addr());

        let dialler = tokio::spawn({
            let connector = connector.clone();
            let peer = server.id();
            async move { connector.link(peer).await }
        });
        begun.recv().await.unwrap();
        let mut waiter = Box::pin(connector.link(server.id()));
        assert!(futures_util::poll!(waiter.as_mut()).is_pending());
        dialler.abort();
        assert!(dialler.await.unwrap_err().is_cancelled());
        gate.open.add_permits(1);
        waiter.await.unwrap();
        server.links.recv().await.unwrap();
        assert_eq!((gate.dials(), server.watch.handshakes()), (1, 1));
        server.close().await;
    });
}

#[test]
fn a_dial_that_nobody_waits_for_any_more_ends_and_the_next_caller_dials_anew() {
    run(async {
        let mut server = TestServer::start().await;
        let (gate, mut begun, connector) = Gate::with_connector().await;
        connector.add_peer(server.addr());
        let dialler = tokio::spawn({
            let connector = connector.clone();
            let peer = server.id();
            async move { connector.open(peer).await }
        });
        begun.recv().await.unwrap();
        dialler.abort();
        assert!(dialler.await.unwrap_err().is_cancelled());
        gate.open.add_permits(1);
        // Were the first dial still alive, it would take the only permit.
        connector.link(server.id()).await.unwrap();
        server.links.recv().await.unwrap();
        assert_eq!((gate.dials(), server.watch.handshakes()), (2, 1));
        server.close().await;
    });
}

#[test]
fn callers_of_a_peer_that_does_not_answer_fail_together_after_one_dial() {
    run_on_one_thread(async {
        // A socket that swallows everything.
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = SecretKey::generate().public();
        let client = TestClient::new().await;
        let connector = IrohConnector::with_dial_timeout(client.endpoint.clone(), ALPN, Duration::from_millis(300));
        connector.add_peer(EndpointAddr::new(peer).with_ip_addr(silent.local_addr().unwrap()));
        // From here on no packet is waited for, and the backoff lasts however long the callers take.
        tokio::time::pause();
        let channel = target(peer).connect_with_connector_lazy(connector.clone());
        let calls = (0..50).map(|_| {
            let mut hello = crate::hello::v1::hello_client::HelloClient::new(channel.clone());
            async move { hello.unary(named("anyone")).await.unwrap_err() }
        });
        for status in join_all(calls).await {
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
            let message = format!("cannot reach peer {}: no answer within 0.3 s", peer.fmt_short());
            assert!(status.message().contains(&message), "{status:?}");
        }
        assert_eq!(client.watch.dials(), 1);
        assert!(connector.link(peer).await.unwrap_err().is_timeout());
        assert_eq!(client.watch.dials(), 1, "the backoff is not over");
    });
}

#[test]
fn after_a_failed_dial_calls_fail_at_once_until_the_backoff_is_over() {
    run_on_one_thread(async {
        let client = TestClient::new().await;
        let peer = SecretKey::generate().public();
        // From here on no packet is waited for: the dial fails for want of an address.
        tokio::time::pause();
        let first = client.connector.link(peer).await.unwrap_err();
        for _ in 0..10 {
            let again = client.connector.link(peer).await.unwrap_err();
            assert_eq!(again.to_string(), first.to_string());
        }
        assert_eq!(client.watch.dials(), 1);

        // The shortest first backoff is half of 0.2 s, the longest of all is 5 s.
        tokio::time::advance(Duration::from_millis(99)).await;
        client.connector.link(peer).await.unwrap_err();
        assert_eq!(client.watch.dials(), 1);
        for dials in 2..8 {
            tokio::time::advance(Duration::from_secs(5)).await;
            client.connector.link(peer).await.unwrap_err();
            client.connector.link(peer).await.unwrap_err();
            assert_eq!(client.watch.dials(), dials);
        }
        // By now it has grown to 2.5 s at least.
        tokio::time::advance(Duration::from_millis(2499)).await;
        client.connector.link(peer).await.unwrap_err();
        assert_eq!(client.watch.dials(), 7);
    });
}

#[test]
fn a_new_address_ends_the_backoff() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::new().await;
        assert!(client.connector.link(server.id()).await.unwrap_err().is_no_address());
        client.connector.add_peer(server.addr());
        client.connector.link(server.id()).await.unwrap();
        server.close().await;
    });
}

#[test]
fn an_address_that_comes_while_an_older_one_is_dialled_is_tried_by_the_next_call() {
    run(async {
        let server = TestServer::start().await;
        let (gate, mut begun, connector) = Gate::with_connector().await;
        // No address at all: that dial fails as soon as it is let through.
        connector.add_peer(EndpointAddr::new(server.id()));
        let dialler = tokio::spawn({
            let connector = connector.clone();
            let peer = server.id();
            async move { connector.link(peer).await }
        });
        begun.recv().await.unwrap();
        connector.add_peer(server.addr());
        gate.open.add_permits(2);
        assert!(dialler.await.unwrap().unwrap_err().is_no_address());
        connector.link(server.id()).await.unwrap();
        server.close().await;
    });
}

#[test]
fn a_dead_link_is_replaced_by_the_next_call() {
    run(async {
        let mut server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let mut hello = client.hello(server.id());
        for links in 1..4 {
            greet_anew(&mut hello).await;
            assert_eq!(server.watch.handshakes(), links);
            server.links.recv().await.unwrap().upgrade().unwrap().close(Code::SHUTDOWN.into(), b"");
            if let Some(link) = client.connector.open_link(server.id()) {
                link.closed().await;
            }
        }
        server.close().await;
    });
}

#[test]
fn addresses_come_from_a_lookup_too_and_http_uris_name_peers() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::new().await;
        client.lookup.add_endpoint_info(server.addr());
        for uri in [format!("http://{}", server.id()), format!("iroh://{}", server.id())] {
            let endpoint = tonic::transport::Endpoint::from_shared(uri).unwrap();
            let channel = endpoint.connect_with_connector(client.connector.clone()).await.unwrap();
            let mut hello = crate::hello::v1::hello_client::HelloClient::new(channel);
            hello.unary(named("you")).await.unwrap();
        }
        assert_eq!(server.watch.handshakes(), 1);
        server.close().await;
    });
}

/// The error of a dial, and the same as tonic shows it: when connecting, and to a call of a lazy channel.
async fn refused(client: &TestClient, peer: EndpointId, cause: &str) -> ConnectError {
    let expected = format!("cannot reach peer {}: {cause}", peer.fmt_short());
    let error = client.connector.link(peer).await.unwrap_err();
    assert!(error.to_string().starts_with(&expected), "{error}, not {expected}");
    assert_eq!(error.peer(), Some(peer));

    let connecting = target(peer).connect_with_connector(client.connector.clone()).await.unwrap_err();
    let chain = chain(&connecting);
    assert!(chain.contains(&expected), "{chain}, not {expected}");

    let status = greet(&mut client.hello(peer)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    assert!(status.message().contains(&expected), "{status:?}, not {expected}");
    error
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn another_alpn_is_named() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::with(loopback(), b"test/other/2").await;
        client.connector.add_peer(server.addr());
        let error = refused(&client, server.id(), r#"it does not speak "test/other/2""#).await;
        assert!(error.is_wrong_alpn());
        server.close().await;
    });
}

#[test]
fn another_endpoint_at_the_address_is_named() {
    run(async {
        let server = TestServer::start().await;
        let client = TestClient::new().await;
        let absent = SecretKey::generate().public();
        let addr = server.addr().ip_addrs().next().copied().unwrap();
        client.connector.add_peer(EndpointAddr::new(absent).with_ip_addr(addr));
        refused(&client, absent, "another endpoint answers at its address").await;
        server.close().await;
    });
}

#[test]
fn a_peer_without_address_is_named() {
    run(async {
        let client = TestClient::new().await;
        let absent = SecretKey::generate().public();
        assert!(refused(&client, absent, "no address of it is known").await.is_no_address());
    });
}

#[test]
fn dialling_oneself_is_named() {
    run(async {
        let client = TestClient::new().await;
        refused(&client, client.endpoint.id(), "that is this endpoint itself").await;
    });
}

#[test]
fn a_closed_endpoint_is_named() {
    run(async {
        let client = TestClient::new().await;
        client.endpoint.close().await;
        refused(&client, SecretKey::generate().public(), "this endpoint is closed").await;
    });
}

#[test]
fn a_uri_that_names_no_peer_is_named() {
    run(async {
        let client = TestClient::new().await;
        let mut connector = client.connector.clone();
        let uri: Uri = "http://example.org".parse().unwrap();
        let error = connector.ready().await.unwrap().call(uri).await.err().unwrap();
        assert_eq!(error.peer(), None);
        assert!(error.to_string().contains("example.org"), "{error}");
        assert_eq!(client.watch.dials(), 0);
    });
}
