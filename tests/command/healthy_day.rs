//! What the logs of a healthy day hold, and those of another one.
#![cfg(unix)]

use std::{fs, net::SocketAddr};

use flower_iroh_funnel::{ALPN, EndpointAddr, SecretKey};
use iroh_tickets::endpoint::EndpointTicket;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::{
    funnel_process::FunnelProcess,
    peers::call,
    raw_peer::on_loopback,
    relay_lab::{Lab, TOKEN, url},
    sides::{guarded, read_head, response_head, words},
};

/// A SuperLink that can be stopped and started at its address.
struct SuperLink(tokio::task::JoinHandle<()>);

impl SuperLink {
    async fn start(addr: SocketAddr) -> (Self, SocketAddr) {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let Some(head) = read_head(&mut socket).await else { continue };
                let answer = match head.starts_with("GET") {
                    true => "HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\n\r\n".to_owned(),
                    false => response_head(0),
                };
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        (Self(serving), addr)
    }

    async fn stop(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

/// The lines that an operator would look at.
fn alarming(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR")).collect()
}

/// The office's and the site's files, and the options for their own relay.
struct Day {
    lab: Lab,
    relays: String,
    superlink: SocketAddr,
}

impl Day {
    async fn expose(&self) -> FunnelProcess {
        let line = format!("expose --superlink http://{} --bind 127.0.0.1:0 {}", self.superlink, self.relays);
        FunnelProcess::start(self.lab.words(&line, "office/secret.key")).await.unwrap()
    }

    async fn join(&self, peer: &str) -> FunnelProcess {
        let line = format!("join {peer} --listen 127.0.0.1:0 --bind [::1]:0 {}", self.relays);
        FunnelProcess::start(self.lab.words(&line, "site/secret.key")).await.unwrap()
    }

    fn audit(&self, name: &str) -> String {
        fs::read_to_string(self.lab.file("office").join(name)).unwrap()
    }
}

/// Stops a funnel, and adds its log.
async fn stop(funnel: FunnelProcess, logs: &mut Vec<String>) {
    funnel.terminate().unwrap();
    funnel.logged("drained").await.unwrap();
    // All but the last lines, which the copy of the process before its end has.
    let log = funnel.output();
    assert!(funnel.ended().await.unwrap().success());
    logs.push(log.borrow().clone());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_day_has_no_warning_no_error_and_no_denial() {
    guarded(async {
        let lab = Lab::new();
        let token = lab.token("token", TOKEN);
        let line = format!("--tls-local 127.0.0.1 --listen 127.0.0.1:0 --quic-port 0 --token-file {token}");
        let relay = lab.relay(&line).await;
        let relays = format!("--relay {},@{token} --relay-ca {}", url(&relay), lab.file("relay.ca.pem").display());
        let (running, superlink) = SuperLink::start(([127, 0, 0, 1], 0).into()).await;
        let day = Day { lab, relays, superlink };
        let mut logs = Vec::new();

        // The first day: a roster that is empty, an invitation, a site that enrols.
        let inbound = day.expose().await;
        let printed = day.lab.type_in("invite site", "office/secret.key").await;
        let invitation = printed.lines().find_map(|line| line.strip_prefix("invitation ")).unwrap();
        let site = day.join(invitation).await;
        assert_eq!(call(&site).await, "200");

        // The SuperLink is restarted, and a call notices.
        running.stop().await;
        assert_eq!(call(&site).await, "503");
        inbound.logged("no longer answers").await.unwrap();
        let (running, _) = SuperLink::start(superlink).await;
        while call(&site).await != "200" {
            tokio::task::yield_now().await;
        }

        // The site is restarted with what its unit has, which is the invitation; then the funnel beside the SuperLink.
        stop(site, &mut logs).await;
        let site = day.join(invitation).await;
        assert_eq!(call(&site).await, "200");
        stop(inbound, &mut logs).await;
        site.logged("the funnel is stopping").await.unwrap();
        let inbound = day.expose().await;
        while call(&site).await != "200" {
            tokio::task::yield_now().await;
        }
        stop(site, &mut logs).await;
        stop(inbound, &mut logs).await;
        running.stop().await;
        let log = relay.output();
        relay.stop().await.unwrap();
        logs.push(log.borrow().clone());

        for log in &logs {
            assert!(alarming(log).is_empty(), "{log}");
        }
        assert!(!day.audit("audit.jsonl").contains("denied"), "{}", day.audit("audit.jsonl"));
        assert!(day.audit("audit.jsonl").contains(r#""event":"enrol","outcome":"allowed""#));
        assert_eq!(day.audit("audit.strangers.jsonl"), "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_a_peer_that_is_killed_are_warned_of_and_leave_the_audit_log_alone() {
    guarded(async {
        const STRANGERS: usize = 20;
        let (_running, superlink) = SuperLink::start(([127, 0, 0, 1], 0).into()).await;
        let day = Day { lab: Lab::new(), relays: "--relay off".to_owned(), superlink };
        let inbound = day.expose().await;
        let addr = EndpointAddr::from(inbound.stdout_line("ticket ").unwrap().parse::<EndpointTicket>().unwrap());
        let mut ids = Vec::new();
        for _ in 0..STRANGERS {
            let stranger = on_loopback(SecretKey::generate()).bind().await.unwrap();
            ids.push(stranger.id().to_string());
            if let Ok(link) = stranger.connect(addr.clone(), ALPN).await {
                link.closed().await;
            }
            stranger.close().await;
        }
        inbound.logged("not admitted: too many peers").await.unwrap();
        let log = inbound.stderr();
        assert_eq!(log.matches("not admitted; to admit it").count(), 8, "{log}");
        assert_eq!(alarming(&log).len(), 9, "{log}");
        let mut logs = Vec::new();
        stop(inbound, &mut logs).await;
        assert_eq!(day.audit("audit.jsonl"), "");
        let strangers = day.audit("audit.strangers.jsonl");
        let listed = ids.iter().filter(|id| strangers.contains(*id)).count();
        assert_eq!(listed, 16, "{strangers}");
        assert!(strangers.contains(r#""event":"lost","count":4"#), "{strangers}");

        let id = day.lab.id("site/secret.key").await;
        day.lab.type_in(&format!("peers allow {id}"), "office/secret.key").await;
        let inbound = day.expose().await;
        let site = admitted(&day, &inbound).await;
        assert!(alarming(&site.stderr()).is_empty(), "{}", site.stderr());
        inbound.kill().await.unwrap();
        site.logged(" WARN ").await.unwrap();
    })
    .await;
}

/// A site that is admitted, at a day without relays.
async fn admitted(day: &Day, inbound: &FunnelProcess) -> FunnelProcess {
    let ticket = inbound.stdout_line("ticket ").unwrap();
    let key = day.lab.file("site/secret.key").into_os_string();
    let site = words(&["join", &ticket, "--listen", "127.0.0.1:0"], &[("--key-file", &key)]);
    let site = FunnelProcess::start(site).await.unwrap();
    assert_eq!(call(&site).await, "200");
    site
}

impl Day {
    /// Without relays, and with a site on the roster.
    async fn without_relays(superlink: SocketAddr) -> Self {
        let day = Self { lab: Lab::new(), relays: "--relay off".to_owned(), superlink };
        let id = day.lab.id("site/secret.key").await;
        day.lab.type_in(&format!("peers allow {id}"), "office/secret.key").await;
        day
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superlink_that_stays_away_for_a_minute_is_warned_of() {
    guarded(async {
        let (running, superlink) = SuperLink::start(([127, 0, 0, 1], 0).into()).await;
        let day = Day::without_relays(superlink).await;
        let inbound = day.expose().await;
        let site = admitted(&day, &inbound).await;
        running.stop().await;
        assert_eq!(call(&site).await, "503");
        inbound.logged("the SuperLink no longer answers").await.unwrap();
        assert!(alarming(&inbound.stderr()).is_empty(), "{}", inbound.stderr());
        // Longer than a process is waited for elsewhere.
        let is_away = |log: &String| log.contains("the SuperLink has not answered for 60 s");
        inbound.output().wait_for(is_away).await.unwrap();
        assert_eq!(alarming(&inbound.stderr()).len(), 1, "{}", inbound.stderr());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stays_away_for_a_minute_after_it_stopped_is_warned_of() {
    guarded(async {
        let (_running, superlink) = SuperLink::start(([127, 0, 0, 1], 0).into()).await;
        let day = Day::without_relays(superlink).await;
        let inbound = day.expose().await;
        let site = admitted(&day, &inbound).await;
        inbound.stop().await.unwrap();
        site.logged("the funnel is stopping").await.unwrap();
        assert!(alarming(&site.stderr()).is_empty(), "{}", site.stderr());
        site.output().wait_for(|log| !alarming(log).is_empty()).await.unwrap();
    })
    .await;
}
