//! How pass-through ends a connection: as the other side did, or with a reset if it cannot serve it. Flower takes a clean end in
//! the middle of TLS's handshake for a wrong certificate, and gives up.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use flower_iroh_funnel::{EndpointAddr, PeerConfig, SecretKey};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    certificates::Ca,
    passthrough::{MAX_CALLS, Through, exposed},
    ports::free_addr,
    secure::{connect, roots},
    support::{Running, guarded, loopback},
};

/// How a handshake ends that does not succeed.
pub(crate) async fn end_of_handshake(dial: SocketAddr) -> ErrorKind {
    let roots = roots(Ca::new().pem().as_bytes());
    connect(dial, roots, "localhost", b"h2").await.unwrap_err().kind()
}

#[tokio::test]
async fn an_upstream_that_is_gone_resets_the_connection_at_once() {
    guarded(async {
        let through = Through::start(free_addr()).await;
        assert_eq!(end_of_handshake(through.dial).await, ErrorKind::ConnectionReset);
        through.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_never_reached_resets_the_connection() {
    guarded(async {
        let nobody = EndpointAddr::new(SecretKey::generate().public()).with_ip_addr(free_addr());
        let outbound = loopback().peer(PeerConfig::new(nobody).passthrough()).build().unwrap();
        let outbound = Running::start(outbound).await;
        assert_eq!(end_of_handshake(outbound.funnel.local_addrs()[0]).await, ErrorKind::ConnectionReset);
        outbound.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_is_lost_in_the_handshake_resets_the_connection_at_both_ends() {
    guarded(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let key = SecretKey::generate();
        let exposed = exposed(upstream.local_addr().unwrap()).allow_passthrough(key.public());
        let through = Through::draining(Duration::ZERO, exposed, key).await;
        let client = tokio::spawn(end_of_handshake(through.dial));
        let (mut socket, _) = upstream.accept().await.unwrap();
        socket.read_u8().await.unwrap();
        through.inbound.stop().await;
        assert_eq!(client.await.unwrap(), ErrorKind::ConnectionReset);
        let mut hello = Vec::new();
        assert_eq!(socket.read_to_end(&mut hello).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        through.outbound.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_funnel_that_stops_resets_a_connection_in_the_handshake() {
    guarded(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = Through::start(upstream.local_addr().unwrap()).await;
        let client = tokio::spawn(end_of_handshake(through.dial));
        let (mut socket, _) = upstream.accept().await.unwrap();
        socket.read_u8().await.unwrap();
        through.outbound.stop().await;
        assert_eq!(client.await.unwrap(), ErrorKind::ConnectionReset);
        through.inbound.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_upstreams_own_end_arrives_as_it_was_clean_or_not() {
    guarded(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = Through::start(upstream.local_addr().unwrap()).await;
        for (clean, expected) in [(true, ErrorKind::UnexpectedEof), (false, ErrorKind::ConnectionReset)] {
            let client = tokio::spawn(end_of_handshake(through.dial));
            let (mut socket, _) = upstream.accept().await.unwrap();
            // Bytes that were not read would make a reset of a clean end.
            let mut hello = vec![0; 5];
            socket.read_exact(&mut hello).await.unwrap();
            let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
            socket.read_exact(&mut vec![0; length]).await.unwrap();
            if clean {
                socket.shutdown().await.unwrap();
            } else {
                socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
                drop(socket);
            }
            assert_eq!(client.await.unwrap(), expected);
        }
        through.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_past_the_limit_of_a_peer_is_reset_and_others_go_on() {
    guarded(async {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = Through::start(upstream.local_addr().unwrap()).await;
        let mut connections = Vec::new();
        for _ in 0..MAX_CALLS {
            let client = TcpStream::connect(through.dial).await.unwrap();
            connections.push((client, upstream.accept().await.unwrap().0));
        }
        assert_eq!(end_of_handshake(through.dial).await, ErrorKind::ConnectionReset);
        let (client, server) = &mut connections[0];
        client.write_u8(7).await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), 7);
        drop(connections);
        through.stop().await;
    })
    .await;
}
