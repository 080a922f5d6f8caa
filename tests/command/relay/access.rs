//! Access to a relay, and the reasons that denied peers receive.

use crate::{
    relay_lab::{Lab, TOKEN, superlink, url},
    sides::guarded,
};

#[tokio::test]
async fn a_relay_refuses_wrong_tokens_and_the_funnel_reports_it() {
    guarded(async {
        let lab = Lab::new();
        let (right, wrong) = (lab.token("right", TOKEN), lab.token("wrong", "open-barley"));
        let relay = lab.relay(&format!("--http --listen 127.0.0.1:0 --token-file {right}")).await;
        for (relays, reason) in [
            (format!("--relay {}", url(&relay)), "this relay requires a token"),
            (format!("--relay {},@{wrong}", url(&relay)), "the token is not the one of this relay"),
        ] {
            let funnel = lab.refused(&relays, "expose.key").await;
            assert!(funnel.stderr().contains(reason), "{}", funnel.stderr());
            funnel.stop().await.unwrap();
        }
        let remedy = format!("start it with: --allow {}", lab.id("expose.key").await);
        relay.logged(&remedy).await.unwrap();
        relay.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_relay_admits_only_the_peers_that_are_allowed_by_id() {
    guarded(async {
        let lab = Lab::new();
        let (inbound, outbound) = (lab.id("expose.key").await, lab.id("join.key").await);
        let line = format!("--http --listen 127.0.0.1:0 --allow {inbound} --allow {outbound}");
        let relay = lab.relay(&line).await;
        let relays = format!("--relay {}", url(&relay));
        let apart = lab.apart(superlink().await, &relays).await;
        assert_eq!(apart.call().await, "200");
        let stranger = lab.refused(&relays, "stranger.key").await;
        assert!(stranger.stderr().contains("this endpoint id is not allowed here"), "{}", stranger.stderr());
        relay.logged(&format!("start it with: --allow {}", lab.id("stranger.key").await)).await.unwrap();
        stranger.stop().await.unwrap();
        apart.stop().await;
        relay.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_relay_follows_the_roster_and_names_the_command_that_admits_a_funnel() {
    guarded(async {
        let lab = Lab::new();
        let roster = lab.file("peers.toml");
        let roster = roster.display();
        let relay = lab.relay(&format!("--http --listen 127.0.0.1:0 --roster {roster}")).await;
        let funnel = lab.refused(&format!("--relay {}", url(&relay)), "expose.key").await;
        let id = lab.id("expose.key").await;
        let remedy = format!("peers --roster {roster} allow {id}");
        relay.logged(&format!("run: flower-iroh-funnel {remedy}")).await.unwrap();
        lab.type_in(&remedy, "secret.key").await;
        funnel.logged("relay connected").await.unwrap();
        lab.type_in(&format!("peers deny {id}"), "secret.key").await;
        relay.logged("disconnected: it is no longer admitted").await.unwrap();
        funnel.stop().await.unwrap();
        relay.stop().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_the_roster_denies_learns_nothing_about_the_token() {
    guarded(async {
        let lab = Lab::new();
        let (right, wrong) = (lab.token("right", TOKEN), lab.token("wrong", "open-barley"));
        let id = lab.id("expose.key").await;
        lab.type_in(&format!("peers allow {id}"), "secret.key").await;
        lab.type_in(&format!("peers deny {id}"), "secret.key").await;
        let roster = lab.file("peers.toml");
        let line = format!("--http --listen 127.0.0.1:0 --roster {} --token-file {right}", roster.display());
        let relay = lab.relay(&line).await;
        for token in [right, wrong] {
            let funnel = lab.refused(&format!("--relay {},@{token}", url(&relay)), "expose.key").await;
            let log = funnel.stderr();
            assert!(log.contains("this endpoint id is not allowed here") && !log.contains("the token is"), "{log}");
            funnel.stop().await.unwrap();
        }
        relay.stop().await.unwrap();
    })
    .await;
}
