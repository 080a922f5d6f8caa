//! The relay that a ticket or an invitation names: shown before it is dialled, and not dialled without TLS unless the operator
//! says so.

use std::{ffi::OsString, fs, net::SocketAddr};

use flower_iroh_funnel::{EndpointAddr, Invitation, SecretKey};
use iroh_tickets::endpoint::EndpointTicket;
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    funnel_process::{FunnelProcess, run},
    relay_lab::Lab,
    sides::{guarded, read_head},
};

/// A relay of the site's own, at which nobody answers: without any, iroh dials none.
const OWN: &str = "https://127.0.0.1:1";

/// A service that a ticket leads to, and the requests that it gets.
async fn service() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (seen, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let head = read_head(&mut socket).await.unwrap_or_default();
            // The test may have ended.
            let _ = seen.send(head);
        }
    });
    (addr, requests)
}

fn peer_behind(relay: &str) -> EndpointAddr {
    EndpointAddr::from(SecretKey::generate().public()).with_relay_url(relay.parse().unwrap())
}

fn join(lab: &Lab, peer: &str, options: &str) -> Vec<OsString> {
    lab.words(&format!("join {peer} --listen 127.0.0.1:0 --bind 127.0.0.1:0{options}"), "join.key")
}

#[tokio::test]
async fn a_relay_without_tls_is_refused_wherever_the_ticket_stands_and_gets_no_request() {
    guarded(async {
        let (lab, (service, mut requests)) = (Lab::new(), service().await);
        let addr = peer_behind(&format!("http://{service}"));
        let (ticket, invitation) = (EndpointTicket::new(addr.clone()).to_string(), Invitation::new(addr).to_string());
        fs::write(lab.file("ticket"), &ticket).unwrap();
        let key = lab.file("join.key");
        let file = |name: &str, more: &str| {
            let text = format!("key_file = {key:?}\n{more}\n[[peer]]\nname = \"north\"\npeer = \"{ticket}\"\n");
            fs::write(lab.file(name), text).unwrap();
            lab.file(name).into_os_string().into_string().unwrap()
        };
        let named = file("named.toml", "");
        let own = format!(" --relay {OWN}");
        let run_file = file("run.toml", &format!("relay_mode = \"{OWN}\"\nflower_grpc_addr = \"127.0.0.1:0\""));
        for words in [
            join(&lab, &ticket, &own),
            join(&lab, &invitation, &own),
            join(&lab, &format!("@{}", lab.file("ticket").display()), &own),
            join(&lab, "north", &format!("{own} --config {named}")),
            ["run", "--config", &run_file].map(OsString::from).into(),
        ] {
            let (status, stderr) = run(words.clone()).await.unwrap();
            assert_eq!(status.code(), Some(64), "{words:?}: {stderr}");
            for part in [&*format!("its relay is http://{service}"), "not https", "--relay", "--allow-http-relay"] {
                assert!(stderr.contains(part), "{words:?}: {part} is not in:\n{stderr}");
            }
            // An invitation is a secret.
            assert!(!stderr.contains(&invitation), "{stderr}");
        }
        // The processes have ended: what they dialled would be here.
        assert!(requests.try_recv().is_err());
    })
    .await;
}

#[tokio::test]
async fn a_relay_without_tls_is_dialled_if_it_is_an_own_one_or_if_all_are_allowed() {
    guarded(async {
        let (lab, (service, mut requests)) = (Lab::new(), service().await);
        let relay = format!("http://{service}");
        let ticket = EndpointTicket::new(peer_behind(&relay)).to_string();
        for options in [format!(" --relay {relay}"), format!(" --relay {OWN} --allow-http-relay")] {
            let outbound = FunnelProcess::spawn(join(&lab, &ticket, &options)).unwrap();
            let request = requests.recv().await.unwrap();
            assert!(request.starts_with("GET /"), "{request}");
            outbound.logged(&format!("the peer's relay, from its ticket: {relay}")).await.unwrap();
            outbound.kill().await.unwrap();
            while requests.try_recv().is_ok() {}
        }
        let allowed = format!(
            "key_file = {:?}\nrelay_mode = \"{OWN}\"\nallow_http_relay = true\nflower_grpc_addr = \"127.0.0.1:0\"\n\
             [[peer]]\npeer = \"{ticket}\"\n",
            lab.file("join.key")
        );
        fs::write(lab.file("run.toml"), allowed).unwrap();
        let words = ["run".into(), "--config".into(), lab.file("run.toml").into_os_string()];
        let outbound = FunnelProcess::start(words).await.unwrap();
        requests.recv().await.unwrap();
        outbound.kill().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_relay_with_tls_is_shown_by_the_host_that_is_dialled() {
    guarded(async {
        let (lab, (service, _requests)) = (Lab::new(), service().await);
        // What stands before the @ is a user.
        let addr = peer_behind(&format!("https://relay.example.org@{service}/path"));
        let ticket = EndpointTicket::new(addr.clone()).to_string();
        let invitation = Invitation::new(addr).to_string();
        for (peer, source) in [(ticket, "ticket"), (invitation, "invitation")] {
            let outbound = FunnelProcess::spawn(join(&lab, &peer, &format!(" --relay {OWN}"))).unwrap();
            outbound.logged(&format!("the peer's relay, from its {source}: https://{service} peer=")).await.unwrap();
            assert!(!outbound.stderr().contains("relay.example.org@"), "{}", outbound.stderr());
            outbound.kill().await.unwrap();
        }
        // Without relays none is dialled, and none is shown.
        let ticket = EndpointTicket::new(peer_behind(&format!("http://{service}"))).to_string();
        let outbound = FunnelProcess::spawn(join(&lab, &ticket, " --relay off")).unwrap();
        while outbound.stdout_line("waiting: ").is_none() {
            tokio::task::yield_now().await;
        }
        assert!(!outbound.stderr().contains("the peer's relay"), "{}", outbound.stderr());
        outbound.kill().await.unwrap();
    })
    .await;
}
