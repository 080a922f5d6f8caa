//! A self-hosted relay, between funnels that have no direct path.

use std::fs;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    funnel_process::{FunnelProcess, run},
    ports::free_addr,
    relay_lab::{Lab, TOKEN, superlink, url},
    sides::guarded,
};

#[tokio::test]
async fn funnels_without_a_direct_path_use_a_relay_with_a_token_and_survive_its_restart() {
    guarded(async {
        let lab = Lab::new();
        let token = lab.token("token", TOKEN);
        let listen = free_addr();
        let line = format!("--http --listen {listen} --token-file {token} -vv");
        let relay = lab.relay(&line).await;
        let relays = format!("-vv --relay {},@{token}", url(&relay));
        let apart = lab.apart(superlink().await, &relays).await;
        assert_eq!(apart.call().await, "200");

        relay.kill().await.unwrap();
        let relay = lab.relay(&line).await;
        apart.call_at_last().await;

        let ticket = fs::read_to_string(lab.file("ticket")).unwrap();
        for text in [relay.stderr(), apart.inbound.stderr(), apart.outbound.stderr(), ticket] {
            assert!(!text.contains(TOKEN), "{text}");
        }
        apart.stop().await;
        assert!(relay.stop().await.unwrap().success() || cfg!(not(unix)));
    })
    .await;
}

#[tokio::test]
async fn a_relay_with_a_local_ca_serves_only_funnels_that_trust_it() {
    guarded(async {
        let lab = Lab::new();
        let relay = lab.relay("--tls-local 127.0.0.1 --listen 127.0.0.1:0 --quic-port 0 --open").await;
        let told = relay.stdout_line("on every funnel, use: ").unwrap();
        assert!(told.starts_with("--relay https://127.0.0.1:") && told.contains(" --relay-ca "), "{told}");
        let apart = lab.apart(superlink().await, &told).await;
        assert_eq!(apart.call().await, "200");

        let line = format!("expose --relay {} --bind 127.0.0.1:0", url(&relay));
        let distrustful = FunnelProcess::start(lab.words(&line, "other.key")).await.unwrap();
        distrustful.logged("no relay answers, or none whose certificate is trusted").await.unwrap();
        distrustful.stop().await.unwrap();
        apart.stop().await;
        relay.stop().await.unwrap();
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_relay_whose_certificate_signed_itself_serves_funnels_that_were_given_it() {
    guarded(async {
        let lab = Lab::new();
        let make = |name: &str| {
            let command = format!(
                "openssl req -x509 -newkey rsa:2048 -nodes -days 825 -subj /CN=server -addext subjectAltName={name} -keyout \
                 server.key -out server.pem"
            );
            let words: Vec<_> = command.split_whitespace().collect();
            let made = std::process::Command::new(words[0]).args(&words[1..]).current_dir(lab.folder.path()).output();
            made.is_ok_and(|output| output.status.success())
        };
        if !make("IP:127.0.0.1") {
            eprintln!("skipped: needs openssl");
            return;
        }
        let folder = lab.folder.path().display();
        let serve = format!(
            "--tls-cert {folder}/server.pem --tls-key {folder}/server.key --host 127.0.0.1 --listen 127.0.0.1:0 --quic-port 0 \
             --open"
        );
        let relay = lab.relay(&serve).await;
        let given = format!("--relay {} --relay-ca {folder}/server.pem", url(&relay));
        let apart = lab.apart(superlink().await, &given).await;
        assert_eq!(apart.call().await, "200");
        apart.stop().await;
        relay.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn one_of_two_relays_is_enough() {
    guarded(async {
        let lab = Lab::new();
        let relays = [
            lab.relay("--http --listen 127.0.0.1:0 --open").await,
            lab.relay("--http --listen 127.0.0.1:0 --open").await,
        ];
        let line: Vec<_> = relays.iter().map(|relay| format!("--relay {}", url(relay))).collect();
        let apart = lab.apart(superlink().await, &line.join(" ")).await;
        assert_eq!(apart.call().await, "200");
        let [first, second] = relays;
        // Without the relay that carries the link, the other one does.
        let used = apart.outbound.stderr().contains(&format!("path=relay {}", url(&first)));
        let (used, left) = if used { (first, second) } else { (second, first) };
        used.kill().await.unwrap();
        apart.call_at_last().await;
        apart.stop().await;
        left.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_relays_metrics_are_served_at_the_configured_port() {
    guarded(async {
        let lab = Lab::new();
        let port = free_addr().port();
        let relay = lab.relay(&format!("--http --listen 127.0.0.1:0 --open --metrics {port}")).await;
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("relayserver_accepts"), "{answer}");
        relay.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn every_mistake_in_a_relays_options_is_reported_at_once() {
    guarded(async {
        let lab = Lab::new();
        let public = lab.file("public");
        fs::write(&public, TOKEN).unwrap();
        let public = public.display();
        let line = format!("relay --tls-cert {public} --tls-key /nonexistent/key --listen here --metrics there");
        let line = format!("{line} --proxy-protocol 10.0.0.5,nginx --trust-forwarded 0.0.0.0/0");
        let (status, stderr) = run(lab.words(&line, "relay.key")).await.unwrap();
        assert_eq!(status.code(), Some(64), "{stderr}");
        let parts = [
            "--listen here",
            "--metrics there",
            "--proxy-protocol: \"nginx\" is not an IP address",
            "--trust-forwarded: \"0.0.0.0/0\" is every address",
            "does not contain a certificate",
            "/nonexistent/key",
            "no peer may use this relay",
        ];
        for part in parts {
            assert!(stderr.contains(part), "{part} is not in:\n{stderr}");
        }
        assert!(!stderr.contains(TOKEN), "{stderr}");
        #[cfg(unix)]
        {
            fs::set_permissions(lab.file("public"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
            let line = format!("expose --relay https://relay.example.org,@{public} --relay off");
            let (status, stderr) = run(lab.words(&line, "expose.key")).await.unwrap();
            assert_eq!(status.code(), Some(1), "{stderr}");
            assert!(stderr.contains("others can read the token file") && !stderr.contains(TOKEN), "{stderr}");
        }
    })
    .await;
}
