//! Overload, and peers that behave badly: each costs itself and nobody else.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use flower_iroh_funnel::transport::{IncomingLimits, IrohIncoming};
use futures_util::StreamExt;
use iroh::EndpointAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    task::JoinSet,
};

use tonic::Status;

use crate::support::{ALPN, Client, Raw, TestClient, TestServer, greet, loopback, named, run, run_on_one_thread};

fn limits(set: impl FnOnce(&mut IncomingLimits)) -> IncomingLimits {
    let mut limits = IncomingLimits::default();
    set(&mut limits);
    limits
}

/// How a call past a limit ends.
async fn refusal(hello: &mut Client) -> Status {
    let status = greet(hello).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    status
}

#[test]
fn links_past_the_limit_are_refused_by_name_and_admitted_when_there_is_room() {
    run(async {
        let mut server = TestServer::with(loopback(), limits(|limits| limits.max_links = 1)).await;
        let first = TestClient::knowing(&server).await;
        greet(&mut first.hello(server.id())).await.unwrap();
        let held = server.links.recv().await.unwrap();

        let second = TestClient::knowing(&server).await;
        let mut hello = second.hello(server.id());
        let status = refusal(&mut hello).await;
        assert!(status.message().contains("overloaded (code 2): too many links"), "{status:?}");
        greet(&mut first.hello(server.id())).await.expect("those who are in go on");

        let closed = held.closed();
        drop(first);
        closed.await;
        // Its place is free a moment after its link is closed.
        while greet(&mut hello).await.is_err() {
            second.connector.add_peer(server.addr());
        }
        server.close().await;
    });
}

#[test]
fn a_refused_client_does_not_dial_for_every_call() {
    run_on_one_thread(async {
        let server = TestServer::with(loopback(), limits(|limits| limits.max_links = 0)).await;
        let client = TestClient::knowing(&server).await;
        let link = loop {
            match client.connector.link(server.id()).await {
                Ok(link) => break link,
                // Where the refusal comes first, there is no link at all.
                Err(_) => client.connector.add_peer(server.addr()),
            }
        };
        assert!(link.closed().await.to_string().contains("overloaded (code 2)"));
        let dials = client.watch.dials();
        // The backoff begins with the first of these calls, and lasts however long they take.
        tokio::time::pause();
        for _ in 0..20 {
            let error = client.connector.link(server.id()).await.unwrap_err();
            assert!(error.to_string().contains("overloaded (code 2): too many links"), "{error}");
            assert!(error.link_lost().is_some());
        }
        assert_eq!(client.watch.dials(), dials);
        tokio::time::resume();
        server.close().await;
    });
}

#[test]
fn sessions_past_the_limit_are_refused_by_name_on_a_link_that_goes_on() {
    run(async {
        let server = TestServer::with(loopback(), limits(|limits| limits.max_sessions = 1)).await;
        let client = TestClient::knowing(&server).await;
        let mut first = client.hello(server.id());
        greet(&mut first).await.unwrap();

        let mut second = client.connector.open(server.id()).await.unwrap();
        second.write_all(b"!").await.unwrap();
        let err = second.read(&mut [0; 1]).await.unwrap_err();
        assert!(err.to_string().contains("ended by the peer: overloaded (code 2)"), "{err}");

        let status = refusal(&mut client.hello(server.id())).await;
        assert!(status.message().contains("overloaded (code 2)"), "{status:?}");

        greet(&mut first).await.expect("the session that is in goes on");
        assert_eq!(server.watch.handshakes(), 1);
        drop(first);
        // Its place is free a moment after its end.
        while greet(&mut client.hello(server.id())).await.is_err() {}
        server.close().await;
    });
}

#[test]
fn handshakes_past_the_limit_are_refused() {
    run(async {
        let server = TestServer::with(loopback(), limits(|limits| limits.max_handshakes = 0)).await;
        let client = TestClient::knowing(&server).await;
        let status = greet(&mut client.hello(server.id())).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
        assert!(status.message().contains("it refuses new links for now"), "{status:?}");
        assert_eq!(server.watch.handshakes(), 0);
        server.close().await;
    });
}

#[test]
fn a_handshake_that_is_never_finished_gives_way_to_another() {
    run(async {
        let server = TestServer::with(loopback(), limits(|limits| limits.max_handshakes = 1)).await;
        let addr = server.addr().ip_addrs().next().copied().unwrap();
        let stuck = TestClient::new().await;
        let one_way = one_way_to(addr);
        stuck.connector.add_peer(EndpointAddr::new(server.id()).with_ip_addr(one_way));
        let dial = tokio::spawn({
            let (connector, peer) = (stuck.connector.clone(), server.id());
            async move { connector.link(peer).await }
        });

        let honest = TestClient::knowing(&server).await;
        // Before the other one is in, or after it: it has its place.
        while honest.connector.link(server.id()).await.is_err() {
            honest.connector.add_peer(server.addr());
        }
        dial.abort();
        server.close().await;
    });
}

