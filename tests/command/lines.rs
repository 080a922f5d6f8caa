//! Text of others in the log and on the terminal: it stays in its line, and no terminal acts on it.

use std::{fs, path::Path};

use flower_iroh_funnel::{
    Api, SecretKey,
    protocol::{Method, Wire},
    transport::Code,
};
use iroh::EndpointAddr;
use iroh_tickets::endpoint::EndpointTicket;
use tokio::io::AsyncWriteExt;
use tonic::{client::Grpc, transport::Endpoint};

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run_for_output},
    raw_peer::on_loopback,
    sides::{guarded, http_server, words},
};

const FORGED: &str = "gone\r\n2026-11-30T07:00:00.000000Z ERROR forged: all is lost\u{1b}[2J\u{9b}31m\u{202e}";
const SHOWN: &str = r"gone\r\n2026-11-30T07:00:00.000000Z ERROR forged: all is lost\u001b[2J\u009b31m\u202e";

/// Checks that a text has the forged line within another one alone, as it is `shown`, and nothing on which a terminal acts.
fn assert_harmless(text: &str, shown: &str) {
    assert!(text.contains(shown), "{text}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("2026-11-30T07:00:00.000000Z")), "{text}");
    assert!(
        !text.chars().any(|character| character != '\n' && (character.is_control() || character == '\u{202e}')),
        "{text:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_error_stays_in_one_line_of_the_log() {
    guarded(async {
        let superlink = http_server(async |mut socket, _| {
            let body = serde_json::json!({ "detail": FORGED }).to_string();
            let head = "HTTP/1.1 418 I'm a teapot\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let _ = socket.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
        })
        .await;
        for form in ["text", "json"] {
            let folder = tempfile::tempdir().unwrap();
            let file = |name: &str| folder.path().join(name).into_os_string();
            let (ticket, key) = (file("ticket"), file("join.key"));
            let peer = endpoint_id(Path::new(&key)).await.unwrap();
            let superlink = format!("http://{superlink}");
            let expose = words(
                &["expose", "--log", form, "--superlink", &superlink, "--allow", &peer],
                &[("--key-file", &file("expose.key")), ("--ticket-file", &ticket)],
            );
            let inbound = FunnelProcess::start(expose).await.unwrap();
            let join = ["join", &format!("@{}", ticket.to_str().unwrap()), "--listen", "127.0.0.1:0"];
            let outbound = FunnelProcess::start(words(&join, &[("--key-file", &key)])).await.unwrap();
            let channel = Endpoint::from_shared(format!("http://{}", outbound.listen_addr().unwrap())).unwrap();
            let mut client = Grpc::new(channel.connect().await.unwrap());
            client.ready().await.unwrap();
            let path = Method::find(Api::Fleet, "PullMessages").unwrap().path(Wire::Grpc).parse().unwrap();
            let codec = tonic_prost::ProstCodec::<(), ()>::default();
            let refused = client.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
            assert!(refused.message().contains("forged"), "{refused:?}");
            inbound.logged("has no status like").await.unwrap();
            let log = inbound.stderr();
            match form {
                "text" => assert_harmless(&log, SHOWN),
                _ => {
                    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
                    let texts: Vec<_> =
                        lines.map(|line| line["fields"]["message"].as_str().unwrap().to_owned()).collect();
                    assert!(texts.iter().any(|text| text.contains(FORGED)), "{log}");
                    assert!(!log.contains(['\u{9b}', '\u{1b}', '\u{202e}']), "{log}");
                }
            }
            outbound.stop().await.unwrap();
            inbound.stop().await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_peer_that_refuses_stays_in_one_line_of_the_log_and_of_stdout() {
    guarded(async {
        let alpns = vec![flower_iroh_funnel::ALPN.to_vec()];
        let peer = on_loopback(SecretKey::generate()).alpns(alpns).bind().await.unwrap();
        let addr = EndpointAddr::new(peer.id()).with_ip_addr(peer.bound_sockets()[0]);
        let accepting = tokio::spawn(async move {
            while let Some(incoming) = peer.accept().await {
                if let Ok(connection) = incoming.await {
                    connection.close(Code::REFUSED.into(), FORGED.as_bytes());
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("join.key").into_os_string();
        let join = ["join", &EndpointTicket::new(addr).to_string(), "--listen", "127.0.0.1:0"];
        let outbound = FunnelProcess::spawn(words(&join, &[("--key-file", &key)])).unwrap();
        outbound.logged("forged").await.unwrap();
        outbound.printed("forged").await.unwrap();
        // A reason has no control characters where it comes in.
        for text in [outbound.stderr(), outbound.stdout()] {
            assert_harmless(&text, r"ERROR forged: all is lost [2J 31m\u202e");
        }
        outbound.stop().await.unwrap();
        accepting.abort();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peers_path_and_a_rosters_problem_are_shown_without_their_escapes() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("expose.key").into_os_string();
        let peer = SecretKey::generate().public();
        let allow = words(&["peers", "allow", &peer.to_string(), "--name", "site"], &[("--key-file", &key)]);
        let (allowed, _, stderr) = run_for_output(allow).await.unwrap();
        assert!(allowed.success(), "{stderr}");
        let seen = serde_json::json!({
            "peers": { peer.to_string(): { "seen": "2026-11-30T07:00:00Z", "path": FORGED, "sent": 0, "received": 0 } },
            "roster": { "since": "2026-11-30T07:00:00Z", "problem": FORGED },
        });
        fs::write(folder.path().join("peers.seen.json"), seen.to_string()).unwrap();
        let (_, table, stderr) = run_for_output(words(&["peers", "list"], &[("--key-file", &key)])).await.unwrap();
        assert_harmless(&table, SHOWN);
        assert_harmless(&stderr, SHOWN);
        let (_, json, _) = run_for_output(words(&["peers", "list", "--json"], &[("--key-file", &key)])).await.unwrap();
        let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(rows[0]["path"], FORGED);
        assert!(!json.contains(['\u{9b}', '\u{1b}', '\u{202e}']), "{json}");
    })
    .await;
}
