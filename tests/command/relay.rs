//! A relay of one's own, between funnels that have no other way to each other.

use std::{
    ffi::OsString,
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    funnel_process::{FunnelProcess, endpoint_id, run},
    sides::{begin_call, guarded, http_server, read_head, response_head, status},
};

const TOKEN: &str = "open-sesame";

/// A folder with the files of everybody.
struct Lab {
    folder: TempDir,
}

/// Two funnels, one with IPv4 and one with IPv6 alone: no packet finds a way between them but through a relay.
struct Apart {
    inbound: FunnelProcess,
    outbound: FunnelProcess,
}

impl Lab {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A private file with a token.
    fn token(&self, name: &str, token: &str) -> String {
        let path = self.file(name);
        fs::write(&path, token).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn words(&self, line: &str, key: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        words.extend(["--key-file".into(), self.file(key).into_os_string()]);
        words
    }

    async fn id(&self, key: &str) -> String {
        endpoint_id(&self.file(key)).await.unwrap()
    }

    async fn relay(&self, line: &str) -> FunnelProcess {
        FunnelProcess::start(self.words(&format!("relay {line}"), "relay.key")).await.unwrap()
    }

    /// Both funnels, with these relays.
    async fn apart(&self, superlink: SocketAddr, relays: &str) -> Apart {
        let (site, ticket) = (self.id("join.key").await, self.file("ticket"));
        let ticket = ticket.to_str().unwrap();
        let line = format!("expose --superlink http://{superlink} --allow {site} --ticket-file {ticket}");
        let line = format!("{line} --bind 127.0.0.1:0 {relays}");
        let inbound = FunnelProcess::start(self.words(&line, "expose.key")).await.unwrap();
        let line = format!("join @{ticket} --listen 127.0.0.1:0 --bind [::1]:0 {relays}");
        let outbound = FunnelProcess::start(self.words(&line, "join.key")).await.unwrap();
        outbound.logged("path=relay").await.unwrap();
        Apart { inbound, outbound }
    }
}

impl Apart {
    async fn call(&self) -> String {
        let mut socket = begin_call(self.outbound.listen_addr().unwrap(), "/v1/fleet/pull-messages", 0).await;
        status(&read_head(&mut socket).await.unwrap()).to_owned()
    }

    /// Calls until one is answered; whoever is told to try again does.
    async fn call_at_last(&self) {
        while self.call().await != "200" {
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) {
        self.outbound.stop().await.unwrap();
        self.inbound.stop().await.unwrap();
    }
}

async fn superlink() -> SocketAddr {
    http_server(|mut socket, _| async move {
        let _ = socket.write_all(response_head(0).as_bytes()).await;
    })
    .await
}

fn url(relay: &FunnelProcess) -> String {
    relay.stdout_line("ready ").unwrap()
}

#[tokio::test]
async fn funnels_without_another_way_meet_at_a_relay_with_a_token_and_survive_its_restart() {
    guarded(async {
        let lab = Lab::new();
        let token = lab.token("token", TOKEN);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let line = format!("--http --listen {port} --token-file {token} -vv");
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
        assert!(relay.stop().await.unwrap().success());
    })
    .await;
}

#[tokio::test]
async fn a_relay_with_a_local_ca_serves_who_trusts_it_and_nobody_else() {
    guarded(async {
        let lab = Lab::new();
        let relay = lab.relay("--tls-local 127.0.0.1 --listen 127.0.0.1:0 --quic-port 0 --open").await;
        let told = relay.stdout_line("with every funnel: ").unwrap();
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

#[tokio::test]
async fn a_relay_refuses_wrong_tokens_and_says_so_at_the_funnel() {
    guarded(async {
        let lab = Lab::new();
        let (right, wrong) = (lab.token("right", TOKEN), lab.token("wrong", "open-barley"));
        let relay = lab.relay(&format!("--http --listen 127.0.0.1:0 --token-file {right}")).await;
        for (relays, reason) in [
            (format!("--relay {}", url(&relay)), "this relay wants a token"),
            (format!("--relay {},@{wrong}", url(&relay)), "the token is not the one of this relay"),
        ] {
            let line = format!("expose --bind 127.0.0.1:0 {relays}");
            let funnel = FunnelProcess::start(lab.words(&line, "expose.key")).await.unwrap();
            funnel.logged("the relay refuses this funnel").await.unwrap();
            assert!(funnel.stderr().contains(reason), "{}", funnel.stderr());
            funnel.stop().await.unwrap();
        }
        relay.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_relay_follows_the_roster() {
    guarded(async {
        let lab = Lab::new();
        let roster = lab.file("peers.toml");
        let relay = lab.relay(&format!("--http --listen 127.0.0.1:0 --roster {}", roster.display())).await;
        let line = format!("expose --bind 127.0.0.1:0 --relay {}", url(&relay));
        let funnel = FunnelProcess::start(lab.words(&line, "expose.key")).await.unwrap();
        funnel.logged("the relay refuses this funnel").await.unwrap();
        let id = lab.id("expose.key").await;
        for (change, logged) in [("allow", "relay connected"), ("deny", "cut: the roster")] {
            let arguments = lab.words(&format!("peers {change} {id}"), "secret.key");
            let (status, stderr) = run(arguments).await.unwrap();
            assert!(status.success(), "{stderr}");
            let hears = if change == "allow" { &funnel } else { &relay };
            hears.logged(logged).await.unwrap();
        }
        funnel.stop().await.unwrap();
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
        // Whichever it is that carries the link: without it, the other one does.
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
async fn a_relays_metrics_are_served_where_it_is_told_to() {
    guarded(async {
        let lab = Lab::new();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
async fn what_an_operator_mistypes_about_a_relay_is_said_at_once() {
    guarded(async {
        let lab = Lab::new();
        let public = lab.file("public");
        fs::write(&public, TOKEN).unwrap();
        let public = public.display();
        let line = format!("relay --tls-cert {public} --tls-key /nonexistent/key --listen here --metrics there");
        let (status, stderr) = run(lab.words(&line, "relay.key")).await.unwrap();
        assert_eq!(status.code(), Some(64), "{stderr}");
        let parts = [
            "--listen here",
            "--metrics there",
            "holds no certificate",
            "/nonexistent/key",
            "nobody may use this relay",
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
            assert_eq!(status.code(), Some(64), "{stderr}");
            assert!(stderr.contains("others can read the token file") && !stderr.contains(TOKEN), "{stderr}");
        }
    })
    .await;
}
