//! Newcomers at a relay, beside crowds that are not authenticated.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::{
    funnel_process::FunnelProcess,
    relay_crowd::{Begin, ELSEWHERE, HERE, SOON, addr, crowd, from_elsewhere, has_addresses, join, joined, typical},
    relay_lab::{Lab, TOKEN, url},
    sides::guarded,
};

const TLS: &str = "--tls-local 127.0.0.1 --quic-port 0";

/// A relay with a token.
async fn relay(lab: &Lab, transport: &str) -> FunnelProcess {
    let token = lab.token("token", TOKEN);
    lab.relay(&format!("{transport} --listen 127.0.0.1:0 --token-file {token}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_connections_keep_no_newcomer_out() {
    if !has_addresses() {
        return;
    }
    guarded(async {
        for (transport, begins) in [("--http", &[Begin::Nothing, Begin::AnUpgrade][..]), (TLS, &[Begin::Nothing])] {
            let lab = Lab::new();
            let relay = relay(&lab, transport).await;
            let ca = lab.file("relay.ca.pem");
            let ca = Some(&*ca).filter(|ca| ca.exists());
            let (url, addr) = (url(&relay), addr(&relay));
            let alone = typical(&url, ca).await;
            for source in [ELSEWHERE, HERE] {
                let crowd = crowd(source, addr, begins).await;
                let beside = typical(&url, ca).await;
                eprintln!("{transport}: newcomer {alone:?} alone, {beside:?} beside a crowd from {source}");
                assert!(beside < SOON, "{beside:?}");
                drop(crowd);
            }
            relay.stop().await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_refused_in_a_loop_delay_no_newcomer_and_keep_none_of_their_address_out() {
    const LOOPS: usize = 45;
    if !has_addresses() {
        return;
    }
    guarded(async {
        for transport in ["--http", TLS] {
            let lab = Lab::new();
            let relay = relay(&lab, transport).await;
            let ca = lab.file("relay.ca.pem");
            let ca = Some(ca).filter(|ca| ca.exists());
            let scheme = url(&relay).split_once(':').unwrap().0.to_owned();
            let elsewhere = format!("{scheme}://{}", from_elsewhere(ELSEWHERE, addr(&relay)).await);
            let alone = typical(&url(&relay), ca.as_deref()).await;
            let (refused, mut loops, began) = (Arc::new(AtomicUsize::new(0)), JoinSet::new(), Instant::now());
            for _ in 0..LOOPS {
                let (elsewhere, ca, refused) = (elsewhere.clone(), ca.clone(), Arc::clone(&refused));
                loops.spawn(async move {
                    loop {
                        let error = join(&elsewhere, ca.as_deref(), None).await.unwrap_err();
                        refused.fetch_add(usize::from(error.contains("requires a token")), Relaxed);
                    }
                });
            }
            // More than the first ones, which do not wait.
            while refused.load(Relaxed) < 70 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let beside = typical(&url(&relay), ca.as_deref()).await;
            let behind = joined(&elsewhere, ca.as_deref()).await;
            eprintln!(
                "{transport}: newcomer {alone:?} alone, {beside:?} beside refusals, {behind:?} from their address"
            );
            assert!(beside < SOON, "{beside:?}");
            while refused.load(Relaxed) < 150 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let (refused, took) = (refused.load(Relaxed) as f64, began.elapsed().as_secs_f64());
            assert!(refused <= 64.0 + 21.0 * took + 20.0, "{refused} refusals in {took} s");
            loops.shutdown().await;
            relay.stop().await.unwrap();
        }
    })
    .await;
}

/// Sends a header and a request; returns the first line of the answer, if one came.
async fn ask(source: Ipv4Addr, relay: &FunnelProcess, header: &str) -> String {
    let mut socket = Begin::Nothing.connect_from(source, addr(relay)).await.unwrap();
    let request = format!("{header}GET /ping HTTP/1.1\r\nhost: x\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A clean end or a reset.
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap().lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_header_of_the_proxy_protocol_is_required_of_trusted_proxies_and_read_from_no_other() {
    const HEADER: &str = "PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n";
    if !has_addresses() {
        return;
    }
    guarded(async {
        let lab = Lab::new();
        let relay = relay(&lab, "--http --proxy-protocol 127.0.0.2").await;
        assert_eq!(ask(ELSEWHERE, &relay, HEADER).await, "HTTP/1.1 200 OK");
        assert_eq!(ask(ELSEWHERE, &relay, "").await, "");
        relay.logged("no valid PROXY protocol header").await.unwrap();
        assert_eq!(ask(HERE, &relay, HEADER).await, "HTTP/1.1 400 Bad Request");
        assert_eq!(ask(HERE, &relay, "").await, "HTTP/1.1 200 OK");
        relay.stop().await.unwrap();
    })
    .await;
}
