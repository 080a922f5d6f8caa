//! Who reaches the local port: the network, if it listens there, and web pages, which are refused.

use std::fs;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    funnel_process::{FunnelProcess, endpoint_id},
    sides::{Sides, guarded, http_server, words},
};

const OPEN: &str = "the local port is open to the network";

#[tokio::test]
async fn a_local_port_on_the_network_is_warned_of_with_tls_too_and_one_on_loopback_is_not() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("join.key").into_os_string();
        let peer = endpoint_id(&folder.path().join("other.key")).await.unwrap();
        for (listen, tls, warns) in [
            ("0.0.0.0:0", false, true),
            ("0.0.0.0:0", true, true),
            ("[::]:0", false, true),
            ("127.0.0.1:0", false, false),
            ("127.0.0.2:0", true, false),
            ("[::1]:0", false, false),
        ] {
            if cfg!(not(target_os = "linux")) && listen.starts_with("127.0.0.2") {
                continue;
            }
            let mut line = vec!["join", &peer, "--listen", listen];
            line.extend(tls.then_some("--tls"));
            let outbound = FunnelProcess::spawn(words(&line, &[("--key-file", &key)])).unwrap();
            while outbound.stdout_line("waiting: ").is_none() {
                tokio::task::yield_now().await;
            }
            if warns {
                outbound.logged(OPEN).await.unwrap();
                outbound.logged("calls as this site, with or without --tls").await.unwrap();
            }
            assert_eq!(outbound.stderr().contains(OPEN), warns, "{listen}: {}", outbound.stderr());
            outbound.kill().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn run_warns_of_each_peers_port_that_is_on_the_network() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let peer = endpoint_id(&path("other.key")).await.unwrap();
        let peers =
            ["127.0.0.1:0", "0.0.0.0:0"].map(|listen| format!("[[peer]]\npeer = \"{peer}\"\nlisten = \"{listen}\"\n"));
        let text = format!(
            "key_file = {:?}\nrelay_mode = \"off\"\nbind_addr = \"127.0.0.1:0\"\n{}",
            path("run.key"),
            peers.concat()
        );
        fs::write(path("run.toml"), text).unwrap();
        let funnel = FunnelProcess::start(["run".into(), "--config".into(), path("run.toml").into_os_string()]);
        let funnel = funnel.await.unwrap();
        funnel.logged(OPEN).await.unwrap();
        assert_eq!(funnel.stderr().matches(OPEN).count(), 1, "{}", funnel.stderr());
        funnel.kill().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_page_that_tries_is_refused_and_logged_once() {
    guarded(async {
        let superlink = http_server(|_, _| async { panic!("a page's call has reached the SuperLink") }).await;
        let sides = Sides::start(superlink).await;
        for _ in 0..20 {
            let mut socket = tokio::net::TcpStream::connect(sides.dial).await.unwrap();
            let call = "POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: page.example:9092\r\ncontent-type: \
                        application/protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            socket.write_all(call.as_bytes()).await.unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("--listen-name"), "{answer}");
        }
        let logged = "a request at the local port was refused";
        sides.outbound.logged(logged).await.unwrap();
        assert_eq!(sides.outbound.stderr().matches(logged).count(), 1, "{}", sides.outbound.stderr());
    })
    .await;
}