#[test]
fn addresses_that_answer_nothing_keep_nobody_out() {
    run(async {
        let server = TestServer::with(loopback(), limits(|limits| limits.max_handshakes = 8)).await;
        let one_way = one_way_to(server.addr().ip_addrs().next().copied().unwrap());
        let mut forged = JoinSet::new();
        for _ in 0..16 {
            let client = TestClient::new().await;
            client.connector.add_peer(EndpointAddr::new(server.id()).with_ip_addr(one_way));
            let peer = server.id();
            forged.spawn(async move { client.connector.link(peer).await });
        }
        for _ in 0..20 {
            let honest = TestClient::knowing(&server).await;
            honest
                .connector
                .link(server.id())
                .await
                .expect("its address is proven, and half of the places are for such");
            honest.endpoint.close().await;
        }
        drop(forged);
        server.close().await;
    });
}

/// A socket that passes packets on to `server` and none back.
fn one_way_to(server: std::net::SocketAddr) -> std::net::SocketAddr {
    let inner = UdpSocket::bind("127.0.0.1:0").unwrap();
    inner.set_nonblocking(true).unwrap();
    let addr = inner.local_addr().unwrap();
    let (inner, outer) = (tokio::net::UdpSocket::from_std(inner).unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    tokio::spawn(async move {
        let mut packet = [0; 2048];
        while let Ok((len, from)) = inner.recv_from(&mut packet).await {
            if from != server {
                let _ = outer.send_to(&packet[..len], server);
            }
        }
    });
    addr
}

#[test]
fn handshakes_that_one_address_never_finishes_keep_no_other_address_out() {
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    if UdpSocket::bind((elsewhere, 0)).is_err() {
        eprintln!("skipped: this machine has no {elsewhere}, a second address to come from");
        return;
    }
    run(async move {
        let server = TestServer::with(loopback(), limits(|limits| limits.max_handshakes = 8)).await;
        let (unanswered, mut stuck) = watch::channel(0);
        let mut crowd = JoinSet::new();
        for _ in 0..16 {
            let client = TestClient::new().await;
            let addr = server.addr().ip_addrs().next().copied().unwrap();
            let addr = until_its_address_is_proven(elsewhere, addr, unanswered.clone());
            client.connector.add_peer(EndpointAddr::new(server.id()).with_ip_addr(addr));
            let peer = server.id();
            crowd.spawn(async move { client.connector.link(peer).await });
        }
        stuck.wait_for(|stuck| *stuck >= 8).await.unwrap();
        for _ in 0..20 {
            let honest = TestClient::knowing(&server).await;
            honest.connector.link(server.id()).await.expect("it takes a place of the address with the most");
            honest.endpoint.close().await;
        }
        drop(crowd);
        server.close().await;
    });
}

/// A socket that passes packets on to `server` from `source`, and back only what proves that address: Retry. Counts the
/// clients for which more would have come back.
fn until_its_address_is_proven(source: Ipv4Addr, server: SocketAddr, unanswered: watch::Sender<u32>) -> SocketAddr {
    const RETRY: u8 = 0xf0;
    let socket = |ip| {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        tokio::net::UdpSocket::from_std(socket).unwrap()
    };
    let (inner, outer) = (socket(Ipv4Addr::LOCALHOST), socket(source));
    let addr = inner.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut out, mut back) = ([0; 2048], [0; 2048]);
        let (mut client, mut is_stuck) = (None, false);
        loop {
            tokio::select! {
                Ok((len, from)) = inner.recv_from(&mut out) => {
                    client = Some(from);
                    let _ = outer.send_to(&out[..len], server).await;
                }
                Ok((len, _)) = outer.recv_from(&mut back) => match client {
                    Some(client) if back[0] & 0xf0 == RETRY => {
                        let _ = inner.send_to(&back[..len], client).await;
                    }
                    _ if !is_stuck => {
                        is_stuck = true;
                        unanswered.send_modify(|count| *count += 1);
                    }
                    _ => {}
                },
            }
        }
    });
    addr
}

