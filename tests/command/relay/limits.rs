//! The limits of a relay.

use std::{fs, net::SocketAddr};

use flower_iroh_funnel::identity;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    funnel_process::FunnelProcess,
    ports::free_addr,
    relay_crowd::{Begin, addr},
    relay_lab::{Lab, superlink, url},
    sides::{begin_call, guarded, http_server, read_head, response_head, status},
};

#[tokio::test]
async fn a_relay_that_is_full_refuses_more_and_has_room_again_when_one_leaves() {
    guarded(async {
        let lab = Lab::new();
        let relay = lab.relay("--http --listen 127.0.0.1:0 --open --max-clients 1").await;
        let relays = format!("--relay {}", url(&relay));
        let line = format!("expose --bind 127.0.0.1:0 {relays}");
        let first = FunnelProcess::start(lab.words(&line, "first.key")).await.unwrap();
        first.logged("relay connected").await.unwrap();
        let second = lab.refused(&relays, "second.key").await;
        assert!(second.stderr().contains("no room for more clients"), "{}", second.stderr());
        relay.logged("no room for more clients").await.unwrap();
        first.stop().await.unwrap();
        second.logged("relay connected").await.unwrap();
        second.stop().await.unwrap();
        relay.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_connections_of_one_client_are_limited() {
    guarded(async {
        let lab = Lab::new();
        let relay = lab.relay("--http --listen 127.0.0.1:0 --open").await;
        let relays = format!("--relay {}", url(&relay));
        let line = format!("expose --bind 127.0.0.1:0 {relays}");
        let mut same = Vec::new();
        // One process runs with a key file: each has a copy.
        identity::load_or_create(&lab.file("same.key")).unwrap();
        let copy = |number: usize| {
            let name = format!("same-{number}.key");
            fs::copy(lab.file("same.key"), lab.file(&name)).unwrap();
            name
        };
        for number in 0..8 {
            let funnel = FunnelProcess::start(lab.words(&line, &copy(number))).await.unwrap();
            funnel.logged("relay connected").await.unwrap();
            same.push(funnel);
        }
        let past = lab.refused(&relays, &copy(8)).await;
        assert!(past.stderr().contains("too many connections"), "{}", past.stderr());
        let other = FunnelProcess::start(lab.words(&line, "other.key")).await.unwrap();
        other.logged("relay connected").await.unwrap();
        for funnel in same.into_iter().chain([past, other, relay]) {
            funnel.stop().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn the_rate_of_a_client_is_limited() {
    const BODY: usize = 1 << 20;
    guarded(async {
        let lab = Lab::new();
        let metrics = free_addr();
        let relay =
            lab.relay(&format!("--http --listen 127.0.0.1:0 --open --client-rate 0.5 --metrics {metrics}")).await;
        let superlink = http_server(|mut socket, _| async move {
            let mut body = vec![0; BODY];
            socket.read_exact(&mut body).await.unwrap();
            socket.write_all(response_head(0).as_bytes()).await.unwrap();
        })
        .await;
        let apart = lab.apart(superlink, &format!("--relay {}", url(&relay))).await;
        let mut call = begin_call(apart.outbound.listen_addr().unwrap(), "/v1/fleet/push-object", BODY as u64).await;
        call.write_all(&vec![7; BODY]).await.unwrap();
        assert_eq!(status(&read_head(&mut call).await.unwrap()), "200");
        let told = get(metrics, "/metrics").await;
        let limited = told.lines().find_map(|line| line.strip_prefix("relayserver_bytes_rx_ratelimited_total "));
        assert!(limited.unwrap().parse::<f64>().unwrap() > 0.0, "{told}");
        apart.stop().await;
        relay.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn connections_that_never_authenticate_are_closed() {
    guarded(async {
        let lab = Lab::new();
        let relay = lab.relay("--http --listen 127.0.0.1:0 --open").await;
        let with_tls = lab.relay("--tls-local 127.0.0.1 --listen 127.0.0.1:0 --quic-port 0 --open").await;
        let mut sockets = vec![Begin::Nothing.connect(addr(&with_tls)).await];
        for begin in [Begin::Nothing, Begin::HalfARequest, Begin::AnUpgrade] {
            sockets.push(begin.connect(addr(&relay)).await);
        }
        for mut socket in sockets {
            // A clean end or a reset.
            let _ = socket.read_to_end(&mut Vec::new()).await;
        }
        assert_eq!(get(addr(&relay), "/ping").await.split(' ').nth(1), Some("200"));
        relay.stop().await.unwrap();
        with_tls.stop().await.unwrap();
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn many_connections_that_never_authenticate_use_few_descriptors_and_do_not_keep_a_funnel_out() {
    /// Two descriptors for each of the 128 slots, and those that a relay has open besides.
    const BOUND: usize = 2 * 128 + 40;
    guarded(async {
        let lab = Lab::new();
        let relay = lab.relay("--http --listen 127.0.0.1:0 --open").await;
        let (id, addr) = (relay.id().unwrap(), addr(&relay));
        let open = || std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
        let mut crowd = Vec::new();
        for number in 0..400 {
            let begin = if number % 2 == 0 { Begin::Nothing } else { Begin::AnUpgrade };
            crowd.push(begin.connect(addr).await);
        }
        while open() < 2 * 128 {
            tokio::task::yield_now().await;
        }
        let line = format!("expose --bind 127.0.0.1:0 --relay {}", url(&relay));
        let funnel = FunnelProcess::start(lab.words(&line, "expose.key")).await.unwrap();
        let connected = funnel.logged("relay connected");
        let watched = async {
            loop {
                assert!(open() < BOUND, "{} descriptors are open", open());
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            connected = connected => connected.unwrap(),
            () = watched => {}
        }
        funnel.stop().await.unwrap();
        relay.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_relay_with_an_ipv6_address_is_used_under_it() {
    guarded(async {
        let lab = Lab::new();
        for line in ["--http --host ::1 --listen [::1]:0 --open", "--http --host [::1] --listen [::1]:0 --open"] {
            let relay = lab.relay(line).await;
            assert!(url(&relay).starts_with("http://[::1]:"), "{}", url(&relay));
            let apart = lab.apart(superlink().await, &format!("--relay {}", url(&relay))).await;
            assert_eq!(apart.call().await, "200");
            apart.stop().await;
            relay.stop().await.unwrap();
        }
        let relay = lab.relay("--tls-local localhost --listen [::1]:0 --quic-port 0 --open").await;
        let apart = lab.apart(superlink().await, &relay.stdout_line("on every funnel, use: ").unwrap()).await;
        assert_eq!(apart.call().await, "200");
        apart.stop().await;
        relay.stop().await.unwrap();
    })
    .await;
}

async fn get(server: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(server).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}
