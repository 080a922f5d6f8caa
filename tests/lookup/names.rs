//! Peers by the names that they have in the roster.

use std::fs;

use crate::{
    funnel_process::{FunnelProcess, run},
    parties::{Parties, reaches, stop, succeed, text},
    server::NameServer,
    sides::guarded,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_the_roster_is_as_good_as_the_id_for_join_and_in_the_file() {
    guarded(async {
        let (server, parties) = (NameServer::start().await, Parties::new());
        let inbound = parties.expose(&format!("--publish {},addresses", server.pkarr())).await;
        inbound.logged("published where this funnel is").await.unwrap();
        let (id, roster) = (parties.id("expose.key").await, parties.file("peers.toml"));
        succeed(parties.words(&format!("peers allow {id} --name clinic --roster {}", text(&roster)), "join.key")).await;

        let lookup = format!("--lookup {}", server.dns());
        let outbound = reaches(parties.join("clinic", &format!("{lookup} --roster {}", text(&roster)))).await;
        stop([outbound]).await;

        let file = parties.file("funnel.toml");
        let lines = format!(
            "lookup = {:?}\npublish = \"off\"\n[[peer]]\npeer = \"clinic\"\nlisten = \"127.0.0.1:0\"\n",
            server.dns()
        );
        fs::write(&file, lines).unwrap();
        // Beside the key lies the roster.
        let words = parties.words(&format!("run --config {}", text(&file)), "join.key");
        let running = FunnelProcess::start(words).await.unwrap();
        running.logged("connected").await.unwrap();
        stop([running, inbound]).await;
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_wrong_name_lists_the_names_that_exist() {
    guarded(async {
        let parties = Parties::new();
        let (file, roster) = (parties.file("funnel.toml"), parties.file("peers.toml"));
        let (one, other) = (parties.id("one.key").await, parties.id("other.key").await);
        fs::write(&file, format!("[[peer]]\nname = \"north\"\npeer = \"{one}\"\n")).unwrap();
        succeed(parties.words(&format!("peers allow {other} --name south --roster {}", text(&roster)), "join.key"))
            .await;
        let places = format!("--config {} --roster {}", text(&file), text(&roster));

        let (status, stderr) = run(parties.words(&format!("join nort {places}"), "join.key")).await.unwrap();
        assert_eq!(status.code(), Some(64), "{stderr}");
        for part in ["\"nort\" is neither a ticket", "it names north", "it names south"] {
            assert!(stderr.contains(part), "{part} is not in {stderr}");
        }

        succeed(parties.words(&format!("peers deny south --roster {}", text(&roster)), "join.key")).await;
        let (status, stderr) = run(parties.words(&format!("join south {places}"), "join.key")).await.unwrap();
        assert_eq!(status.code(), Some(64), "{stderr}");
        assert!(stderr.contains("is denied by the roster"), "{stderr}");
    })
    .await;
}