/// What is refused after its handshake costs attempts of its address, and those of another are not touched.
#[test]
fn handshakes_of_one_address_that_are_refused_in_a_loop_are_slowed_down_and_those_of_another_are_not() {
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2);
    if UdpSocket::bind((elsewhere, 0)).is_err() {
        eprintln!("skipped: this machine has no {elsewhere}, a second address to come from");
        return;
    }
    run(async move {
        let server = TestServer::start().await;
        let (began, refused) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let mut loops = JoinSet::new();
        for _ in 0..4 {
            let (addr, refused) = (server.addr(), Arc::clone(&refused));
            let client = loopback().clear_ip_transports().bind_addr((elsewhere, 0)).unwrap().bind().await.unwrap();
            loops.spawn(async move {
                loop {
                    if let Ok(link) = client.connect(addr.clone(), b"another protocol").await {
                        link.closed().await;
                    }
                    refused.fetch_add(1, Relaxed);
                }
            });
        }
        while refused.load(Relaxed) < 100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (count, took) = (refused.load(Relaxed) as f64, began.elapsed().as_secs_f64());
        assert!(count <= 64.0 + 21.0 * took + 4.0, "{count} in {took} s");
        for _ in 0..5 {
            let honest = TestClient::knowing(&server).await;
            honest.connector.link(server.id()).await.unwrap();
            honest.endpoint.close().await;
        }
        loops.shutdown().await;
        server.close().await;
    });
}

#[test]
fn a_peer_that_opens_no_stream_costs_nobody_anything() {
    run(async {
        let server = TestServer::start().await;
        let idle = TestClient::knowing(&server).await;
        let _link = idle.connector.link(server.id()).await.unwrap();
        // A stream without a byte is a stream the peer does not know of.
        let _silent = idle.connector.open(server.id()).await.unwrap();
        let honest = TestClient::knowing(&server).await;
        greet(&mut honest.hello(server.id())).await.unwrap();
        server.close().await;
    });
}

#[test]
fn garbage_costs_its_own_session_only() {
    run(async {
        let mut server = TestServer::start().await;
        let client = TestClient::knowing(&server).await;
        let mut hello = client.hello(server.id());
        let mut replies = hello.server_stream(named("stuck")).await.unwrap().into_inner();
        assert!(replies.message().await.unwrap().is_some());
        server.stuck().await;

        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
        let frame_too_long = [preface, &[0xff; 64]].concat();
        let half_a_preface = &preface[..12];
        let http1 = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".as_slice();
        for garbage in [&[0u8; 100_000][..], b"\x16\x03\x01\x02\x00", http1, &frame_too_long, half_a_preface] {
            let mut session = client.connector.open(server.id()).await.unwrap();
            // The server may have reset the stream before it has taken all of it.
            let _ = session.write_all(garbage).await;
            let _ = session.shutdown().await;
            let mut answer = Vec::new();
            let _ = session.read_to_end(&mut answer).await;
            greet(&mut hello).await.expect("an honest session on the same link goes on");
        }
        let honest = TestClient::knowing(&server).await;
        greet(&mut honest.hello(server.id())).await.unwrap();
        assert_eq!(server.watch.handshakes(), 2);
        assert!(server.events.try_recv().is_err(), "the stream that was open still is");
        server.close().await;
    });
}

#[test]
fn an_incoming_ends_when_its_endpoint_closes() {
    run(async {
        let endpoint = loopback().alpns(vec![ALPN.to_vec()]).bind().await.unwrap();
        let mut incoming = IrohIncoming::new(endpoint.clone(), ALPN);
        let client = TestClient::new().await;
        client.connector.add_peer(endpoint.addr());
        let link = client.connector.link(endpoint.id()).await.unwrap();
        assert!(futures_util::poll!(incoming.next()).is_pending());
        endpoint.close().await;
        assert!(incoming.next().await.is_none());
        link.closed().await;
    });
}

#[test]
fn dropping_an_incoming_ends_idle_links_and_leaves_sessions_alone() {
    run(async {
        let mut raw = Raw::new(loopback(), loopback()).await;
        let idle = TestClient::new().await;
        idle.connector.add_peer(raw.server.addr());
        let idle_link = idle.connector.link(raw.server.id()).await.unwrap();
        // The idle link has reached the incoming once a session on it has come through and is gone.
        let mut session = idle.connector.open(raw.server.id()).await.unwrap();
        session.write_all(b"!").await.unwrap();
        drop(raw.incoming.next().await.unwrap());

        drop(raw.incoming);
        idle_link.closed().await;
        raw.dialled.write_all(b"still here").await.unwrap();
        let mut received = [0; 10];
        raw.accepted.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"still here");
        raw.client.endpoint.close().await;
        raw.server.close().await;
    });
}
