//! Relays from a configuration file, and the places where their tokens must not be.

use std::fs;

use flower_iroh_funnel::Invitation;
use iroh_tickets::{Ticket, endpoint::EndpointTicket};

use crate::{
    funnel_process::FunnelProcess,
    relay_lab::{Apart, Lab, TOKEN, superlink, url},
    sides::guarded,
};

#[tokio::test]
async fn funnels_take_a_list_of_relays_with_tokens_and_their_ca_from_a_file() {
    guarded(async {
        let lab = Lab::new();
        let (token, other) = (lab.token("token", TOKEN), lab.token("other", "another-one"));
        let tls = "--tls-local 127.0.0.1 --listen 127.0.0.1:0 --quic-port 0";
        let relays = [
            lab.relay(&format!("{tls} --token-file {token}")).await,
            lab.relay(&format!("{tls} --token-file {other}")).await,
        ];
        let site = lab.id("join.key").await;
        let run = async |key: &str, more: String| {
            let (first, second) = (url(&relays[0]), url(&relays[1]));
            let text = format!(
                "key_file = {:?}\nrelay_mode = ['{first},@{token}', '{second},@{other}']\nrelay_ca = {:?}\n{more}",
                lab.file(key),
                lab.file("relay.ca.pem"),
            );
            let config = lab.file(&format!("{key}.toml"));
            fs::write(&config, text).unwrap();
            FunnelProcess::start(["run".as_ref(), "--config".as_ref(), config.as_os_str()]).await.unwrap()
        };
        let superlink = superlink().await;
        let exposing = format!("[expose]\nsuperlink = \"http://{superlink}\"\n[[expose.allow]]\npeer = \"{site}\"\n");
        let inbound = run("expose.key", format!("bind_addr = \"127.0.0.1:0\"\n{exposing}")).await;
        let joining =
            format!("[[peer]]\npeer = \"{}\"\nlisten = \"127.0.0.1:0\"\n", inbound.stdout_line("ticket ").unwrap());
        let outbound = run("join.key", format!("bind_addr = \"[::1]:0\"\n{joining}")).await;
        outbound.logged("path=relay").await.unwrap();
        let apart = Apart { inbound, outbound };
        assert_eq!(apart.call().await, "200");
        apart.stop().await;
        for relay in relays {
            relay.stop().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_relays_token_is_in_no_ticket_invitation_file_or_log() {
    guarded(async {
        let lab = Lab::new();
        let token = lab.token("token", TOKEN);
        let relay = lab.relay(&format!("--http --listen 127.0.0.1:0 -vv --token-file {token}")).await;
        let relays = format!("-vv --relay {},@{token}", url(&relay));
        let line = format!("expose --superlink http://{} --bind 127.0.0.1:0 {relays}", superlink().await);
        let inbound = FunnelProcess::start(lab.words(&line, "expose.key")).await.unwrap();
        inbound.logged("relay connected").await.unwrap();
        let ticket = inbound.stdout_line("ticket ").unwrap();
        let seen = || fs::read_to_string(lab.file("peers.seen.json")).unwrap_or_default();
        while !seen().contains(&ticket) {
            tokio::task::yield_now().await;
        }
        let printed = lab.type_in("invite site", "expose.key").await;
        let invitation = printed.lines().find_map(|line| line.strip_prefix("invitation ")).unwrap();
        let apart = lab.joined(inbound, invitation, &relays).await;
        assert_eq!(apart.call().await, "200");
        // The texts are encoded.
        let ticket: EndpointTicket = ticket.parse().unwrap();
        let invitation: Invitation = invitation.parse().unwrap();
        for bytes in [ticket.encode_bytes(), invitation.encode_bytes()] {
            assert!(holds(&bytes, url(&relay).as_bytes()) && !holds(&bytes, TOKEN.as_bytes()));
        }
        while !seen().contains("relay http") {
            tokio::task::yield_now().await;
        }
        let logs = [relay.stderr(), apart.inbound.stderr(), apart.outbound.stderr()];
        apart.stop().await;
        relay.stop().await.unwrap();
        for text in logs {
            assert!(!text.contains(TOKEN), "{text}");
        }
        for file in fs::read_dir(lab.folder.path()).unwrap().map(|file| file.unwrap().path()) {
            let is_token = file == lab.file("token");
            assert_eq!(holds(&fs::read(&file).unwrap(), TOKEN.as_bytes()), is_token, "{}", file.display());
        }
    })
    .await;
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
