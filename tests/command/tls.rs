//! What an operator types for TLS, and what he reads when a client does not speak it.

use std::{fs, path::Path};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    certificates::Ca,
    funnel_process::{FunnelProcess, endpoint_id, run},
    sides::{guarded, words},
};

#[tokio::test]
async fn join_prints_the_options_for_tls_and_says_of_a_client_without_it_what_it_needs() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).into_os_string();
        let (key, ticket) = (file("join.key"), file("ticket"));
        let allow = format!("{}=fleet,control", endpoint_id(Path::new(&key)).await.unwrap());
        let _inbound = FunnelProcess::start(words(
            &["expose", "--superlink", "http://127.0.0.1:9", "--allow", &allow],
            &[("--key-file", &file("expose.key")), ("--ticket-file", &ticket)],
        ))
        .await
        .unwrap();
        let at_ticket = format!("@{}", ticket.to_str().unwrap());
        let arguments = words(&["join", &at_ticket, "--listen", "127.0.0.1:0", "--tls"], &[("--key-file", &key)]);
        let outbound = FunnelProcess::start(arguments).await.unwrap();
        let (dial, ca) = (outbound.listen_addr().unwrap(), folder.path().join("join.ca.pem"));
        let printed = outbound.stdout_line("run a SuperNode: ").unwrap();
        assert_eq!(printed, format!("flower-supernode --root-certificates {} --superlink {dial}", ca.display()));
        let printed = outbound.stdout_line("run flwr: ").unwrap();
        assert!(printed.contains(&format!("root-certificates = {ca:?}")), "{printed}");
        assert!(fs::read_to_string(&ca).unwrap().contains("BEGIN CERTIFICATE"));

        let mut client = TcpStream::connect(dial).await.unwrap();
        client.write_all(b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        // However it ends.
        let _ = client.read_to_end(&mut Vec::new()).await;
        let told = format!("it does not use TLS; start it with --root-certificates {}", ca.display());
        outbound.logged(&told).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn pass_through_is_warned_of_on_both_sides_and_the_lines_to_type_say_whose_tls_it_is() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).into_os_string();
        let (key, ticket) = (file("join.key"), file("ticket"));
        let allow = format!("{}=passthrough", endpoint_id(Path::new(&key)).await.unwrap());
        let target = "127.0.0.1:9";
        let inbound = FunnelProcess::start(words(
            &["expose", "--superlink", target, "--passthrough", target, "--allow", &allow],
            &[("--key-file", &file("expose.key")), ("--ticket-file", &ticket)],
        ))
        .await
        .unwrap();
        inbound.logged("pass-through: these peers have every API").await.unwrap();
        let at_ticket = format!("@{}", ticket.to_str().unwrap());
        let joining = ["join", &at_ticket, "--listen", "127.0.0.1:0", "--passthrough"];
        let outbound = FunnelProcess::start(words(&joining, &[("--key-file", &key)])).await.unwrap();
        outbound.logged("pass-through: whoever reaches the local port").await.unwrap();
        let printed = outbound.stdout_line("run a SuperNode: ").unwrap();
        assert!(printed.contains("certificate must be for 127.0.0.1"), "{printed}");
        // Nobody listens there.
        let mut client = TcpStream::connect(outbound.listen_addr().unwrap()).await.unwrap();
        let _ = client.read_to_end(&mut Vec::new()).await;
        outbound.logged("no pass-through for a local client: 127.0.0.1:9 is not reachable").await.unwrap();
        let (status, _) = run(words(&[&joining[..], &["--tls"]].concat(), &[("--key-file", &key)])).await.unwrap();
        assert_eq!(status.code(), Some(64), "bytes that it cannot read, and TLS of its own");
    })
    .await;
}

#[tokio::test]
async fn expose_wants_a_ca_for_tls_and_tls_for_a_ca() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).into_os_string();
    let (key, ca) = (file("expose.key"), file("ca.pem"));
    let exposing = |superlink| words(&["expose", "--superlink", superlink], &[("--key-file", &key)]);
    let (status, stderr) = run(exposing("https://127.0.0.1:1")).await.unwrap();
    assert!(status.code() == Some(64) && stderr.contains("--superlink-ca FILE"), "{stderr}");
    fs::write(&ca, Ca::new().pem()).unwrap();
    let mut arguments = exposing("http://127.0.0.1:1");
    arguments.extend(["--superlink-ca".into(), ca]);
    let (status, stderr) = run(arguments).await.unwrap();
    assert!(status.code() == Some(64) && stderr.contains("no upstream speaks TLS"), "{stderr}");
}
